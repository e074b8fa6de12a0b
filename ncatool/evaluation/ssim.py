"""Structural similarity between the pictures of rollouts and the target."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from ncatool.nca.model_file import ModelData


def measure_ssim(visible: Float[np.ndarray, "rollouts height width 4"], model: ModelData) -> list[float]:
    """Return the structural similarity (SSIM) of each picture and the target: RGB on white, at most 1, which is equal.

    It is NaN for a target under 3 cells a side. Windows are uniform, 7 cells a side, less where the target is smaller.
    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    from skimage.metrics import structural_similarity

    target = _blend_on_white(model.target.premultiply())
    window = min(7, *target.shape[:2])
    window -= 1 - window % 2
    if window < 3:
        return [math.nan] * len(visible)
    return [
        float(structural_similarity(target, _blend_on_white(picture), win_size=window, channel_axis=-1, data_range=1.0))
        for picture in visible
    ]


def _blend_on_white(picture: Float[np.ndarray, "height width 4"]) -> Float[np.ndarray, "height width 3"]:
    """Return RGB from 0 to 1; `nca.picture.compose` would round it to 8 bits."""
    clipped = np.clip(np.nan_to_num(picture), 0, 1)
    return np.clip(clipped[..., :3] + 1 - clipped[..., 3:], 0, 1)
