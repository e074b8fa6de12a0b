"""The training loop, which yields a report after each iteration and prints nothing.

The recipe is that of Mordvintsev et al. (Distill 2020): a pool whose worst states by loss are replaced by the
seed before the rollout, damage of the best states before the rollout, and each gradient divided by
its norm; with a short warm-up, a falling learning rate, and samples that weigh more evenly. A model whose filter is
symmetric has first to learn how to grow a sense of direction from its seed: early in its training that is all it
learns, under L2 and without damage, with more fresh seeds. A large picture is learnt from its middle outwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ncatool.config.names import Loss, Regime
from ncatool.config.schema import PLACE_SETTINGS, RunConfig
from ncatool.data.target import Target
from ncatool.engine.device import memory_limit, resolve_device
from ncatool.engine.rollout import draw_fire_masks, rollout
from ncatool.errors import NcatoolError, shorten
from ncatool.nca.loss import PerSample, compute_error, compute_mse
from ncatool.nca.model_file import ModelData, weights_to_tensors
from ncatool.nca.seed import place_seed
from ncatool.nca.tensor_file import select_prefix
from ncatool.nca.types import Fire, Seed, Seeds, State
from ncatool.nca.weights import Weights, draw_weights
from ncatool.training.basis import draw_basis, fold_basis, unfold_basis
from ncatool.training.batch import count_replaced, damage_last
from ncatool.training.guard import BatchCheck, Guard, check_batch
from ncatool.training.muon import OPTIMISERS
from ncatool.training.objective import (
    OVERFLOW_WEIGHT,
    choose_final_power,
    combine_losses,
    compute_losses,
    measure_overflow,
    replace_dead_losses,
)
from ncatool.training.pool import Pool
from ncatool.training.schedule import SCHEDULES, WARM_UP
from ncatool.training.seeds import prepare_seeds
from ncatool.training.widening import Region, choose_region, restrict_fire

EARLY_SHARE = {Regime.GROWING: 0.7, Regime.PERSISTENT: 0.7, Regime.REGENERATING: 0.5}
"""Share of the iterations in which a model whose filter is symmetric learns only to grow; healing takes its time."""

MIN_POOLS_IN_MEMORY = 32
"""Pools for which a quarter of a GPU's memory must have room, for the pool to be kept there."""


@dataclass(frozen=True)
class Report:
    """The result of one iteration."""

    iteration: int
    """Counted from 1."""
    loss: float
    """The training loss after the rollout, mean over the batch."""
    mse: float
    """MSE over RGBA in the region that grows, mean over the batch."""
    learning_rate: float
    events: tuple[str, ...]
    """What the guard found and what it did."""
    restored: bool
    """Whether earlier weights were restored."""


class Attempt(NamedTuple):
    """The states, weights and fire masks of an iteration, before its rollout."""

    entries: Int[Tensor, "batch"] | None
    """Entries of the pool from which the states come; None if there is no pool."""
    pictures: Int[Tensor, "batch"]
    """Which of the target's pictures each state is to become."""
    start: State
    weights: Weights
    """Those of the rule, through which gradients flow to those that the optimiser changes."""
    fire: Fire
    rate: float
    """The learning rate."""


class Assessment(NamedTuple):
    """The final states of an iteration, their losses, and the value to minimise."""

    end: State
    losses: PerSample
    check: BatchCheck
    objective: Float[Tensor, ""] | None
    """The value to minimise; None if nothing can be learnt from this batch."""


