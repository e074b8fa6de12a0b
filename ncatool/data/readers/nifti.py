"""NIfTI volumes, in any orientation, by nibabel (the extra `medical`)."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from ncatool.data.anatomy import cut_slice, find_placement
from ncatool.data.file_spec import Part
from ncatool.data.raster import GreyWindow, Raster
from ncatool.data.readers.limits import check_pixels, check_volume, import_package
from ncatool.data.window import convert_colours, hide_infinite
from ncatool.errors import NcatoolError

GZIP_MAGIC = b"\x1f\x8b"


def read_nifti(path: Path, part: Part) -> Raster:
    """Read one slice; of a file of several volumes, by default from the first.

    Values are scaled as the header says; its cal_min and cal_max are the window. Raises NcatoolError where nibabel is
    not installed.
    """
    nibabel = import_package("nibabel", "medical", path)
    part.refuse_other(path, "volumes", planes=True, volumes=True)
    with ExitStack() as stack:
        image = _open_image(path, nibabel, stack)
        shape = tuple(map(int, image.shape))
        check_volume(path, shape[:3])
        if len(shape) < 2 or any(length > 1 for length in shape[4:]):
            raise NcatoolError(f"{path} holds values of shape {list(shape)}", "give a volume, or volumes over time")
        shape += (1,) * (4 - len(shape))
        volume = part.choose_volume(shape[3], path)

        def read(axis: int, position: int) -> NDArray[Any]:
            index = tuple(position if one == axis else slice(None) for one in range(3))
            whole = (*index, volume, *(0 for _ in shape[4:]))
            return np.asarray(image.dataobj[whole[: len(image.shape)]]).reshape(
                [length for one, length in enumerate(shape[:3]) if one != axis]
            )

        for axis in range(3):
            check_pixels(path, *(shape[one] for one in range(3) if one != axis))
        placement = find_placement(image.affine[:3, :3].T)
        cut = cut_slice(read, shape[:3], placement, part, path)
        window = _find_window(image.header)
    values = _convert_type(cut.values)
    several = shape[3] > 1
    facts = {"plane": cut.plane, "slice": cut.index, "slices": cut.count}
    facts |= {"volume": volume, "volumes": shape[3]} if several else {}
    return Raster(
        convert_colours(values) if values.ndim == 3 else values,
        hide_infinite(values),
        cut.spacing,
        window,
        is_volume=True,
        part=Part(plane=cut.plane, index=cut.index, volume=volume if several else None),
        facts=facts,
    )


def _open_image(path: Path, nibabel: Any, stack: ExitStack) -> Any:
    """Open a file by what it holds, whatever its name; a header and its file of values by their names."""
    file: Any = stack.enter_context(path.open("rb"))
    if file.read(2) == GZIP_MAGIC:
        file = stack.enter_context(gzip.GzipFile(path))
    file.seek(0)
    head = file.read(348)
    file.seek(0)
    if head[344:347] == b"n+1":
        return nibabel.Nifti1Image.from_stream(file)
    return nibabel.Nifti2Image.from_stream(file) if head[4:7] == b"n+2" else nibabel.load(path)


def _find_window(header: Any) -> GreyWindow | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return GreyWindow(low, high) if np.isfinite([low, high]).all() and low < high else None


def _convert_type(values: NDArray[Any]) -> NDArray[Any]:
    """Return colours as an axis of their own, and complex values as their size."""
    if values.dtype.names:
        return np.stack([values[name] for name in values.dtype.names], axis=-1)
    return np.abs(values) if values.dtype.kind == "c" else np.ascontiguousarray(values)


def write_nifti(path: Path, volume: UInt8[np.ndarray, "slices rows columns"], compressed: bool) -> None:
    """Write a volume whose axial slices, read back, are those of the array, in the same order.

    The same volume gives the same bytes. Raises NcatoolError where nibabel is not installed.
    """
    nibabel = import_package("nibabel", "medical", path)
    content = nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0])).to_bytes()
    path.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
