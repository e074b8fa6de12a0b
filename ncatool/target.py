"""What should grow: any target spec becomes an RGBA picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ncatool import dataset
from ncatool.config import Alpha, Colormap, TargetConfig
from ncatool.errors import NcatoolError, UsageError

Pixels = UInt8[np.ndarray, "height width 4"]

MAX_PIXELS = 64_000_000
"""Of an image file: more is taken for a decompression bomb."""

# Shepp and Logan, "The Fourier reconstruction of a head section", IEEE Trans. Nucl. Sci. 21 (1974);
# the contrast of Toft, "The Radon Transform: Theory and Implementation" (1996), appendix B.3.
# Grey added, half axes along x and y, centre x and y, degrees of rotation; the head spans [-1, 1].
_ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)
_SAMPLES = 8
"""Points a pixel and axis over which the phantom is averaged."""


@dataclass(frozen=True)
class Target:
    """The picture that a model grows."""

    pixels: Pixels
    """RGBA, not premultiplied, without padding."""
    padding: int
    """Empty cells on each side."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where the picture is from: the descriptive part of the record's `[target]`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the grid."""
        height, width = self.pixels.shape[:2]
        return height + 2 * self.padding, width + 2 * self.padding

    def premultiplied(self) -> Float[np.ndarray, "gridheight gridwidth 4"]:
        """What the first four channels should be, in [0, 1], padding included; float32."""
        values = self.pixels.astype(np.float32) / 255
        values[..., :3] *= values[..., 3:]
        margin = (self.padding, self.padding)
        return np.pad(values, (margin, margin, (0, 0)))

    @property
    def visible(self) -> Bool[np.ndarray, "height width"]:
        """Where the picture shows anything."""
        return self.pixels[..., 3] > 0

    def record(self) -> dict[str, Any]:
        """The `[target]` table."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes()).hexdigest()
        return {**self.origin, "size": max(self.pixels.shape[:2]), "padding": self.padding, "sha256": digest}


def _inside(x: NDArray[Any], y: NDArray[Any], ellipse: tuple[float, ...]) -> NDArray[np.bool_]:
    _, a, b, x0, y0, degrees = ellipse
    angle = np.deg2rad(degrees)
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def phantom(size: int) -> Pixels:
    """The Shepp–Logan head phantom, `size` pixels a side, transparent outside the skull."""
    position = (np.arange(size * _SAMPLES) + 0.5) / (size * _SAMPLES) * 2 - 1
    x, y = position[None, :], -position[:, None]
    grey = sum(ellipse[0] * _inside(x, y, ellipse) for ellipse in _ELLIPSES)
    alpha = _inside(x, y, _ELLIPSES[0]).astype(np.float64)

    def averaged(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(size, _SAMPLES, size, _SAMPLES).mean(axis=(1, 3))

    coverage = averaged(alpha)
    shade = averaged(np.clip(grey, 0, 1) * alpha) / np.where(coverage > 0, coverage, 1)
    rgba = np.stack([shade, shade, shade, coverage], axis=-1)
    return np.round(rgba * 255).astype(np.uint8)


def _to_rgba(image: Image.Image) -> Image.Image:
    """Any mode as RGBA; deep greys scaled to 8 bits rather than clipped."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float64)
        top = 65535 if image.mode != "F" or grey.max(initial=0) > 255 else 255
        image = Image.fromarray(np.clip(np.round(grey * (255 / top)), 0, 255).astype(np.uint8))
    return image.convert("RGBA")


