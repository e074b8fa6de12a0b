"""Threads: one pool, and the number that a process was set up with."""

import threading

import pytest
import torch

from ncatool.engine import compiled
from ncatool.engine.workers import BufferPool, ThreadWorkers


def live_workers():
    return sum(thread.name.startswith("rollout") for thread in threading.enumerate())


def run_together(workers, threads):
    """Run as many calls as threads; each waits for all the others, so each has a thread of its own."""
    barrier = threading.Barrier(threads, timeout=20)
    names = []

    def work(index):
        barrier.wait()
        names.append(threading.current_thread().name)

    workers.run_each(threads, threads, work)
    return set(names)


def test_one_pool_is_replaced_when_the_number_of_threads_changes():
    before = live_workers()
    workers = ThreadWorkers()
    first = run_together(workers, 3)
    pool = workers._pool
    assert len(first) == 3
    assert run_together(workers, 3) == first
    workers.run_each(3, 2, lambda index: None)  # fewer calls than threads
    assert workers._pool is pool
    assert len(run_together(workers, 2)) == 2
    assert workers._pool is not pool
    for thread in pool._threads:
        thread.join(20)
    assert live_workers() <= before + 2, "the threads of the first pool have ended"


def test_an_exception_in_a_thread_is_raised():
    def work(index):
        raise ValueError(f"call {index}")

    for threads in (1, 2):
        with pytest.raises(ValueError, match="call 0"):
            ThreadWorkers().run_each(threads, 3, work)


def test_buffers_are_reused_if_they_are_large_enough():
    pool = BufferPool()
    buffer = pool.take(100)
    pool.give_back(buffer)
    assert pool.take(80) is buffer
    pool.give_back(buffer)
    assert pool.take(1000).numel() >= 1000


@pytest.mark.parametrize("available", [True, False])
def test_setting_up_a_process_twice_keeps_the_number_of_threads(monkeypatch, available):
    monkeypatch.setattr(compiled, "is_available", lambda: available)
    torch.set_num_threads(3)
    for _ in range(2):
        assert compiled.configure_process(0) is available
        assert compiled.thread_count() == 3
        assert torch.get_num_threads() == (1 if available else 3)
    compiled.configure_process(2)
    compiled.configure_process(0)
    assert compiled.thread_count() == 2
