"""The text that names a target, checked before anything is read: `phantom`, a file, or a MedMNIST sample."""

from __future__ import annotations

import os
from pathlib import Path

from ncatool.config.names import Alpha
from ncatool.config.schema import SEPARATOR
from ncatool.config.suggestions import suggest_names
from ncatool.data.catalogue import load_catalogue
from ncatool.data.expansion import IMAGE_ENDINGS, expand_sources
from ncatool.data.file_spec import FileSpec, locate_file, parse_part
from ncatool.data.sample_spec import parse_spec
from ncatool.errors import UsageError, shorten

PHANTOM = "phantom"
TARGET_GRAMMAR = "a target is phantom, a file as FILE[:PLANE][:INDEX], or a MedMNIST set as FLAG[@SIZE][:SPLIT[:INDEX]]"


def resolve_source(text: str, root: Path | None = None) -> str:
    """Return the text of a target in its usual form: one source, or several joined by ` + `.

    Names of sets and of the phantom may be in capitals. Ranges, folders of pictures and `each` are expanded; `root` is
    the folder of MedMNIST sets. Raises UsageError, with what is meant perhaps, where a source is no file, no sample
    and not the phantom.
    """
    return SEPARATOR.join(_resolve_one(source) for source in expand_sources(text, root))


def expand_target(text: str, root: Path | None) -> str:
    """Return the text of a target of several pictures in its usual form, and that of one as it is."""
    several = len(expand_sources(text, root)) > 1
    return resolve_source(text, root) if several else text


def _resolve_one(source: str) -> str:
    if source == PHANTOM or os.path.isfile(source):  # noqa: PTH113 - unlike Path.is_file, it takes any text
        return source
    if source.lower() == PHANTOM or parse_spec(source) is not None:
        return source.lower()
    found = locate_file(source)
    if found is None:
        raise describe_missing(source)
    parse_part(found.part)
    if found.path.is_dir() and not _holds_files(found.path):
        raise UsageError(f"{source} is a folder without files, not a picture", "name a picture, or a DICOM series")
    return source  # reading it will tell whether it is a picture


def _holds_files(folder: Path) -> bool:
    try:
        return any(True for _ in folder.iterdir())
    except OSError:
        return True


def describe_missing(source: str) -> UsageError:
    """Return the error for a target that does not exist, with the nearest that does."""
    close = suggest_names(source, [PHANTOM, *load_catalogue(), *_list_pictures(Path(source).parent)])
    hint = f"did you mean {close[0]}? A{TARGET_GRAMMAR[1:]}" if close else TARGET_GRAMMAR
    return UsageError(f"no such target: {source}", hint)


def _list_pictures(folder: Path) -> list[str]:
    try:
        return sorted(str(path) for path in folder.iterdir() if path.name.lower().endswith(IMAGE_ENDINGS))
    except (OSError, ValueError):
        return []


def parse_alpha(text: str) -> Alpha | FileSpec:
    """Return the name of a rule for transparency, or the file of a mask.

    Raises UsageError for text that is neither.
    """
    if text.lower() in list(Alpha):
        return Alpha(text.lower())
    found = locate_file(text)
    if found is None:
        close = suggest_names(text, [*Alpha, *_list_pictures(Path(text).parent)])
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"alpha is {shorten(text)}, which is no file", f"{hint}choose from {', '.join(Alpha)}, or name a mask"
        )
    parse_part(found.part)
    return found
