"""TODO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ncatool.data.pixels import Pixels, fit_size
from ncatool.errors import NcatoolError, UsageError

MAX_FILE_PIXELS = 64_000_000
"""Of an image file: more is taken for a decompression bomb."""


def _convert_to_rgba(image: Image.Image) -> Image.Image:
    """Any mode as RGBA; deep greys scaled to 8 bits rather than clipped."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float64)
        top = 65535 if image.mode != "F" or grey.max(initial=0) > 255 else 255
        image = Image.fromarray(np.clip(np.round(grey * (255 / top)), 0, 255).astype(np.uint8))
    return image.convert("RGBA")


def read_image(path: Path, size: int) -> Pixels:
    """Any image that Pillow reads, aspect ratio kept, its longer side `size` pixels.

    Raises NcatoolError where the file is missing, empty, no image, broken or too large.
    """
    hint = "give --target a whole image file (PNG, JPEG, GIF, TIFF, ...)"
    try:
        if path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", hint)
        with Image.open(path) as image:
            if image.width * image.height > MAX_FILE_PIXELS:
                raise NcatoolError(
                    f"{path} has {image.width} × {image.height} pixels, but {MAX_FILE_PIXELS:,} are the most",
                    "scale it down first",
                )
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(fit_size(_convert_to_rgba(upright), size))
    except FileNotFoundError:
        raise UsageError(f"no such target: {path}", _describe_targets()) from None
    except UnidentifiedImageError:
        raise NcatoolError(f"{path} is not an image that can be read", hint) from None
    except Image.DecompressionBombError:
        raise NcatoolError(f"{path} has more than {MAX_FILE_PIXELS:,} pixels", "scale it down first") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise NcatoolError(f"{path} cannot be read: {error}", hint) from None
    if not pixels[..., 3].any():
        raise NcatoolError(f"{path} is transparent everywhere: nothing can grow", "give a picture that shows something")
    return pixels


def _describe_targets() -> str:
    return "a target is phantom, an image file, or a MedMNIST set as FLAG[@SIZE][:SPLIT[:INDEX]]"