class Trainer:
    """All state of training: weights, optimiser, pool, guard, random generators, iteration."""

    def __init__(
        self,
        config: RunConfig,
        target: Target,
        weights: Weights | None = None,
        seed: Seed | Seeds | None = None,
        in_basis: bool | None = None,
    ) -> None:
        """Start from weights, or from new ones if none are given, and grow from a seed, by default as configured.

        `in_basis` says whether the hidden weight is trained in the basis of `training.basis`, by default where the
        filter is symmetric. Raises UsageError for a seed that does not fit the grid.
        """
        train, model = config.train, config.model
        self.config, self.target = config, target
        self.device = resolve_device(train.device)
        self.draw_generator = torch.Generator().manual_seed(train.seed)
        self.fire_generator = torch.Generator(self.device).manual_seed(train.seed + 1)
        premultiplied = [torch.from_numpy(one.premultiply()) for one in target.pictures]
        self.target_values = torch.stack(premultiplied).to(self.device)
        """What each picture should be: [pictures, height, width, 4]."""
        self.in_basis = model.filter.is_symmetric if in_basis is None else in_basis
        fresh = draw_weights(model, self.draw_generator)  # always, so that later draws do not depend on `weights`
        self.trained = self._prepare_weights(fresh, weights)
        """The weights that the optimiser changes: those of the rule, or in the basis."""
        parameters = [tensor for tensor in self.trained if tensor is not None]
        self.optimiser = OPTIMISERS[train.optimiser](parameters)
        pool_size = 0 if train.regime is Regime.GROWING else train.pool_size
        self.seeds = prepare_seeds(config, target, seed, self.draw_generator)
        """The seed of each picture."""
        placed = [place_seed(one, 1, *target.shape) for one in self.seeds]
        self._seed_states = torch.cat(placed).to(self.device)
        self.pool = self._place_pool(self._make_seeds(self._assign_pictures(torch.arange(pool_size))))
        self.guard = Guard(parameters, self.optimiser)
        self._early_config = _make_early_config(config)
        self.iteration = 0
        self.last_state: State = self._seed_states[:1].clone()
        """A state of the last batch."""
        self.last_picture = 0
        """Which picture it is to become."""

    def _prepare_weights(self, fresh: Weights, given: Weights | None) -> Weights:
        """Return the given weights, or else the fresh ones, as the optimiser changes them."""
        weights = given or fresh
        if self.in_basis:
            hidden = unfold_basis(weights.hidden_weight, self.config.model.filter)
            weights = weights._replace(hidden_weight=hidden) if given else draw_basis(fresh)
        moved = (tensor.to(self.device, copy=True).requires_grad_() for tensor in weights if tensor is not None)
        return Weights(*moved)

    def _assign_pictures(self, entries: Int[Tensor, "batch"]) -> Int[Tensor, "batch"]:
        """Return which picture each entry of the pool is."""
        return entries % len(self.target.pictures)

    @property
    def weights(self) -> Weights:
        """The weights of the rule; gradients flow through them to those that the optimiser changes."""
        if not self.in_basis:
            return self.trained
        return self.trained._replace(hidden_weight=fold_basis(self.trained.hidden_weight, self.config.model.filter))

    def _make_seeds(self, pictures: Int[Tensor, "batch"]) -> State:
        """Return the state from which each picture grows."""
        return self._seed_states[pictures.to(self.device)]

    def _place_pool(self, states: State) -> Pool:
        """Return a pool on the device if it leaves room for rollouts and other models there, else on the CPU."""
        fits = MIN_POOLS_IN_MEMORY * states.nbytes <= memory_limit(self.device, 0)
        return Pool(states.to(self.device if fits else "cpu", copy=True))

    def copy_model(self) -> ModelData:
        """Return a copy of the model as it is now, on the CPU."""
        weights = (None if tensor is None else tensor.detach().cpu().clone() for tensor in self.weights)
        train = {
            name: value for name, value in dataclasses.asdict(self.config.train).items() if name not in PLACE_SETTINGS
        }
        return ModelData(Weights(*weights), self.config.model, self.target, train, self._own_seed)  # type: ignore[arg-type]

    def train(self) -> Iterator[Report]:
        """Train to the planned end and yield a report after each iteration; it may be abandoned between two.

        Raises NcatoolError when training has failed; the weights are then the last good ones.
        """
        while self.iteration < self.config.train.iterations:
            yield self._iterate()

    def compute_learning_rate(self) -> float:
        """Return the learning rate of the next iteration."""
        train, done = self.config.train, self.iteration
        warm_up = max(1, round(WARM_UP * train.iterations))
        if done < warm_up:
            return train.learning_rate * self.guard.rate_factor * (done + 1) / warm_up
        progress = (done - warm_up) / max(1, train.iterations - warm_up)
        return train.learning_rate * self.guard.rate_factor * SCHEDULES[train.schedule](progress)

    def _iterate(self) -> Report:
        attempt = self.begin_iteration()
        end = rollout(attempt.start, attempt.weights, self.config.model, attempt.fire, self.config.train.precision)
        assessment = self.assess(attempt, end)
        if assessment.objective is not None:
            assessment.objective.backward()
        return self.end_iteration(attempt, assessment)

    @property
    def is_early(self) -> bool:
        """Whether the next iteration is in the early part of the training of a symmetric filter."""
        train = self.config.train
        return self.in_basis and self.iteration < EARLY_SHARE[train.regime] * train.iterations

    @property
    def region(self) -> Region:
        """The region of the grid in which cells update in the next iteration, and are compared with the target."""
        progress = self.iteration / self.config.train.iterations
        return choose_region(progress, self.config.train.widening, self.target.shape, max(self.seeds.shape[1:3]))

    @property
    def current_config(self) -> RunConfig:
        """The settings in force in the next iteration."""
        return self._early_config if self.is_early else self.config

    def begin_iteration(self) -> Attempt:
        """Do the first part of an iteration, before the rollout: draw its states and fire masks."""
        train = self.config.train
        rate = self.compute_learning_rate()
        entries, pictures, start = self._draw_batch()
        steps = int(torch.randint(train.min_steps, train.max_steps + 1, (), generator=self.draw_generator))
        fire = draw_fire_masks(steps, start, self.config.model.fire_rate, self.fire_generator)
        fire = restrict_fire(fire, self.region)
        self.optimiser.zero_grad()
        return Attempt(entries, pictures, start, self.weights, fire, rate)

    def assess(self, attempt: Attempt, end: State) -> Assessment:
        """Do the second part, after the rollout: compute the value to minimise."""
        config, wanted = self.current_config, self._select_targets(attempt.pictures)
        error = self._compute_error(end, attempt.pictures)
        losses = compute_losses(error, self.config.train)
        check = check_batch(end.detach(), losses.detach(), self.config.model.threshold)
        objective = None
        if check.usable:
            minimised = compute_losses(error, config.train) if self.is_early else losses
            living = replace_dead_losses(
                minimised, check.rejected, attempt.start, attempt.fire, attempt.weights, wanted, config
            )
            progress = self.iteration / config.train.iterations
            power = choose_final_power(config.train, len(self.target.pictures))
            overflow = measure_overflow(end[:, *self.region])
            objective = combine_losses(living, progress, power) + OVERFLOW_WEIGHT * overflow
        return Assessment(end.detach(), losses.detach(), check, objective)

    def end_iteration(self, attempt: Attempt, assessment: Assessment) -> Report:
        """Do the last part, after the backward pass: take an optimiser step, check, write back to the pool.

        Raises NcatoolError when training has failed; the weights are then the last good ones.
        """
        end, losses, check, objective = assessment
        if objective is not None:
            self._update_weights(attempt.rate)
        events = self.guard.handle(check, self.iteration)
        self._write_back(attempt, end, check.rejected)
        if not check.usable and attempt.entries is not None:
            # The states that the failing weights have left behind would make the restored ones fail, too.
            self.pool.states.copy_(self._make_seeds(self._assign_pictures(torch.arange(len(self.pool.states)))))
        kept = torch.arange(len(end))[:1] if check.rejected.all() else (~check.rejected).nonzero().flatten()
        mse = compute_mse(self._compute_error(end[kept], attempt.pictures[kept])).mean()
        self.iteration += 1
        self.last_state, self.last_picture = end[:1], int(attempt.pictures[0])
        mean_loss, mean_mse = torch.stack([losses.mean(), mse]).tolist()  # one device synchronisation
        return Report(self.iteration, mean_loss, mean_mse, attempt.rate, events, not check.usable)

    def _select_targets(self, pictures: Int[Tensor, "batch"]) -> Float[Tensor, "batch height width 4"]:
        return self.target_values[pictures.to(self.device)]

    def _compute_error(self, states: State, pictures: Int[Tensor, "batch"]) -> Float[Tensor, "batch rows columns 4"]:
        """Return by how much states differ from their pictures, in the region that grows."""
        return compute_error(states, self._select_targets(pictures))[:, *self.region]

    def _compute_losses(self, states: State, pictures: Int[Tensor, "batch"]) -> PerSample:
        return compute_losses(self._compute_error(states, pictures), self.config.train)

    def _draw_batch(self) -> tuple[Int[Tensor, "batch"] | None, Int[Tensor, "batch"], State]:
        """Draw the states that rollouts start from: the worst are replaced by the seed, the best are damaged."""
        train, count = self.current_config.train, len(self.target.pictures)
        turns = self._assign_pictures(self.iteration * train.batch_size + torch.arange(train.batch_size))
        if train.regime is Regime.GROWING:
            return None, turns, self._make_seeds(turns)
        entries, states = self.pool.draw(turns, count, self.draw_generator)
        pictures, states = self._assign_pictures(entries), states.to(self.device)
        losses = self._compute_losses(states, pictures)
        replaced = count_replaced(train.batch_size, self.iteration, self.is_early or count > 1)
        order = losses.argsort(descending=True).cpu()
        entries, pictures, states, losses = entries[order], pictures[order], states[order], losses[order]
        states[:replaced] = self._make_seeds(pictures[:replaced])
        if train.regime is Regime.REGENERATING:
            # A damaged seed would only die.
            grown = losses < self._compute_losses(self._make_seeds(pictures), pictures) / 2
            visible = [torch.from_numpy(self.target.pictures[i].visible) for i in pictures.tolist()]
            damage_last(states, grown, train.damaged, visible, self.target.padding, self.draw_generator)
        return entries, pictures, states

    def _update_weights(self, rate: float) -> None:
        """Divide each gradient by its norm, and take an optimiser step."""
        for parameter in self.optimiser.parameters:
            if parameter.grad is not None:
                # A copy: the norm must not depend on the memory layout of a gradient that is part of a batch.
                gradient = parameter.grad.clone()
                parameter.grad = gradient / (gradient.norm() + 1e-8)
        self.optimiser.step(rate)

    def _write_back(self, attempt: Attempt, states: State, rejected: Bool[Tensor, "batch"]) -> None:
        """Write the states back to the pool if there is one, seeds in place of rejected ones."""
        if attempt.entries is None:
            return
        if rejected.any():
            seeds = self._make_seeds(attempt.pictures)
            states = torch.where(rejected.view(-1, 1, 1, 1).to(self.device), seeds, states)
        self.pool.write_back(attempt.entries, states)

    @property
    def _own_seed(self) -> Seed | Seeds:
        """The seed of the picture, or the seeds of several."""
        return self.seeds[0] if len(self.seeds) == 1 else self.seeds

    def state_tensors(self) -> dict[str, Tensor]:
        """Return every tensor that the next iterations depend on, by name."""
        return {
            **{f"weights.{name}": tensor.detach().cpu() for name, tensor in weights_to_tensors(self.trained).items()},
            **{f"optimiser.{name}": tensor for name, tensor in self.optimiser.state_tensors().items()},
            **{f"guard.{name}": tensor for name, tensor in self.guard.state_tensors().items()},
            "pool": self.pool.states.cpu(),
            "seed": self._own_seed,
            "generator.draws": self.draw_generator.get_state(),
            "generator.fire": self.fire_generator.get_state(),
        }

    def state_numbers(self) -> dict[str, Any]:
        """Return every number that the next iterations depend on."""
        return {
            "iteration": self.iteration,
            "bias": self.trained.output_bias is not None,
            "basis": self.in_basis,
            "seed": [*self._own_seed.shape[:-1]],
            "fire_bytes": self.fire_generator.get_state().numel(),
            "guard": self.guard.state_numbers(),
        }

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore what `state_tensors` and `state_numbers` returned."""
        with torch.no_grad():
            for name, tensor in weights_to_tensors(self.trained).items():
                tensor.copy_(tensors[f"weights.{name}"])
        self.optimiser.load_state(select_prefix(tensors, "optimiser."))
        self.guard.restore(select_prefix(tensors, "guard."), numbers["guard"])
        self.pool = self._place_pool(tensors["pool"])
        _set_generator_state(self.draw_generator, tensors["generator.draws"])
        self.iteration = numbers["iteration"]
        if numbers["fire_bytes"] == self.fire_generator.get_state().numel():
            _set_generator_state(self.fire_generator, tensors["generator.fire"])
        else:  # written on another kind of device, whose generator has a state of another size
            self.fire_generator.manual_seed(self.config.train.seed + 1 + self.iteration)


def _make_early_config(config: RunConfig) -> RunConfig:
    """Return the settings of the early part of the training of a symmetric filter: L2, without damage."""
    regime = Regime.PERSISTENT if config.train.regime is Regime.REGENERATING else config.train.regime
    return dataclasses.replace(config, train=dataclasses.replace(config.train, loss=Loss.L2, regime=regime))


def _set_generator_state(generator: torch.Generator, state: Tensor) -> None:
    try:
        generator.set_state(state)
    except RuntimeError as error:
        what = f"the checkpoint holds no state of a random generator ({shorten(str(error))})"
        raise NcatoolError(what, "use another copy of the checkpoint") from None
