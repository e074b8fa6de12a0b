"""TODO."""

from __future__ import annotations

from pathlib import Path

from ncatool.config.names import Colormap
from ncatool.config.schema import TargetConfig
from ncatool.data import medmnist
from ncatool.data.image_file import read_image
from ncatool.data.phantom import draw_phantom
from ncatool.data.pixels import apply_alpha, compute_luminance, convert_sample
from ncatool.data.target import Target
from ncatool.errors import UsageError


def _load_sample(config: TargetConfig, spec: medmnist.SampleSpec, root: Path | None) -> Target:
    sample, origin = medmnist.read_sample(spec, root)
    if sample.ndim == 3 and config.colormap is not Colormap.GREY:
        raise UsageError(
            f"{spec.dataset.flag} is in colour, but --colormap is {config.colormap}", "leave --colormap out"
        )
    bright = compute_luminance(convert_sample(sample, config.size, Colormap.GREY))
    pixels = apply_alpha(convert_sample(sample, config.size, config.colormap), bright, config.alpha)
    looks = {"colormap": config.colormap.value, "alpha": config.alpha.value}
    return Target(pixels, config.padding, {"source": config.source, **origin, **looks})


def load_target(config: TargetConfig, root: Path | None = None) -> Target:
    """The picture that a target spec means; `root` is where MedMNIST sets lie, if not in the user's cache."""
    spec = None if Path(config.source).is_file() else medmnist.parse_spec(config.source)
    if spec is not None:
        return _load_sample(config, spec, root)
    if config.colormap is not Colormap.GREY:
        raise UsageError(f"--colormap is for MedMNIST samples, but the target is {config.source}", "leave it out")
    origin = {"source": config.source}
    if config.source == "phantom":
        origin["label"] = "Shepp-Logan head phantom"
    pixels = draw_phantom(config.size) if config.source == "phantom" else read_image(Path(config.source), config.size)
    pixels = apply_alpha(pixels, compute_luminance(pixels), config.alpha)
    return Target(pixels, config.padding, {**origin, "alpha": config.alpha.value})


def default_source(root: Path | None = None) -> str:
    """`chestmnist` where it has been fetched, else the phantom."""
    return "chestmnist" if medmnist.find_file(medmnist.DataSet("chestmnist"), root) is not None else "phantom"
