"""Median and quartiles over rollouts, where infinity stands for "never" and for what is not a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Quartiles(NamedTuple):
    """Median and quartiles over rollouts; of a step, infinity means that it is never reached."""

    median: float
    lower: float
    upper: float


def compute_quartiles(values: Sequence[float] | Float[np.ndarray, "rollouts"]) -> Quartiles:
    """Return the median and the quartiles, interpolated linearly; NaN counts as infinity.

    `numpy.quantile` does the same for finite values, but returns NaN beside infinite ones.
    """
    ordered = np.sort(np.nan_to_num(np.asarray(values, np.float64), nan=np.inf, posinf=np.inf, neginf=-np.inf))

    def quantile(share: float) -> float:
        position = share * (len(ordered) - 1)
        below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
        return float(below + (above - below) * (position % 1)) if math.isfinite(above) else math.inf

    return Quartiles(quantile(0.5), quantile(0.25), quantile(0.75))


def find_first(condition: Bool[np.ndarray, "rollouts steps"]) -> Float[np.ndarray, "rollouts"]:
    """Return the first step at which the condition holds; infinity where it never does."""
    return np.where(condition.any(axis=1), condition.argmax(axis=1), np.inf)


def find_end(condition: Bool[np.ndarray, "rollouts steps"]) -> Float[np.ndarray, "rollouts"]:
    """Return the step after the last one at which the condition holds; infinity where it holds at the end."""
    end = condition.shape[1] - condition[:, ::-1].argmax(axis=1)
    return np.where(condition.any(axis=1), np.where(condition[:, -1], np.inf, end), 0.0)
