"""Pictures of MedMNIST samples, from which a user chooses a target."""

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

SAMPLE_TILE_PIXELS = 84
"""Approximate side of a sample on a sheet."""


def choose_samples(dataset: DataSet, split: str, count: int, seed: int | None, root: Path | None) -> list[int]:
    """Return ascending indices: the first `count` of a split, or random ones where a seed is given.

    Raises UsageError for more samples than the split has.
    """
    available = medmnist.check_file(medmnist.require_file(dataset, root), dataset)[split]
    if not 1 <= count <= available:
        raise UsageError(
            f"{dataset.flag} has {available:,} samples here in {split}, but {count} are asked for", "ask for fewer"
        )
    return list(range(count)) if seed is None else sorted(random.Random(seed).sample(range(available), count))


def draw_samples(
    dataset: DataSet, split: str, indices: list[int], colormap: Colormap, root: Path | None
) -> Image.Image:
    """Draw samples in rows, each with its index below; a volume is shown as its middle axial slice."""
    scale = max(1, round(SAMPLE_TILE_PIXELS / dataset.size))
    samples = (sample for sample, _ in medmnist.read_samples(dataset, split, indices, root))
    images = (sample[dataset.size // 2] if dataset.is_volume else sample for sample in samples)
    pictures = [enlarge(_convert_to_rgb(image, colormap), scale) for image in images]
    columns = min(10, max(1, round(len(pictures) ** 0.5)))
    return arrange_sheet(pictures, [str(index) for index in indices], columns, WHITE)


def _convert_to_rgb(image: np.ndarray, colormap: Colormap) -> Picture:
    return convert_sample(image, max(image.shape[:2]), colormap)[..., :3]


def draw_sample(spec: SampleSpec, colormap: Colormap, root: Path | None) -> Image.Image:
    """Draw one sample at its own size."""
    return Image.fromarray(_convert_to_rgb(medmnist.read_sample(spec, root)[0], colormap))
