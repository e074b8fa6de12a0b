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
from ncatool.evaluation.protocol import GROWTH_STEP, Measures, Protocol, Quartiles, StepCallback, measure_model
from ncatool.files.toml import read_toml
from ncatool.nca.filters import filter_pair
from ncatool.nca.loss import compute_psnr
from ncatool.nca.model_file import ModelData, label_models, load_model

HALVES = (Damage.LEFT, Damage.RIGHT, Damage.TOP, Damage.BOTTOM)


@dataclass(frozen=True)
class Candidate:
    """A model to be compared, and what its record says of it."""

    name: str
    path: Path
    model: ModelData
    record: dict[str, Any] = field(default_factory=dict)

    def read_setting(self, table: str, name: str) -> str:
        """A value of the record as text; "?" where there is none."""
        values = self.record.get(table)
        return str(values.get(name, "?")) if isinstance(values, dict) else "?"

    @property
    def grouping(self) -> dict[str, str]:
        """What the table groups by: filter, loss, damage, target."""
        regime = self.read_setting("train", "regime")
        height, width = self.model.target.shape
        return {
            "filter": self.model.config.filter.value,
            "loss": self.read_setting("train", "loss"),
            "damage": {"?": "?", "regenerating": "yes"}.get(regime, "no"),
            "target": f"{self.read_setting('target', 'source')} {height}x{width}",
        }

    @cached_property
    def target_key(self) -> str:
        """The same for models that grow the same pixels on the same grid."""
        record = self.model.target.describe()
        return f"{record['sha256']} {record['padding']}"

    @property
    def notes(self) -> list[str]:
        """What a reader of its numbers should know."""
        kernel, transposed = filter_pair(self.model.config.filter)
        if torch.equal(kernel, transposed):
            name = self.model.config.filter
            return [f"{name} is symmetric: both filtered channels are the same, and cells have no sense of direction"]
        return []


def _convert_to_psnr(errors: Quartiles) -> Quartiles:
    return Quartiles(compute_psnr(errors.median), compute_psnr(errors.upper), compute_psnr(errors.lower))


def _damage_measures(shape: Damage) -> dict[str, Callable[[Measures], Quartiles | float]]:
    return {
        f"regeneration_{shape}": lambda m: m.damage[shape].regeneration,
        f"healing_steps_{shape}": lambda m: m.damage[shape].healing_steps,
    }


MEASURES: dict[str, Callable[[Measures], Quartiles | float]] = {
    f"mse_at_{GROWTH_STEP}": lambda m: m.growth,
    f"psnr_at_{GROWTH_STEP}": lambda m: _convert_to_psnr(m.growth),
    f"ssim_at_{GROWTH_STEP}": lambda m: m.ssim_grown,
    "step_under_0.001": lambda m: m.grown_step,
    "mse_later": lambda m: m.persistence,
    "psnr_later": lambda m: _convert_to_psnr(m.persistence),
    "mse_worst": lambda m: m.worst,
    "psnr_worst": lambda m: _convert_to_psnr(m.worst),
    "ssim_final": lambda m: m.ssim_final,
    "settling_step": lambda m: m.settling,
    **{name: take for shape in Damage for name, take in _damage_measures(shape).items()},
    "regeneration_halves": lambda m: min(m.damage[half].regeneration.median for half in HALVES),
    "dead": lambda m: m.dead,
    "exploded": lambda m: m.exploded,
}
"""Every measure by name, as JSON and CSV have it."""


@dataclass(frozen=True)
class Evaluation:
    """A contender after its trial."""

    candidate: Candidate
    values: dict[str, Quartiles | float]
    """Every measure by name."""
    measures: Measures

    def median(self, name: str) -> float:
        """A measure's median."""
        value = self.values[name]
        return value.median if isinstance(value, Quartiles) else value


def _is_model_name(path: Path) -> bool:
    return path.suffix == ".safetensors" and not path.name.endswith(".checkpoint.safetensors")


def find_models(names: Sequence[str]) -> list[Path]:
    """Files, the models in folders (at any depth, without checkpoints), and what patterns match; each once."""
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        matches = [path]
        if path.is_dir():
            matches = [found for found in sorted(path.rglob("*")) if _is_model_name(found)]
        elif not path.exists() and glob.has_magic(name):
            found_names = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            matches = [Path(match) for match in found_names if _is_model_name(Path(match))]
        if not matches:
            raise UsageError(f"there is no model in {name}", "name model files, folders that hold some, or a pattern")
        paths.update(dict.fromkeys(matches))
    return list(paths)


def load_candidates(paths: Sequence[Path], device: torch.device) -> tuple[list[Candidate], dict[Path, NcatoolError]]:
    """What can be loaded, grouped by filter, loss, damage; and what was wrong with the rest."""
    contenders, failed = [], {}
    for path, name in zip(paths, label_models(paths), strict=True):
        sidecar = path.with_suffix(".toml")
        try:
            model = load_model(path).move_to(device)
            contenders.append(Candidate(name, path, model, read_toml(sidecar) if sidecar.exists() else {}))
        except NcatoolError as error:
            failed[path] = error
    return sorted(contenders, key=lambda one: (*one.grouping.values(), one.name)), failed


def evaluate(contender: Candidate, trial: Protocol, tick: StepCallback = lambda: None) -> Evaluation:
    """Puts a model to the test."""
    measures = measure_model(contender.model, trial, tick)
    return Evaluation(contender, {name: take(measures) for name, take in MEASURES.items()}, measures)
