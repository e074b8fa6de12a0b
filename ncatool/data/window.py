"""Greys of any depth as 8 bits: which values become black and white."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ncatool.config.names import Window
from ncatool.config.schema import parse_window
from ncatool.data.raster import GreyWindow, Raster
from ncatool.errors import NcatoolError, UsageError

PRESETS = {
    Window.LUNG: GreyWindow(-1350, 150),
    Window.BONE: GreyWindow(-500, 1300),
    Window.BRAIN: GreyWindow(0, 80),
    Window.SOFT: GreyWindow(-150, 250),
}
"""Usual windows of computed tomography in Hounsfield units: levels -600, 400, 40, 50, widths 1500, 1800, 80, 400.

Source: Radiopaedia, "Windowing (CT)".
"""


def choose_window(text: str, raster: Raster) -> GreyWindow | None:
    """Return the window that the text asks for; None where 8-bit greys stay as they are.

    Raises UsageError for a window that means nothing for the picture, and NcatoolError where all values are the same.
    """
    asked = parse_window(text)
    if isinstance(asked, tuple):
        return GreyWindow(*asked)
    if asked in PRESETS:
        if not raster.is_tomogram or raster.values.dtype == np.uint8:
            raise UsageError(
                f"--window {asked} is for computed tomography, but the picture is none", "give LOW:HIGH, or auto"
            )
        return PRESETS[asked]
    if asked is Window.AUTO and (raster.window is not None or raster.values.dtype in (np.uint8, np.bool_)):
        return raster.window
    return _find_range(raster)


def _find_range(raster: Raster) -> GreyWindow:
    """Return the window from the lowest to the highest finite value that is visible."""
    finite = np.isfinite(raster.values)
    shown = finite & (raster.opacity > 0) if raster.opacity is not None else finite
    values = raster.values[shown if shown.any() else finite]
    if not values.size:
        raise NcatoolError("no value of the picture is a finite number", "give another picture, or another slice")
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise NcatoolError(
            f"every pixel of the picture is {GreyWindow(low, high).low:g}: nothing can be seen",
            "give another slice, or --window LOW:HIGH",
        )
    return GreyWindow(low, high)


def apply_window(values: Shaped[np.ndarray, "height width"], window: GreyWindow) -> UInt8[np.ndarray, "height width"]:
    """Return greys from 0 at the window's low end to 255 at its high end; what is not finite becomes 0.

    The sigmoid is that of DICOM PS3.3 C.11.2.1.3.1, with the window's middle and width.
    """
    width = window.high - window.low
    with np.errstate(all="ignore"):
        exact = values.astype(np.float64)
        if window.is_sigmoid:
            share = 1 / (1 + np.exp(-4 * (exact - (window.low + window.high) / 2) / width))
        else:
            share = (exact - window.low) / width
    return np.round(255 * np.clip(np.nan_to_num(share, nan=0, posinf=1, neginf=0), 0, 1)).astype(np.uint8)


def convert_greys(raster: Raster, text: str) -> tuple[UInt8[np.ndarray, "height width"], str]:
    """Return a grey picture in 8 bits, and the text of the window that was used: `auto` where there was none.

    Raises what `choose_window` raises.
    """
    if raster.toned is not None and text == Window.AUTO:
        greys, used = raster.toned, Window.AUTO.value
    else:
        window = choose_window(text, raster)
        if window is None:
            greys, used = _spread_bits(raster.values), Window.AUTO.value
        else:
            greys, used = apply_window(raster.values, window), str(window)
    return (255 - greys if raster.is_inverted else greys), used


def _spread_bits(values: Shaped[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    return values if values.dtype == np.uint8 else values.astype(np.uint8) * np.uint8(255)


def convert_colours(
    values: Shaped[np.ndarray, "height width colours"], white: float | None = None
) -> UInt8[np.ndarray, "height width colours"]:
    """Return colours in 8 bits.

    White is by default the largest whole number of the type, or of fractions 1, or their highest where that is more.
    """
    if values.dtype == np.uint8 and white is None:
        return values
    with np.errstate(all="ignore"):
        exact = np.nan_to_num(values.astype(np.float64), nan=0, posinf=0, neginf=0)
    if white is None:
        white = float(np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else max(1.0, exact.max(initial=0))
    return np.round(255 * np.clip(exact / white, 0, 1)).astype(np.uint8)


def hide_infinite(values: Shaped[np.ndarray, "height width *colours"]) -> Float[np.ndarray, "height width"] | None:
    """Return the opacity of a picture: 0 where a value is not a finite number, else 1; None where all are finite."""
    if values.dtype.kind != "f":
        return None
    finite = np.isfinite(values)
    finite = finite if values.ndim == 2 else finite.all(axis=-1)
    return None if finite.all() else finite.astype(np.float64)
