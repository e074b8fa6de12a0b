"""How long a run will take: a few iterations on grown pictures, before it starts."""

from __future__ import annotations

import dataclasses
import statistics
import time

import torch

from ncatool.config.names import Regime
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.nca.types import Seed, Seeds
from ncatool.nca.weights import Weights
from ncatool.training.several import count_pool_states
from ncatool.training.trainer import Trainer
from ncatool.training.widening import compute_mean_area

TIMED_ITERATIONS = 3
"""Iterations whose median time is taken, at most."""
MAX_SECONDS = 4.0
"""Time after which no other iteration begins."""


def time_iteration(
    config: RunConfig,
    target: Target,
    weights: Weights | None = None,
    seed: Seed | Seeds | None = None,
    done: int = 0,
) -> float:
    """Return the mean seconds of an iteration of a run, after those `done`; measured on a pool of grown pictures.

    The run starts from these weights and grows from this seed, see `Trainer`; nothing of it is changed. Its own first
    iterations would be too fast: from an untrained seed nothing grows, and only living cells are computed.
    """
    planned, count = config.train, 1 + TIMED_ITERATIONS  # the first one warms up
    train = dataclasses.replace(
        planned,
        regime=Regime.PERSISTENT,
        pool_size=count_pool_states(planned, len(target.pictures)),
        iterations=max(planned.iterations, count),  # a trainer ends after those of its run
        widening=0.0,
    )
    trainer = Trainer(dataclasses.replace(config, train=train), target, weights, seed)
    grown = torch.zeros_like(trainer.pool.states)
    grown[..., :4] = torch.from_numpy(target.premultiply())  # of several pictures the first: all cost the same
    seconds: list[float] = []
    begin = time.monotonic()
    while len(seconds) < count and (len(seconds) < 2 or time.monotonic() - begin < MAX_SECONDS):
        trainer.pool.states.copy_(grown)
        start = time.monotonic()
        next(trainer.train())
        seconds.append(time.monotonic() - start)
    seed_side = max(trainer.seeds.shape[1:3])
    area = compute_mean_area(planned.widening, target.shape, seed_side, min(1.0, done / planned.iterations))
    return statistics.median(seconds[1:]) * area
