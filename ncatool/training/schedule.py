"""Schedules: how the learning rate falls over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from ncatool.config.names import Schedule

WARM_UP = 0.1
"""Share of the iterations over which the learning rate rises to its peak; with less, padded targets explode."""


def _constant_schedule(progress: float) -> float:
    return 1.0


def _cosine_schedule(progress: float) -> float:
    return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2


def _step_schedule(progress: float) -> float:
    return 1.0 if progress < 0.6 else 0.1


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    Schedule.CONSTANT: _constant_schedule,
    Schedule.COSINE: _cosine_schedule,
    Schedule.STEP: _step_schedule,
}
"""Share of the peak learning rate, by the share of iterations done: 1; a cosine to 1 %; a tenth from 60 % on."""
