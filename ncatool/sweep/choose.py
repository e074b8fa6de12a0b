"""Which workers train a sweep, and how many runs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ncatool.engine.choose import check_precision, explain_slowness
from ncatool.engine.device import resolve_device
from ncatool.sweep.cluster import ClusterWorkers
from ncatool.sweep.dispatch import Workers
from ncatool.sweep.in_process import InProcessWorkers
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
) -> Iterator[Workers]:
    """Yield the workers for runs of which something is left to do; close them at the end.

    Where `jobs` is 0, the number of runs at a time is chosen. `note` is called with lines for the user.
    Raises NcatoolError where the scheduler does not answer, and UsageError for a precision that this machine lacks.
    """
    workers: Workers
    if scheduler is None:
        for item in (one for one in items if one.is_pending):
            check_precision(resolve_device(item.config.train.device), item.config.train.precision)
    if scheduler is not None and items:
        workers = ClusterWorkers(scheduler, token, note)
    elif vectorise and items:
        pending = [item for item in items if item.is_pending]
        threads = max(item.config.train.threads for item in items) or count_processors()
        workers = VectorisedWorkers(jobs or min(max(1, len(pending)), MAX_RUNS), threads)
        for reason in filter(None, dict.fromkeys(map(_explain_turns, pending))):
            note(reason)
    else:
        workers = LocalWorkers(jobs or choose_jobs(items))
    try:
        yield workers
    finally:
        workers.close()


@contextmanager
def open_measuring_workers(workers: Workers) -> Iterator[Workers]:
    """Yield the workers that measure the models that these have trained."""
    if not isinstance(workers, VectorisedWorkers):
        yield workers
        return
    measuring = InProcessWorkers()
    try:
        yield measuring
    finally:
        measuring.close()


def choose_threads(workers: Workers, count: int) -> int:
    """Return the threads of each of so many jobs, where its settings name none."""
    if isinstance(workers, ClusterWorkers):
        return 1
    return max(1, count_processors() // max(1, min(workers.count_slots(), count)))


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
