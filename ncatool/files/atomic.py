"""Writing files so that a reader, a crash or a power cut never sees half a file."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ncatool.errors import NcatoolError, UsageError


def check_writable(paths: list[Path], force: bool) -> None:
    """Raise UsageError for an output that is a folder, or that exists without `force`.

    Raises NcatoolError where a file cannot be created in the output's folder. Commands call this before they work.
    """
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder", "give the name of a file")
        if path.exists() and not force:
            raise UsageError(f"{path} exists already", "give another name, or --force to overwrite it")
    for folder in {path.parent for path in paths}:
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise describe_write_error(folder, error) from None


def describe_write_error(path: Path, error: OSError) -> NcatoolError:
    """Return the error for the user when writing to `path` failed."""
    hint = (
        "free some space"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "choose a folder that exists and is yours to write"
    )
    return NcatoolError(f"{path} cannot be written: {error.strerror or error}", hint)


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends, flush that file and rename it to `path`.

    Raises NcatoolError where the disk is full or the folder is not writable; `path` then keeps its old content.
    """
    partial = path.with_name(f".{path.name[:200]}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise describe_write_error(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Remove the temporary files that killed processes left beside `path`.

    Only for a process that holds the lock: it would remove the temporary file of a running writer, too.
    """
    for partial in path.parent.glob(f".{glob.escape(path.name[:200])}.*.partial"):
        partial.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the folder, so that the rename survives a power cut; Windows cannot open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replace_atomically(path) as partial:
        partial.write_bytes(content)
