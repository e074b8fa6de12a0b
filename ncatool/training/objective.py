"""The value that training minimises: the losses of a batch's samples against the target, combined into one number."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.config.names import Loss, Regime
from ncatool.config.schema import RunConfig, TrainConfig
from ncatool.engine.rollout import count_living_steps, rollout
from ncatool.nca.loss import LOSSES, Error, PerSample, compute_error
from ncatool.nca.types import Fire, State
from ncatool.nca.weights import Weights

FINAL_LOSS_POWER = {Regime.GROWING: 0.5, Regime.PERSISTENT: 0.5, Regime.REGENERATING: 0.8}
"""Power of the samples' squared errors at the end of a run, see `combine_losses`; at 0.5 damage heals badly."""


OVERFLOW_WEIGHT = 0.1
"""Weight of `measure_overflow` in the value that training minimises."""

OVERFLOW_LIMIT = 5.0
"""Largest magnitude of a channel that costs nothing: half of what counts as exploded."""


def measure_overflow(state: State) -> Float[Tensor, ""]:
    """Return by how much channels are beyond the limit, mean over a batch: a penalty that keeps states from exploding.

    Source: the notebooks of Mordvintsev et al., "Growing Isotropic Neural Cellular Automata", 2022, with a limit of 2.
    """
    return (state - state.clamp(-OVERFLOW_LIMIT, OVERFLOW_LIMIT)).abs().mean()


def compute_losses(error: Error, train: TrainConfig) -> PerSample:
    """Return the training loss of each sample."""
    return LOSSES[train.loss](error, train.margin)


def choose_final_power(train: TrainConfig, pictures: int = 1) -> float:
    """Return the power of the samples' losses at the end of a run; see `combine_losses`.

    Only the gradient of a squared error grows with the error; those of the other losses weigh samples evenly as it is.
    Of several `pictures`, those that are still mixed up have to weigh more.
    """
    return FINAL_LOSS_POWER[train.regime] if train.loss is Loss.L2 and pictures == 1 else 1.0


def combine_losses(losses: PerSample, progress: float, final_power: float) -> Float[Tensor, ""]:
    """Return the mean of the samples' losses, each raised to a power that goes from 1 to `final_power` over the run.

    `progress` is the share of the iterations done. The gradient of a squared error grows with the error, so a sample
    that is still growing outweighs those that refine details. At a power of 0.5 every sample has the same weight,
    which made the phantom's final MSE four times smaller. At the start of a run growth is what has to be learnt, so
    the power is 1.
    """
    return (losses + 1e-8).pow(1 - (1 - final_power) * progress).mean()


def replace_dead_losses(
    losses: PerSample,
    dead: Bool[Tensor, "batch"],
    start: State,
    fire: Fire,
    weights: Weights,
    target: Float[Tensor, "batch height width 4"],
    config: RunConfig,
) -> PerSample:
    """Return the losses, where a state that died has the loss of its cells one step before its death.

    `start` and `fire` are the states and fire masks of the rollout that gave the losses. Dead cells have no gradient,
    as the alive mask zeroes them. Without this, weights under which the seed dies would never be corrected, and the
    states in the pool, which live on, would hide it.
    """
    replaced, precision = list(losses.unbind()), config.train.precision
    for i in dead.nonzero().flatten().tolist():
        sample = slice(i, i + 1)
        steps = count_living_steps(start[sample], weights, config.model, fire[:, sample], precision)
        if steps > 0:
            last = rollout(start[sample], weights, config.model, fire[:steps, sample], precision)
            error = compute_error(last, target[i])[last.detach().any(dim=-1)]
            replaced[i] = compute_losses(error[None, None], config.train)[0]
    return torch.stack(replaced)
