"""Several rollouts as one batch of a GPU, each with the result that it has alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.choose import has_kernels
from ncatool.engine.device import memory_limit
from ncatool.engine.interface import Engine
from ncatool.engine.rollout import MAX_TAPE_BYTES, RolloutFunction, fill_parameters, rollout
from ncatool.nca.types import Fire, Parameters, State
from ncatool.nca.weights import Weights


class RolloutTask(NamedTuple):
    """A rollout to run: the arguments of `rollout`."""

    state: State
    weights: Weights
    model: ModelConfig
    fire: Fire
    precision: Precision = Precision.FLOAT32

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """A key that is equal for rollouts that can run as one batch."""
        rule = dataclasses.replace(self.model, filter=ModelConfig.filter, fire_rate=ModelConfig.fire_rate)
        return self.state.device, self.state.shape, rule, self.precision


def group_tasks(tasks: Sequence[RolloutTask]) -> list[list[int]]:
    """Return which rollouts run as one batch, as groups of positions in `tasks`.

    On a GPU as many of a kind form a group as fit in memory without repeated steps; elsewhere each is alone. Repeated
    steps split the sums of gradients at places that depend on the batch, which would change their last bits.
    """
    groups: list[list[int]] = []
    latest: dict[tuple[Any, ...], list[int]] = {}
    for position, task in enumerate(tasks):
        group = latest.get(task.batch_key)
        if group is None or not _fits_in_memory([*(tasks[i] for i in group), task]):
            group = latest[task.batch_key] = []
            groups.append(group)
        group.append(position)
    return groups


def _fits_in_memory(tasks: Sequence[RolloutTask]) -> bool:
    """Return whether rollouts of one kind can run as one batch, with all their steps in memory."""
    state, _, model, _, precision = tasks[0]
    if not has_kernels(state.device, model, precision):
        return False
    from ncatool.engine.gpu import step_bytes

    steps = max(len(task.fire) for task in tasks)
    size = steps * step_bytes(len(state) * len(tasks), *state.shape[1:])
    return size <= memory_limit(state.device, MAX_TAPE_BYTES)


def run_batch(tasks: Sequence[RolloutTask]) -> Sequence[State]:
    """Return the final states of one group of `group_tasks`.

    Each equals that of `rollout` to the last bit, and so do the gradients.
    """
    if len(tasks) == 1:
        return [rollout(*tasks[0])]
    state, _, model, _, precision = tasks[0]
    if not has_kernels(state.device, model, precision):
        raise ValueError("only a GPU runs several rollouts as one batch")
    from ncatool.engine.gpu import HALTED, BatchEngine

    size, height, width = state.shape[:3]
    steps = max(len(task.fire) for task in tasks)
    fire = torch.full((steps, size * len(tasks), height, width), HALTED, dtype=torch.uint8, device=state.device)
    for task, part in zip(tasks, fire.split(size, dim=1), strict=True):
        part[: len(task.fire)] = task.fire
    models = [task.model for task in tasks]
    stacks = [torch.stack(same) for same in zip(*(fill_parameters(task.weights) for task in tasks), strict=True)]

    def make_engine(parameters: Parameters) -> Engine:
        return BatchEngine(models, parameters, height, width, precision)

    states = torch.cat([task.state for task in tasks])
    final: Tensor = RolloutFunction.apply(states, fire, make_engine, *stacks)  # type: ignore[no-untyped-call]
    return final.split(size)
