"""A model of several pictures as one: median and worst of its measures, and what wounded pictures heal into."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from ncatool.evaluation.models import Evaluation
from ncatool.evaluation.table import HIGHER_IS_BETTER, finite_or_none, flatten_evaluation


@dataclass(frozen=True)
class SeveralEvaluation:
    """What is known of a model of several pictures beside the measures of each."""

    evaluations: list[Evaluation]
    """One for each picture."""

    @property
    def name(self) -> str:
        """The model's name, without that of a picture."""
        candidate = self.evaluations[0].candidate
        return candidate.name.removesuffix(f":{candidate.model.target.name}")

    @property
    def pictures(self) -> list[str]:
        """The names of the pictures, in the order of the evaluations."""
        return [one.candidate.model.target.name for one in self.evaluations]

    @cached_property
    def counts(self) -> Int[np.ndarray, "pictures pictures"]:
        """Wounded states by the picture that they were (row) and the one that they are nearest to later (column)."""
        return np.array([self._count_nearest(one) for one in self.evaluations])

    def _count_nearest(self, evaluation: Evaluation) -> list[int]:
        """Return how many states of a picture, wounded in any way, are nearest to each picture 200 steps later."""
        nearest = np.concatenate([one.nearest for one in evaluation.measures.damage.values()])
        order = [one.name for one in evaluation.candidate.siblings]
        return [int((nearest == order.index(name)).sum()) for name in self.pictures]

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

    def make_row(self) -> dict[str, Any]:
        """Return a CSV row as of one picture: the medians over the pictures, and which of them is the worst."""
        rows = [flatten_evaluation(one) for one in self.evaluations]
        picture, error = self.find_worst("mse_later")
        medians = {name: _find_median([row[name] for row in rows]) for name in rows[0]}
        return {**medians, "worst_mse_later": finite_or_none(error), "worst_picture": picture}

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


def _find_median(values: Sequence[Any]) -> Any:
    """Return the median of numbers, None where it is not finite; of texts the one that all are."""
    if any(isinstance(value, str) for value in values):
        return values[0] if len({*values}) == 1 else None
    return finite_or_none(statistics.median(math.inf if value is None else value for value in values))


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


def list_several(evaluations: Sequence[Evaluation]) -> list[SeveralEvaluation]:
    """Return the models of several pictures as one each: those of which every picture has been measured."""
    groups: dict[Any, list[Evaluation]] = {}
    for one in evaluations:
        groups.setdefault(one.candidate.path, []).append(one)
    return [
        SeveralEvaluation(group)
        for group in groups.values()
        if len(group) > 1 and len(group) == len(group[0].candidate.siblings)
    ]
