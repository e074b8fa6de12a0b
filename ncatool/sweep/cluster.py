"""Workers of a Dask cluster that the user has started: its scheduler assigns the jobs to them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import queue
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncatool.errors import NcatoolError, UsageError
from ncatool.sweep import job as jobs
from ncatool.sweep.job import Message, Progress, Task, WorkerLost
from ncatool.sweep.scheduler import describe_briefly, find_scheduler

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_TIMEOUT = 6.0
"""Seconds to wait for an answer of the scheduler."""
RECONNECT_TIMEOUT = 120.0
"""Seconds to wait for a scheduler whose connection was lost."""
QUEUED_JOBS = 16
"""Jobs queued at the scheduler beyond two for each thread, so that an adaptive cluster sees that it should grow."""
NOT_INSTALLED = "a cluster needs Dask, which is not installed"
CLUSTER_INSTALL_HINT = "run: pip install 'ncatool[cluster]'"

_stopping: set[str] = set()
"""In a worker: tokens of the sweeps whose runs should save everything and end."""


def _request_stop(token: str) -> None:
    _stopping.add(token)


def _describe_versions() -> str:
    """Return the versions that decide what a worker computes."""
    return f"ncatool {version('ncatool')}, torch {version('torch')}"


def _run_job(job: Task) -> jobs.Outcome:
    """Run a job in a worker, until the sweep stops, the worker closes, or the job is cancelled."""
    from distributed import Status, get_worker

    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]

    def stopped() -> bool:
        return job.token in _stopping or worker.status is not Status.running or task.state == "cancelled"

    def report(progress: Progress) -> None:
        worker.log_event(job.token, (progress.name, progress.iteration, progress.loss, progress.mse))

    return job.run(stopped, report)


class ClusterWorkers:
    """The workers of a Dask scheduler."""

    def __init__(self, address: str, token: str, note: Callable[[str], object]) -> None:
        """Connect to the scheduler; `note` is called with lines for the user.

        Raises NcatoolError where no scheduler answers, and UsageError where it or a worker has other versions.
        """
        self._address, self._token, self._note = address, token, note
        self._messages: queue.Queue[Message] = queue.Queue()
        self._futures: dict[str, Future[Any]] = {}
        self._started_names: set[str] = set()
        self._keys: dict[str, str] = {}
        self._delivered: list[str] = []
        self._submissions = 0
        self._lost_since: float | None = None
        self._client = self._connect()
        self._check_workers()

    def _connect(self) -> Client:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise NcatoolError(NOT_INSTALLED, CLUSTER_INSTALL_HINT) from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # `note` says what matters
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # a job may hold a checkpoint
        # A client that fails at connecting hangs when it is closed, and prints a traceback.
        address = find_scheduler(self._address, CONNECT_TIMEOUT)
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise NcatoolError(
                f"the scheduler at {self._address} takes no client ({describe_briefly(error)})",
                "look at what it prints, or start another",
            ) from None
        client.subscribe_topic(self._token, self._receive_progress)
        return client

    def _receive_progress(self, event: tuple[float, Any]) -> None:
        progress = Progress(*event[1])
        self._started_names.add(progress.name)
        self._messages.put(progress)

    def _check_workers(self) -> None:
        """Raise UsageError for a worker without ncatool, or with other versions than this process."""
        answers: dict[str, Any] = self._client.run(_describe_versions, on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, BaseException):
                raise UsageError(f"worker {worker} has no working ncatool: {answer}", "install ncatool on all workers")
            if answer != _describe_versions():
                raise UsageError(
                    f"worker {worker} has {answer}, but this machine has {_describe_versions()}",
                    "install the same on all workers",
                )
        if not answers:
            self._note(f"the scheduler at {self._address} has no workers yet: the runs wait for them")

    def can_read(self, path: Path) -> bool:
        """Return whether there are workers and all of them see a file of this machine."""
        answers = self._client.run(os.path.exists, str(path))
        return bool(answers) and all(answers.values())

    def count_slots(self) -> int:
        """Return how many jobs run at the same time: one for each thread of a worker."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(int(worker["nthreads"]) for worker in workers)

    def count_free(self) -> int:
        """Return how many more jobs may be submitted now."""
        if not self._ensure_connected():
            return 0
        return 2 * self.count_slots() + QUEUED_JOBS - len(self._futures)

    def _ensure_connected(self) -> bool:
        """Return whether there is a connection, after an attempt to restore a lost one.

        Raises NcatoolError where the scheduler has been unreachable for too long.
        """
        if self._client.status == "running":
            return True
        if self._lost_since is None:
            self._lost_since = time.monotonic()
            self._note(f"the scheduler at {self._address} does not answer any more; waiting for it")
            with contextlib.suppress(Exception):
                self._client.close(timeout=1)  # its jobs are lost
        try:
            self._client = self._connect()
        except NcatoolError:
            if time.monotonic() - self._lost_since < RECONNECT_TIMEOUT:
                return False
            raise NcatoolError(
                f"the scheduler at {self._address} has not answered for {RECONNECT_TIMEOUT:.0f} s",
                "start it again, then give the same command: finished runs are kept",
            ) from None
        self._lost_since = None
        self._note(f"the scheduler at {self._address} answers again")
        self._check_workers()
        return True

    def submit(self, job: Task) -> None:
        """Send a job to the scheduler."""
        self._keys[job.name] = job.key
        self._submissions += 1
        try:
            future = self._client.submit(_run_job, job, pure=False, key=f"{job.name}-{self._token}-{self._submissions}")
        except Exception as error:  # a breaking connection raises many kinds
            reason = f"it could not be sent to the scheduler: {describe_briefly(error)}"
            # A job that a working connection does not take would never be taken.
            self._messages.put(WorkerLost(job.name, reason, failures=int(self._client.status == "running")))
            return
        self._futures[job.name] = future
        future.add_done_callback(partial(self._receive_end, job.name))

    def _receive_end(self, name: str, future: Future[Any]) -> None:
        self._messages.put(_read_result(name, future))

    def receive(self, timeout: float) -> Iterator[Message]:
        """Yield what the workers report within so many seconds."""
        self._ensure_connected()
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            return
        while True:
            if not isinstance(message, Progress):
                self._futures.pop(message.name, None)
                self._started_names.discard(message.name)
            if isinstance(message, jobs.Outcome) and message.ending is not jobs.Ending.FAILED:
                self._delivered.append(self._keys[message.name])
            yield message
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                return

    def stop(self) -> None:
        """Ask all runs to save everything and end; those that have not started are cancelled."""
        for name, future in list(self._futures.items()):
            if name not in self._started_names:
                with contextlib.suppress(Exception):
                    future.cancel()
        with contextlib.suppress(Exception):
            self._client.run(_request_stop, self._token)

    def close(self) -> None:
        """Remove the files left on the workers, and disconnect."""
        with contextlib.suppress(Exception):  # the scheduler may not answer
            if self._client.status == "running":
                self._client.run(jobs.remove_scratch, self._delivered)
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)


def _read_result(name: str, future: Future[Any]) -> Message:
    """Return the result of a job whose future is done."""
    from distributed import KilledWorker

    if future.cancelled():
        return WorkerLost(name, "the connection to the scheduler was lost", failures=0)
    try:
        outcome: jobs.Outcome = future.result(timeout=60)
    except (concurrent.futures.CancelledError, asyncio.CancelledError, OSError):
        return WorkerLost(name, "the connection to the scheduler was lost", failures=0)
    except KilledWorker as error:
        return WorkerLost(name, f"every worker that tried it has ended: {error}", failures=3)
    except Exception as error:
        return WorkerLost(name, f"{type(error).__name__}: {error}")
    return outcome
