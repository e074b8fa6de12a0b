"""Workers on this machine: processes that each train one run at a time.

This is not a pool of `concurrent.futures`: there, a process that is killed ends the jobs of all others, and a shared
queue that it had locked stays locked. Here each process has a pipe of its own.
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
from ncatool.sweep.job import Message, Task, WorkerLost

EXIT_TIMEOUT = 3.0
"""Seconds that a process has to end before it is killed."""


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_free_memory() -> float:
    """Return the bytes of memory that are free for use; infinity where the system does not say."""
    with suppress(OSError, ValueError, StopIteration), open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return float("inf")


def _serve_jobs(pipe: Connection) -> None:
    """Run the jobs that arrive in the pipe, in a process of its own, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent asks to stop
    with suppress(EOFError, OSError):
        while (job := pipe.recv()) is not None:
            # While a job runs, the only message that can arrive is the request to stop.
            pipe.send(job.run(pipe.poll, pipe.send))


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Block SIGINT, which a process started meanwhile inherits: it cannot die of Ctrl-C before it ignores it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Slot(NamedTuple):
    """A process, this end of its pipe, and the run that it trains."""

    process: SpawnProcess
    pipe: Connection
    name: str


class LocalWorkers:
    """A fixed number of processes, started when first needed and again whenever one has ended."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[_Slot] = []
        self._busy: list[_Slot] = []

    def count_slots(self) -> int:
        """Return how many jobs run at the same time."""
        return self._jobs

    def count_free(self) -> int:
        """Return how many more jobs can start now."""
        return self._jobs - len(self._busy)

    def submit(self, job: Task) -> None:
        """Start a job."""
        slot = self._idle.pop() if self._idle else self._start_process()
        self._busy.append(slot._replace(name=job.name))
        with suppress(OSError):  # the process has ended: `receive` reports it
            slot.pipe.send(job)

    def _start_process(self) -> _Slot:
        own_end, other_end = self._context.Pipe()
        process = self._context.Process(target=_serve_jobs, args=(other_end,), daemon=True)
        with _block_interrupts():
            process.start()
        other_end.close()
        return _Slot(process, own_end, "")

    def receive(self, timeout: float) -> Iterator[Message]:
        """Yield what the processes report within so many seconds."""
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
        """Ask all runs to save everything and end."""
        for slot in self._busy:
            with suppress(OSError):
                slot.pipe.send(None)

    def close(self) -> None:
        """End all processes; kill those that do not end in time."""
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
