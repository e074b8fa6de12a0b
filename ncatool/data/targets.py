"""From the text of a target to its picture: the phantom, a file of any kind, or a MedMNIST sample."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image

from ncatool.config.names import Alpha, Colormap, Window
from ncatool.config.schema import TargetConfig, parse_crop, split_sources
from ncatool.data.file_spec import locate_file
from ncatool.data.masks import read_mask, scale_mask
from ncatool.data.medmnist import read_sample
from ncatool.data.phantom import draw_phantom
from ncatool.data.pixels import ALPHAS, Pixels, apply_opacity, compute_luminance, convert_sample, fit_size
from ncatool.data.raster import Raster, crop_raster
from ncatool.data.readers.pillow import convert_image
from ncatool.data.readers.registry import read_raster
from ncatool.data.sample_spec import SampleSpec, parse_spec
from ncatool.data.several import combine_targets
from ncatool.data.sources import PHANTOM, describe_missing, parse_alpha, resolve_source
from ncatool.data.target import Target
from ncatool.data.window import convert_colours, convert_greys, hide_infinite
from ncatool.errors import NcatoolError, UsageError


def load_target(config: TargetConfig, root: Path | None = None) -> Target:
    """Load the target that the configuration names, of one picture or several.

    `root` is the folder of MedMNIST sets, by default one in the user's cache. Raises UsageError for an option that
    does not apply to the target, and NcatoolError where the target cannot be read.
    """
    sources = split_sources(resolve_source(config.source, root))
    if len(sources) > 1:
        return combine_targets([_load_one_of_several(dataclasses.replace(config, source=one), root) for one in sources])
    return _load_one(dataclasses.replace(config, source=sources[0]), root)


def _load_one_of_several(config: TargetConfig, root: Path | None) -> Target:
    """Return one of several pictures; an error says which one it is about."""
    try:
        return _load_one(config, root)
    except NcatoolError as error:
        if config.source in error.what:
            raise
        error.what = f"{config.source}: {error.what}"
        error.args = (error.what,)
        raise


def _load_one(config: TargetConfig, root: Path | None) -> Target:
    spec = None if Path(config.source).is_file() else parse_spec(config.source)
    if spec is not None:
        return _load_sample(config, spec, root)
    _refuse_colormap(config)
    return _draw_phantom(config) if config.source == PHANTOM else _load_file(config)


def _load_sample(config: TargetConfig, spec: SampleSpec, root: Path | None) -> Target:
    sample, origin = read_sample(spec, root)
    raster = Raster(sample)
    if not raster.is_grey and config.colormap is not Colormap.GREY:
        raise UsageError(
            f"{spec.dataset.flag} is in colour, but --colormap is {config.colormap}", "leave --colormap out"
        )
    shown, facts = _convert_values(crop_raster(raster, parse_crop(config.crop)), config)
    luminance = compute_luminance(convert_sample(shown, config.size, Colormap.GREY))
    pixels = convert_sample(shown, config.size, config.colormap)
    pixels = apply_opacity(pixels, _find_opacity(config, luminance, raster))
    return _make_target(pixels, config, {"source": config.source, **origin, "colormap": config.colormap.value, **facts})


def _draw_phantom(config: TargetConfig) -> Target:
    for name in ("window", "crop"):
        if getattr(config, name) != getattr(TargetConfig, name):
            raise UsageError(f"--{name} is for pictures of files, but the target is the phantom", "leave it out")
    pixels = draw_phantom(config.size)
    pixels = apply_opacity(pixels, _find_opacity(config, compute_luminance(pixels), Raster(pixels)))
    return _make_target(pixels, config, {"source": PHANTOM, "label": "Shepp-Logan head phantom"})


def _load_file(config: TargetConfig) -> Target:
    found = locate_file(config.source)
    if found is None:
        raise describe_missing(config.source)
    raster = read_raster(found)
    named = dataclasses.replace(found, part=str(raster.part))
    return _convert_raster(raster, config, {"source": named.name, **raster.facts})


def _convert_raster(raster: Raster, config: TargetConfig, origin: dict[str, Any]) -> Target:
    """Return a picture as a target: cropped, in 8 bits, of the size that is asked for, and transparent as asked."""
    cropped = crop_raster(raster, parse_crop(config.crop))
    shown, facts = _convert_values(cropped, config)
    image = Image.fromarray(shown).convert("RGBA")
    if cropped.opacity is not None:
        opacity = np.asarray(image.getchannel("A")) * cropped.opacity
        image.putalpha(Image.fromarray(np.round(opacity).astype(np.uint8)))
    pixels = np.asarray(fit_size(image, config.size, cropped.spacing))
    if not pixels[..., 3].any():
        raise NcatoolError(
            f"{origin['source']} is transparent everywhere: nothing can grow", "give a picture that shows something"
        )
    pixels = apply_opacity(pixels, _find_opacity(config, compute_luminance(pixels), raster))
    return _make_target(pixels, config, {**origin, **facts})


def _convert_values(
    raster: Raster, config: TargetConfig
) -> tuple[UInt8[np.ndarray, "height width *colours"], dict[str, Any]]:
    """Return a picture in 8 bits, and the window for the record where one was used.

    Raises UsageError for a window of a picture in colour.
    """
    if raster.is_grey:
        greys, used = convert_greys(raster, config.window)
        return greys, {} if used == Window.AUTO else {"window": used}
    if config.window == Window.AUTO:
        return raster.values, {}
    if not _is_grey_picture(raster.values):
        raise UsageError(f"--window {config.window} is for greys, but the picture is in colour", "leave it out")
    grey = dataclasses.replace(raster, values=raster.values[..., 0])
    greys, used = convert_greys(grey, config.window)
    return np.dstack([greys] * 3 + [raster.values[..., 3:]]), {"window": used}


def _is_grey_picture(values: UInt8[np.ndarray, "height width colours"]) -> bool:
    return bool((values[..., :3] == values[..., :1]).all())


def _find_opacity(
    config: TargetConfig, luminance: UInt8[np.ndarray, "height width"], raster: Raster
) -> Float[np.ndarray, "height width"]:
    """Return the opacity in [0, 1] that a rule gives to each pixel by its luminance, or that a mask gives.

    A mask is cut like the picture. Raises UsageError for one of another size than the picture has in its file.
    """
    rule = parse_alpha(config.alpha)
    if isinstance(rule, Alpha):
        return ALPHAS[rule](luminance)
    inside = read_mask(rule, raster)
    if inside.shape == raster.shape_in_file:
        inside = crop_raster(Raster(inside), parse_crop(config.crop)).values
    elif inside.shape != luminance.shape:
        sizes = [" × ".join(map(str, shape[::-1])) for shape in (inside.shape, raster.shape_in_file)]
        raise UsageError(
            f"the mask {rule.name} has {sizes[0]} pixels, but the picture has {sizes[1]}", "give one of the same size"
        )
    return scale_mask(inside, *luminance.shape)


def describe_reading(target: Target) -> str:
    """Return in words which part of a file a target is, and its window; empty where there was nothing to choose."""
    facts = target.origin
    words = []
    for name in ("slice", "page", "frame", "volume"):
        if f"{name}s" in facts:
            plane = f"{facts['plane']} " if name == "slice" and "plane" in facts else ""
            words.append(f"{plane}{name} {facts[name]} of {facts[f'{name}s']}")
    words += [f"window {facts['window']}"] if "window" in facts else []
    words += [facts["note"]] if "note" in facts else []
    return f"{facts['source']}: {', '.join(words)}" if words else ""


def _make_target(pixels: Pixels, config: TargetConfig, origin: dict[str, Any]) -> Target:
    """Return the target; what the record says of a mask is its file's own name."""
    rule = parse_alpha(config.alpha)
    crop = {"crop": config.crop} if config.crop else {}
    return Target(
        pixels, config.padding, {**origin, **crop, "alpha": rule.value if isinstance(rule, Alpha) else rule.name}
    )


