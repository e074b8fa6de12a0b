"""The names of model files and their records; nothing here reads a tensor, so that torch is not needed for it."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from ncatool.errors import UsageError

MODEL_SUFFIX = ".safetensors"
EARLIER_CHECKPOINT_SUFFIX = ".checkpoint.safetensors"
"""Ending of the checkpoints that versions up to 0.1 wrote."""


def is_model_name(path: Path) -> bool:
    """Return whether a file has the name of a model; checkpoints of earlier versions end alike."""
    return path.suffix == MODEL_SUFFIX and not path.name.endswith(EARLIER_CHECKPOINT_SUFFIX)


def leave_out_checkpoints(paths: Sequence[Path]) -> list[Path]:
    """Return the paths without the checkpoints of models that are among them, as a shell's `*.safetensors` gives."""
    names = {str(path).removesuffix(MODEL_SUFFIX) + EARLIER_CHECKPOINT_SUFFIX for path in paths if is_model_name(path)}
    return [path for path in paths if str(path) not in names]


def label_models(paths: Sequence[Path]) -> list[str]:
    """Return a label for each model: its file's name without ending, or its path where several files have that name."""
    stems = [path.stem for path in paths]
    return [path.stem if stems.count(path.stem) == 1 else str(path.with_suffix("")) for path in paths]


def find_record(path: Path) -> Path:
    """Return the path of the record of a model file, whether it exists or not."""
    return Path(f"{str(path).removesuffix(path.suffix)}.toml")  # unlike with_suffix, also for an empty name


def find_models(names: Sequence[str]) -> list[Path]:
    """Return each file named, each model in a folder or below it, and each model that matches a pattern, once.

    Checkpoints are left out, unless named themselves. Raises UsageError for a folder or pattern without models.
    """
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        matches = [path]
        if path.is_dir():
            matches = [file for file in sorted(path.rglob("*")) if is_model_name(file)]
        elif not path.exists() and glob.has_magic(name):
            matching_names = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            matches = [Path(match) for match in matching_names if is_model_name(Path(match))]
        if not matches:
            raise UsageError(f"there is no model in {name}", "name model files, folders that hold some, or a pattern")
        paths.update(dict.fromkeys(matches))
    return leave_out_checkpoints(list(paths))
