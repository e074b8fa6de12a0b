"""Operations on the pixels of a target: scaling, colormaps, and transparency by luminance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image

from ncatool.config.names import Alpha, Colormap
from ncatool.data.matplotlib_defaults import use_matplotlib_defaults
from ncatool.errors import NcatoolError

Pixels = UInt8[np.ndarray, "height width 4"]
"""RGBA in 0 to 255, not premultiplied."""


MAX_ASPECT = 1000
"""Largest ratio of a pixel's sides that a picture is scaled by."""


def fit_size(image: Image.Image, size: int, spacing: tuple[float, float] = (1.0, 1.0)) -> Image.Image:
    """Scale an image so that its longer side is `size` pixels, and pixels are square.

    `spacing` is the height and width of a pixel before; a ratio beyond `MAX_ASPECT` is taken for a mistake. Colours do
    not leak out of transparent pixels, because Pillow premultiplies RGBA before it resizes.
    """
    aspect = spacing[1] / spacing[0]
    sides = image.width * (aspect if 1 / MAX_ASPECT <= aspect <= MAX_ASPECT else 1.0), float(image.height)
    width, height = (max(1, round(side * (size / max(sides)))) for side in sides)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _apply_colormap(grey: UInt8[np.ndarray, "height width"], colormap: Colormap) -> UInt8[np.ndarray, "height width 3"]:
    """Map grey to colours, from its lowest to its highest value, as matplotlib's `imshow` does."""
    if colormap is Colormap.GREY:
        return np.stack([grey] * 3, axis=-1)
    with use_matplotlib_defaults():
        from matplotlib.cm import ScalarMappable

        return np.asarray(ScalarMappable(cmap=colormap.value).to_rgba(grey, bytes=True))[..., :3]


def convert_sample(sample: UInt8[np.ndarray, "height width *colours"], size: int, colormap: Colormap) -> Pixels:
    """Convert a grey or colour sample to an opaque picture whose longer side is `size` pixels.

    The sample is scaled before the colormap is applied.
    """
    scaled = np.asarray(fit_size(Image.fromarray(sample), size))
    rgb = _apply_colormap(scaled, colormap) if scaled.ndim == 2 else scaled
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def compute_luminance(pixels: UInt8[np.ndarray, "height width colours"]) -> UInt8[np.ndarray, "height width"]:
    """Return the luminance in 0 to 255, with the weights of ITU-R BT.601."""
    return np.asarray(Image.fromarray(pixels[..., :3]).convert("L"))


ALPHAS: dict[Alpha, Callable[[UInt8[np.ndarray, "height width"]], NDArray[Any]]] = {
    Alpha.OPAQUE: lambda luminance: np.ones(luminance.shape),
    Alpha.LUMINANCE: lambda luminance: luminance / 255,
    Alpha.THRESHOLD: lambda luminance: (luminance > 25.5).astype(float),
}
"""Functions from luminance to opacity in [0, 1]; the threshold is a tenth, as for living cells."""


def apply_opacity(pixels: Pixels, opacity: Float[np.ndarray, "height width"]) -> Pixels:
    """Multiply the opacity of a picture by another, from 0 to 1.

    Raises NcatoolError where nothing of the picture would be visible.
    """
    product = np.round(pixels[..., 3] * opacity).astype(np.uint8)
    if not product.any():
        raise NcatoolError(
            "the picture is transparent everywhere: nothing can grow", "choose another picture or another --alpha"
        )
    return np.dstack([pixels[..., :3], product])
