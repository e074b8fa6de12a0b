"""One picture as a file holds it, before its values become 8 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ncatool.data.file_spec import Part
from ncatool.errors import UsageError


class GreyWindow(NamedTuple):
    """The values between which greys go from black to white."""

    low: float
    high: float
    is_sigmoid: bool = False
    """Whether greys follow a sigmoid through the middle, as some DICOM files ask for, and not a straight line."""

    def __str__(self) -> str:
        return f"{_format(self.low)}:{_format(self.high)}" + ":sigmoid" * self.is_sigmoid


def _format(value: float) -> str:
    """Return the shortest text that stands for this very number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


@dataclass(frozen=True, eq=False)
class Raster:
    """One upright picture, with what is known about its values."""

    values: Shaped[np.ndarray, "height width *colours"]
    """Grey of any number type, or uint8 in RGB or RGBA, not premultiplied."""
    opacity: Float[np.ndarray, "height width"] | None = None
    """From 0 to 1, besides that of RGBA; None: opaque."""
    spacing: tuple[float, float] = (1.0, 1.0)
    """Height and width of a pixel, in any unit."""
    window: GreyWindow | None = None
    """The window that the file proposes."""
    toned: UInt8[np.ndarray, "height width"] | None = None
    """The greys that the file's own look-up table gives."""
    is_inverted: bool = False
    """Whether low values are bright."""
    has_palette: bool = False
    """Whether its colours stand in a table, as those of label maps do."""
    is_volume: bool = False
    """Whether it is a slice of a volume."""
    is_tomogram: bool = True
    """Whether values may be Hounsfield units."""
    full_shape: tuple[int, int] | None = None
    """Height and width in the file, of a picture that was reduced as it was read."""
    part: Part = field(default_factory=Part)
    """Which part of the file it is."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record says of the part: plane, slice, number of slices."""

    @property
    def is_grey(self) -> bool:
        return self.values.ndim == 2

    @property
    def shape_in_file(self) -> tuple[int, int]:
        """Height and width before it was reduced."""
        height, width = self.full_shape or self.values.shape[:2]
        return height, width

    @property
    def slice_count(self) -> int:
        """Number of slices of which it is one; 0 where it is none."""
        return int(next((self.facts[name] for name in ("slices", "pages", "frames") if name in self.facts), 0))


def turn_upright(raster: Raster, orientation: Any) -> Raster:
    """Turn a picture as the tag `Orientation` of EXIF and TIFF asks for: 1 to 8, 1 for upright; others mean nothing."""
    if orientation not in range(2, 9):
        return raster
    transposed, down, across = orientation >= 5, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)

    def turn(array: Any) -> Any:
        array = array.swapaxes(0, 1) if transposed else array
        return np.ascontiguousarray(array[:: -1 if down else 1, :: -1 if across else 1])

    turned = _change_arrays(raster, turn)
    if not transposed:
        return turned
    full_shape = None if raster.full_shape is None else raster.full_shape[::-1]
    return dataclasses.replace(turned, spacing=raster.spacing[::-1], full_shape=full_shape)


def crop_raster(raster: Raster, crop: tuple[int, int, int, int] | None) -> Raster:
    """Return the part of a picture from a row and a column on, of a height and a width, in the pixels of its file.

    Raises UsageError for a part that is not within the picture.
    """
    if crop is None:
        return raster
    y, x, height, width = crop
    rows, columns = raster.shape_in_file
    if y + height > rows or x + width > columns:
        raise UsageError(
            f"the crop ends at row {y + height}, column {x + width}, but the picture has {rows} rows and {columns} "
            "columns",
            "give --crop Y,X,HEIGHT,WIDTH within it",
        )
    down, across = raster.values.shape[0] / rows, raster.values.shape[1] / columns  # 1 unless it was reduced
    top, left = int(y * down), int(x * across)
    box = slice(top, top + max(1, round(height * down))), slice(left, left + max(1, round(width * across)))
    return dataclasses.replace(_change_arrays(raster, lambda array: array[box]), full_shape=None)


def _change_arrays(raster: Raster, change: Callable[[Any], Any]) -> Raster:
    arrays = {name: getattr(raster, name) for name in ("values", "opacity", "toned")}
    changed: dict[str, Any] = {name: None if one is None else change(one) for name, one in arrays.items()}
    return dataclasses.replace(raster, **changed)
