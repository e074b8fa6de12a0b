"""Which workers train a sweep, and how many runs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ncatool.engine.choose import explain_slowness
from ncatool.engine.device import resolve_device
from ncatool.sweep.cluster import ClusterWorkers
from ncatool.sweep.dispatch import Workers
from ncatool.sweep.item import SweepItem
from ncatool.sweep.local import LocalWorkers, count_processors, read_free_memory
from ncatool.sweep.vectorised import MAX_RUNS, VectorisedWorkers
from ncatool.training.memory import PROCESS_BYTES


@contextmanager
def open_workers(
    items: Sequence[SweepItem],
    token: str,
    *,
    jobs: int,
    vectorise: bool,
    scheduler: str | None,
    note: Callable[[str], object],
) -> Iterator[tuple[Workers, int]]:
    """Yield the workers for these runs, and the threads of each run; close the workers at the end.

    Where `jobs` is 0, the number of runs at a time is chosen. `note` is called with lines for the user.
    Raises NcatoolError where the scheduler does not answer.
    """
    pending = [item for item in items if item.is_pending]
    workers: Workers
    if scheduler is not None and pending:
        workers, threads = ClusterWorkers(scheduler, token, note), 1
    elif vectorise and pending:
        threads = max(item.config.train.threads for item in pending) or count_processors()
        workers = VectorisedWorkers(jobs or min(len(pending), MAX_RUNS), threads)
        for reason in filter(None, dict.fromkeys(map(_explain_turns, pending))):
            note(reason)
    else:
        jobs = jobs or choose_jobs(pending)
        workers, threads = LocalWorkers(jobs), max(1, count_processors() // jobs)
    try:
        yield workers, threads
    finally:
        workers.close()


def choose_jobs(items: Sequence[SweepItem]) -> int:
    """Return the number of processes: limited by processors, by runs, and by free memory."""
    threads = max([item.config.train.threads or 1 for item in items], default=1)
    largest = max([item.estimate_memory() for item in items], default=PROCESS_BYTES)
    return max(1, min(count_processors() // threads, len(items), int(min(read_free_memory() / largest, 10**6))))


def _explain_turns(item: SweepItem) -> str:
    """Return why a run cannot be in one batch with others; empty where it can."""
    model, train = item.config.model, item.config.train
    device = resolve_device(train.device)
    if device.type == "cuda":
        return explain_slowness(device, model, train.precision)
    return "--vectorise is for a CUDA GPU: without one runs only take turns, and are faster without the flag"
