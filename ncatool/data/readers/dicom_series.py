"""The pictures of DICOM files, folders and zips, and the stacks that they make up.

Only what is needed to show pixels is read; nothing of a patient, a study or a place.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ncatool.data.readers.limits import MAX_BYTES, MAX_FRAMES, check_pixels, check_volume
from ncatool.errors import NcatoolError

_FRAME_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
)  # fmt: skip
"""Parts of an enhanced file that say of each frame what plain files say of themselves."""

_TAGS = (
    "Rows", "Columns", "NumberOfFrames", "ImageType", "SeriesInstanceUID", "InstanceNumber", "Modality",
    "ImageOrientationPatient", "ImagePositionPatient", "GridFrameOffsetVector", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelAspectRatio", "PhotometricInterpretation", "BitsStored", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""All that is read of a file besides its pixels."""

ZIP_MAGIC = b"PK\3\4"
"""What a zip begins with."""

MIN_COSINE = 0.999
"""Cosine of the angle up to which slices are of one orientation: headers round."""
PLACE_TOLERANCE = 0.01
"""Share of a pixel's side by which the places of slices may differ that count as one: headers round."""
MAX_GAP_RATIO = 1.5
"""Ratio of the widest to the narrowest gap between slices up to which none is missing."""


class Source(NamedTuple):
    """A DICOM file, which may lie in a zip."""

    path: Path
    entry: str = ""
    """Its name in the zip; empty for a file."""

    def __str__(self) -> str:
        return f"{self.path}/{self.entry}" if self.entry else str(self.path)

    def open_whole(self) -> io.BufferedIOBase:
        """Open the file; that of a zip is unpacked into memory. Raises NcatoolError for one that is too large."""
        if not self.entry:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as packed:
            if packed.getinfo(self.entry).file_size > MAX_BYTES:
                raise NcatoolError(f"{self} is too large to be read from a zip", "unpack the zip first")
            return io.BytesIO(packed.read(self.entry))


class SlicePlane(NamedTuple):
    """How a picture lies in the patient, in DICOM's coordinates: to the left, to the back, and up, in millimetres."""

    along_row: Float[np.ndarray, "3"]
    along_column: Float[np.ndarray, "3"]
    position: Float[np.ndarray, "3"]
    """Middle of the first pixel."""

    @property
    def normal(self) -> Float[np.ndarray, "3"]:
        return np.cross(self.along_row, self.along_column)

    def is_parallel(self, other: SlicePlane) -> bool:
        """Return whether rows and columns of both run the same way."""
        return bool(min(self.along_row @ other.along_row, self.along_column @ other.along_column) > MIN_COSINE)

    def find_place(self, normal: Float[np.ndarray, "3"], tolerance: float) -> float:
        """Return the position along a normal, rounded to a multiple of a tolerance in millimetres."""
        return round(float(self.position @ normal) / tolerance) * tolerance


@dataclass(frozen=True)
class Frame:
    """One picture of a file."""

    source: Source
    number: int
    """Position in its file."""
    header: Any
    """The pydicom dataset of what holds for this picture, without pixels."""
    plane: SlicePlane | None
    """None where the file does not say how it lies."""

    @property
    def order(self) -> tuple[int, str, int]:
        """What pictures at one place, or without a place, are sorted by."""
        try:
            number = int(self.header.get("InstanceNumber", None) or 0)
        except (TypeError, ValueError):
            number = 0
        return number, str(self.source), self.number


@dataclass(frozen=True)
class Stack:
    """Pictures of one series, size and orientation."""

    volumes: list[list[Frame]]
    """Slices in the order of their places; several where each place has been imaged several times."""
    is_placed: bool
    """Whether the places are known; else the one volume holds pictures in the order of their numbers."""
    note: str
    """What was left out, or is unusual; empty if nothing."""

    def find_directions(self) -> Float[np.ndarray, "3 3"]:
        """Return the steps along right, front and up of a neighbouring slice, row and column."""
        first, slices = self.volumes[0][0], self.volumes[0]
        assert first.plane is not None
        height, width = find_spacing(first.header)
        gap = float(np.median(_list_gaps(slices))) if len(slices) > 1 else 1.0
        steps = [first.plane.normal * gap, first.plane.along_column * height, first.plane.along_row * width]
        return np.stack(steps) * [-1, -1, 1]


def read_frames(path: Path) -> list[Frame]:
    """Return the pictures of a file, or of all DICOM files of a folder or a zip, in any order; others are passed over.

    Links to folders are not followed. Raises NcatoolError for more files than a series has, and what pydicom raises
    for a single file that is damaged.
    """
    import pydicom

    if path.is_file() and not _is_zip(path):
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=[*_TAGS])
        return list(_list_frames(Source(path), header))
    frames: list[Frame] = []
    for stream, source in _open_all(path):
        try:
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[*_TAGS])
            frames += _list_frames(source, header)
        except Exception:  # whatever a file raises that is no DICOM
            continue
    return frames


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def _open_all(path: Path) -> Iterator[tuple[Any, Source]]:
    """Yield each file of a folder or a zip, opened, in the order of their names."""
    if path.is_dir():
        for file in _list_files(path):
            with file.open("rb") as stream:
                yield stream, Source(file)
        return
    with zipfile.ZipFile(path) as packed:
        names = sorted(one.filename for one in packed.infolist() if not one.is_dir())
        _check_count(len(names), path)
        for name in names:
            with packed.open(name) as entry:
                yield entry, Source(path, name)


def _list_files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for count, (inner, _, names) in enumerate(os.walk(folder)):
        files += [Path(inner, name) for name in names if Path(inner, name).is_file()]
        _check_count(count + len(files), folder)
    return sorted(files)


