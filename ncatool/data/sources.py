"""The text that names a target, checked before anything is read: `phantom`, an image file, or a MedMNIST sample."""

from __future__ import annotations

import os
from pathlib import Path

from ncatool.config.suggestions import suggest_names
from ncatool.data.catalogue import load_catalogue
from ncatool.data.sample_spec import parse_spec
from ncatool.errors import UsageError

PHANTOM = "phantom"
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the files that are suggested as a target; others can be read as well."""
TARGET_GRAMMAR = "a target is phantom, an image file, or a MedMNIST set as FLAG[@SIZE][:SPLIT[:INDEX]]"


def resolve_source(source: str) -> str:
    """Return the text of a target in its usual form: the names of sets and of the phantom may be in capitals.

    Raises UsageError, with what is meant perhaps, where it names no file, no sample and not the phantom.
    """
    if source == PHANTOM or os.path.isfile(source):  # noqa: PTH113 - unlike Path.is_file, it takes any text
        return source
    if source.lower() == PHANTOM or parse_spec(source) is not None:
        return source.lower()
    if os.path.isdir(source):  # noqa: PTH112
        raise UsageError(f"{source} is a folder, not a picture", "name one of its files")
    if os.path.lexists(source):
        return source  # of a kind that reading it will tell of
    raise describe_missing(source)


def describe_missing(source: str) -> UsageError:
    """Return the error for a target that does not exist, with the nearest that does."""
    close = suggest_names(source, [PHANTOM, *load_catalogue(), *_list_pictures(Path(source).parent)])
    hint = f"did you mean {close[0]}? A{TARGET_GRAMMAR[1:]}" if close else TARGET_GRAMMAR
    return UsageError(f"no such target: {source}", hint)


def _list_pictures(folder: Path) -> list[str]:
    try:
        return sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    except (OSError, ValueError):
        return []
