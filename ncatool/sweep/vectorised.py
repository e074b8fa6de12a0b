"""All runs at once in this process, an iteration of each in turn: on a GPU their rollouts are one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ncatool.engine import compiled
from ncatool.errors import NcatoolError
from ncatool.sweep.job import TOLD_EVERY, Ending, Job, Message, Outcome, Told, begun
from ncatool.training.lockstep import iterate
from ncatool.training.run import SHARE, Run
from ncatool.training.run_files import RunFiles
from ncatool.training.trainer import Report

MOST = 64
"""Runs at a time, where nothing else is asked for."""


@dataclass
class _Member:
    """A run under way."""

    job: Job
    run: Run
    lock: ExitStack
    told: float = 0.0


class Vectorised:
    """So many runs that go on in step; in this very process, where nothing can be lost but with the command."""

    def __init__(self, most: int, threads: int) -> None:
        compiled.prepare(threads)
        self._most = most
        self._waiting: list[Job] = []
        self._members: list[_Member] = []
        self._stopping = False

    def slots(self) -> int:
        """How many runs go on at the same time."""
        return self._most

    def room(self) -> int:
        """How many more can begin now."""
        return self._most - len(self._members) - len(self._waiting)

    def submit(self, job: Job) -> None:
        """Has a run begin with the next iteration."""
        self._waiting.append(job)

    def messages(self, timeout: float) -> Iterator[Message]:
        """Iterates for so many seconds, and says what came of it."""
        until = time.monotonic() + timeout
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            yield from self._guarded(job.name, self._begin, job)
        while self._members and (self._stopping or time.monotonic() < until):
            yield from self._end_all() if self._stopping else self._iterate()

    def stop(self) -> None:
        """Has all runs save everything and end."""
        self._stopping = True

    def close(self) -> None:
        """Lets go of all runs as they are."""
        for member in self._members:
            member.lock.close()
        self._members = []

    def _begin(self, job: Job) -> Iterator[Message]:
        files = RunFiles(job.folder / f"{job.name}.safetensors")
        with ExitStack() as lock:
            lock.enter_context(files.alone())
            run = begun(job, files)
            run.begin()
            member = _Member(job, run, lock.pop_all())
        self._members.append(member)
        if run.trainer.iteration >= job.config.train.iterations:
            yield from self._finish(member)

    def _iterate(self) -> Iterator[Message]:
        members = list(self._members)
        try:
            reports = iterate([member.run.trainer for member in members])
        except Exception as error:  # such as too little memory for so many
            what, mend = f"{type(error).__name__}: {error}", "give fewer --jobs, which go on at the same time"
            yield from [self._left(member.job.name, Ending.FAILED, what, mend) for member in members]
            return
        for member, report in zip(members, reports, strict=True):
            yield from self._guarded(member.job.name, self._after, member, report)

    def _after(self, member: _Member, report: Report | NcatoolError) -> Iterator[Message]:
        if isinstance(report, NcatoolError):
            member.run.end(failed=True)
            raise report
        member.run.note(report)
        now, over = time.monotonic(), report.iteration >= member.job.config.train.iterations
        if now - member.told >= TOLD_EVERY or over:
            member.told = now
            yield Told(member.job.name, report.iteration, report.loss, report.mse)
        if over:
            yield from self._finish(member)
        else:
            member.run.share = SHARE / len(self._members)  # of the time of all
            member.run.save_if_due()

    def _finish(self, member: _Member) -> Iterator[Message]:
        member.run.end()
        member.run.finish()
        yield self._left(member.job.name, Ending.FINISHED)

    def _end_all(self) -> Iterator[Message]:
        for member in list(self._members):
            yield from self._guarded(member.job.name, self._stop, member)

    def _stop(self, member: _Member) -> Iterator[Message]:
        member.run.end()
        yield self._left(member.job.name, Ending.STOPPED)

    def _left(self, name: str, ending: Ending, what: str = "", mend: str = "") -> Outcome:
        for member in [member for member in self._members if member.job.name == name]:
            self._members.remove(member)
            member.lock.close()
        return Outcome(name, ending, what, mend)

    def _guarded(self, name: str, act: Callable[..., Iterator[Message]], *values: object) -> Iterator[Message]:
        """What one run does; what goes wrong there leaves the others alone."""
        try:
            yield from act(*values)
        except NcatoolError as error:
            yield self._left(name, Ending.FAILED, error.what, error.mend)
        except Exception as error:
            yield self._left(name, Ending.FAILED, f"{type(error).__name__}: {error}", "look at this run's settings")
