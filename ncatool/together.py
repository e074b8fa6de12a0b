"""Several models' iterations in step, so that a GPU makes all their rollouts as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ncatool.errors import NcatoolError
from ncatool.rollout import Task, rollouts
from ncatool.train import Assessment, Attempt, Report, Trainer


def iterate(trainers: Sequence[Trainer]) -> list[Report | NcatoolError]:
    """One iteration of each: what it did, or why its training has failed for good.

    Each does what it would do alone, to the last bit.
    """
    attempts = [trainer.begin() for trainer in trainers]
    ends = rollouts([_task(trainer, attempt) for trainer, attempt in zip(trainers, attempts, strict=True)])
    assessed = [trainer.assess(attempt, end) for trainer, attempt, end in zip(trainers, attempts, ends, strict=True)]
    objectives = [assessment.objective for assessment in assessed if assessment.objective is not None]
    if objectives:
        torch.stack(objectives).sum().backward()
    return [_concluded(*own) for own in zip(trainers, attempts, assessed, strict=True)]


def _task(trainer: Trainer, attempt: Attempt) -> Task:
    config = trainer.config
    return Task(attempt.start, trainer.weights, config.model, attempt.fire, config.train.precision)


def _concluded(trainer: Trainer, attempt: Attempt, assessment: Assessment) -> Report | NcatoolError:
    try:
        return trainer.conclude(attempt, assessment)
    except NcatoolError as error:
        return error
