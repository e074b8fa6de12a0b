"""Arrays that numpy has saved: pictures, stacks and volumes in .npy and .npz files, never unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster
from ncatool.data.readers.limits import check_pixels
from ncatool.data.sample_spec import PLANES
from ncatool.data.window import convert_colours, find_finite
from ncatool.errors import NcatoolError, UsageError, shorten

SHAPES = "[height, width], [slices, height, width], and either with 3 or 4 colours as the last axis"

MAX_BYTES = 2**30
"""Largest array of an npz file, which is read as a whole."""
SMALLER = "save the slice that is wanted as .npy"


def read_npy(path: Path, part: Part, may_reduce: bool = False) -> Raster:
    """Read a picture, or one slice of a stack or volume; only that slice is brought into memory.

    Raises NcatoolError for an array that is no picture.
    """
    part.refuse_array(path)
    return _cut(np.load(path, mmap_mode="r", allow_pickle=False), part, path)


def read_npz(path: Path, part: Part, may_reduce: bool = False) -> Raster:
    """Read a picture, or one slice of a stack or volume, from the array that the part names, or the only one.

    Raises UsageError where several arrays are there and none is named, and NcatoolError for one that is no picture.
    """
    with zipfile.ZipFile(path) as file:
        sizes = {one.filename.removesuffix(".npy"): one.file_size for one in file.infolist()}
        name = part.array or (next(iter(sizes)) if len(sizes) == 1 else "")
        if name not in sizes:
            found = ", ".join(sorted(sizes)[:10]) or "none"
            what = f"no array {shorten(name)}" if name else "several arrays"
            raise UsageError(f"{path} has {what}", f"name one as {path.name}:ARRAY; its arrays: {found}")
        if sizes[name] > MAX_BYTES:
            raise NcatoolError(f"{path}: {name} takes {sizes[name]:,} bytes, but {MAX_BYTES:,} are the most", SMALLER)
        with file.open(f"{name}.npy") as entry:
            array = npy.read_array(entry, allow_pickle=False)
    return _cut(array, part, path, name)


def _cut(array: NDArray[Any], part: Part, path: Path, name: str = "") -> Raster:
    """Return the slice of an array that the part names.

    Planes cut a volume across its first, second or third axis, as in MedMNIST; stacks of colour pictures have none.
    """
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise NcatoolError(f"{path} holds {array.dtype}", "give an array of whole numbers, fractions or booleans")
    has_colours = array.ndim in (3, 4) and array.shape[-1] in (1, 3, 4)
    leading = array.shape[:-1] if has_colours else array.shape
    if len(leading) not in (2, 3) or not array.size:
        raise NcatoolError(f"{path} holds an array of shape {list(array.shape)}", f"give {SHAPES}")
    words, facts = [name] if name else [], {}
    if len(leading) == 3:
        if has_colours:
            part.refuse_plane(path, "pictures in colour")
        plane = part.plane or PLANES[0]
        axis = PLANES.index(plane)
        index = part.choose_index(leading[axis], path, "picture" if has_colours else f"{plane} slice")
        array = array[(slice(None),) * axis + (index,)]
        words += [str(index)] if has_colours else [plane, str(index)]
        facts = {"slice": index, "slices": leading[axis]} | ({} if has_colours else {"plane": plane})
    else:
        part.refuse_plane(path, "one picture")
        part.choose_index(1, path, "picture")
    values = np.array(array[..., 0] if has_colours and array.shape[-1] == 1 else array)
    check_pixels(path, *values.shape[:2])
    finite = find_finite(values)
    values = convert_colours(values) if values.ndim == 3 else values
    return Raster(values, finite, is_volume=bool(facts), part=":".join(words), facts=facts)
