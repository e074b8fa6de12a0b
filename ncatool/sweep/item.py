"""A planned run with its target, the model it starts from, and how much of it exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.flat import adopt_model
from ncatool.config.schema import RunConfig, TargetConfig
from ncatool.data import targets
from ncatool.data.target import Target
from ncatool.errors import UsageError
from ncatool.nca.model_file import ModelData, hash_weights, load_model, pack_arrays
from ncatool.nca.pictures import adopt_seeds
from ncatool.sweep.folder import RunState, RunStatus, SweepFolder
from ncatool.sweep.identity import RunIdentity
from ncatool.sweep.job import Job
from ncatool.sweep.plan import PlannedRun
from ncatool.training.memory import estimate_memory
from ncatool.training.several import check_pictures


@dataclass(frozen=True)
class SweepItem:
    """A planned run with its target, initial model and status."""

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
    def identity(self) -> RunIdentity:
        """What decides the result."""
        return RunIdentity(self.config, self.target.describe(), hash_weights(self.start.weights) if self.start else "")

    @property
    def is_pending(self) -> bool:
        return self.status.state is not RunState.FINISHED

    @property
    def remaining_iterations(self) -> int:
        """Iterations that are not done yet."""
        return self.config.train.iterations - self.status.iteration

    @property
    def cost_key(self) -> tuple[Any, ...]:
        """A key that is the same for runs whose iterations take equally long."""
        train, model = self.config.train, self.config.model
        visible = int(self.target.visible.sum())
        rollouts = train.batch_size, train.min_steps, train.max_steps, train.widening
        return self.target.shape, visible, model, *rollouts, train.loss

    def estimate_memory(self) -> float:
        """Return the bytes of memory that training takes, estimated."""
        return estimate_memory(self.config, self.target.shape, len(self.target.pictures))

    def make_job(self, folder: SweepFolder, token: str, threads: int, timing_only: bool = False) -> Job:
        """Return the job that a worker receives."""
        initial = None
        if self.start is not None:
            seed = adopt_seeds(self.start, self.target, self.config.train.seed)
            initial = pack_arrays(dataclasses.replace(self.start, own_seed=seed))
        path = folder.path.resolve()
        return Job(self.name, self.config, self.target, initial, path, token, threads, timing_only=timing_only)


def prepare_items(
    planned: Sequence[PlannedRun], root: Path | None, folder: SweepFolder, previous: Mapping[str, RunConfig]
) -> list[SweepItem]:
    """Return each run with its target, the model it starts from, and its status.

    `previous` are the settings last planned in this folder, by name. Raises NcatoolError for a target or a model that
    cannot be loaded, and UsageError for settings that contradict the model.
    """
    pictures: dict[TargetConfig, Target] = {}
    models: dict[str, ModelData] = {}
    items = []
    for plan in planned:
        target, source = plan.config.target, plan.config.train.initial
        if target not in pictures:
            pictures[target] = targets.load_target(target, root)
        if source and source not in models:
            models[source] = load_model(Path(source))
        start = models.get(source)
        if start is not None:
            plan = _adopt_start(plan, start)
        _check_pictures(plan, pictures[target])
        item = SweepItem(plan, pictures[target], start, RunStatus(RunState.NEW))
        status = folder.find_status(plan.name, item.identity, previous.get(plan.name))
        items.append(dataclasses.replace(item, status=status))
    return items


def _check_pictures(plan: PlannedRun, target: Target) -> None:
    """Raise UsageError for settings that do not suit the number of pictures; see `check_pictures`."""
    try:
        check_pictures(plan.config, len(target.pictures))
    except UsageError as error:
        raise UsageError(f"run {plan.name}: {error.what}", error.hint) from None


def _adopt_start(plan: PlannedRun, start: ModelData) -> PlannedRun:
    """Return the run with the rule of the model that it starts from; see `adopt_model`."""
    try:
        return dataclasses.replace(plan, config=adopt_model(plan.config, plan.given, start.config, start.train))
    except UsageError as error:
        raise UsageError(f"run {plan.name}: {error.what}", error.hint) from None
