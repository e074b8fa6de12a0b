"""Workers that do one job after the other in a thread of this process, which has the GPU already."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from ncatool.sweep.job import Message, Outcome, Task

EXIT_TIMEOUT = 10.0
"""Seconds that a job has to end after it was asked to."""


class InProcessWorkers:
    """One job at a time, in a thread, so that this process goes on receiving signals."""

    def __init__(self) -> None:
        self._messages: queue.Queue[Message] = queue.Queue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def count_slots(self) -> int:
        """Return how many jobs run at the same time."""
        return 1

    def count_free(self) -> int:
        """Return how many more jobs can start now."""
        return 0 if self._thread else 1

    def submit(self, job: Task) -> None:
        """Start a job."""

        def run() -> None:
            self._messages.put(job.run(self._stopping.is_set, self._messages.put))

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def receive(self, timeout: float) -> Iterator[Message]:
        """Yield what the job reports within so many seconds."""
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty:
            return
        if isinstance(message, Outcome):
            self._thread = None
        yield message

    def stop(self) -> None:
        """Ask the job to end."""
        self._stopping.set()

    def close(self) -> None:
        """End the job."""
        self.stop()
        if self._thread is not None:
            self._thread.join(EXIT_TIMEOUT)
