"""TODO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error

LOCK_TIMEOUT = 3.0
"""A lock that a dead process left without its name is believed for two seconds."""


LEASE_TIMEOUT = 60.0
"""Without a sign of life, after which the holder of a lease is taken for dead."""


@contextmanager
def hold_lock(lock_file: Path, what: str, leased: bool = False) -> Iterator[None]:
    """Keeps every other process from writing `what`, as long as all ask for the same lock.

    A process that died gives way, if it was on this machine; one that leased the lock does on any machine, as it
    has to renew the lease. Raises NcatoolError, naming the process, where one is at it.
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
