"""The training loop: yields a report an iteration and prints nothing.

The recipe is that of Mordvintsev et al. (Distill 2020): a pool whose worst states by loss are replaced by the
seed before the rollout, damage of the best states before the rollout, and each gradient divided by
its norm; with a short warm-up, a falling learning rate, and samples that weigh more evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ncatool.config.names import Regime
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.engine.device import memory_limit, resolve_device
from ncatool.engine.rollout import count_living_steps, draw_fire_masks, rollout
from ncatool.nca.damage import draw_circle, pad_mask
from ncatool.nca.loss import LOSSES, compute_error, compute_mse
from ncatool.nca.model_file import ModelData, weights_to_tensors
from ncatool.nca.state import make_seed
from ncatool.nca.tensor_file import select_prefix
from ncatool.nca.types import State
from ncatool.nca.weights import Weights, draw_weights
from ncatool.training.adam import Adam
from ncatool.training.guard import BatchCheck, Guard, check_batch
from ncatool.training.pool import Pool
from ncatool.training.schedule import SCHEDULES, WARM_UP

REPLACEMENT_INTERVAL = 8


MIN_POOLS_IN_MEMORY = 32
"""That a quarter of a GPU's memory must hold, for one to lie there."""


FINAL_LOSS_POWER = {Regime.GROWING: 0.5, Regime.PERSISTENT: 0.5, Regime.REGENERATING: 0.8}
"""Of the samples' losses at the end of a run, see `evened`; under the root wounds heal badly."""


@dataclass(frozen=True)
class Report:
    """What one iteration did."""

    iteration: int
    """Counted from 1."""
    loss: float
    """The training loss after the rollout, mean over the batch."""
    mse: float
    """MSE over RGBA, mean over the batch."""
    learning_rate: float
    events: tuple[str, ...]
    """What the guard noticed and did."""
    restored: bool
    """Whether it had to go back to earlier weights."""


class Attempt(NamedTuple):
    """What an iteration starts from."""

    entries: Int[Tensor, "batch"] | None
    """Those of the pool that the states are of; None: there is no pool."""
    start: State
    fire: Bool[Tensor, "steps batch height width"]
    rate: float
    """The learning rate."""


class Assessment(NamedTuple):
    """What came of its rollout."""

    end: State
    losses: Float[Tensor, "batch"]
    verdict: BatchCheck
    objective: Float[Tensor, ""] | None
    """What is descended; None: nothing can be learnt from this."""


def combine_losses(losses: Float[Tensor, "batch"], progress: float, last: float) -> Float[Tensor, ""]:
    """What is descended: the mean of the samples' losses, each to a power that goes from 1 to `last` over the run.

    The gradient of a squared error grows with the error, so a sample that is still growing drowns
    those that refine their details; under the root each sample weighs the same, which made the
    phantom's final MSE four times smaller. Early on it is growing that must be learnt.
    """
    return (losses + 1e-8).pow(1 - (1 - last) * progress).mean()


