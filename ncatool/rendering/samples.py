"""Samples of a MedMNIST set to choose a target from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image

from ncatool.config.names import Colormap
from ncatool.data import medmnist
from ncatool.data.catalogue import DataSet
from ncatool.data.pixels import convert_sample
from ncatool.data.sample_spec import SampleSpec
from ncatool.errors import UsageError
from ncatool.nca.picture import WHITE, Picture, enlarge
from ncatool.rendering.sheet import arrange_sheet

TILE_PIXELS = 84
"""Pixels a side that a sample takes on a sheet, about."""


def choose_samples(of: DataSet, split: str, count: int, seed: int | None, root: Path | None) -> list[int]:
    """Ascending indices: the first `count` of a split, or with a seed any."""
    there = medmnist.check_file(medmnist.require_file(of, root), of)[split]
    if not 1 <= count <= there:
        raise UsageError(f"{of.flag} has {there:,} samples here in {split}, but {count} are asked for", "ask for fewer")
    return list(range(count)) if seed is None else sorted(random.Random(seed).sample(range(there), count))


def draw_samples(of: DataSet, split: str, indices: list[int], colormap: Colormap, root: Path | None) -> Image.Image:
    """Samples in rows, each with its index below; of volumes the middle axial slice."""
    scale = max(1, round(TILE_PIXELS / of.size))
    volumes = (image for image, _ in medmnist.read_samples(of, split, indices, root))
    flat = (volume[of.size // 2] if of.is_volume else volume for volume in volumes)
    pictures = [enlarge(_to_rgb(image, colormap), scale) for image in flat]
    columns = min(10, max(1, round(len(pictures) ** 0.5)))
    return arrange_sheet(pictures, [str(index) for index in indices], columns, WHITE)


def _to_rgb(image: np.ndarray, colormap: Colormap) -> Picture:
    return convert_sample(image, max(image.shape[:2]), colormap)[..., :3]


def draw_sample(spec: SampleSpec, colormap: Colormap, root: Path | None) -> Image.Image:
    """One sample, a pixel a pixel."""
    return Image.fromarray(_to_rgb(medmnist.read_sample(spec, root)[0], colormap))
