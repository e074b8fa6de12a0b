"""Many runs, on this machine or on a cluster: what is left to do is done, whatever dies on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ncatool.sweep.job import Ending, Job, Message, Outcome, Progress, WorkerLost

MAX_FAILURES = 3
"""Failures after which a run is given up."""
POLL_SECONDS = 0.25
"""Seconds between two looks at whether to stop."""


@runtime_checkable
class Workers(Protocol):
    """Where jobs are done."""

    def count_slots(self) -> int:
        """How many jobs are done at the same time."""

    def count_free(self) -> int:
        """How many more jobs may be submitted now."""

    def submit(self, job: Job) -> None:
        """Has a job done."""

    def receive(self, timeout: float) -> Iterable[Message]:
        """What there is to be known within so many seconds; each job ends with an Outcome or a Lost."""

    def stop(self) -> None:
        """Has all jobs save everything and end."""

    def close(self) -> None:
        """Gives everything back."""


@dataclass(frozen=True)
class Failure:
    """A run that failed, or lost its worker."""

    name: str
    what: str
    hint: str
    failures: int
    """So far; 0 where it was not the run's fault."""

    @property
    def final(self) -> bool:
        """Whether it is given up."""
        return self.failures >= MAX_FAILURES


Event = Progress | Outcome | Failure


def run_jobs(jobs: Sequence[Job], workers: Workers, stopped: Callable[[], bool]) -> Iterator[Event]:
    """Does all jobs, and tells how it goes; a job that fails is done again, behind the others, until it is given up.

    Once `stopped`, nothing new is begun, and what is being done is saved.
    """
    waiting, at_work, failures = deque(jobs), dict[str, Job](), dict[str, int]()
    asked = False
    while waiting or at_work:
        if stopped() and not asked:
            asked = True
            waiting.clear()
            workers.stop()
        while waiting and workers.count_free() > 0:
            job = waiting.popleft()
            at_work[job.name] = job
            workers.submit(job)
        for message in workers.receive(POLL_SECONDS):
            if isinstance(message, Progress):
                yield message
                continue
            job = at_work.pop(message.name)
            if isinstance(message, Outcome) and message.ending is not Ending.FAILED:
                yield message
                continue
            failure = _count_failure(message, failures)
            yield failure
            if not failure.final and not asked:
                waiting.append(job)


def _count_failure(message: Outcome | WorkerLost, failures: dict[str, int]) -> Failure:
    blamed, hint = (message.failures, "") if isinstance(message, WorkerLost) else (1, message.hint)
    failures[message.name] = failures.get(message.name, 0) + blamed
    return Failure(message.name, message.what, hint, failures[message.name] if blamed else 0)
