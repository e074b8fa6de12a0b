"""TODO."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.choose import find_kernels
from ncatool.engine.compiled import State
from ncatool.engine.device import memory_limit
from ncatool.engine.rollout import MAX_TAPE_BYTES, _Rollout, fill_parameters, rollout
from ncatool.nca.types import Fire
from ncatool.nca.weights import Weights


class RolloutTask(NamedTuple):
    """A rollout to be made: the arguments of `rollout`."""

    state: State
    weights: Weights
    model: ModelConfig
    fire: Fire
    precision: Precision = Precision.FLOAT32

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """The same for rollouts that can be made as one batch."""
        rule = dataclasses.replace(self.model, filter=ModelConfig.filter, fire_rate=ModelConfig.fire_rate)
        return self.state.device, self.state.shape, rule, self.precision


def group_tasks(tasks: Sequence[RolloutTask]) -> list[list[int]]:
    """Which rollouts are made together: places in `tasks`.

    One by one, but on a GPU: there as many of a kind as leave no need to repeat steps for want of memory. Where steps
    are repeated is where sums are split, so that others in the batch would change the last bits.
    """
    made: list[list[int]] = []
    open_for: dict[tuple[Any, ...], list[int]] = {}
    for place, task in enumerate(tasks):
        found = open_for.get(task.batch_key)
        if found is None or not _fits_in_memory([*(tasks[i] for i in found), task]):
            found = open_for[task.batch_key] = []
            made.append(found)
        found.append(place)
    return made


def _fits_in_memory(tasks: Sequence[RolloutTask]) -> bool:
    """Whether several of a kind can be one batch, whole."""
    state, _, model, _, precision = tasks[0]
    gpu = find_kernels(state.device, model, precision)
    if gpu is None:
        return False
    steps = max(len(task.fire) for task in tasks)
    most: int = memory_limit(state.device, MAX_TAPE_BYTES)
    return bool(steps * gpu.step_bytes(len(state) * len(tasks), *state.shape[1:]) <= most)


def run_batch(tasks: Sequence[RolloutTask]) -> Sequence[State]:
    """The final states of rollouts that `batches` puts together.

    Each is what `rollout` gives, to the last bit, and so are the gradients.
    """
    if len(tasks) == 1:
        return [rollout(*tasks[0])]
    state, _, model, _, precision = tasks[0]
    gpu = find_kernels(state.device, model, precision)
    if gpu is None:
        raise ValueError("only a GPU makes several rollouts at once")
    each, steps = len(state), max(len(task.fire) for task in tasks)
    fire = torch.full((steps, each * len(tasks), *state.shape[1:3]), gpu.HALTED, dtype=torch.uint8, device=state.device)
    for task, own in zip(tasks, fire.split(each, dim=1), strict=True):
        own[: len(task.fire)] = task.fire
    models = [task.model for task in tasks]
    parameters = [torch.stack(same) for same in zip(*(fill_parameters(task.weights) for task in tasks), strict=True)]
    final: Tensor = _Rollout.apply(  # type: ignore[no-untyped-call]
        torch.cat([task.state for task in tasks]), fire,
        lambda stacked: gpu.Batch(models, stacked, *state.shape[1:3], precision), *parameters,
    )  # fmt: skip
    return final.split(each)
