"""A model of several pictures as one: median and worst of its measures, and what wounded pictures heal into."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncatool.config.names import Damage
from ncatool.engine.advance import advance
from ncatool.evaluation.models import Evaluation
from ncatool.evaluation.protocol import HEALING_STEPS, choose_persistence_step
from ncatool.evaluation.table import HIGHER_IS_BETTER, finite_or_none
from ncatool.evaluation.trajectory import make_damage_mask
from ncatool.nca.loss import compute_error
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State

CONFUSION_ROLLOUTS = 4
"""Rollouts of each picture that are wounded in each way."""


@dataclass(frozen=True)
class SeveralEvaluation:
    """What is known of a model of several pictures beside the measures of each."""

    name: str
    evaluations: list[Evaluation]
    """One for each picture."""
    counts: Int[np.ndarray, "pictures pictures"]
    """Wounded states by the picture that they were (row) and the one that they are nearest to when healed (column)."""

    @property
    def pictures(self) -> list[str]:
        """The names of the pictures."""
        return [one.candidate.model.target.name for one in self.evaluations]

    def find_worst(self, measure: str) -> tuple[str, float]:
        """Return the picture whose median of a measure is worst, and that; what is not finite is worst of all."""
        sign = -1 if measure.startswith(HIGHER_IS_BETTER) else 1
        values = [one.median(measure) for one in self.evaluations]
        keys = [sign * value if math.isfinite(value) else math.inf for value in values]
        worst = keys.index(max(keys))
        return self.pictures[worst], values[worst]

    def compute_median(self, measure: str) -> float:
        """Return the median over the pictures of a measure's median."""
        return statistics.median(one.median(measure) for one in self.evaluations)

    def list_confusions(self) -> list[tuple[str, str, int]]:
        """Return which pictures healed into which others, and how many states did, the most first."""
        pairs = np.argwhere(self.counts * (1 - np.eye(len(self.counts), dtype=int)) > 0)
        found = [(self.pictures[i], self.pictures[j], int(self.counts[i, j])) for i, j in pairs.tolist()]
        return sorted(found, key=lambda one: -one[2])

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as an object of `compare --json`, null where they are not finite."""
        measures = list(self.evaluations[0].values)
        medians = {name: finite_or_none(self.compute_median(name)) for name in measures}
        worst = {name: self.find_worst(name) for name in measures}
        return {
            "model": self.name,
            "pictures": self.pictures,
            "median": medians,
            "worst": {
                name: {"picture": where, "value": finite_or_none(value)} for name, (where, value) in worst.items()
            },
            "healed_into": self.counts.tolist(),
        }


def measure_confusion(model: ModelData, seed: int) -> Int[np.ndarray, "pictures pictures"]:
    """Grow every picture, wound it in each way, and count which picture the healed states are nearest to.

    Nearest is by MSE over RGBA. The result has a row for each picture that was grown.
    """
    generator = torch.Generator().manual_seed(seed)
    targets = torch.stack([torch.from_numpy(one.premultiply()) for one in model.target.pictures]).to(model.device)
    counts = torch.zeros(len(targets), len(targets), dtype=torch.int64)
    for one, row in zip(model.pictures, counts, strict=True):
        grown = advance(one, one.place_seeds(CONFUSION_ROLLOUTS), choose_persistence_step(one.target.shape), generator)
        for shape in Damage:
            state = grown.clone()
            state[:, make_damage_mask(one, shape).to(model.device)] = 0
            nearest = _find_nearest(advance(one, state, HEALING_STEPS, generator), targets)
            row += torch.bincount(nearest.cpu(), minlength=len(targets))
    return counts.numpy()


def _find_nearest(states: State, targets: Float[Tensor, "pictures height width 4"]) -> Int[Tensor, "batch"]:
    errors = torch.stack([compute_error(states, target).square().mean(dim=(1, 2, 3)) for target in targets])
    return torch.nan_to_num(errors, nan=math.inf).argmin(dim=0)


def describe_several(one: SeveralEvaluation) -> str:
    """Return a model's error over its pictures, and what became of wounded ones, in a sentence."""
    where, worst = one.find_worst("mse_later")
    median = one.compute_median("mse_later")
    error = f"MSE 200+ of {len(one.evaluations)} pictures {median:.1e}, worst {worst:.1e} ({where})"
    confusions, total = one.list_confusions(), int(one.counts.sum())
    if not confusions:
        return f"{error}; wounded, all stay nearest to themselves"
    pairs = ", ".join(f"{old} → {new} {count}" for old, new, count in confusions[:3])
    changed = sum(count for *_, count in confusions)
    more = ", …" if len(confusions) > 3 else ""
    return f"{error}; wounded, {changed} of {total} become another: {pairs}{more}"


def group_evaluations(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Return the evaluations of each model of several pictures."""
    groups: dict[Any, list[Evaluation]] = {}
    for one in evaluations:
        groups.setdefault(one.candidate.path, []).append(one)
    return [group for group in groups.values() if len(group) > 1]