def _check_count(count: int, path: Path) -> None:
    if count > MAX_FRAMES:
        raise NcatoolError(f"{path} holds more than {MAX_FRAMES:,} files", "name the folder of one series")


def _list_frames(source: Source, header: Any) -> Iterator[Frame]:
    """Yield the pictures of a file; none where it has no pixels."""
    from pydicom.dataset import Dataset

    if "Rows" not in header or "Columns" not in header:
        return
    check_pixels(source.path, int(header.Rows), int(header.Columns))
    count = int(header.get("NumberOfFrames", None) or 1)
    if count > MAX_FRAMES:
        raise NcatoolError(f"{source} says that it holds {count:,} pictures", "give a whole DICOM file")
    check_volume(source.path, (count, int(header.Rows), int(header.Columns)))
    shared, own = header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")
    for number in range(count):
        merged = header
        if shared or own:
            merged = Dataset()
            merged.update(header)
            groups = [*(shared or [])[:1], *(own or [])[number : number + 1]]
            for items in (group.get(name) for group in groups for name in _FRAME_GROUPS):
                merged.update(items[0] if items else {})
        yield Frame(source, number, merged, _parse_plane(merged, number))


def _parse_plane(header: Any, number: int) -> SlicePlane | None:
    cosines = [float(value) for value in header.get("ImageOrientationPatient", None) or ()]
    position = [float(value) for value in header.get("ImagePositionPatient", None) or ()]
    if len(cosines) != 6 or len(position) != 3 or not np.isfinite([*cosines, *position]).all():
        return None
    plane = SlicePlane(np.array(cosines[:3]), np.array(cosines[3:]), np.array(position))
    offsets = header.get("GridFrameOffsetVector", None) or ()  # of radiation doses
    if number >= len(offsets):
        return plane
    return plane._replace(position=plane.position + plane.normal * float(offsets[number]))


def choose_stack(frames: Sequence[Frame]) -> Stack:
    """Return the largest stack of pictures that belong together, localizers left out."""
    own = [frame for frame in frames if "LOCALIZER" not in (frame.header.get("ImageType", None) or ())] or frames
    stacks = [
        stack for _, series in groupby(sorted(own, key=_describe_series), _describe_series) for stack in _split(series)
    ]
    largest = max(stacks, key=len)
    note = f"{len(largest)} of {len(frames)} pictures, the largest stack" if len(largest) < len(frames) else ""
    return _sort_stack(largest, note)


def _split(series: Iterable[Frame]) -> list[list[Frame]]:
    """Return the pictures of one series and size by their orientations."""
    stacks: list[list[Frame]] = []
    for frame in series:
        fitting = next((stack for stack in stacks if _is_parallel(frame, stack[0])), None)
        if fitting is None:
            stacks.append([frame])
        else:
            fitting.append(frame)
    return stacks


def _describe_series(frame: Frame) -> tuple[str, int, int]:
    return str(frame.header.get("SeriesInstanceUID", "")), int(frame.header.Rows), int(frame.header.Columns)


def _is_parallel(frame: Frame, first: Frame) -> bool:
    if frame.plane is None or first.plane is None:
        return frame.plane is first.plane
    return frame.plane.is_parallel(first.plane)


def _sort_stack(frames: Sequence[Frame], note: str) -> Stack:
    """Return a stack in the order of its places, or of its numbers where places are not known or all the same."""
    first = frames[0].plane
    numbered = Stack([sorted(frames, key=lambda frame: frame.order)], False, note)
    if first is None:
        return numbered
    placed = sorted(frames, key=lambda frame: (_find_place(frame, first), frame.order))
    groups = [list(group) for _, group in groupby(placed, key=lambda frame: _find_place(frame, first))]
    if len(groups) == 1 and len(frames) > 1:
        return numbered
    count = len(groups[0])
    if any(len(group) != count for group in groups):  # a few slices twice
        count = 1
    volumes = [[group[number] for group in groups] for number in range(count)]
    left = len(frames) - count * len(groups)
    notes = [note, f"{left} pictures at the places of others left out" if left else "", *_describe_gaps(volumes[0])]
    return Stack(volumes, True, "; ".join(filter(None, notes)))


def _find_place(frame: Frame, first: SlicePlane) -> float:
    assert frame.plane is not None
    return frame.plane.find_place(first.normal, PLACE_TOLERANCE * min(find_spacing(frame.header)))


def _list_gaps(slices: Sequence[Frame]) -> Float[np.ndarray, "gaps"]:
    first = slices[0].plane
    assert first is not None
    return np.diff([_find_place(frame, first) for frame in slices])


def _describe_gaps(slices: Sequence[Frame]) -> list[str]:
    """Return what is unusual about the places of slices: missing ones, or a tilt that shears what lies across them."""
    if len(slices) < 2:
        return []
    gaps, first, last = _list_gaps(slices), slices[0].plane, slices[-1].plane
    assert first is not None
    assert last is not None
    notes = []
    if gaps.max() > MAX_GAP_RATIO * gaps.min():
        notes.append(f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart, and shown as if evenly")
    way = last.position - first.position
    if way @ first.normal < MIN_COSINE * np.linalg.norm(way):
        notes.append("the slices are tilted, so planes across them are sheared")
    return notes


def find_spacing(header: Any) -> tuple[float, float]:
    """Return the height and width of a pixel in millimetres, or their ratio; 1 and 1 where it is not known."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        values = header.get(name, None)
        if values is not None and len(values) == 2 and min(map(float, values)) > 0:
            return float(values[0]), float(values[1])
    return 1.0, 1.0
