"""The models of a comparison: which files are compared, what their records say, and their measures by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ncatool.config.names import Damage
from ncatool.data.target import Target
from ncatool.errors import NcatoolError
from ncatool.evaluation.measures import Measures, measure_model
from ncatool.evaluation.protocol import GROWTH_STEP, PERSISTENCE_STEP, Protocol, StepCallback, choose_persistence_step
from ncatool.evaluation.quartiles import Quartiles
from ncatool.nca.damage import HALVES
from ncatool.nca.loss import compute_psnr
from ncatool.nca.model_file import ModelData, load_model, read_record
from ncatool.nca.model_name import label_models
from ncatool.nca.seed import list_cells


@dataclass(frozen=True)
class Candidate:
    """A model to compare, and the record of its training."""

    name: str
    path: Path
    model: ModelData
    record: dict[str, Any] = field(default_factory=dict)
    siblings: Sequence[Target] = ()
    """All pictures that the model's weights grow, where they are several."""

    def read_setting(self, table: str, name: str) -> str:
        """Return a value of the record as text, or "?" where there is none."""
        values = self.record.get(table)
        return str(values.get(name, "?")) if isinstance(values, dict) else "?"

    @property
    def grouping(self) -> dict[str, str]:
        """The settings that identify a model in the table: filter, loss, damage, target."""
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
        """A key that is equal for models that grow the same pixels with the same padding."""
        record = self.model.target.describe()
        return f"{record['sha256']} {record['padding']}"

    @property
    def notes(self) -> list[str]:
        """Remarks that the numbers need."""
        name, count, notes = self.model.config.filter, len(list_cells(self.model.seed)), []
        if name.is_symmetric:
            direction = f"a seed of {count} cells gives the" if self.model.has_direction else "cells have no"
            notes.append(
                f"{name} is symmetric: both filtered channels are the same, and {direction} sense of direction"
            )
        steps = choose_persistence_step(self.model.target.shape)
        if steps > PERSISTENCE_STEP:
            height, width = self.model.target.shape
            notes.append(f"{height}x{width} cells take longer to grow and to heal: {steps} steps take the place of 200")
        return notes


def _convert_to_psnr(mse: Quartiles) -> Quartiles:
    return Quartiles(compute_psnr(mse.median), compute_psnr(mse.upper), compute_psnr(mse.lower))


def _list_damage_measures(shape: Damage) -> dict[str, Callable[[Measures], Quartiles | float]]:
    return {
        f"regeneration_{shape}": lambda measures: measures.damage[shape].regeneration,
        f"mse_healed_{shape}": lambda measures: measures.damage[shape].healed,
        f"psnr_healed_{shape}": lambda measures: _convert_to_psnr(measures.damage[shape].healed),
        f"healing_steps_{shape}": lambda measures: measures.damage[shape].healing_steps,
    }


def _find_worst_half(measures: Measures) -> float:
    return max(measures.damage[half].healed.median for half in HALVES)


MEASURES: dict[str, Callable[[Measures], Quartiles | float]] = {
    f"mse_at_{GROWTH_STEP}": lambda measures: measures.growth,
    f"psnr_at_{GROWTH_STEP}": lambda measures: _convert_to_psnr(measures.growth),
    f"ssim_at_{GROWTH_STEP}": lambda measures: measures.ssim_grown,
    "step_under_0.001": lambda measures: measures.grown_step,
    "mse_later": lambda measures: measures.persistence,
    "psnr_later": lambda measures: _convert_to_psnr(measures.persistence),
    "mse_worst": lambda measures: measures.worst,
    "psnr_worst": lambda measures: _convert_to_psnr(measures.worst),
    "ssim_final": lambda measures: measures.ssim_final,
    "settling_step": lambda measures: measures.settling,
    **{name: measure for shape in Damage for name, measure in _list_damage_measures(shape).items()},
    "regeneration_halves": lambda measures: min(measures.damage[half].regeneration.median for half in HALVES),
    "mse_healed_halves": _find_worst_half,
    "psnr_healed_halves": lambda measures: compute_psnr(_find_worst_half(measures)),
    "mse_before_damage": lambda measures: measures.damage[Damage.CIRCLE].error_before,
    f"deviation_at_{PERSISTENCE_STEP}": lambda measures: measures.variation.mean_deviation,
    f"nqm_at_{PERSISTENCE_STEP}": lambda measures: measures.variation.nqm,
    "dead": lambda measures: measures.dead,
    "exploded": lambda measures: measures.exploded,
}
"""Every measure by its name in JSON and CSV."""


@dataclass(frozen=True)
class Evaluation:
    """A candidate and its measures."""

    candidate: Candidate
    values: dict[str, Quartiles | float]
    """Every measure by the names of `MEASURES`."""
    measures: Measures

    def median(self, name: str) -> float:
        """Return the median of a measure; a measure without quartiles is its own."""
        value = self.values[name]
        return value.median if isinstance(value, Quartiles) else value


def load_candidates(paths: Sequence[Path], device: torch.device) -> tuple[list[Candidate], dict[Path, NcatoolError]]:
    """Return the candidates, sorted by filter, loss, damage, target and name; and the error of each other file."""
    candidates, failed = [], {}
    for path, name in zip(paths, label_models(paths), strict=True):
        try:
            model = load_model(path).move_to(device)
            candidates += _list_candidates(name, path, model)
        except NcatoolError as error:
            failed[path] = error
    return sorted(candidates, key=lambda candidate: (*candidate.grouping.values(), candidate.name)), failed


def _list_candidates(name: str, path: Path, model: ModelData) -> list[Candidate]:
    """Return a candidate for each picture that a model grows."""
    record = read_record(path, model)
    if len(model.pictures) == 1:
        return [Candidate(name, path, model, record)]
    return [
        Candidate(
            f"{name}:{one.target.name}",
            path,
            one,
            {**record, "target": one.target.describe()},
            model.target.pictures,
        )
        for one in model.pictures
    ]


def evaluate(candidate: Candidate, protocol: Protocol, on_step: StepCallback = lambda: None) -> Evaluation:
    """Measure a candidate; `on_step` is called `protocol.count_steps` times."""
    return name_measures(candidate, measure_model(candidate.model, protocol, on_step, siblings=candidate.siblings))


def name_measures(candidate: Candidate, measures: Measures) -> Evaluation:
    """Return a candidate with its measures by their names."""
    return Evaluation(candidate, {name: measure(measures) for name, measure in MEASURES.items()}, measures)
