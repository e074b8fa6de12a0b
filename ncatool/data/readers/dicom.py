"""DICOM files of one picture or several, and the series that a folder or a zip holds, by pydicom (the extra `medical`).

Only pixels and what they need to be shown are read; nothing of a patient, a study or a place leaves this module.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ncatool.data.anatomy import cut_slice, find_placement, find_plane
from ncatool.data.file_spec import Part
from ncatool.data.raster import GreyWindow, Raster
from ncatool.data.readers.limits import check_pixels, check_volume
from ncatool.data.readers.nifti import MEDICAL_INSTALL_HINT
from ncatool.data.window import apply_window, convert_colours, find_finite
from ncatool.errors import NcatoolError, UsageError

MAX_FILES = 10_000
"""Most files of a series."""
MAX_FRAMES = 10_000
"""Most pictures of a file."""
MAX_FILE_BYTES = 2**30
"""Largest file of a zip, which is read as a whole."""

_FRAME_GROUPS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
)  # fmt: skip
"""Parts of an enhanced file that say of each frame what plain files say of themselves."""

_TAGS = (
    "Rows", "Columns", "NumberOfFrames", "ImageType", "SeriesInstanceUID", "InstanceNumber", "Modality",
    "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelAspectRatio", "PhotometricInterpretation", "BitsStored", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelRepresentation",
)  # fmt: skip
"""All that is read of a file besides its pixels."""


@dataclass(frozen=True)
class Frame:
    """One picture of a series."""

    source: Path | zipfile.Path
    number: int
    """Position in its file."""
    header: Any
    """The pydicom dataset of what holds for this picture, without pixels."""


def read_dicom(path: Path, part: Part, may_reduce: bool = False) -> Raster:
    """Read one picture of a file, or one slice of the series that a folder or a zip holds.

    Values are scaled, and windowed by default, as the file says. Raises NcatoolError where pydicom is not installed,
    for a folder without pictures, and for pixels that no installed decoder can read.
    """
    try:
        import pydicom
    except ImportError:
        raise NcatoolError(
            f"{path}: DICOM needs the package pydicom, which is not installed", MEDICAL_INSTALL_HINT
        ) from None
    part.refuse_array(path)
    if path.is_dir() or zipfile.is_zipfile(path):
        frames = _choose_series(list(_read_headers(path, pydicom)), path)
        return _read_slice(frames, part, path)
    header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=[*_TAGS])
    frames = list(_list_frames(path, header, path))
    if frames and _find_directions(frames) is not None:
        return _read_slice(frames, part, path)
    return _read_frame(frames, part, path)


def _read_headers(path: Path, pydicom: Any) -> Iterator[Frame]:
    """Yield the pictures of all DICOM files in a folder or a zip, in any order; other files are passed over."""
    root = zipfile.Path(path) if path.is_file() else path
    for count, file in enumerate(_list_files(root)):
        if count >= MAX_FILES:
            raise NcatoolError(f"{path} holds more than {MAX_FILES:,} files", "name the folder of one series")
        try:
            with _open(file) as stream:
                yield from _list_frames(
                    file, pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[*_TAGS]), path
                )
        except NcatoolError:
            raise
        except Exception:  # whatever a file raises that is no DICOM
            continue


def _list_files(folder: Any) -> Iterator[Any]:
    for entry in sorted(folder.iterdir(), key=str):
        if entry.is_dir():
            yield from _list_files(entry)
        elif entry.is_file():
            yield entry


def _open(source: Any) -> io.BufferedIOBase:
    """Open a file; one of a zip is read into memory, as its bytes are read in any order."""
    if isinstance(source, Path):
        return source.open("rb")
    if source.root.getinfo(source.at).file_size > MAX_FILE_BYTES:
        raise NcatoolError(f"{source} is too large to be read from a zip", "unpack the zip first")
    return io.BytesIO(source.read_bytes())


def _list_frames(source: Any, header: Any, path: Path) -> Iterator[Frame]:
    """Yield the pictures of a file; none where it has no pixels."""
    if "Rows" not in header or "Columns" not in header:
        return
    check_pixels(path, int(header.Rows), int(header.Columns))
    count = int(header.get("NumberOfFrames", None) or 1)
    if count > MAX_FRAMES:
        raise NcatoolError(f"{path} says that it holds {count:,} pictures", "give a whole DICOM file")
    check_volume(path, (count, int(header.Rows), int(header.Columns)))
    shared, own = header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")
    for number in range(count):
        if not shared and not own:
            yield Frame(source, number, header)
            continue
        merged = header.copy()
        groups = [*(shared or [])[:1], *(own or [])[number : number + 1]]
        for items in (group.get(name) for group in groups for name in _FRAME_GROUPS):
            merged.update(items[0] if items else {})
        yield Frame(source, number, merged)


def _choose_series(frames: Sequence[Frame], path: Path) -> list[Frame]:
    """Return the slices of the largest series, without localizers and slices at the same place.

    Raises NcatoolError where there are none.
    """
    placed = [frame for frame in frames if "LOCALIZER" not in (frame.header.get("ImageType", None) or ())] or frames
    if not placed:
        raise NcatoolError(f"{path} holds no DICOM pictures", "name a DICOM file, or the folder or zip of a series")
    ((largest, _),) = Counter(map(_describe_stack, placed)).most_common(1)
    return [frame for frame in placed if _describe_stack(frame) == largest]


def _describe_stack(frame: Frame) -> tuple[Any, ...]:
    """Return what the slices of one stack have in common: series, size and orientation."""
    header = frame.header
    orientation = tuple(round(float(value), 2) for value in header.get("ImageOrientationPatient", None) or ())
    return header.get("SeriesInstanceUID", ""), header.Rows, header.Columns, orientation


def _find_directions(frames: Sequence[Frame]) -> Float[np.ndarray, "3 3"] | None:
    """Return the steps along right, front and up of a neighbouring slice, row and column; None where none are known.

    DICOM's own axes run to the left, to the back, and up. The first step is along the normal of the slices.
    """
    header = frames[0].header
    cosines = [float(value) for value in header.get("ImageOrientationPatient", None) or ()]
    if len(cosines) != 6 or any(len(frame.header.get("ImagePositionPatient", None) or ()) != 3 for frame in frames):
        return None
    along_row, along_column = np.array(cosines[:3]), np.array(cosines[3:])
    height, width = _find_spacing(header)
    normal = np.cross(along_row, along_column)
    places = np.unique([_find_place(frame, normal) for frame in frames])
    gap = float(np.median(np.diff(places))) if len(places) > 1 else 1.0
    steps = np.stack([normal * gap, along_column * height, along_row * width])
    return steps * [-1, -1, 1]


def _find_place(frame: Frame, normal: Float[np.ndarray, "3"]) -> float:
    """Return the position of a slice along the normal, in hundredths of a millimetre."""
    position = np.array([float(value) for value in frame.header.ImagePositionPatient])
    return round(float(position @ normal), 2)


def _find_spacing(header: Any) -> tuple[float, float]:
    """Return the height and width of a pixel in millimetres, or their ratio; 1 and 1 where it is not known."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        values = header.get(name, None)
        if values is not None and len(values) == 2 and min(map(float, values)) > 0:
            return float(values[0]), float(values[1])
    return 1.0, 1.0


