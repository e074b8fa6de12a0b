"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from ncatool.config.names import Alpha, Colormap
from ncatool.errors import NcatoolError

Pixels = UInt8[np.ndarray, "height width 4"]


def fit_size(image: Image.Image, size: int) -> Image.Image:
    """Scaled so that the longer side is `size`; Pillow premultiplies RGBA around a resize."""
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _apply_colormap(grey: UInt8[np.ndarray, "height width"], colormap: Colormap) -> UInt8[np.ndarray, "height width 3"]:
    """Grey through a map from its darkest value to its brightest, as matplotlib's `imshow` has it."""
    if colormap is Colormap.GREY:
        return np.stack([grey] * 3, axis=-1)
    from matplotlib.cm import ScalarMappable

    return np.asarray(ScalarMappable(cmap=colormap.value).to_rgba(grey, bytes=True))[..., :3]


def convert_sample(sample: UInt8[np.ndarray, "height width *colours"], size: int, colormap: Colormap) -> Pixels:
    """A grey or colour sample as an opaque picture whose longer side is `size`; scaled first, then coloured."""
    scaled = np.asarray(fit_size(Image.fromarray(sample), size))
    colours = _apply_colormap(scaled, colormap) if scaled.ndim == 2 else scaled
    return np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])


def compute_luminance(pixels: Pixels) -> UInt8[np.ndarray, "height width"]:
    """Brightness as ITU-R BT.601 weighs the colours."""
    return np.asarray(Image.fromarray(pixels[..., :3]).convert("L"))


ALPHAS: dict[Alpha, Callable[[UInt8[np.ndarray, "height width"]], NDArray[Any]]] = {
    Alpha.OPAQUE: lambda bright: np.ones(bright.shape),
    Alpha.LUMINANCE: lambda bright: bright / 255,
    Alpha.THRESHOLD: lambda bright: (bright > 25.5).astype(float),
}
"""Opacity in [0, 1] by brightness; a tenth is what separates living cells from dead ones, too."""


def apply_alpha(pixels: Pixels, bright: UInt8[np.ndarray, "height width"], alpha: Alpha) -> Pixels:
    """The picture with its dark parts transparent."""
    opacity = np.round(pixels[..., 3] * ALPHAS[alpha](bright)).astype(np.uint8)
    if not opacity.any():
        raise NcatoolError(
            "the picture is transparent everywhere: nothing can grow", "choose another picture or another --alpha"
        )
    return np.dstack([pixels[..., :3], opacity])
