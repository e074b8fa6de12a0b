"""The evaluation protocol: how many rollouts are run, and at which steps and limits they are measured.

Each measure is taken over independent rollouts from the seed; errors are always the MSE over RGBA. Growth is the error
at step 96 and the first step with an error under 1e-3; persistence the median and the highest error from step 200 on
(of large pictures later, see `choose_persistence_step`); settling the step from which on nothing moves; variation the
standard deviation of each cell over the rollouts at that step; regeneration the share of a damage's error that 200 more
steps remove (of large pictures more); health the share of rollouts that died or exploded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ncatool.config.names import Damage
from ncatool.config.schema import check_range

GROWTH_STEP = 96
"""Step at which growth is measured."""
PERSISTENCE_STEP = 200
"""First step of persistence, and the step at which damage is done; of large pictures see `choose_persistence_step`."""
HEALING_STEPS = 200
"""Steps after damage; of large pictures see `choose_healing_steps`."""
GROWN_MSE = 1e-3
"""MSE under which a picture counts as grown."""
SETTLED_CHANGE = 1e-3
"""Mean absolute change of RGBA in one step under which a picture counts as settled."""
HEALED_SHARE = 0.9
"""Share of the error added by damage that must be removed for the damage to count as healed."""
MAX_ABS_STATE = 10.0
"""Absolute value of any channel above which a state counts as exploded."""
SNAPSHOT_STEPS = (20, 60, 96, 200, 500, 2000)
"""Steps at which pictures are kept."""


def choose_persistence_step(grid: Sequence[int]) -> int:
    """Return the step at which damage is done to a picture on a grid of this size, and persistence begins.

    It is `PERSISTENCE_STEP`, but twice the longer side in cells where that is more: growth takes about one step for
    each cell of it.
    """
    return max(PERSISTENCE_STEP, 2 * max(grid))


def choose_healing_steps(grid: Sequence[int]) -> int:
    """Return the steps after damage on a grid of this size: `HEALING_STEPS`, or as many as growth is given."""
    return max(HEALING_STEPS, 2 * max(grid))


StepCallback = Callable[[], object]
"""A function called after every step, for a progress bar."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings of an evaluation; the same ones make the numbers of several models comparable."""

    rollouts: int = 16
    """Number of independent rollouts of a model."""
    steps: int = 2000
    """Steps of each rollout."""
    seed: int = 0
    """Seed of the fire masks; models with grids of the same size get the same masks."""

    def __post_init__(self) -> None:
        check_range("rollouts", self.rollouts, 1, 4096)
        check_range("steps", self.steps, PERSISTENCE_STEP, 10**6)
        check_range("seed", self.seed, 0, 2**62)

    def count_steps(self, grid: Sequence[int]) -> int:
        """Return how many times the step callback is called for a model of a grid of this size."""
        return self.steps + len(Damage) * choose_healing_steps(grid)
