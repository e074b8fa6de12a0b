"""Writing files so that a reader, a crash or a power cut never sees half a file."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ncatool.errors import NcatoolError, UsageError

MAX_HIDDEN_BYTES = 200
"""Bytes of a file's name that the names of its temporary and lock files contain; file systems take 255 in all."""
_PARTIAL_ENDING = re.compile(r"\.([0-9a-f]{8}|\d+)\.partial")
"""How the name of a temporary file ends: by a random number, or by the process number of earlier versions."""
_HINTS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENAMETOOLONG: "give a shorter name",
}


def check_writable(outputs: Sequence[Path], force: bool, inputs: Sequence[Path] = ()) -> None:
    """Raise UsageError for an output that is an input or a folder, or that exists without `force`.

    `inputs` are the files that the command reads; an output may reach one of them by another path or a link. Raises
    NcatoolError where a file of that name cannot be created. Commands call this before they work.
    """
    read = {_identify(source) for source in inputs} - {None}
    for path in outputs:
        if _identify(path) in read:
            raise UsageError(f"{path} is read by this command, which cannot write over it", "give another name")
        _check_absent(path, force)
    for folder in {path.parent for path in outputs}:
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise describe_write_error(folder, error) from None


def _identify(path: Path) -> tuple[int, int] | None:
    """Return what is the same for all names of a file; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _check_absent(path: Path, force: bool) -> None:
    """Raise UsageError for a folder, and without `force` for anything else of that name, broken links included."""
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise describe_write_error(path, error) from None
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "give the name of a file")
    if not force:
        raise _describe_existing(path)


def _describe_existing(path: Path) -> UsageError:
    return UsageError(f"{path} exists already", "give another name, or --force to overwrite it")


def describe_write_error(path: Path, error: OSError) -> NcatoolError:
    """Return the error for the user when writing to `path` failed."""
    hint = _HINTS.get(error.errno or 0, "choose a folder that exists and is yours to write")
    return NcatoolError(f"{path} cannot be written: {error.strerror or error}", hint)


@contextmanager
def replace_atomically(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a new temporary file in the same folder; when the block ends, flush that file and rename it to `path`.

    A file that is replaced keeps its owner and permissions. Raises NcatoolError where the disk is full or the folder
    is not writable, and UsageError where `path` exists by then, unless `overwrite` is set; it then keeps its content.
    """
    partial = path.with_name(hide_name(path.name, f".{secrets.token_hex(4)}.partial"))
    try:
        replaced = _read_status(path)
        _create_file(partial, 0o600 if replaced else 0o666)
        yield partial
        if replaced:
            _set_permissions(partial, replaced)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            partial.replace(path)
        else:
            _rename_new(partial, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise describe_write_error(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


def hide_name(name: str, ending: str) -> str:
    """Return the name of a hidden file that belongs to the file `name`; a long name is cut and gets a checksum."""
    content = os.fsencode(name)
    if len(content) > MAX_HIDDEN_BYTES:
        name = f"{content[:MAX_HIDDEN_BYTES].decode(errors='ignore')}.{zlib.crc32(content):08x}"
    return f".{name}{ending}"


def _read_status(path: Path) -> os.stat_result | None:
    """Return owner and permissions of a regular file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _set_permissions(path: Path, status: os.stat_result) -> None:
    """Give a file this owner, as far as this process may, and these permissions."""
    if os.name == "posix" and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.chown(path, status.st_uid, status.st_gid)
    path.chmod(stat.S_IMODE(status.st_mode))


def _create_file(path: Path, mode: int) -> None:
    """Create an empty file; OSError where anything has that name, so that a link planted there is not followed."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode))


def _rename_new(partial: Path, path: Path) -> None:
    """Give a file its name, unless there is a file of that name; where links are impossible, one can slip between."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise _describe_existing(path) from None
    except OSError:
        _check_absent(path, force=False)
        partial.replace(path)


def remove_partials(path: Path) -> None:
    """Remove the temporary files that killed processes left beside `path`.

    Only for a process that holds the lock: it would remove the temporary file of a running writer, too.
    """
    start = hide_name(path.name, "")
    with suppress(OSError):
        for file in path.parent.iterdir():
            if file.name.startswith(start) and _PARTIAL_ENDING.fullmatch(file.name[len(start) :]):
                file.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the folder, so that the rename survives a power cut; Windows cannot open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes, overwrite: bool = True) -> None:
    """Write a file whole or not at all; see `replace_atomically`."""
    with replace_atomically(path, overwrite) as partial:
        partial.write_bytes(content)
