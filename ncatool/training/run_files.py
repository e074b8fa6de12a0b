"""TODO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.schema import FORMAT
from ncatool.errors import UsageError
from ncatool.files.atomic import remove_partials
from ncatool.files.lock import held
from ncatool.files.toml import write_toml
from ncatool.nca.model_file import SUFFIX


@dataclass(frozen=True)
class RunFiles:
    """The names of a run's files."""

    model: Path

    def __post_init__(self) -> None:
        if self.model.suffix != SUFFIX:
            raise UsageError(f"{self.model} does not end in {SUFFIX}", f"give --out NAME{SUFFIX}")

    @property
    def record(self) -> Path:
        return self.model.with_suffix(".toml")

    @property
    def checkpoint(self) -> Path:
        return self.model.with_suffix(".checkpoint" + SUFFIX)

    @property
    def curve(self) -> Path:
        return self.model.with_suffix(".csv")

    @property
    def picture(self) -> Path:
        return self.model.with_suffix(".png")

    def all(self) -> list[Path]:
        return [self.model, self.record, self.checkpoint, self.curve, self.picture]

    @contextmanager
    def alone(self, leased: bool = False) -> Iterator[None]:
        """Keeps every other process from writing this run, as `held`; what a dead one left half-written is removed."""
        with held(self.model.with_name(f".{self.model.name}.lock"), str(self.model), leased):
            for path in self.all():
                remove_partials(path)
            yield


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the run's TOML."""
    write_toml(path, {"format": FORMAT, **record})
