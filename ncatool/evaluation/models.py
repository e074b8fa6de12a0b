"""Several models, the same trial: numbers, tables, pictures."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ncatool.config.names import Damage
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation.protocol import GROWN, Measures, Spread, Tick, Trial, measure
from ncatool.files.toml import read_toml
from ncatool.nca.filters import kernels
from ncatool.nca.loss import psnr
from ncatool.nca.model_file import Model, labels, load_model

HALVES = (Damage.LEFT, Damage.RIGHT, Damage.TOP, Damage.BOTTOM)


@dataclass(frozen=True)
class Contender:
    """A model to be compared, and what its record says of it."""

    name: str
    path: Path
    model: Model
    record: dict[str, Any] = field(default_factory=dict)

    def setting(self, table: str, name: str) -> str:
        """A value of the record as text; "?" where there is none."""
        values = self.record.get(table)
        return str(values.get(name, "?")) if isinstance(values, dict) else "?"

    @property
    def about(self) -> dict[str, str]:
        """What the table groups by: filter, loss, damage, target."""
        regime = self.setting("train", "regime")
        height, width = self.model.target.shape
        return {
            "filter": self.model.config.filter.value,
            "loss": self.setting("train", "loss"),
            "damage": {"?": "?", "regenerating": "yes"}.get(regime, "no"),
            "target": f"{self.setting('target', 'source')} {height}x{width}",
        }

    @cached_property
    def target_key(self) -> str:
        """The same for models that grow the same pixels on the same grid."""
        record = self.model.target.record()
        return f"{record['sha256']} {record['padding']}"

    @property
    def notes(self) -> list[str]:
        """What a reader of its numbers should know."""
        kernel, transposed = kernels(self.model.config.filter)
        if torch.equal(kernel, transposed):
            name = self.model.config.filter
            return [f"{name} is symmetric: both filtered channels are the same, and cells have no sense of direction"]
        return []


def _decibels(errors: Spread) -> Spread:
    return Spread(psnr(errors.median), psnr(errors.high), psnr(errors.low))


def _wounded(shape: Damage) -> dict[str, Callable[[Measures], Spread | float]]:
    return {
        f"regeneration_{shape}": lambda m: m.wounds[shape].regeneration,
        f"healing_steps_{shape}": lambda m: m.wounds[shape].steps,
    }


MEASURES: dict[str, Callable[[Measures], Spread | float]] = {
    f"mse_at_{GROWN}": lambda m: m.growth,
    f"psnr_at_{GROWN}": lambda m: _decibels(m.growth),
    f"ssim_at_{GROWN}": lambda m: m.ssim_grown,
    "step_under_0.001": lambda m: m.first_good,
    "mse_later": lambda m: m.persistence,
    "psnr_later": lambda m: _decibels(m.persistence),
    "mse_worst": lambda m: m.worst,
    "psnr_worst": lambda m: _decibels(m.worst),
    "ssim_final": lambda m: m.ssim_final,
    "settling_step": lambda m: m.settling,
    **{name: take for shape in Damage for name, take in _wounded(shape).items()},
    "regeneration_halves": lambda m: min(m.wounds[half].regeneration.median for half in HALVES),
    "dead": lambda m: m.dead,
    "exploded": lambda m: m.exploded,
}
"""Every measure by name, as JSON and CSV have it."""


@dataclass(frozen=True)
class Entry:
    """A contender after its trial."""

    contender: Contender
    numbers: dict[str, Spread | float]
    """Every measure by name."""
    measures: Measures

    def middle(self, name: str) -> float:
        """A measure's median."""
        value = self.numbers[name]
        return value.median if isinstance(value, Spread) else value


def _may_be_model(path: Path) -> bool:
    return path.suffix == ".safetensors" and not path.name.endswith(".checkpoint.safetensors")


def model_paths(names: Sequence[str]) -> list[Path]:
    """Files, the models in folders (at any depth, without checkpoints), and what patterns match; each once."""
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        matches = [path]
        if path.is_dir():
            matches = [found for found in sorted(path.rglob("*")) if _may_be_model(found)]
        elif not path.exists() and glob.has_magic(name):
            found_names = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            matches = [Path(match) for match in found_names if _may_be_model(Path(match))]
        if not matches:
            raise UsageError(f"there is no model in {name}", "name model files, folders that hold some, or a pattern")
        paths.update(dict.fromkeys(matches))
    return list(paths)


def load(paths: Sequence[Path], device: torch.device) -> tuple[list[Contender], dict[Path, NcatoolError]]:
    """What can be loaded, grouped by filter, loss, damage; and what was wrong with the rest."""
    contenders, failed = [], {}
    for path, name in zip(paths, labels(paths), strict=True):
        sidecar = path.with_suffix(".toml")
        try:
            model = load_model(path).on(device)
            contenders.append(Contender(name, path, model, read_toml(sidecar) if sidecar.exists() else {}))
        except NcatoolError as error:
            failed[path] = error
    return sorted(contenders, key=lambda one: (*one.about.values(), one.name)), failed


def compare(contender: Contender, trial: Trial, tick: Tick = lambda: None) -> Entry:
    """Puts a model to the test."""
    measures = measure(contender.model, trial, tick)
    return Entry(contender, {name: take(measures) for name, take in MEASURES.items()}, measures)
