"""The name that a model's file has by default: that of its target."""

from __future__ import annotations

from pathlib import Path

from ncatool.data.file_spec import locate_file
from ncatool.data.sample_spec import parse_spec

MAX_STEM_BYTES = 200
"""Longest default name without its ending: all files of a run then have names that file systems take."""


def name_model(source: str) -> Path:
    """Return the model file, in the current folder, of a run that trains on this target.

    It is phantom.safetensors for the phantom, photo.safetensors for photos/photo.jpg, scan-axial-42.safetensors for
    scan.nii.gz:axial:42, and chestmnist_64-train-0.safetensors for a sample at 64 pixels. Raises UsageError for a
    sample that a set lacks.
    """
    spec = None if Path(source).is_file() else parse_spec(source)
    named = spec or locate_file(source)
    return Path(f"{_clean_stem(named.file_stem if named else Path(source).stem)}.safetensors")


def _clean_stem(stem: str) -> str:
    """Return a name that can be typed: letters that no terminal shows, and a leading - or ., become _."""
    shown = "".join(
        letter if letter.isprintable() and letter not in "/\\" else "_" for letter in stem.removesuffix(".checkpoint")
    )
    typed = f"_{shown[1:]}" if shown.startswith(("-", ".")) else shown
    return typed.encode()[:MAX_STEM_BYTES].decode(errors="ignore") or "model"