class Trainer:
    """All that changes during training: weights, optimiser, pool, guard, random generators, iteration."""

    def __init__(self, config: RunConfig, target: Target, weights: Weights | None = None) -> None:
        """Starts from `weights`, or where none are given from fresh ones."""
        train, model = config.train, config.model
        self.config, self.target = config, target
        self.device = resolve_device(train.device)
        self.draw_generator = torch.Generator().manual_seed(train.seed)
        self.fire_generator = torch.Generator(self.device).manual_seed(train.seed + 1)
        self.target_values = torch.from_numpy(target.premultiply()).to(self.device)
        fresh = draw_weights(model, self.draw_generator)
        self.weights = self._move_weights(weights or fresh)
        parameters = [tensor for tensor in self.weights if tensor is not None]
        self.optimiser = Adam(parameters)
        pool_size = 0 if train.regime is Regime.GROWING else train.pool_size
        self.pool = self._place_pool(make_seed(pool_size, *target.shape, model.channels))
        self.guard = Guard(parameters, self.optimiser)
        self.iteration = 0
        self.last: State = self._make_seeds(1)

    def _move_weights(self, weights: Weights) -> Weights:
        moved = (tensor.to(self.device, copy=True).requires_grad_() for tensor in weights if tensor is not None)
        return Weights(*moved)

    def _make_seeds(self, count: int) -> State:
        return make_seed(count, *self.target.shape, self.config.model.channels).to(self.device)

    def _place_pool(self, states: State) -> Pool:
        """On the device, where it leaves room there for rollouts, and for other models."""
        here = MIN_POOLS_IN_MEMORY * states.nbytes <= memory_limit(self.device, 0)
        return Pool(states.to(self.device if here else "cpu", copy=True))

    def copy_model(self) -> ModelData:
        """The model as it is now, detached from training."""
        weights = (None if tensor is None else tensor.detach().cpu().clone() for tensor in self.weights)
        return ModelData(Weights(*weights), self.config.model, self.target)  # type: ignore[arg-type]

    def train(self) -> Iterator[Report]:
        """Trains to the planned end, a report an iteration; safe to leave between two.

        Raises NcatoolError when training has failed for good; the weights are then the last good ones.
        """
        while self.iteration < self.config.train.iterations:
            yield self._iterate()

    def learning_rate(self) -> float:
        """Of the coming iteration."""
        train, done = self.config.train, self.iteration
        warm_up = max(1, round(WARM_UP * train.iterations))
        if done < warm_up:
            return train.learning_rate * self.guard.rate_factor * (done + 1) / warm_up
        progress = (done - warm_up) / max(1, train.iterations - warm_up)
        return train.learning_rate * self.guard.rate_factor * SCHEDULES[train.schedule](progress)

    def _iterate(self) -> Report:
        attempt = self.begin()
        end = rollout(attempt.start, self.weights, self.config.model, attempt.fire, self.config.train.precision)
        assessment = self.assess(attempt, end)
        if assessment.objective is not None:
            assessment.objective.backward()
        return self.conclude(attempt, assessment)

    def begin(self) -> Attempt:
        """First part of an iteration, before the rollout: its states and fire masks."""
        train = self.config.train
        rate = self.learning_rate()
        index, start = self._draw_batch()
        steps = int(torch.randint(train.min_steps, train.max_steps + 1, (), generator=self.draw_generator))
        fire = draw_fire_masks(steps, start, self.config.model.fire_rate, self.fire_generator)
        self.optimiser.zero_grad()
        return Attempt(index, start, fire, rate)

    def assess(self, attempt: Attempt, end: State) -> Assessment:
        """Second part, after the rollout: what is to be descended."""
        train = self.config.train
        losses = self._compute_losses(end)
        verdict = check_batch(end.detach(), losses.detach(), self.config.model.threshold)
        objective = None
        if verdict.usable:
            instructive = self._replace_dead_losses(losses, verdict.rejected, attempt.start, attempt.fire)
            objective = combine_losses(instructive, self.iteration / train.iterations, FINAL_LOSS_POWER[train.regime])
        return Assessment(end.detach(), losses.detach(), verdict, objective)

    def conclude(self, attempt: Attempt, assessment: Assessment) -> Report:
        """Last part, with the gradients of the objective where there is one: learns, guards, writes back.

        Raises NcatoolError when training has failed for good; the weights are then the last good ones.
        """
        end, losses, verdict, objective = assessment
        if objective is not None:
            self._descend(attempt.rate)
        events = self.guard.handle(verdict, self.iteration)
        self._write_back(attempt.entries, end, verdict)
        self.iteration += 1
        self.last = end[:1]
        counted = self.last if verdict.rejected.all() else end[~verdict.rejected] if verdict.rejected.any() else end
        loss, squared = torch.stack(
            [losses.mean(), compute_mse(compute_error(counted, self.target_values)).mean()]
        ).tolist()
        return Report(self.iteration, loss, squared, attempt.rate, events, not verdict.usable)

    def _compute_losses(self, state: State) -> Float[Tensor, "batch"]:
        return LOSSES[self.config.train.loss](compute_error(state, self.target_values), self.config.train.margin)

    def _replace_dead_losses(
        self,
        losses: Float[Tensor, "batch"],
        dead: Bool[Tensor, "batch"],
        start: State,
        fire: Bool[Tensor, "steps batch height width"],
    ) -> Float[Tensor, "batch"]:
        """The losses, with that of a state that died replaced by that of the cells it had one step before.

        The life mask leaves what is dead without a gradient: without this, nothing ever corrects weights
        under which the seed dies, and the pool, which lives on, hides it.
        """
        each, precision = list(losses.unbind()), self.config.train.precision
        for i in dead.nonzero().flatten().tolist():
            one = slice(i, i + 1)
            steps = count_living_steps(start[one], self.weights, self.config.model, fire[:, one], precision)
            if steps > 0:
                last = rollout(start[one], self.weights, self.config.model, fire[:steps, one], precision)
                cells = compute_error(last, self.target_values)[last.detach().any(dim=-1)]
                each[i] = LOSSES[self.config.train.loss](cells[None, None], self.config.train.margin)[0]
        return torch.stack(each)

    def _draw_batch(self) -> tuple[Int[Tensor, "batch"] | None, State]:
        """Where the rollouts start: the worst states replaced by the seed, the best ones damaged."""
        train = self.config.train
        if train.regime is Regime.GROWING:
            return None, self._make_seeds(train.batch_size)
        index, states = self.pool.draw(train.batch_size, self.draw_generator)
        states = states.to(self.device)
        losses = self._compute_losses(states)
        replaced = self._count_replaced()
        order = losses.argsort(descending=True)
        index, states, losses = index[order.cpu()], states[order], losses[order]
        states[:replaced] = self._make_seeds(1)
        if train.regime is Regime.REGENERATING:
            self._damage_best(states, losses)
        return index, states

    def _count_replaced(self) -> int:
        """States of this batch that the seed replaces: on average one in eight, as in the article.

        More, and the pool stays young: what has not healed yet is the worst, and never gets to heal.
        """
        size, done = self.config.train.batch_size, self.iteration
        return (done + 1) * size // REPLACEMENT_INTERVAL - done * size // REPLACEMENT_INTERVAL

    def _damage_best(self, states: State, losses: Float[Tensor, "batch"]) -> None:
        """Erases a circle of each of the best states, if it has grown: a wounded seed is only dead."""
        visible = torch.from_numpy(self.target.visible)
        grown = (losses < self._compute_losses(self._make_seeds(1)) / 2).tolist()
        for i in range(len(states) - self.config.train.damaged, len(states)):
            circle = draw_circle(visible, self.draw_generator)
            if grown[i]:
                states[i, pad_mask(circle, self.target.padding).to(self.device)] = 0

    def _descend(self, rate: float) -> None:
        for parameter in self.optimiser.parameters:
            if parameter.grad is not None:
                # A model's row of a batch's gradient may lie anywhere; how it is summed must not depend on that.
                gradient = parameter.grad.clone()
                parameter.grad = gradient / (gradient.norm() + 1e-8)
        self.optimiser.step(rate)

    def _write_back(self, index: Int[Tensor, "batch"] | None, states: State, verdict: BatchCheck) -> None:
        if index is None:
            return
        if verdict.rejected.any():
            bad = verdict.rejected.view(-1, 1, 1, 1).to(self.device)
            states = torch.where(bad, self._make_seeds(1), states)
        self.pool.write_back(index, states)

    def state_tensors(self) -> dict[str, Tensor]:
        """Every tensor that the coming iterations depend on, by name."""
        return {
            **{f"weights.{name}": tensor.detach().cpu() for name, tensor in weights_to_tensors(self.weights).items()},
            **{f"optimiser.{name}": tensor for name, tensor in self.optimiser.state_tensors().items()},
            **{f"guard.{name}": tensor for name, tensor in self.guard.state_tensors().items()},
            "pool": self.pool.states.cpu(),
            "generator.draws": self.draw_generator.get_state(),
            "generator.fire": self.fire_generator.get_state(),
        }

    def state_numbers(self) -> dict[str, Any]:
        """Every number that the coming iterations depend on."""
        bias = self.weights.output_bias is not None
        fire_bytes = self.fire_generator.get_state().numel()
        return {
            "iteration": self.iteration,
            "bias": bias,
            "fire_bytes": fire_bytes,
            "guard": self.guard.state_numbers(),
        }

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Goes back to the moment that `tensors` and `numbers` are of."""
        with torch.no_grad():
            for name, tensor in weights_to_tensors(self.weights).items():
                tensor.copy_(tensors[f"weights.{name}"])
        self.optimiser.load_state(select_prefix(tensors, "optimiser."))
        self.guard.restore(select_prefix(tensors, "guard."), numbers["guard"])
        self.pool = self._place_pool(tensors["pool"])
        self.draw_generator.set_state(tensors["generator.draws"])
        self.iteration = numbers["iteration"]
        if numbers["fire_bytes"] == self.fire_generator.get_state().numel():
            self.fire_generator.set_state(tensors["generator.fire"])
        else:  # a generator of another kind of device: its numbers cannot be gone on with here
            self.fire_generator.manual_seed(self.config.train.seed + 1 + self.iteration)
