"""All runs at once in this process, an iteration of each in turn: on a GPU their rollouts are one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ncatool.engine import compiled
from ncatool.errors import NcatoolError
from ncatool.sweep.job import PROGRESS_INTERVAL, Ending, Job, Message, Outcome, Progress, open_run
from ncatool.training.lockstep import iterate_together
from ncatool.training.run import CHECKPOINT_SHARE, Run
from ncatool.training.run_files import RunFiles
from ncatool.training.trainer import Report

MAX_RUNS = 64
"""Runs at a time, where nothing else is asked for."""


@dataclass
class _ActiveRun:
    """A run under way."""

    job: Job
    run: Run
    lock: ExitStack
    last_progress: float = 0.0


class VectorisedWorkers:
    """So many runs that go on in step; in this very process, where nothing can be lost but with the command."""

    def __init__(self, most: int, threads: int) -> None:
        compiled.configure_process(threads)
        self._most = most
        self._waiting: list[Job] = []
        self._active: list[_ActiveRun] = []
        self._stopping = False

    def count_slots(self) -> int:
        """How many runs go on at the same time."""
        return self._most

    def count_free(self) -> int:
        """How many more can begin now."""
        return self._most - len(self._active) - len(self._waiting)

    def submit(self, job: Job) -> None:
        """Has a run begin with the next iteration."""
        self._waiting.append(job)

    def receive(self, timeout: float) -> Iterator[Message]:
        """Iterates for so many seconds, and says what came of it."""
        until = time.monotonic() + timeout
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            yield from self._catch_failures(job.name, self._start, job)
        while self._active and (self._stopping or time.monotonic() < until):
            yield from self._stop_all() if self._stopping else self._iterate()

    def stop(self) -> None:
        """Has all runs save everything and end."""
        self._stopping = True

    def close(self) -> None:
        """Lets go of all runs as they are."""
        for member in self._active:
            member.lock.close()
        self._active = []

    def _start(self, job: Job) -> Iterator[Message]:
        files = RunFiles(job.folder / f"{job.name}.safetensors")
        with ExitStack() as lock:
            lock.enter_context(files.lock())
            run = open_run(job, files)
            run.begin()
            member = _ActiveRun(job, run, lock.pop_all())
        self._active.append(member)
        if run.trainer.iteration >= job.config.train.iterations:
            yield from self._finish(member)

    def _iterate(self) -> Iterator[Message]:
        members = list(self._active)
        try:
            reports = iterate_together([member.run.trainer for member in members])
        except Exception as error:  # such as too little memory for so many
            what, hint = f"{type(error).__name__}: {error}", "give fewer --jobs, which go on at the same time"
            yield from [self._remove(member.job.name, Ending.FAILED, what, hint) for member in members]
            return
        for member, report in zip(members, reports, strict=True):
            yield from self._catch_failures(member.job.name, self._handle_report, member, report)

    def _handle_report(self, member: _ActiveRun, report: Report | NcatoolError) -> Iterator[Message]:
        if isinstance(report, NcatoolError):
            member.run.end(failed=True)
            raise report
        member.run.add_report(report)
        now, over = time.monotonic(), report.iteration >= member.job.config.train.iterations
        if now - member.last_progress >= PROGRESS_INTERVAL or over:
            member.last_progress = now
            yield Progress(member.job.name, report.iteration, report.loss, report.mse)
        if over:
            yield from self._finish(member)
        else:
            member.run.share = CHECKPOINT_SHARE / len(self._active)  # of the time of all
            member.run.save_if_due()

    def _finish(self, member: _ActiveRun) -> Iterator[Message]:
        member.run.end()
        member.run.finish()
        yield self._remove(member.job.name, Ending.FINISHED)

    def _stop_all(self) -> Iterator[Message]:
        for member in list(self._active):
            yield from self._catch_failures(member.job.name, self._stop, member)

    def _stop(self, member: _ActiveRun) -> Iterator[Message]:
        member.run.end()
        yield self._remove(member.job.name, Ending.STOPPED)

    def _remove(self, name: str, ending: Ending, what: str = "", hint: str = "") -> Outcome:
        for member in [member for member in self._active if member.job.name == name]:
            self._active.remove(member)
            member.lock.close()
        return Outcome(name, ending, what, hint)

    def _catch_failures(self, name: str, act: Callable[..., Iterator[Message]], *values: object) -> Iterator[Message]:
        """What one run does; what goes wrong there leaves the others alone."""
        try:
            yield from act(*values)
        except NcatoolError as error:
            yield self._remove(name, Ending.FAILED, error.what, error.hint)
        except Exception as error:
            yield self._remove(name, Ending.FAILED, f"{type(error).__name__}: {error}", "look at this run's settings")
