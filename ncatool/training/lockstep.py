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
    attempts = [trainer.begin_iteration() for trainer in trainers]
    tasks = [_make_task(trainer, attempt) for trainer, attempt in zip(trainers, attempts, strict=True)]
    results: dict[int, Report | NcatoolError] = {}
    for group in group_tasks(tasks):  # one after the other, so that only one tape is in memory
        ends = run_batch([tasks[i] for i in group])
        assessments = [trainers[i].assess(attempts[i], end) for i, end in zip(group, ends, strict=True)]
        torch.autograd.backward([one.objective for one in assessments if one.objective is not None])
        for i, assessment in zip(group, assessments, strict=True):
            results[i] = _end_iteration(trainers[i], attempts[i], assessment)
    return [results[i] for i in range(len(trainers))]


def _make_task(trainer: Trainer, attempt: Attempt) -> RolloutTask:
    config = trainer.config
    return RolloutTask(attempt.start, attempt.weights, config.model, attempt.fire, config.train.precision)


def _end_iteration(trainer: Trainer, attempt: Attempt, assessment: Assessment) -> Report | NcatoolError:
    try:
        return trainer.end_iteration(attempt, assessment)
    except NcatoolError as error:
        return error
