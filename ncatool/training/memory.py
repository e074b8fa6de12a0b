"""The memory that training takes, beside what the machine has: too much is refused before anything starts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ncatool.config.names import Regime
from ncatool.config.schema import RunConfig
from ncatool.engine.rollout import MAX_TAPE_BYTES
from ncatool.errors import UsageError
from ncatool.training.several import count_pool_states

PROCESS_BYTES = 0.35 * 2**30
"""Memory of a training process without its pool, measured by tests/benchmarks/memory.py."""
POOL_COPIES = 3
"""Copies of the pool in memory while a checkpoint is written."""
BATCH_COPIES = 6
"""States of a batch in memory: start, end, gradients, and what the engine works on."""
ANNOUNCED_BYTES = 2**30
"""Memory from which on a run says what it takes."""


def estimate_memory(config: RunConfig, shape: tuple[int, int], pictures: int = 1) -> float:
    """Return the bytes of memory that training takes for pictures on a grid of this height and width, estimated."""
    train, cells = config.train, math.prod(shape)
    batch = 4 * cells * config.model.channels * train.batch_size
    fire = cells * train.batch_size * train.max_steps
    log = min(max(MAX_TAPE_BYTES, batch), batch * train.max_steps)
    others = 4 * cells * (config.model.channels + 4) * (pictures - 1)  # what they grow from, and what they should be
    return PROCESS_BYTES + estimate_pool_memory(config, shape) + BATCH_COPIES * batch + fire + log + others


def estimate_pool_memory(config: RunConfig, shape: tuple[int, int]) -> float:
    """Return the bytes of the pool, in as many copies as there are at once."""
    size = 0 if config.train.regime is Regime.GROWING else config.train.pool_size
    return (POOL_COPIES if config.train.checkpoint else 1) * 4 * size * math.prod(shape) * config.model.channels


def read_machine_memory() -> float:
    """Return the bytes of memory that this process can have at most; infinity where the system does not say."""
    return min(_read_limits(), default=math.inf)


def _read_limits() -> Iterator[float]:
    with suppress(OSError, ValueError, AttributeError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(ImportError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        yield math.inf if limit == resource.RLIM_INFINITY else limit
    for file in _list_cgroup_files():
        with suppress(OSError, ValueError):
            yield int(file.read_text(encoding="ascii"))  # the word max means that there is no limit


def _list_cgroup_files() -> Iterator[Path]:
    """Yield the files that may limit the memory of a container or a service, of both versions of control groups."""
    root = Path("/sys/fs/cgroup")
    yield root / "memory" / "memory.limit_in_bytes"
    with suppress(OSError, ValueError):
        own = root / Path("/proc/self/cgroup").read_text(encoding="utf-8").split("0::")[-1].strip().strip("/")
        yield from (folder / "memory.max" for folder in (own, *own.parents) if folder.is_relative_to(root))


def check_memory(config: RunConfig, shape: tuple[int, int], runs: int = 1, pictures: int = 1) -> None:
    """Raise UsageError for a run, or so many at once, that takes more memory than the machine has."""
    needed, limit = estimate_memory(config, shape, pictures), read_machine_memory()
    if runs * needed <= limit:
        return
    fitting = _find_fitting_pool(config, shape, limit, pictures)
    raise UsageError(
        f"{_name_runs(runs)} of {shape[0]}x{shape[1]} cells with a pool of {config.train.pool_size} states takes "
        f"about {_format_bytes(runs * needed)} of memory, but this machine has {_format_bytes(limit)}",
        f"give --pool-size {fitting} or less, or a smaller --size" if fitting else "give a smaller --size",
    )


def _find_fitting_pool(config: RunConfig, shape: tuple[int, int], limit: float, pictures: int) -> int:
    """Return the largest pool that leaves a tenth of the memory free; 0 where there is none for a batch."""
    pool = estimate_pool_memory(config, shape)
    rest = 0.9 * limit - (estimate_memory(config, shape, pictures) - pool)
    size = int(config.train.pool_size * rest / pool) if pool else 0
    return size if count_pool_states(config.train, pictures) <= size < config.train.pool_size else 0


def describe_memory(config: RunConfig, shape: tuple[int, int], pictures: int = 1) -> str:
    """Return a line on the memory that a run takes where it is much; else nothing."""
    needed = estimate_memory(config, shape, pictures)
    if needed <= ANNOUNCED_BYTES:
        return ""
    return f"needs about {_format_bytes(needed)} of memory; --pool-size and --size say how much"


def _name_runs(runs: int) -> str:
    return "a run" if runs == 1 else f"{runs} runs at a time, each"


def _format_bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
