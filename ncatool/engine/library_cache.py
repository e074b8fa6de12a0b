"""Where compiled libraries are kept: in the user's cache, or in a temporary folder where that one cannot be trusted.

Loading a library runs its code. So it must be the user's own, in a folder that nobody else can write.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path


def is_private(path: Path) -> bool:
    """Return whether a path exists, belongs to this user, and cannot be written by anybody else.

    Where there are no POSIX owners, existing is enough.
    """
    try:
        status = path.stat()
    except OSError:
        return False
    if os.name != "posix":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def choose_folder() -> Path:
    """Return the folder to load libraries from: one in the user's cache, made with mode 0700, if that is private."""
    import platformdirs

    root = platformdirs.user_cache_path("ncatool")
    folder = root / "engine"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return _make_temporary_folder()
    return folder if is_private(folder) else _make_temporary_folder()


def make_build_folder(folder: Path) -> Path:
    """Make a folder to build in, inside `folder` if it can be written, else inside the temporary one.

    Raises OSError where neither can be written.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="build-", dir=folder))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="build-", dir=_make_temporary_folder()))


@cache
def _make_temporary_folder() -> Path:
    """Make this process's private folder, which is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="ncatool-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
