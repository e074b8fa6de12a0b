"""The names of model files and their records; nothing here reads a tensor, so that torch is not needed for it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ncatool.config.suggestions import suggest_names
from ncatool.data.default_name import name_model
from ncatool.data.expansion import IMAGE_ENDINGS
from ncatool.errors import NcatoolError, UsageError

MODEL_SUFFIX = ".safetensors"
EARLIER_CHECKPOINT_SUFFIX = ".checkpoint.safetensors"
"""Ending of the checkpoints that versions up to 0.1 wrote."""

_MOST_SUGGESTED, _MOST_LISTED = 200, 5
"""Models among which a name is sought, and those that an error lists."""
FOREIGN_ENDINGS = (".pt", ".pth", ".json")
"""Endings of the models that `ncatool import` reads."""
RUN_ENDINGS = {
    ".toml": "the record of a run",
    ".csv": "the table of a run's iterations",
    ".checkpoint": "the checkpoint of a run",
    ".curve.png": "the curve of a run",
}
"""Endings of the files that stand beside a model, and what they are."""


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


def is_file(name: str | Path) -> bool:
    """Return whether there is a file of this name; unlike `Path.is_file`, it takes any text, however long."""
    return os.path.isfile(name)  # noqa: PTH113


def find_model(name: str) -> Path:
    """Return the model file that is named: the name may lack its ending, or be that of the target.

    A file that does not exist is returned as it is named. Raises UsageError for another file of a run, such as
    NAME.toml, beside which the model stands.
    """
    path = Path(name)
    if path.suffix == MODEL_SUFFIX:
        return path
    whole = f"{name.removesuffix('.')}{MODEL_SUFFIX}"  # shells complete up to the dot
    if is_file(whole) and not is_file(name):
        return Path(whole)
    for ending, what in RUN_ENDINGS.items():
        model = name.removesuffix(ending) + MODEL_SUFFIX
        if name.endswith(ending) and is_file(model):
            raise UsageError(f"{name} is {what}, not its model", f"give the model, {model}")
    return path if os.path.lexists(name) else _find_by_target(name) or path


def _find_by_target(name: str) -> Path | None:
    """Return the model that training on a MedMNIST sample of this name leaves, where there is one."""
    try:
        model = name_model(name)
    except NcatoolError:
        return None
    return model if not Path(name).suffix and is_file(model) else None


def describe_missing(name: str | Path) -> UsageError:
    """Return the error for a model that does not exist, with the nearest that does."""
    names = [str(path) for path in _list_models(Path(name).parent)][:_MOST_SUGGESTED]
    close = suggest_names(Path(name).stem, [Path(one).stem for one in names])
    meant = [one for one in names if Path(one).stem in close] or names
    if not meant:
        hint = f"give the name of a {MODEL_SUFFIX} file, or train one: ncatool train phantom"
    else:
        hint = f"did you mean {meant[0]}?" if close else f"models here: {', '.join(meant[:_MOST_LISTED])}"
    return UsageError(f"no such model: {name}", hint)


def _list_models(folder: Path) -> list[Path]:
    """Return the models in a folder, in the order of their names; none where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if is_model_name(path))
    except (OSError, ValueError):
        return []


def describe_other_file(path: Path) -> UsageError | None:
    """Return the error for a file of another kind than a model's, by its name; None where the name says nothing."""
    if path.is_dir():
        models = [str(model) for model in _list_models(path)[:1]]
        hint = f"name one of its models, such as {models[0]}" if models else "name a model file"
        return UsageError(f"{path} is a folder, not a model", hint)
    if path.suffix.lower() in IMAGE_ENDINGS:
        model = path.with_suffix(MODEL_SUFFIX)
        hint = f"give the model, {model}" if model.is_file() else f"train a model on it: ncatool train {path}"
        return UsageError(f"{path} is a picture, not a model", hint)
    if path.suffix.lower() in FOREIGN_ENDINGS:
        own = path.with_suffix(MODEL_SUFFIX).name
        return UsageError(f"{path} is another program's model", f"bring it here first: ncatool import {path} {own}")
    return None


def find_models(names: Sequence[str]) -> list[Path]:
    """Return each file named, each model in a folder or below it, and each model that matches a pattern, once.

    Checkpoints are left out, unless named themselves. Raises UsageError for a folder or pattern without models.
    """
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name) if Path(name).is_dir() else find_model(name)
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
