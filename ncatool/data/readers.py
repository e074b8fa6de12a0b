"""TODO."""

from __future__ import annotations

from pathlib import Path

from ncatool.config.names import Colormap
from ncatool.config.schema import TargetConfig
from ncatool.data import medmnist
from ncatool.data.image_file import from_image
from ncatool.data.phantom import phantom
from ncatool.data.pixels import _thinned, from_sample, luminance
from ncatool.data.target import Target
from ncatool.errors import UsageError


def _sampled(config: TargetConfig, spec: medmnist.Spec, root: Path | None) -> Target:
    sample, origin = medmnist.sample(spec, root)
    if sample.ndim == 3 and config.colormap is not Colormap.GREY:
        raise UsageError(f"{spec.of.flag} is in colour, but --colormap is {config.colormap}", "leave --colormap out")
    bright = luminance(from_sample(sample, config.size, Colormap.GREY))
    pixels = _thinned(from_sample(sample, config.size, config.colormap), bright, config.alpha)
    looks = {"colormap": config.colormap.value, "alpha": config.alpha.value}
    return Target(pixels, config.padding, {"source": config.source, **origin, **looks})


def load(config: TargetConfig, root: Path | None = None) -> Target:
    """The picture that a target spec means; `root` is where MedMNIST sets lie, if not in the user's cache."""
    spec = None if Path(config.source).is_file() else medmnist.parse(config.source)
    if spec is not None:
        return _sampled(config, spec, root)
    if config.colormap is not Colormap.GREY:
        raise UsageError(f"--colormap is for MedMNIST samples, but the target is {config.source}", "leave it out")
    origin = {"source": config.source}
    if config.source == "phantom":
        origin["label"] = "Shepp-Logan head phantom"
    pixels = phantom(config.size) if config.source == "phantom" else from_image(Path(config.source), config.size)
    pixels = _thinned(pixels, luminance(pixels), config.alpha)
    return Target(pixels, config.padding, {**origin, "alpha": config.alpha.value})


def default_source(root: Path | None = None) -> str:
    """`chestmnist` where it has been fetched, else the phantom."""
    return "chestmnist" if medmnist.cached(medmnist.Set("chestmnist"), root) is not None else "phantom"
