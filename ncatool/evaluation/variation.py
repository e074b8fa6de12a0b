"""Variation between rollouts: where a model is unsure, and how much.

Rollouts differ only in which cells fire. Where they disagree, the model does not determine the picture; M3D-NCA scores
the quality of a segmentation so, without a reference: Kalkhof and Mukhopadhyay, *M3D-NCA: Robust 3D Segmentation with
Built-in Quality Control*, 2023, arXiv 2309.02954.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

States = Float[np.ndarray, "rollouts height width 4"]
"""RGBA premultiplied by alpha."""


@dataclass(frozen=True)
class Variation:
    """Mean and spread of each cell over rollouts, in values from 0 to 1."""

    count: int
    """Number of rollouts."""
    mean: Float[np.ndarray, "height width 4"]
    squares: Float[np.ndarray, "height width 4"]
    """Sum over the rollouts of the squared differences from the mean."""

    @property
    def deviation(self) -> Float[np.ndarray, "height width 4"]:
        """Standard deviation over the rollouts, divided by their number, of each cell and channel."""
        with np.errstate(all="ignore"):  # exploded rollouts hold infinities
            return np.nan_to_num(np.sqrt(self.squares / self.count), nan=np.inf, posinf=np.inf)

    @property
    def map(self) -> Float[np.ndarray, "height width"]:
        """Standard deviation of each cell, the mean of its four channels."""
        return self.deviation.mean(axis=-1)

    @property
    def mean_deviation(self) -> float:
        """Mean of the map: 0 where all rollouts agree; infinity for a single rollout, which says nothing."""
        return float(self.map.mean()) if self.count > 1 else math.inf

    @property
    def nqm(self) -> float:
        """The NCA quality metric: the sum of all standard deviations, divided by the sum of all means.

        Unlike their mean it does not depend on how much of the grid is empty. Source: M3D-NCA, as above; in its code
        `labelVariance` of `src/agents/Agent.py`, github.com/MECLabTUDA/M3D-NCA.
        """
        total = float(self.mean.sum())
        return float(self.deviation.sum()) / total if self.count > 1 and total > 0 else math.inf


def measure_variation(states: States) -> Variation:
    """Return the variation of states, one for each rollout."""
    with np.errstate(all="ignore"):
        values = states.astype(np.float64)
        mean = values.mean(axis=0)
        return Variation(len(values), mean, np.square(values - mean).sum(axis=0))


def join_variations(first: Variation, second: Variation) -> Variation:
    """Return the variation of the rollouts of both.

    Source: Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances*, 1979.
    """
    count = first.count + second.count
    with np.errstate(all="ignore"):
        difference = second.mean - first.mean
        mean = first.mean + difference * (second.count / count)
        between = np.square(difference) * (first.count * second.count / count)
        return Variation(count, mean, first.squares + second.squares + between)
