"""Runs on this machine: processes that each do one run at a time.

Not a pool of `concurrent.futures`: there, one process that is killed takes the runs of all others with it, and what
they share (queues, events) stays locked for ever if it is killed while it holds it. Here each has a pipe of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from ncatool.sweep import job as jobs
from ncatool.sweep.job import Job, Message, WorkerLost

EXIT_TIMEOUT = 3.0
"""Seconds that a process has to end by itself."""


def count_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> float:
    """Bytes of memory that are free for use; infinite where the system does not say."""
    with suppress(OSError, ValueError, StopIteration), open("/proc/meminfo", encoding="ascii") as facts:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in facts if line.startswith("MemAvailable:"))
    return float("inf")


def _serve_jobs(pipe: Connection) -> None:
    """The life of a process: jobs come, words on them go; it ends when the other end of the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal: ours are told
    with suppress(EOFError, OSError):
        while (job := pipe.recv()) is not None:
            # The only thing that may come while a job is done is the wish to stop.
            pipe.send(jobs.run_job(job, pipe.poll, pipe.send))


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """So that a process starts with Ctrl-C blocked, and does not die of it before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Slot(NamedTuple):
    """A process, our end of its pipe, and the run that it is at."""

    process: SpawnProcess
    pipe: Connection
    name: str


class LocalWorkers:
    """So many processes on this machine, started when they are first needed and whenever one has died."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[_Slot] = []
        self._busy: list[_Slot] = []

    def count_slots(self) -> int:
        """How many jobs are done at the same time."""
        return self._jobs

    def count_free(self) -> int:
        """How many more jobs can begin now."""
        return self._jobs - len(self._busy)

    def submit(self, job: Job) -> None:
        """Begins a job."""
        slot = self._idle.pop() if self._idle else self._start_process()
        self._busy.append(slot._replace(name=job.name))
        with suppress(OSError):  # it has died since: its end of the pipe says so, too
            slot.pipe.send(job)

    def _start_process(self) -> _Slot:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve_jobs, args=(theirs,), daemon=True)
        with _block_interrupts():
            process.start()
        theirs.close()
        return _Slot(process, ours, "")

    def receive(self, timeout: float) -> Iterator[Message]:
        """What the processes have to say, within so many seconds."""
        ready = wait([slot.pipe for slot in self._busy], timeout)
        for slot in [slot for slot in self._busy if slot.pipe in ready]:
            try:
                message: Message = slot.pipe.recv()
            except (EOFError, OSError):
                self._busy.remove(slot)
                yield WorkerLost(slot.name, _describe_exit(slot))
                continue
            if isinstance(message, jobs.Outcome):
                self._busy.remove(slot)
                self._idle.append(slot)
            yield message

    def stop(self) -> None:
        """Has all runs save everything and end."""
        for slot in self._busy:
            with suppress(OSError):
                slot.pipe.send(None)

    def close(self) -> None:
        """Ends all processes, at once where they do not by themselves."""
        slots, self._idle, self._busy = self._idle + self._busy, [], []
        for slot in slots:
            slot.pipe.close()
        for slot in slots:
            slot.process.join(EXIT_TIMEOUT)
            slot.process.kill()
            slot.process.join()


def _describe_exit(slot: _Slot) -> str:
    slot.pipe.close()
    slot.process.join(EXIT_TIMEOUT)
    code = slot.process.exitcode
    return f"its process was ended by signal {-code}" if code and code < 0 else f"its process ended with code {code}"
