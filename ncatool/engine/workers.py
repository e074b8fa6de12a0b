"""Threads and memory that rollouts use again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


class BufferPool:
    """Buffers for reuse: new memory for each rollout would cost as much time as its arithmetic."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """Return a buffer of at least `size` bytes."""
        with self._lock:
            buffer = self._free.pop() if self._free else None
        if buffer is not None and buffer.numel() >= size:
            return buffer
        return torch.empty(size + size // 4, dtype=torch.uint8)

    def give_back(self, buffer: Tensor) -> None:
        """Keep a buffer for the next `take`."""
        with self._lock:
            self._free.append(buffer)


class ThreadWorkers:
    """One pool of threads, replaced when another number of threads is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._pool: ThreadPoolExecutor | None = None

    def run_each(self, threads: int, count: int, work: Callable[[int], object]) -> None:
        """Call `work` with 0 to count - 1, on this many threads; return when all calls have."""
        if min(threads, count) <= 1:
            for index in range(count):
                work(index)
            return
        with self._lock:  # another caller must not replace the pool before these calls are queued
            results = self._get_pool(threads).map(work, range(count))
        for _ in results:
            pass

    def _get_pool(self, threads: int) -> ThreadPoolExecutor:
        if self._pool is None or threads != self._threads:
            if self._pool is not None:
                self._pool.shutdown(wait=False)
            self._pool, self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rollout"), threads
        return self._pool
