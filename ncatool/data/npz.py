"""Reading of single items from arrays in an npz file, so that a set of gigabytes is never loaded as a whole.

Files may be damaged or hostile: sizes are checked before anything is read.
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ncatool.errors import NcatoolError

READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,  # an unknown compression
    RuntimeError,  # an encrypted entry
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,  # numpy reads headers as Python literals
    tokenize.TokenError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""Exceptions that zipfile and numpy raise on files that are damaged or hostile."""
MAX_ITEM_BYTES = 2**26
"""Largest size of one item; no picture or volume takes more."""

MAX_HEADER_BYTES = 10_000
"""Largest size of an array's header; numpy allows as many."""


class DamagedFileError(NcatoolError):
    """A file that is not a complete npz of plain arrays."""


@dataclass(frozen=True)
class Header:
    """Shape and dtype of one array, as its header in the npz states them."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedFileError(f"{path} is damaged: {reason}", "delete it, and fetch it again") from None


def _read_header(file: zipfile.ZipFile, entry: Any, name: str) -> Header:
    """Read the header of an array opened as `entry`, and leave the position at its first value.

    Raises ValueError for Python objects, Fortran order, or a size that differs from that of the entry.
    """
    version = npy.read_magic(entry)
    _check_header_length(entry, version, name)
    parse = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if parse is None:
        raise ValueError(f"{name} has the unknown version {version}")
    with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote, and of odd literals
        shape, fortran, dtype = parse(entry)
    if dtype.hasobject or fortran:
        raise ValueError(f"{name} holds {'Python objects' if dtype.hasobject else 'its columns first'}")
    size = entry.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if min(shape, default=0) < 0 or file.getinfo(f"{name}.npy").file_size != size:
        raise ValueError(f"{name} is {dtype} {list(shape)} by its header, but takes another number of bytes")
    return Header(tuple(shape), dtype)


def _check_header_length(entry: Any, version: tuple[int, int], name: str) -> None:
    """Raise ValueError for a header longer than any array has: numpy would read it before it refuses it."""
    length_bytes = 2 if version == (1, 0) else 4
    length = int.from_bytes(entry.read(length_bytes), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"{name} has a header of {length:,} bytes")
    entry.seek(npy.MAGIC_LEN)


def read_headers(path: Path, names: Iterable[str]) -> dict[str, Header]:
    """Return the headers of those of the named arrays that the file holds; no array is read.

    Raises DamagedFileError where the file is not an npz, or an array contradicts its header.
    """
    headers = {}
    with _open_zip(path) as file:
        present = set(file.namelist())
        for name in names:
            if f"{name}.npy" in present:
                with file.open(f"{name}.npy") as entry:
                    headers[name] = _read_header(file, entry, name)
    return headers


def read_items(path: Path, name: str, indices: Iterable[int]) -> Iterator[NDArray[Any]]:
    """Yield items along the first axis of an array; indices must ascend, and items between them are skipped.

    Raises DamagedFileError where the file is damaged, and NcatoolError where an index is too large.
    """
    with _open_zip(path) as file, file.open(f"{name}.npy") as entry:
        header = _read_header(file, entry, name)
        count = header.shape[0] if header.shape else 0
        length = int(np.prod(header.shape[1:], dtype=object)) * header.dtype.itemsize
        if length > MAX_ITEM_BYTES:
            raise ValueError(f"an item of {name} takes {length:,} bytes")
        start = entry.tell()
        for index in indices:
            if index >= count:
                raise NcatoolError(f"{path} holds {count:,} {name}, so none with index {index}", "give a smaller index")
            entry.seek(start + index * length)
            content = entry.read(length)
            if len(content) != length:
                raise EOFError(f"{name} ends early")
            yield np.frombuffer(content, header.dtype).reshape(header.shape[1:])


def verify_checksums(path: Path, names: Iterable[str]) -> None:
    """Read arrays to the end, 1 MiB at a time, which makes zipfile compare their checksums.

    The headers must have been checked before. Raises DamagedFileError where a checksum differs.
    """
    with _open_zip(path) as file:
        for name in names:
            with file.open(f"{name}.npy") as entry:
                while entry.read(2**20):
                    pass
