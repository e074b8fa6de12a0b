"""Many runs in this process, one iteration of each in turn, so that a GPU computes their rollouts as one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ncatool.engine import compiled
from ncatool.errors import NcatoolError
from ncatool.sweep.job import PROGRESS_INTERVAL, Ending, Job, Message, Outcome, Progress, Task, open_run
from ncatool.training.lockstep import iterate_together
from ncatool.training.run import CHECKPOINT_SHARE, Run
from ncatool.training.run_files import RunFiles
from ncatool.training.trainer import Report

MAX_RUNS = 64
"""Runs at the same time, unless `--jobs` says otherwise."""


@dataclass
class _ActiveRun:
    """A run that is being trained."""

    job: Job
    run: Run
    lock: ExitStack
    last_progress: float = 0.0


class VectorisedWorkers:
    """Up to `max_runs` runs trained in step; they live in this process, so they can only be lost with it."""

    def __init__(self, max_runs: int, threads: int) -> None:
        compiled.configure_process(threads)
        self._max_runs = max_runs
        self._waiting: list[Job] = []
        self._active: list[_ActiveRun] = []
        self._stopping = False

    def count_slots(self) -> int:
        """Return how many runs train at the same time."""
        return self._max_runs

    def count_free(self) -> int:
        """Return how many more runs can start now."""
        return self._max_runs - len(self._active) - len(self._waiting)

    def submit(self, job: Task) -> None:
        """Queue a run, which starts with the next iteration; other jobs are for `InProcessWorkers`."""
        if not isinstance(job, Job):
            raise TypeError(f"{type(job).__name__} trains no run")
        self._waiting.append(job)

    def receive(self, timeout: float) -> Iterator[Message]:
        """Train for so many seconds, and yield what the runs report."""
        deadline = time.monotonic() + timeout
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            yield from self._catch_failures(job.name, self._start, job)
        while self._active and (self._stopping or time.monotonic() < deadline):
            yield from self._stop_all() if self._stopping else self._iterate()

    def stop(self) -> None:
        """Ask all runs to save everything and end."""
        self._stopping = True

    def close(self) -> None:
        """Release the locks of all runs, without saving."""
        for active in self._active:
            active.lock.close()
        self._active = []

    def _start(self, job: Job) -> Iterator[Message]:
        files = RunFiles(job.folder / f"{job.name}.safetensors")
        with ExitStack() as lock:
            lock.enter_context(files.lock())
            run = open_run(job, files)
            run.start_session()
            active = _ActiveRun(job, run, lock.pop_all())
        self._active.append(active)
        if run.trainer.iteration >= job.config.train.iterations:
            yield from self._finish(active)

    def _iterate(self) -> Iterator[Message]:
        runs = list(self._active)
        try:
            reports = iterate_together([active.run.trainer for active in runs])
        except Exception as error:  # such as too little memory
            what, hint = f"{type(error).__name__}: {error}", "give fewer --jobs, which train at the same time"
            yield from [self._remove(active.job.name, Ending.FAILED, what, hint) for active in runs]
            return
        for active, report in zip(runs, reports, strict=True):
            yield from self._catch_failures(active.job.name, self._handle_report, active, report)

    def _handle_report(self, active: _ActiveRun, report: Report | NcatoolError) -> Iterator[Message]:
        if isinstance(report, NcatoolError):
            active.run.end_session(failed=True)
            raise report
        active.run.add_report(report)
        now, is_done = time.monotonic(), report.iteration >= active.job.config.train.iterations
        if now - active.last_progress >= PROGRESS_INTERVAL or is_done:
            active.last_progress = now
            yield Progress(active.job.name, report.iteration, report.loss, report.mse)
        if is_done:
            yield from self._finish(active)
        else:
            active.run.checkpoint_share = CHECKPOINT_SHARE / len(self._active)  # the limit holds for all together
            active.run.save_if_due()

    def _finish(self, active: _ActiveRun) -> Iterator[Message]:
        active.run.end_session()
        active.run.write_results()
        yield self._remove(active.job.name, Ending.FINISHED)

    def _stop_all(self) -> Iterator[Message]:
        for active in list(self._active):
            yield from self._catch_failures(active.job.name, self._stop, active)

    def _stop(self, active: _ActiveRun) -> Iterator[Message]:
        active.run.end_session()
        yield self._remove(active.job.name, Ending.STOPPED)

    def _remove(self, name: str, ending: Ending, what: str = "", hint: str = "") -> Outcome:
        """Release a run, and return its outcome."""
        for active in [active for active in self._active if active.job.name == name]:
            self._active.remove(active)
            active.lock.close()
        return Outcome(name, ending, what, hint)

    def _catch_failures(
        self, name: str, action: Callable[..., Iterator[Message]], *arguments: object
    ) -> Iterator[Message]:
        """Yield the messages of an action on one run; an error ends this run only."""
        try:
            yield from action(*arguments)
        except NcatoolError as error:
            yield self._remove(name, Ending.FAILED, error.what, error.hint)
        except Exception as error:
            yield self._remove(name, Ending.FAILED, f"{type(error).__name__}: {error}", "look at this run's settings")
