"""Masks: segmentations, label maps and black-and-white pictures, of any kind that a target may be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped

from ncatool.config.names import Window
from ncatool.data.file_spec import FileSpec
from ncatool.data.pixels import compute_luminance
from ncatool.data.raster import Raster
from ncatool.data.readers.registry import read_raster
from ncatool.data.window import convert_greys
from ncatool.errors import NcatoolError

MAX_LABEL = 31
"""Largest label of a picture of labels; in one with larger values, they are greys."""


def read_mask(spec: FileSpec, inherited: str = "") -> Bool[np.ndarray, "height width"]:
    """Read a mask: in a segmentation what is not 0, in any other picture what is brighter than half, is inside.

    `inherited` names the part of the picture that the mask belongs to. Raises what `read_raster` raises.
    """
    raster = read_raster(spec, inherited=inherited)
    inside = _find_bright(raster) if not raster.is_grey else _find_labelled(raster)
    return inside if raster.visible is None else inside & raster.visible


def _find_labelled(raster: Raster) -> Bool[np.ndarray, "height width"]:
    values = raster.values
    if _is_whole(values) and (raster.is_volume or values.max(initial=0) <= MAX_LABEL):
        return values != 0
    try:
        greys, _ = convert_greys(raster, Window.AUTO.value)
    except NcatoolError:  # all values are the same
        return values > 0
    return greys > 127


def _is_whole(values: Shaped[np.ndarray, "height width"]) -> bool:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return values.dtype.kind in "bui" or bool(np.all(finite == np.round(finite)))


def _find_bright(raster: Raster) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that are brighter than half over black."""
    rgb, alpha = raster.values[..., :3], raster.values[..., 3:]
    over_black = np.round(rgb * (alpha / 255)).astype(np.uint8) if alpha.size else rgb
    luminance = compute_luminance(over_black)
    return luminance != 0 if luminance.max() <= MAX_LABEL else luminance > 127
