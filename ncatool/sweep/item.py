"""A planned run with its picture, the model it starts from, and what there is of it already."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.flat import agreed
from ncatool.config.schema import RunConfig, TargetConfig
from ncatool.data import readers as targets
from ncatool.data.target import Target
from ncatool.nca.model_file import Model, load_model, named_weights
from ncatool.sweep.folder import Folder, Found, State
from ncatool.sweep.job import Job
from ncatool.sweep.local import cores, memory
from ncatool.sweep.plan import Planned

BASE_BYTES = 0.35 * 2**30
"""Memory of a process that trains, without its pool; see tests/benchmarks/memory.py."""
POOLS = 3
"""Copies of the pool that are in memory when a checkpoint is written."""


@dataclass(frozen=True)
class Item:
    """A planned run with all that belongs to it."""

    plan: Planned
    target: Target
    start: Model | None
    found: Found

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def config(self) -> RunConfig:
        return self.plan.config

    @property
    def to_do(self) -> bool:
        return self.found.state is not State.FINISHED

    @property
    def left(self) -> int:
        """Iterations that are not done yet."""
        return self.config.train.iterations - self.found.iteration

    @property
    def cost(self) -> tuple[Any, ...]:
        """The same for runs whose iterations take as long."""
        train, model = self.config.train, self.config.model
        visible = int(self.target.visible.sum())
        return self.target.shape, visible, model, train.batch_size, train.min_steps, train.max_steps, train.loss

    def memory(self) -> float:
        """Bytes that training it takes."""
        height, width = self.target.shape
        return BASE_BYTES + POOLS * 4 * self.config.train.pool_size * height * width * self.config.model.channels

    def job(self, folder: Folder, token: str, threads: int, trial: bool = False) -> Job:
        """What a worker is told."""
        weights = named_weights(self.start.weights) if self.start else {}
        initial = {name: tensor.numpy() for name, tensor in weights.items()} or None
        where = folder.path.resolve()
        return Job(self.name, self.config, self.target, initial, where, token, threads, trial=trial)


def prepared(
    planned: Sequence[Planned], root: Path | None, folder: Folder, before: Mapping[str, RunConfig]
) -> list[Item]:
    """Each run with its target, the model it starts from, and what there is of it."""
    pictures: dict[TargetConfig, Target] = {}
    models: dict[str, Model] = {}
    found = []
    for plan in planned:
        wanted, source = plan.config.target, plan.config.train.initial
        if wanted not in pictures:
            pictures[wanted] = targets.load(wanted, root)
        if source and source not in models:
            models[source] = load_model(Path(source))
        start = models.get(source)
        if start is not None:
            rule = agreed(plan.config.model, start.config, source)
            plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, model=rule))
        there = folder.look(plan, pictures[wanted], before.get(plan.name))
        found.append(Item(plan, pictures[wanted], start, there))
    return found


def best_jobs(items: Sequence[Item]) -> int:
    """As many processes as there are processors for the threads of one, runs to do, and memory to do them in."""
    threads = max([item.config.train.threads or 1 for item in items], default=1)
    largest = max([item.memory() for item in items], default=BASE_BYTES)
    return max(1, min(cores() // threads, len(items), int(min(memory() / largest, 10**6))))
