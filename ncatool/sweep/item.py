"""A planned run with its picture, the model it starts from, and what there is of it already."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.flat import adopt_model
from ncatool.config.schema import RunConfig, TargetConfig
from ncatool.data import readers as targets
from ncatool.data.target import Target
from ncatool.nca.model_file import ModelData, load_model, weights_to_tensors
from ncatool.sweep.folder import RunState, RunStatus, SweepFolder
from ncatool.sweep.job import Job
from ncatool.sweep.local import available_memory, count_processors
from ncatool.sweep.plan import PlannedRun

PROCESS_BYTES = 0.35 * 2**30
"""Memory of a process that trains, without its pool; see tests/benchmarks/memory.py."""
POOL_COPIES = 3
"""Copies of the pool that are in memory when a checkpoint is written."""


@dataclass(frozen=True)
class SweepItem:
    """A planned run with all that belongs to it."""

    plan: PlannedRun
    target: Target
    start: ModelData | None
    status: RunStatus

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def config(self) -> RunConfig:
        return self.plan.config

    @property
    def is_pending(self) -> bool:
        return self.status.state is not RunState.FINISHED

    @property
    def remaining_iterations(self) -> int:
        """Iterations that are not done yet."""
        return self.config.train.iterations - self.status.iteration

    @property
    def cost_key(self) -> tuple[Any, ...]:
        """The same for runs whose iterations take as long."""
        train, model = self.config.train, self.config.model
        visible = int(self.target.visible.sum())
        return self.target.shape, visible, model, train.batch_size, train.min_steps, train.max_steps, train.loss

    def estimate_memory(self) -> float:
        """Bytes that training it takes."""
        height, width = self.target.shape
        return (
            PROCESS_BYTES + POOL_COPIES * 4 * self.config.train.pool_size * height * width * self.config.model.channels
        )

    def make_job(self, folder: SweepFolder, token: str, threads: int, trial: bool = False) -> Job:
        """What a worker is told."""
        weights = weights_to_tensors(self.start.weights) if self.start else {}
        initial = {name: tensor.numpy() for name, tensor in weights.items()} or None
        where = folder.path.resolve()
        return Job(self.name, self.config, self.target, initial, where, token, threads, timing_only=trial)


def prepare_items(
    planned: Sequence[PlannedRun], root: Path | None, folder: SweepFolder, before: Mapping[str, RunConfig]
) -> list[SweepItem]:
    """Each run with its target, the model it starts from, and what there is of it."""
    pictures: dict[TargetConfig, Target] = {}
    models: dict[str, ModelData] = {}
    found = []
    for plan in planned:
        wanted, source = plan.config.target, plan.config.train.initial
        if wanted not in pictures:
            pictures[wanted] = targets.load_target(wanted, root)
        if source and source not in models:
            models[source] = load_model(Path(source))
        start = models.get(source)
        if start is not None:
            rule = adopt_model(plan.config.model, start.config, source)
            plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, model=rule))
        there = folder.find_status(plan, pictures[wanted], before.get(plan.name))
        found.append(SweepItem(plan, pictures[wanted], start, there))
    return found


def choose_jobs(items: Sequence[SweepItem]) -> int:
    """As many processes as there are processors for the threads of one, runs to do, and memory to do them in."""
    threads = max([item.config.train.threads or 1 for item in items], default=1)
    largest = max([item.estimate_memory() for item in items], default=PROCESS_BYTES)
    return max(1, min(count_processors() // threads, len(items), int(min(available_memory() / largest, 10**6))))
