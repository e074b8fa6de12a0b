"""Locks, so that two processes never write the same run or sweep."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error

if TYPE_CHECKING:
    from filelock import SoftFileLease

LOCK_TIMEOUT = 3.0
"""Seconds to wait for a process on this machine."""
LEASE_TIMEOUT = 60.0
"""Seconds without renewal after which a process on another machine counts as dead."""
EMPTY_TIMEOUT = 2.0
"""Seconds after which an empty lock file counts as left by a process that died while creating it."""

Note = Callable[[str], object]


def ignore_note(message: str) -> None:
    """Do nothing with a message."""


@contextmanager
def hold_lock(lock_file: Path, what: str, note: Note = ignore_note) -> Iterator[None]:
    """Hold the lock file while the block runs; `what` names the locked thing in messages.

    The holder renews its lock. The lock of a dead process is taken over: on the same machine at once, on another
    machine or in another container when it has not been renewed for `LEASE_TIMEOUT` seconds; `note` receives a line
    before such a wait. Raises NcatoolError, with the process number, where another process holds the lock, and where
    the lock file cannot be written.
    """
    from filelock import SoftFileLease

    try:
        _remove_empty(lock_file)
        lock = SoftFileLease(lock_file, lease_duration=LEASE_TIMEOUT)
        _acquire(lock, lock_file, what, note)
    except OSError as error:
        raise describe_write_error(lock_file, error) from None
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: SoftFileLease, lock_file: Path, what: str, note: Note) -> None:
    from filelock import Timeout

    with suppress(Timeout):
        lock.acquire(timeout=LOCK_TIMEOUT)
        return
    process, host = _read_holder(lock_file)
    busy = NcatoolError(
        f"process {process} is writing {what}" if process else f"another process is writing {what}",
        f"wait for it, give another name, or remove {lock_file}",
    )
    if host is None or host == _read_own_host():
        raise busy
    note(f"process {process} on {host} has locked {what}: waiting {LEASE_TIMEOUT:g} s for a sign that it is alive")
    content, renewed = lock_file.read_bytes(), lock_file.stat().st_mtime_ns
    with suppress(Timeout):
        lock.acquire(timeout=LEASE_TIMEOUT + 1, cancel_check=lambda: _is_renewed(lock_file, renewed))
        return
    if _is_renewed(lock_file, renewed) or lock_file.read_bytes() != content:
        raise busy
    lock_file.unlink()  # of an earlier version, which did not renew its locks
    lock.acquire(timeout=LOCK_TIMEOUT)


def _is_renewed(lock_file: Path, before: int) -> bool:
    with suppress(FileNotFoundError):
        return lock_file.stat().st_mtime_ns != before
    return False


def _read_holder(lock_file: Path) -> tuple[str, str | None]:
    """Return number and host of the process that a lock file names; "" and None where it names none."""
    with suppress(OSError):
        lines = lock_file.read_bytes()[:1024].decode(errors="replace").splitlines()
        fields = dict(line.split("=", 1) for line in lines if "=" in line)
        if not fields and len(lines) in (2, 3):  # the form of earlier versions
            fields = {"pid": lines[0], "host": lines[1]}
        return fields.get("pid", ""), fields.get("host")
    return "", None


def _read_own_host() -> str | None:
    """Return the name by which lock files know this machine, or this container."""
    from filelock import SoftFileLease

    with tempfile.TemporaryDirectory() as folder, SoftFileLease(Path(folder) / "lock"):
        return _read_holder(Path(folder) / "lock")[1]


def _remove_empty(lock_file: Path) -> None:
    """Remove an empty lock file that is older than its creation can take."""
    with suppress(FileNotFoundError):
        status = lock_file.lstat()
        if status.st_size == 0 and time.time() - status.st_mtime > EMPTY_TIMEOUT:
            lock_file.unlink()