def _refuse_colormap(config: TargetConfig) -> None:
    """Raise UsageError for a colour map, which only MedMNIST samples take."""
    if config.colormap is not Colormap.GREY:
        raise UsageError(f"--colormap is for MedMNIST samples, but the target is {config.source}", "leave it out")


def convert_pictures(
    pictures: Sequence[str | Image.Image | NDArray[Any]], config: TargetConfig, root: Path | None = None
) -> Target:
    """Return pictures as one target, each a source that `load_target` takes, a Pillow image, or an array.

    Raises UsageError and NcatoolError as `load_target` and `convert_picture`.
    """
    targets = [
        load_target(dataclasses.replace(config, source=one), root)
        if isinstance(one, str)
        else convert_picture(one, dataclasses.replace(config, source=name_kind(one)))
        for one in pictures
    ]
    return targets[0] if len(targets) == 1 else combine_targets(targets)


def name_kind(picture: Image.Image | NDArray[Any]) -> str:
    """Return what stands as the source of a picture that comes from no file."""
    return "image" if isinstance(picture, Image.Image) else "array"


def convert_picture(picture: Image.Image | NDArray[Any], config: TargetConfig) -> Target:
    """Return a Pillow image or an array as a target of the size that the settings ask for.

    An array is [height, width], [height, width, 3] or [height, width, 4]; uint8 and fractions from 0 to 1 are taken as
    they are, deeper greys through the settings' window. Raises UsageError for an array of another shape or type, and
    NcatoolError for a picture that shows nothing.
    """
    _refuse_colormap(config)
    with warnings.catch_warnings(action="ignore"):  # of an image file that is only read here
        raster = convert_image(picture) if isinstance(picture, Image.Image) else _convert_array(picture)
    return _convert_raster(raster, config, {"source": config.source})


def _convert_array(values: NDArray[Any]) -> Raster:
    if (
        values.dtype.kind not in "buif"
        or values.shape[2:] not in ((), (3,), (4,))
        or values.ndim < 2
        or not values.size
    ):
        raise UsageError(
            f"the target is an array of {values.dtype} {list(values.shape)}",
            "give numbers of the shape [height, width], [height, width, 3] or [height, width, 4]",
        )
    opacity = hide_infinite(values)
    if values.ndim == 3:
        return Raster(convert_colours(values), opacity)
    is_share = values.dtype.kind == "f" and opacity is None and values.min() >= 0 and values.max() <= 1
    return Raster(np.round(values * 255).astype(np.uint8) if is_share else values, opacity)
