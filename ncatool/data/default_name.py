"""The name that a model's file has by default: that of its target."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ncatool.config.schema import split_sources
from ncatool.data.file_spec import locate_file
from ncatool.data.sample_spec import parse_spec

MAX_STEM_BYTES = 200
"""Longest default name without its ending: all files of a run then have names that file systems take."""


def name_targets(sources: Sequence[str]) -> dict[str, str]:
    """Return a name for each target of several pictures, as a part of the names of files; where it can be, all differ.

    It is that of its model's file, such as `a-and-2-more`. Where that is the same for two, those have the names of all
    of their pictures, and where even these are the same, a hash.
    """
    several = [source for source in dict.fromkeys(sources) if len(split_sources(source)) > 1]
    short = {source: name_model(source).stem for source in several}
    long = {source: "-and-".join(name_model(one).stem for one in split_sources(source)) for source in several}
    names = {source: short[source] if _is_alone(short, source) else long[source] for source in several}
    return {
        source: name if _is_alone(names, source) else f"{name[:80]}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        for source, name in names.items()
    }


def _is_alone(names: Mapping[str, str], source: str) -> bool:
    """Return whether the name of one source is that of no other, as file systems compare them."""
    return [name.casefold() for name in names.values()].count(names[source].casefold()) == 1


def name_model(source: str) -> Path:
    """Return the model file, in the current folder, of a run that trains on this target.

    It is phantom.safetensors for the phantom, photo.safetensors for photos/photo.jpg, scan-axial-42.safetensors for
    scan.nii.gz:axial:42, chestmnist_64-train-0.safetensors for a sample at 64 pixels, and a-and-2-more.safetensors for
    three pictures. Raises UsageError for a sample that a set lacks.
    """
    sources = split_sources(source)
    if len(sources) > 1:
        first = name_model(sources[0]).stem
        return Path(f"{first}-and-{len(sources) - 1}-more.safetensors")
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
