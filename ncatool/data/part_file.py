"""The file that a download grows in: continued under its own name, but never through a link that somebody planted."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error

READ_BYTES = 2**20
"""Largest number of bytes read at a time."""
RESERVED_BYTES = 16 * 2**20
"""Bytes that a download leaves free on the disk."""


def get_size(path: Path) -> int:
    """Return the size of a partial file, 0 where there is none."""
    return path.lstat().st_size if os.path.lexists(path) else 0


def open_part(path: Path) -> BinaryIO:
    """Open a partial file to read and to write; an empty one is created where there is none.

    Raises NcatoolError where it cannot be opened, and for links, pipes and other users' files: in a folder that
    others may write to, they would lead the download to another file.
    """
    # O_NONBLOCK: a pipe would make the opening wait for its other end.
    flags = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) or path.is_symlink():
            raise _refuse(path, "a symbolic link") from None
        raise describe_write_error(path, error) from None
    reason = _find_objection(os.fstat(descriptor))
    if reason:
        os.close(descriptor)
        raise _refuse(path, reason)
    return os.fdopen(descriptor, "r+b")


def _find_objection(found: os.stat_result) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "no regular file"
    if found.st_nlink > 1:
        return f"one of {found.st_nlink} hard links to a file"
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return f"a file of another user (number {found.st_uid})"
    return ""


def _refuse(path: Path, reason: str) -> NcatoolError:
    return NcatoolError(
        f"{path}, in which the download would go on, is {reason}", "remove it, or give --root another folder"
    )


def check_space(folder: Path, needed: int) -> None:
    """Raise NcatoolError where a folder's disk has no room for these bytes beside those that stay free."""
    free = shutil.disk_usage(folder).free
    if needed + RESERVED_BYTES > free:
        raise NcatoolError(
            f"{folder} has {free / 1e6:,.0f} MB free, but {(needed + RESERVED_BYTES) / 1e6:,.0f} MB are needed",
            "free some space, or give --root another folder",
        )


def compute_md5(file: BinaryIO, report_progress: Callable[[int, int | None, str], None]) -> str:
    """Return the MD5 of an open file, from its beginning, as 32 hexadecimal digits."""
    total, done, digest = os.fstat(file.fileno()).st_size, 0, hashlib.md5(usedforsecurity=False)
    file.seek(0)
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
        done += len(chunk)
        report_progress(done, total, "verifying")
    return digest.hexdigest()
