"""Run jobs on workers, here or on a cluster, and repeat those that fail or lose their worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ncatool.sweep.job import Ending, Message, Outcome, Progress, Task, WorkerLost

MAX_FAILURES = 3
"""Failures of a run after which it is not tried again."""
MAX_LOSSES = 20
"""Times that a run is sent anew, without having made progress, after losses that are not its failures."""
POLL_SECONDS = 0.25
"""Seconds between two checks whether to stop."""


@runtime_checkable
class Workers(Protocol):
    """Places where jobs run."""

    def count_slots(self) -> int:
        """Return how many jobs run at the same time."""

    def count_free(self) -> int:
        """Return how many more jobs may be submitted now."""

    def submit(self, job: Task) -> None:
        """Start a job, or queue it."""

    def receive(self, timeout: float) -> Iterable[Message]:
        """Return what the workers report within so many seconds; the last of each job is an Outcome or a WorkerLost."""

    def stop(self) -> None:
        """Ask all jobs to save everything and end."""

    def close(self) -> None:
        """Release all processes, locks and connections."""


@dataclass(frozen=True)
class Failure:
    """A failed attempt at a run, whose worker may have ended."""

    name: str
    what: str
    hint: str
    failures: int
    """Of this run so far; 0 where the run is not to blame for this one."""

    @property
    def final(self) -> bool:
        """Whether the run is not tried again."""
        return self.failures >= MAX_FAILURES


Event = Progress | Outcome | Failure


def run_jobs(jobs: Sequence[Task], workers: Workers, stopped: Callable[[], bool]) -> Iterator[Event]:
    """Run all jobs, and yield their events; a job that fails is tried again after the others, up to a limit.

    Once `stopped` returns true, no job starts, and those that run save everything and end.
    """
    waiting, running = deque(jobs), dict[str, Task]()
    failures, losses = dict[str, int](), dict[str, int]()
    stopping = False
    while waiting or running:
        if stopped() and not stopping:
            stopping = True
            waiting.clear()
            workers.stop()
        while waiting and workers.count_free() > 0:
            job = waiting.popleft()
            running[job.name] = job
            workers.submit(job)
        for message in workers.receive(POLL_SECONDS):
            if isinstance(message, Progress):
                losses.pop(message.name, None)
                yield message
                continue
            job = running.pop(message.name)
            if isinstance(message, Outcome) and message.ending is not Ending.FAILED:
                yield message
                continue
            failure = _count_failure(message, failures, losses)
            yield failure
            if not failure.final and not stopping:
                waiting.append(job)


def _count_failure(message: Outcome | WorkerLost, failures: dict[str, int], losses: dict[str, int]) -> Failure:
    """Add the failure to the count of its run, and return it; many losses in a row are failures, too."""
    added, hint = (message.failures, "") if isinstance(message, WorkerLost) else (1, message.hint)
    if added == 0:
        losses[message.name] = losses.get(message.name, 0) + 1
        added = MAX_FAILURES if losses[message.name] > MAX_LOSSES else 0
    failures[message.name] = failures.get(message.name, 0) + added
    return Failure(message.name, message.what, hint, failures[message.name] if added else 0)
