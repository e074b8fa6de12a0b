"""The names of a run's files, its lock, and its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.schema import FILE_FORMAT
from ncatool.errors import UsageError
from ncatool.files.atomic import remove_partials
from ncatool.files.lock import hold_lock
from ncatool.files.toml import write_toml
from ncatool.nca.model_file import MODEL_SUFFIX


@dataclass(frozen=True)
class RunFiles:
    """The names of a run's files, which all follow from that of the model."""

    model: Path

    def __post_init__(self) -> None:
        if self.model.suffix != MODEL_SUFFIX:
            raise UsageError(f"{self.model} does not end in {MODEL_SUFFIX}", f"give --out NAME{MODEL_SUFFIX}")

    @property
    def record(self) -> Path:
        """Settings, result, environment and history, as TOML."""
        return self.model.with_suffix(".toml")

    @property
    def checkpoint(self) -> Path:
        """What `resume` needs."""
        return self.model.with_suffix(".checkpoint" + MODEL_SUFFIX)

    @property
    def csv(self) -> Path:
        """A row for each iteration."""
        return self.model.with_suffix(".csv")

    @property
    def plot(self) -> Path:
        """The loss plot, as PNG."""
        return self.model.with_suffix(".png")

    def list_paths(self) -> list[Path]:
        """Return the paths of all files that a run may leave, the model first."""
        return [self.model, self.record, self.checkpoint, self.csv, self.plot]

    @contextmanager
    def lock(self, leased: bool = False) -> Iterator[None]:
        """Lock the run against other processes, and remove what a killed process left half-written; see `hold_lock`."""
        with hold_lock(self.model.with_name(f".{self.model.name}.lock"), str(self.model), leased):
            for path in self.list_paths():
                remove_partials(path)
            yield


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the run's TOML."""
    write_toml(path, {"format": FILE_FORMAT, **record})