def _sort_frames(frames: Sequence[Frame]) -> list[Frame]:
    """Return one frame for each place along the normal, in its order."""
    cosines = np.array([float(value) for value in frames[0].header.ImageOrientationPatient])
    normal = np.cross(cosines[:3], cosines[3:])
    placed: dict[float, Frame] = {}
    for frame in frames:
        placed.setdefault(_find_place(frame, normal), frame)
    return [placed[place] for place in sorted(placed)]


def _read_slice(frames: Sequence[Frame], part: Part, path: Path) -> Raster:
    """Read one slice of pictures that lie in the patient: one of them, or what lies across all of them."""
    directions = _find_directions(frames)
    if directions is None:
        return _read_frame(sorted(frames, key=_find_number), part, path)
    ordered, decoder = _sort_frames(frames), Decoder()
    placement = find_placement(directions)
    shape = len(ordered), int(ordered[0].header.Rows), int(ordered[0].header.Columns)
    check_volume(path, shape)
    shown = ordered[len(ordered) // 2]

    def read(axis: int, position: int) -> NDArray[Any]:
        nonlocal shown
        if axis == 0:
            shown = ordered[position]
            return decoder.read(shown)
        return np.stack([decoder.read(frame).take(position, axis=axis - 1) for frame in ordered])

    cut = cut_slice(read, shape, placement, part, path, find_plane(placement, 0))
    words = f"{cut.plane}:{cut.index}" if len(ordered) > 1 else ""
    facts = {"plane": cut.plane, **({"slice": cut.index, "slices": cut.count} if words else {})}
    return _make_raster(np.ascontiguousarray(cut.values), shown.header, cut.spacing, words, facts)


def _find_number(frame: Frame) -> tuple[int, int]:
    """Return what pictures are sorted by that have no place: their number in the series, and in their file."""
    try:
        return int(frame.header.get("InstanceNumber", None) or 0), frame.number
    except (TypeError, ValueError):
        return 0, frame.number


def _read_frame(frames: Sequence[Frame], part: Part, path: Path) -> Raster:
    """Read one of pictures of which nothing says how they lie in the patient, as they are stored."""
    if not frames:
        raise NcatoolError(f"{path} holds no picture", "give a DICOM file of an image")
    if part.plane and not part.is_inherited:
        raise UsageError(f"{path} does not say how its pictures lie in the patient", "leave the plane out")
    number = part.choose_index(len(frames), path, "frame")
    text, facts = (str(number), {"frame": number, "frames": len(frames)}) if len(frames) > 1 else ("", {})
    values, header = Decoder().read(frames[number]), frames[number].header
    return _make_raster(values, header, _find_spacing(header), text, facts)


class Decoder:
    """Decodes pictures, and keeps the file that it has read last: the next picture is often of the same."""

    def __init__(self) -> None:
        self._source: Any = None
        self._dataset: Any = None

    def read(self, frame: Frame) -> NDArray[Any]:
        """Return the values of a picture: grey, scaled as its file says, or uint8 in colour."""
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

        if self._source is not frame.source:
            self._source, self._dataset = frame.source, _load(frame.source)
        dataset, header = self._dataset, frame.header
        values = _decode(dataset, frame)
        if values.ndim == 3:
            return convert_colours(values)
        if header.get("PhotometricInterpretation", "") == "PALETTE COLOR":
            return convert_colours(apply_color_lut(values, dataset)[..., :3])
        if "ModalityLUTSequence" in header or _is_rescaled(header):
            return apply_modality_lut(values, header)
        return _shorten_type(values, header)


def _load(source: Any) -> Any:
    """Return the dataset of a file; one without its first part gets the syntax that it was read with."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with _open(source) as stream:
        dataset = pydicom.dcmread(stream, force=True)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def _decode(dataset: Any, frame: Frame) -> NDArray[Any]:
    """Return the stored values of a picture; NcatoolError where no installed decoder reads their compression."""
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return np.asarray(pixel_array(dataset, index=frame.number))
    except (RuntimeError, NotImplementedError):
        if not syntax.is_compressed:
            raise
        raise NcatoolError(
            f"{frame.source}: no installed decoder reads its pixels, whose compression is {syntax.name}",
            "save it without compression, such as by gdcmconv --raw",
        ) from None


def _is_rescaled(header: Any) -> bool:
    slope, intercept = header.get("RescaleSlope", None), header.get("RescaleIntercept", None)
    return slope is not None and intercept is not None and (float(slope), float(intercept)) != (1.0, 0.0)


def _shorten_type(values: NDArray[Any], header: Any) -> NDArray[Any]:
    """Return values of 1 bit as booleans, and of up to 8 bits as uint8."""
    bits = int(header.get("BitsStored", None) or 16)
    if values.dtype.kind != "u" or bits > 8:
        return values
    return values.astype(np.bool_ if bits == 1 else np.uint8)


def _make_raster(
    values: NDArray[Any], header: Any, spacing: tuple[float, float], part: str, facts: dict[str, Any]
) -> Raster:
    return Raster(
        values,
        find_finite(values),
        spacing,
        _find_window(header) if values.ndim == 2 else None,
        _apply_table(values, header) if values.ndim == 2 else None,
        is_inverted=header.get("PhotometricInterpretation", "") == "MONOCHROME1",
        is_volume="slices" in facts or header.get("Modality", "") == "SEG",
        is_tomogram=header.get("Modality", "CT") == "CT",
        part=part,
        facts=facts,
    )


def _find_window(header: Any) -> GreyWindow | None:
    """Return the first window of a file, by the functions of DICOM PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    centre, width = (_get_first(header.get(name, None)) for name in ("WindowCenter", "WindowWidth"))
    kind = str(header.get("VOILUTFunction", None) or "LINEAR").upper()
    if centre is None or width is None or width <= 0:
        return None
    if kind != "LINEAR":
        return GreyWindow(centre - width / 2, centre + width / 2, kind == "SIGMOID")
    low = centre - 0.5 - (width - 1) / 2
    return GreyWindow(low, low + max(width - 1, 1e-6))


def _get_first(value: Any) -> float | None:
    first = value if value is None or isinstance(value, int | float) else (*value, None)[0]
    return None if first is None or not np.isfinite(float(first)) else float(first)


def _apply_table(values: NDArray[Any], header: Any) -> NDArray[Any] | None:
    """Return the greys that the file's look-up table (VOI LUT) gives; None where it has none."""
    from pydicom.pixels.processing import apply_voi

    tables = header.get("VOILUTSequence", None)
    if not tables or "LUTData" not in tables[0] or "LUTDescriptor" not in tables[0]:
        return None
    bits = int(tables[0].LUTDescriptor[2])
    toned = apply_voi(np.rint(values).astype(np.int32), header)
    return apply_window(toned, GreyWindow(0, 2**bits - 1))
