"""The measures of one model: growth, persistence, settling, regeneration and health, summed up over rollouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import numpy as np

from ncatool.config.names import Damage
from ncatool.data.target import Target
from ncatool.evaluation.protocol import (
    GROWN_MSE,
    GROWTH_STEP,
    SETTLED_CHANGE,
    Protocol,
    StepCallback,
    choose_persistence_step,
)
from ncatool.evaluation.quartiles import Quartiles, compute_quartiles, find_end, find_first
from ncatool.evaluation.trajectory import DamageResult, Trajectory, measure_damage, run_trajectory
from ncatool.evaluation.variation import Variation, join_variations, measure_variation
from ncatool.nca.model_file import ModelData

_MAX_STATE_VALUES = 2**26
"""Float32 values of the states that are advanced together: 256 MB."""

T = TypeVar("T", Trajectory, DamageResult)


@dataclass(frozen=True)
class Measures:
    """The measures of a model."""

    growth: Quartiles
    """MSE at step 96."""
    grown_step: Quartiles
    """First step with an MSE under 1e-3."""
    persistence: Quartiles
    """Median MSE of a rollout once it has grown, from step 200 on; of large pictures see `choose_persistence_step`."""
    worst: Quartiles
    """Highest MSE of a rollout from there on."""
    settling: Quartiles
    """Step from which on the mean change of RGBA stays under 1e-3 a step."""
    ssim_grown: Quartiles
    """SSIM, RGB on white, at step 96."""
    ssim_final: Quartiles
    """SSIM at the last step."""
    damage: dict[Damage, DamageResult]
    """The course of the error after damage of each shape."""
    dead: float
    """Share of rollouts without a living cell at the end."""
    exploded: float
    """Share of rollouts that exploded."""
    trajectory: Trajectory
    """All rollouts step by step."""
    variation: Variation
    """How much the rollouts differ at step 200."""


def measure_model(
    model: ModelData,
    protocol: Protocol,
    on_step: StepCallback = lambda: None,
    check: StepCallback = lambda: None,
    siblings: Sequence[Target] = (),
) -> Measures:
    """Measure a model of one picture over independent rollouts, as many at once as memory allows.

    `on_step` is called `protocol.count_steps` times, `check` after every other step; it may raise to end this.
    `siblings` are all pictures that its weights grow, where they are several.
    """
    height, width = model.target.shape
    batch_size = max(1, _MAX_STATE_VALUES // (height * width * model.config.channels))
    batches = []
    for start in range(0, protocol.rollouts, batch_size):
        count = min(batch_size, protocol.rollouts - start)
        # Only the first batch reports progress, so that the number of calls does not depend on the batch size.
        batches.append(_measure_batch(model, protocol, start, count, on_step if start == 0 else check, siblings))
    trajectories, damages, variations = zip(*batches, strict=True)
    damage = {shape: _concatenate([damage[shape] for damage in damages]) for shape in Damage}
    variation = reduce(join_variations, variations)
    return summarise_rollouts(
        _concatenate(trajectories), damage, variation, choose_persistence_step(model.target.shape)
    )


def _measure_batch(
    model: ModelData, protocol: Protocol, start: int, count: int, on_step: StepCallback, siblings: Sequence[Target]
) -> tuple[Trajectory, dict[Damage, DamageResult], Variation]:
    trajectory, intact = run_trajectory(model, protocol, start, count, on_step)
    seed = protocol.seed + start
    damage = {shape: measure_damage(model, intact, shape, seed, on_step, siblings) for shape in Damage}
    return trajectory, damage, measure_variation(intact[..., :4].cpu().numpy())


def _concatenate(batches: Sequence[T]) -> T:
    """Return several batches as one; snapshots are those of the first."""
    arrays = {field.name: [getattr(batch, field.name) for batch in batches] for field in dataclasses.fields(batches[0])}
    joined: dict[str, Any] = {name: np.concatenate(values) for name, values in arrays.items() if name != "snapshots"}
    return dataclasses.replace(batches[0], **joined)


def summarise_rollouts(
    trajectory: Trajectory, damage: dict[Damage, DamageResult], variation: Variation, persistence_step: int
) -> Measures:
    """Return the measures of rollouts from the seed, of those after damage of each shape, and of their differences.

    `persistence_step` is that of `choose_persistence_step`; shorter rollouts are measured at their last step.
    """
    late = trajectory.mse[:, min(persistence_step, trajectory.mse.shape[1] - 1) :]
    return Measures(
        growth=compute_quartiles(trajectory.mse[:, GROWTH_STEP]),
        grown_step=compute_quartiles(find_first(trajectory.mse < GROWN_MSE)),
        persistence=compute_quartiles([compute_quartiles(errors).median for errors in late]),
        worst=compute_quartiles(late.max(axis=1)),
        # Negated, because NaN counts as moving.
        settling=compute_quartiles(find_end(~(trajectory.change < SETTLED_CHANGE))),
        ssim_grown=compute_quartiles(trajectory.ssim_grown),
        ssim_final=compute_quartiles(trajectory.ssim_final),
        damage=damage,
        dead=float(trajectory.dead.mean()),
        exploded=float(trajectory.exploded.mean()),
        trajectory=trajectory,
        variation=variation,
    )
