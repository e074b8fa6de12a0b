"""Arrays in an npz file, one entry at a time: a set of gigabytes gives a picture without being loaded."""

from __future__ import annotations

import lzma
import struct
import tokenize
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
"""What zipfile and numpy raise on files that are damaged or hostile."""


MAX_ITEM_BYTES = 2**26
"""Of one item: more is no picture."""


class DamagedError(NcatoolError):
    """A file that is no whole npz of plain arrays."""


@dataclass(frozen=True)
class Header:
    """What an npz says of one of its arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedError(f"{path} is damaged: {reason}", "delete it, and fetch it again") from None


def _read_header(file: zipfile.ZipFile, entry: Any, name: str) -> Header:
    """Reads the header of an array opened as `entry`, which then stands at its first value."""
    version = npy.read_magic(entry)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{name} has the unknown version {version}")
    shape, fortran, dtype = read(entry)
    if dtype.hasobject or fortran:
        raise ValueError(f"{name} holds {'Python objects' if dtype.hasobject else 'its columns first'}")
    size = entry.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if min(shape, default=0) < 0 or file.getinfo(f"{name}.npy").file_size != size:
        raise ValueError(f"{name} is said to be {dtype} {list(shape)}, but takes another number of bytes")
    return Header(tuple(shape), dtype)


def read_headers(path: Path, names: Iterable[str]) -> dict[str, Header]:
    """Shape and dtype of the arrays of these names that are there, without reading one.

    Raises DamagedError where the file is no npz, or an array is not what its header says.
    """
    found = {}
    with _open_zip(path) as file:
        present = set(file.namelist())
        for name in names:
            if f"{name}.npy" in present:
                with file.open(f"{name}.npy") as entry:
                    found[name] = _read_header(file, entry, name)
    return found


def read_items(path: Path, name: str, indices: Iterable[int]) -> Iterator[NDArray[Any]]:
    """Items along the first axis of an array, by ascending index; what lies between is passed over, not kept.

    Raises DamagedError where the file is, and NcatoolError where there is no such item.
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


def verify(path: Path, names: Iterable[str]) -> None:
    """Reads arrays through, a piece at a time, and compares their checksums; their headers must be sane.

    Raises DamagedError where one does not fit.
    """
    with _open_zip(path) as file:
        for name in names:
            with file.open(f"{name}.npy") as entry:
                while entry.read(2**20):
                    pass
