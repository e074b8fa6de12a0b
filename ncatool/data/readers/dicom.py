"""DICOM pictures: files of one or several, and the series that a folder or a zip holds, by pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncatool.data.anatomy import cut_slice, find_placement, find_plane
from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster
from ncatool.data.readers.dicom_pixels import Decoder, make_raster
from ncatool.data.readers.dicom_series import Stack, choose_stack, find_spacing, read_frames
from ncatool.data.readers.limits import check_volume, import_package
from ncatool.errors import NcatoolError, UsageError


def read_dicom(path: Path, part: Part) -> Raster:
    """Read one picture of a file, or one slice of the series that a folder or a zip holds.

    Values are scaled, and windowed by default, as the file says. Raises NcatoolError where pydicom is not installed,
    where there are no pictures, and for pixels that no installed decoder can read.
    """
    import_package("pydicom", "medical", path)
    part.refuse_other(path, "DICOM pictures", planes=True, volumes=True)
    frames = read_frames(path)
    if not frames:
        raise NcatoolError(
            f"{path} holds no DICOM picture", "name a DICOM file of an image, or the folder or zip of a series"
        )
    stack = choose_stack(frames)
    raster = _read_slice(stack, part, path) if stack.is_placed else _read_frame(stack, part, path)
    if stack.note:
        raster.facts["note"] = stack.note
    return raster


def _read_slice(stack: Stack, part: Part, path: Path) -> Raster:
    """Read one slice of pictures that lie in the patient: one of them, or what lies across all of them."""
    count = len(stack.volumes)
    if count == 1:
        part.refuse_other(path, "one volume", planes=True)
    volume = part.choose_volume(count, path)
    slices, decoder, placement = stack.volumes[volume], Decoder(), find_placement(stack.find_directions())
    header = slices[len(slices) // 2].header
    shape = len(slices), int(header.Rows), int(header.Columns)
    check_volume(path, shape)
    shown = [header]

    def read(axis: int, position: int) -> NDArray[Any]:
        if axis == 0:
            shown[0] = slices[position].header
            return decoder.read(slices[position])
        return np.stack([decoder.read(frame).take(position, axis=axis - 1) for frame in slices])

    cut = cut_slice(read, shape, placement, part, path, find_plane(placement, 0))
    several = {"volume": volume, "volumes": count} if count > 1 else {}
    facts = {"plane": cut.plane, **({"slice": cut.index, "slices": cut.count} if len(slices) > 1 else {}), **several}
    chosen = Part("", cut.plane, cut.index, volume if count > 1 else None) if len(slices) > 1 else Part()
    return make_raster(np.ascontiguousarray(cut.values), shown[0], cut.spacing, chosen, facts)


def _read_frame(stack: Stack, part: Part, path: Path) -> Raster:
    """Read one of pictures of which nothing says how they lie in the patient, as they are stored."""
    part.refuse_other(path, "pictures without places", planes=bool(part.inherited_count))
    if part.plane and not part.inherited_count:
        raise UsageError(f"{path} does not say how its pictures lie in the patient", "leave the plane out")
    (frames,) = stack.volumes
    several = len(frames) > 1
    number = part.choose_index(len(frames), path, "frame")
    facts = {"frame": number, "frames": len(frames)} if several else {}
    header, values = frames[number].header, Decoder().read(frames[number])
    return make_raster(values, header, find_spacing(header), Part(index=number) if several else Part(), facts)
