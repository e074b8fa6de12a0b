"""The names of a run's files, its lock, and its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.schema import FILE_FORMAT, RunConfig, TargetConfig, check_file_name
from ncatool.data.file_spec import locate_file
from ncatool.errors import UsageError
from ncatool.files.atomic import check_writable, hide_name, remove_partials
from ncatool.files.lock import Note, hold_lock, ignore_note
from ncatool.files.toml import write_toml
from ncatool.nca.model_name import EARLIER_CHECKPOINT_SUFFIX, MODEL_SUFFIX, find_record

CHECKPOINT_SUFFIX = ".checkpoint"
PLOT_SUFFIX = ".curve.png"
EARLIER_PLOT_SUFFIX = ".png"
"""Ending of the loss plot up to version 0.1; a user's picture may have it."""


@dataclass(frozen=True)
class RunFiles:
    """The names of a run's files, which all follow from that of the model."""

    model: Path

    def __post_init__(self) -> None:
        check_file_name(str(self.model))
        for ending in (EARLIER_CHECKPOINT_SUFFIX, CHECKPOINT_SUFFIX):
            if self.model.name.endswith(ending):
                model = self.model.name.removesuffix(ending) + MODEL_SUFFIX
                raise UsageError(f"{self.model} is the name of a checkpoint", f"give the run's model file, {model}")
        if self.model.suffix != MODEL_SUFFIX:
            name = self.model.stem + MODEL_SUFFIX
            raise UsageError(f"{self.model} does not end in {MODEL_SUFFIX}", f"give a name such as {name}")

    @property
    def record(self) -> Path:
        """Settings, result, environment and history, as TOML."""
        return self.model.with_suffix(".toml")

    @property
    def checkpoint(self) -> Path:
        """What `resume` needs."""
        return self.model.with_suffix(CHECKPOINT_SUFFIX)

    @property
    def earlier_checkpoint(self) -> Path:
        """The checkpoint of a run of an earlier version."""
        return self.model.with_suffix(EARLIER_CHECKPOINT_SUFFIX)

    @property
    def csv(self) -> Path:
        """A row for each iteration."""
        return self.model.with_suffix(".csv")

    @property
    def plot(self) -> Path:
        """The loss plot, as PNG."""
        return self.model.with_suffix(PLOT_SUFFIX)

    def find_checkpoint(self) -> Path:
        """Return the path of the checkpoint, of an earlier version where there is only that."""
        existing = self.list_existing()
        is_earlier = self.earlier_checkpoint in existing and self.checkpoint not in existing
        return self.earlier_checkpoint if is_earlier else self.checkpoint

    def is_complete(self, checkpoint: bool) -> bool:
        """Return whether all files of a finished run exist, with a checkpoint if asked; earlier names count, too."""
        plots = (self.plot, self.model.with_suffix(EARLIER_PLOT_SUFFIX))
        needed = [self.model, self.record, self.csv, *([self.find_checkpoint()] if checkpoint else [])]
        return all(path.is_file() for path in needed) and any(path.is_file() for path in plots)

    def list_paths(self) -> list[Path]:
        """Return the paths of all files that a run may leave, the model first."""
        return [self.model, self.record, self.checkpoint, self.csv, self.plot]

    def list_existing(self) -> list[Path]:
        """Return the paths of all files of the run that exist, also of a checkpoint of an earlier version."""
        with suppress(OSError):  # that name is longer, perhaps too long for a file
            if self.earlier_checkpoint.exists():
                return [path for path in [*self.list_paths(), self.earlier_checkpoint] if path.exists()]
        return [path for path in self.list_paths() if path.exists()]

    def check(self, force: bool, inputs: Sequence[Path] = ()) -> None:
        """Raise UsageError where a file of the run is an input, or exists without `force`; see `check_writable`."""
        check_writable(self.list_paths(), force, inputs)
        check_writable(self.list_existing(), force, inputs)

    @contextmanager
    def lock(self, note: Note = ignore_note) -> Iterator[None]:
        """Lock the run against other processes, and remove what a killed process left half-written; see `hold_lock`."""
        with hold_lock(self.model.with_name(hide_name(self.model.name, ".lock")), str(self.model), note):
            for path in self.list_paths():
                remove_partials(path)
            yield

    def remove_training(self) -> None:
        """Remove what a run leaves beside model and record: they now are of a model that was not trained here."""
        for path in self.list_existing():
            if path not in (self.model, self.record):
                path.unlink()

    def remove_checkpoints(self) -> None:
        """Remove the checkpoint, of this version and of earlier ones."""
        for path in self.list_existing():
            if path in (self.checkpoint, self.earlier_checkpoint):
                path.unlink()


def list_inputs(config: RunConfig) -> list[Path]:
    """Return the files that a run reads: those of its target, and the model that it starts from."""
    model = Path(config.train.initial)
    return [*list_target_files(config.target), *([model, find_record(model)] if config.train.initial else [])]


def list_target_files(target: TargetConfig) -> list[Path]:
    """Return the files that a target is read from, of those that exist: its picture, and its mask."""
    found = (locate_file(text) for text in (target.source, target.alpha))
    return [spec.path for spec in found if spec is not None and spec.path.is_file()]


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the run's TOML."""
    write_toml(path, {"format": FILE_FORMAT, **record})
