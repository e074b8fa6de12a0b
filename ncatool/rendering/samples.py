"""Samples of a MedMNIST set to choose a target from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image

from ncatool.config.names import Colormap
from ncatool.data import medmnist
from ncatool.data.medmnist import Set, Spec
from ncatool.data.pixels import from_sample
from ncatool.errors import UsageError
from ncatool.nca.picture import WHITE, Picture, enlarged
from ncatool.rendering.sheet import sheet

TILE = 84
"""Pixels a side that a sample takes on a sheet, about."""


def chosen(of: Set, split: str, count: int, seed: int | None, root: Path | None) -> list[int]:
    """Ascending indices: the first `count` of a split, or with a seed any."""
    there = medmnist.check(medmnist.located(of, root), of)[split]
    if not 1 <= count <= there:
        raise UsageError(f"{of.flag} has {there:,} samples here in {split}, but {count} are asked for", "ask for fewer")
    return list(range(count)) if seed is None else sorted(random.Random(seed).sample(range(there), count))


def contact_sheet(of: Set, split: str, indices: list[int], colormap: Colormap, root: Path | None) -> Image.Image:
    """Samples in rows, each with its index below; of volumes the middle axial slice."""
    scale = max(1, round(TILE / of.size))
    volumes = (image for image, _ in medmnist.samples(of, split, indices, root))
    flat = (volume[of.size // 2] if of.volumes else volume for volume in volumes)
    pictures = [enlarged(_rgb(image, colormap), scale) for image in flat]
    columns = min(10, max(1, round(len(pictures) ** 0.5)))
    return sheet(pictures, [str(index) for index in indices], columns, WHITE)


def _rgb(image: np.ndarray, colormap: Colormap) -> Picture:
    return from_sample(image, max(image.shape[:2]), colormap)[..., :3]


def picture(spec: Spec, colormap: Colormap, root: Path | None) -> Image.Image:
    """One sample, a pixel a pixel."""
    return Image.fromarray(_rgb(medmnist.sample(spec, root)[0], colormap))
