"""One iteration of several trainers at once, so that a GPU runs their rollouts as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ncatool.engine.batch import RolloutTask, group_tasks, run_batch
from ncatool.errors import NcatoolError
from ncatool.training.trainer import Assessment, Attempt, Report, Trainer


def iterate_together(trainers: Sequence[Trainer]) -> list[Report | NcatoolError]:
    """Run one iteration of each trainer; return its report, or the error that ended its training.

    Each gives the same bits as it would alone.
    """
    attempts = [trainer.begin() for trainer in trainers]
    tasks = [_make_task(trainer, attempt) for trainer, attempt in zip(trainers, attempts, strict=True)]
    done: dict[int, Report | NcatoolError] = {}
    for places in group_tasks(tasks):  # one after the other, so that only one tape is in memory
        ends = run_batch([tasks[place] for place in places])
        assessed = [trainers[place].assess(attempts[place], end) for place, end in zip(places, ends, strict=True)]
        torch.autograd.backward([one.objective for one in assessed if one.objective is not None])
        for place, assessment in zip(places, assessed, strict=True):
            done[place] = _conclude(trainers[place], attempts[place], assessment)
    return [done[place] for place in range(len(trainers))]


def _make_task(trainer: Trainer, attempt: Attempt) -> RolloutTask:
    config = trainer.config
    return RolloutTask(attempt.start, trainer.weights, config.model, attempt.fire, config.train.precision)


def _conclude(trainer: Trainer, attempt: Attempt, assessment: Assessment) -> Report | NcatoolError:
    try:
        return trainer.conclude(attempt, assessment)
    except NcatoolError as error:
        return error
