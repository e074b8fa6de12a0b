"""One picture as a file holds it, before its values become 8 bits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

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
    visible: Bool[np.ndarray, "height width"] | None = None
    """Pixels that are not transparent; None: all."""
    spacing: tuple[float, float] = (1.0, 1.0)
    """Height and width of a pixel, in any unit."""
    window: GreyWindow | None = None
    """The window that the file proposes."""
    toned: UInt8[np.ndarray, "height width"] | None = None
    """The greys that the file's own look-up table gives."""
    is_inverted: bool = False
    """Whether low values are bright."""
    is_volume: bool = False
    """Whether it is a slice of a volume."""
    is_tomogram: bool = True
    """Whether values may be Hounsfield units."""
    part: str = ""
    """The text that names this part of the file; empty where the file holds one picture."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record says of the part: plane, slice, count of slices."""

    @property
    def is_grey(self) -> bool:
        return self.values.ndim == 2


def turn_upright(raster: Raster, orientation: Any) -> Raster:
    """Turn a picture as the tag `Orientation` of EXIF and TIFF asks for: 1 to 8, 1 for upright; others mean nothing."""
    if orientation not in range(2, 9):
        return raster
    transposed, down, across = orientation >= 5, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)

    def turn(array: Any) -> Any:
        array = array.swapaxes(0, 1) if transposed else array
        return np.ascontiguousarray(array[:: -1 if down else 1, :: -1 if across else 1])

    return dataclasses.replace(
        raster,
        values=turn(raster.values),
        visible=None if raster.visible is None else turn(raster.visible),
        spacing=raster.spacing[::-1] if transposed else raster.spacing,
    )


def crop_raster(raster: Raster, crop: tuple[int, int, int, int] | None) -> Raster:
    """Return the part of a picture from a row and a column on, of a height and a width, all in its own pixels.

    Raises UsageError for a part that is not within the picture.
    """
    if crop is None:
        return raster
    y, x, height, width = crop
    if y + height > raster.values.shape[0] or x + width > raster.values.shape[1]:
        rows, columns = raster.values.shape[:2]
        raise UsageError(
            f"the crop ends at row {y + height}, column {x + width}, but the picture has {rows} rows and {columns} "
            "columns",
            "give --crop Y,X,HEIGHT,WIDTH within it",
        )
    box = slice(y, y + height), slice(x, x + width)
    arrays = {name: getattr(raster, name) for name in ("values", "visible", "toned")}
    cut: dict[str, Any] = {name: None if one is None else one[box] for name, one in arrays.items()}
    return dataclasses.replace(raster, **cut)