def _fitted(image: Image.Image, size: int) -> Image.Image:
    """Scaled so that the longer side is `size`; Pillow premultiplies RGBA around a resize."""
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def from_image(path: Path, size: int) -> Pixels:
    """Any image that Pillow reads, aspect ratio kept, its longer side `size` pixels.

    Raises NcatoolError where the file is missing, empty, no image, broken or too large.
    """
    mend = "give --target a whole image file (PNG, JPEG, GIF, TIFF, ...)"
    try:
        if path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", mend)
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise NcatoolError(
                    f"{path} has {image.width} × {image.height} pixels, but {MAX_PIXELS:,} are the most",
                    "scale it down first",
                )
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(_fitted(_to_rgba(upright), size))
    except FileNotFoundError:
        raise UsageError(f"no such target: {path}", _targets()) from None
    except UnidentifiedImageError:
        raise NcatoolError(f"{path} is not an image that can be read", mend) from None
    except Image.DecompressionBombError:
        raise NcatoolError(f"{path} has more than {MAX_PIXELS:,} pixels", "scale it down first") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise NcatoolError(f"{path} cannot be read: {error}", mend) from None
    if not pixels[..., 3].any():
        raise NcatoolError(f"{path} is transparent everywhere: nothing can grow", "give a picture that shows something")
    return pixels


def _targets() -> str:
    return "a target is phantom, an image file, or a MedMNIST set as FLAG[@SIZE][:SPLIT[:INDEX]]"


def _coloured(grey: UInt8[np.ndarray, "height width"], colormap: Colormap) -> UInt8[np.ndarray, "height width 3"]:
    """Grey through a map from its darkest value to its brightest, as matplotlib's `imshow` has it."""
    if colormap is Colormap.GREY:
        return np.stack([grey] * 3, axis=-1)
    from matplotlib.cm import ScalarMappable

    return np.asarray(ScalarMappable(cmap=colormap.value).to_rgba(grey, bytes=True))[..., :3]


def from_sample(sample: UInt8[np.ndarray, "height width *colours"], size: int, colormap: Colormap) -> Pixels:
    """A grey or colour sample as an opaque picture whose longer side is `size`; scaled first, then coloured."""
    scaled = np.asarray(_fitted(Image.fromarray(sample), size))
    colours = _coloured(scaled, colormap) if scaled.ndim == 2 else scaled
    return np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])


def luminance(pixels: Pixels) -> UInt8[np.ndarray, "height width"]:
    """Brightness as ITU-R BT.601 weighs the colours."""
    return np.asarray(Image.fromarray(pixels[..., :3]).convert("L"))


ALPHAS: dict[Alpha, Callable[[UInt8[np.ndarray, "height width"]], NDArray[Any]]] = {
    Alpha.OPAQUE: lambda bright: np.ones(bright.shape),
    Alpha.LUMINANCE: lambda bright: bright / 255,
    Alpha.THRESHOLD: lambda bright: (bright > 25.5).astype(float),
}
"""Opacity in [0, 1] by brightness; a tenth is what separates living cells from dead ones, too."""


def _thinned(pixels: Pixels, bright: UInt8[np.ndarray, "height width"], alpha: Alpha) -> Pixels:
    """The picture with its dark parts transparent."""
    opacity = np.round(pixels[..., 3] * ALPHAS[alpha](bright)).astype(np.uint8)
    if not opacity.any():
        raise NcatoolError(
            "the picture is transparent everywhere: nothing can grow", "choose another picture or another --alpha"
        )
    return np.dstack([pixels[..., :3], opacity])


def _sampled(config: TargetConfig, spec: dataset.Spec, root: Path | None) -> Target:
    sample, origin = dataset.sample(spec, root)
    if sample.ndim == 3 and config.colormap is not Colormap.GREY:
        raise UsageError(f"{spec.of.flag} is in colour, but --colormap is {config.colormap}", "leave --colormap out")
    bright = luminance(from_sample(sample, config.size, Colormap.GREY))
    pixels = _thinned(from_sample(sample, config.size, config.colormap), bright, config.alpha)
    looks = {"colormap": config.colormap.value, "alpha": config.alpha.value}
    return Target(pixels, config.padding, {"source": config.source, **origin, **looks})


def load(config: TargetConfig, root: Path | None = None) -> Target:
    """The picture that a target spec means; `root` is where MedMNIST sets lie, if not in the user's cache."""
    spec = None if Path(config.source).is_file() else dataset.parse(config.source)
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
    return "chestmnist" if dataset.cached(dataset.Set("chestmnist"), root) is not None else "phantom"
