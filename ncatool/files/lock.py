"""Locks, so that two processes never write the same run or sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error

LOCK_TIMEOUT = 3.0
"""Seconds to wait for a lock; filelock removes the empty lock file of a dead process after two."""
LEASE_TIMEOUT = 60.0
"""Seconds without a renewal after which the holder of a lease counts as dead."""


@contextmanager
def hold_lock(lock_file: Path, what: str, leased: bool = False) -> Iterator[None]:
    """Hold the lock file while the block runs; `what` names the locked thing in the error message.

    The lock of a dead process is taken over: on the same machine always, on another machine only where the lock
    is `leased`, because the holder must renew a lease. Raises NcatoolError, with the process number, where another
    process holds the lock, and where the lock file cannot be written.
    """
    from filelock import SoftFileLease, SoftFileLock, Timeout

    lock = SoftFileLease(lock_file, lease_duration=LEASE_TIMEOUT) if leased else SoftFileLock(lock_file)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT + (LEASE_TIMEOUT if leased else 0))
    except Timeout:
        holder = f"process {lock.pid}" if lock.pid else "another process"
        raise NcatoolError(
            f"{holder} is writing {what}", f"wait for it, give another name, or remove {lock.lock_file}"
        ) from None
    except OSError as error:
        raise describe_write_error(lock_file.parent, error) from None
    try:
        yield
    finally:
        lock.release()
