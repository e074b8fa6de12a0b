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
from ncatool.data.readers.limits import MAX_BYTES, check_pixels
from ncatool.data.sample_spec import PLANES
from ncatool.data.window import convert_colours, hide_infinite
from ncatool.errors import NcatoolError, UsageError, shorten

SHAPES = "[height, width], [slices, height, width], and either with 3 or 4 colours as the last axis"

SMALLER = "save the slice that is wanted as .npy"


def read_npy(path: Path, part: Part) -> Raster:
    """Read a picture, or one slice of a stack or volume; only that slice is brought into memory.

    Raises NcatoolError for an array that is no picture.
    """
    part.refuse_other(path, "one array", planes=True)
    return _cut(np.load(path, mmap_mode="r", allow_pickle=False), part, path)


def read_npz(path: Path, part: Part) -> Raster:
    """Read a picture, or one slice of a stack or volume, from the array that the part names, or the only one.

    Raises UsageError where several arrays are there and none is named, and NcatoolError for one that is no picture.
    """
    part.refuse_other(path, "pictures or volumes", arrays=True, planes=True)
    with zipfile.ZipFile(path) as file:
        sizes = {one.filename.removesuffix(".npy"): one.file_size for one in file.infolist()}
        # A number is the name of an array where one is called so.
        if len(sizes) > 1 and not part.array and part.index is not None and str(part.index) in sizes:
            part = Part(str(part.index), part.plane)
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
    if len(leading) == 2:
        part.refuse_other(path, "one picture", arrays=True)
        part.choose_index(1, path, "picture")
        return _make_raster(array, has_colours, path, Part(name), {})
    if has_colours:
        part.refuse_other(path, "pictures in colour", arrays=True)
    plane = part.plane or PLANES[0]
    axis = PLANES.index(plane)
    index = part.choose_index(leading[axis], path, "picture" if has_colours else f"{plane} slice")
    facts = {"slice": index, "slices": leading[axis]} | ({} if has_colours else {"plane": plane})
    chosen = Part(name, "" if has_colours else plane, index)
    return _make_raster(array[(slice(None),) * axis + (index,)], has_colours, path, chosen, facts)


def _make_raster(array: NDArray[Any], has_colours: bool, path: Path, part: Part, facts: dict[str, Any]) -> Raster:
    check_pixels(path, *array.shape[:2])
    values = np.array(array[..., 0] if has_colours and array.shape[-1] == 1 else array)
    opacity = hide_infinite(values)
    values = convert_colours(values) if values.ndim == 3 else values
    return Raster(values, opacity, is_volume=bool(facts), part=part, facts=facts)
