"""From the text of a target to its picture: the phantom, an image file, or a MedMNIST sample."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ncatool.config.names import Colormap
from ncatool.config.schema import TargetConfig
from ncatool.data.image_file import convert_array, convert_to_rgba, read_image
from ncatool.data.medmnist import read_sample
from ncatool.data.phantom import draw_phantom
from ncatool.data.pixels import apply_alpha, compute_luminance, convert_sample, fit_size
from ncatool.data.sample_spec import SampleSpec, parse_spec
from ncatool.data.sources import resolve_source
from ncatool.data.target import Target
from ncatool.errors import UsageError


def _load_sample(config: TargetConfig, spec: SampleSpec, root: Path | None) -> Target:
    sample, origin = read_sample(spec, root)
    if sample.ndim == 3 and config.colormap is not Colormap.GREY:
        raise UsageError(
            f"{spec.dataset.flag} is in colour, but --colormap is {config.colormap}", "leave --colormap out"
        )
    luminance = compute_luminance(convert_sample(sample, config.size, Colormap.GREY))
    pixels = apply_alpha(convert_sample(sample, config.size, config.colormap), luminance, config.alpha)
    appearance = {"colormap": config.colormap.value, "alpha": config.alpha.value}
    return Target(pixels, config.padding, {"source": config.source, **origin, **appearance})


def load_target(config: TargetConfig, root: Path | None = None) -> Target:
    """Load the target that the configuration names.

    `root` is the folder of MedMNIST sets, by default one in the user's cache. Raises UsageError for an option that
    does not apply to the target, and NcatoolError where the target cannot be read.
    """
    config = dataclasses.replace(config, source=resolve_source(config.source))
    spec = None if Path(config.source).is_file() else parse_spec(config.source)
    if spec is not None:
        return _load_sample(config, spec, root)
    _refuse_colormap(config)
    origin = {"source": config.source}
    if config.source == "phantom":
        origin["label"] = "Shepp-Logan head phantom"
    pixels = draw_phantom(config.size) if config.source == "phantom" else read_image(Path(config.source), config.size)
    pixels = apply_alpha(pixels, compute_luminance(pixels), config.alpha)
    return Target(pixels, config.padding, {**origin, "alpha": config.alpha.value})


def _refuse_colormap(config: TargetConfig) -> None:
    """Raise UsageError for a colour map, which only MedMNIST samples take."""
    if config.colormap is not Colormap.GREY:
        raise UsageError(f"--colormap is for MedMNIST samples, but the target is {config.source}", "leave it out")


def convert_picture(picture: Image.Image | NDArray[Any], config: TargetConfig) -> Target:
    """Return a Pillow image or an array as a target of the size that the settings ask for.

    An array is [height, width], [height, width, 3] or [height, width, 4], of uint8, or of floats from 0 to 1.
    Raises UsageError for an array of another shape or type, and NcatoolError for a picture that shows nothing.
    """
    _refuse_colormap(config)
    image = picture if isinstance(picture, Image.Image) else convert_array(picture)
    with warnings.catch_warnings(action="ignore"):  # of an image file that is only read here
        pixels = np.asarray(fit_size(convert_to_rgba(image), config.size))
    pixels = apply_alpha(pixels, compute_luminance(pixels), config.alpha)
    return Target(pixels, config.padding, {"source": config.source, "alpha": config.alpha.value})
