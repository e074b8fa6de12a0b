"""The values of DICOM pictures, and how they are to be shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncatool.data.file_spec import Part
from ncatool.data.raster import GreyWindow, Raster
from ncatool.data.readers.dicom_series import Frame, Source
from ncatool.data.window import apply_window, convert_colours, hide_infinite
from ncatool.errors import NcatoolError


class Decoder:
    """Decodes pictures, and keeps the file that it has read last: the next picture is often of the same."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._dataset: Any = None

    def read(self, frame: Frame) -> NDArray[Any]:
        """Return the values of a picture: grey, scaled as its file says, or uint8 in colour."""
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

        if self._source != frame.source:
            self._source, self._dataset = frame.source, _load(frame.source)
        values, header = _decode(self._dataset, frame), frame.header
        bits = int(header.get("BitsStored", None) or 16)
        if values.ndim == 3:
            return convert_colours(values, None if values.dtype == np.uint8 and bits == 8 else 2**bits - 1)
        if header.get("PhotometricInterpretation", "") == "PALETTE COLOR":
            return convert_colours(apply_color_lut(values, self._dataset)[..., :3])
        if "ModalityLUTSequence" in header or _is_rescaled(header):
            return apply_modality_lut(values, header)
        return _spread_bits(values, bits)


def _load(source: Source) -> Any:
    """Return the dataset of a file; one without its first part gets the syntax that it was read with."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with source.open_whole() as stream:
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


def _spread_bits(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return unsigned values of 1 bit as booleans, and of up to 8 bits as uint8, from 0 to 255."""
    if values.dtype.kind != "u" or bits > 8:
        return values
    return values.astype(np.bool_) if bits == 1 else np.round(values * (255 / (2**bits - 1))).astype(np.uint8)


def make_raster(
    values: NDArray[Any], header: Any, spacing: tuple[float, float], part: Part, facts: dict[str, Any]
) -> Raster:
    """Return values with what their header says of how they are shown."""
    is_grey = values.ndim == 2
    return Raster(
        values,
        hide_infinite(values),
        spacing,
        _find_window(header) or _find_range_without_padding(values, header) if is_grey else None,
        _apply_table(values, header) if is_grey else None,
        is_inverted=header.get("PhotometricInterpretation", "") == "MONOCHROME1",
        has_palette=header.get("PhotometricInterpretation", "") == "PALETTE COLOR",
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
    if kind != "LINEAR" or width < 1:  # the standard's half values are for whole numbers
        return GreyWindow(centre - width / 2, centre + width / 2, kind == "SIGMOID")
    low = centre - 0.5 - (width - 1) / 2
    return GreyWindow(low, low + max(width - 1, 1e-6, 4 * float(np.spacing(abs(low)))))


def _get_first(value: Any) -> float | None:
    first = value if value is None or isinstance(value, int | float) else (*value, None)[0]
    return None if first is None or not np.isfinite(float(first)) else float(first)


def _find_range_without_padding(values: NDArray[Any], header: Any) -> GreyWindow | None:
    """Return the range of the values without those that stand for no measurement; None where there are none such."""
    from pydicom.pixels.processing import apply_modality_lut

    padding = _get_first(header.get("PixelPaddingValue", None))
    if padding is None or values.dtype in (np.uint8, np.bool_):
        return None
    limit = _get_first(header.get("PixelPaddingRangeLimit", None))
    ends = np.array([padding, padding if limit is None else limit], dtype=np.int64)
    low, high = sorted(apply_modality_lut(ends, header).tolist())
    measured = values[(values < low) | (values > high)]
    if measured.size in (0, values.size) or measured.min() == measured.max():
        return None
    return GreyWindow(float(measured.min()), float(measured.max()))


def _apply_table(values: NDArray[Any], header: Any) -> NDArray[Any] | None:
    """Return the greys that the file's look-up table (VOI LUT) gives; None where it has none."""
    from pydicom.pixels.processing import apply_voi

    tables = header.get("VOILUTSequence", None)
    if not tables or "LUTData" not in tables[0] or "LUTDescriptor" not in tables[0]:
        return None
    bits = int(tables[0].LUTDescriptor[2])
    toned = apply_voi(np.rint(values).astype(np.int32), header)
    return apply_window(toned, GreyWindow(0, 2**bits - 1))
