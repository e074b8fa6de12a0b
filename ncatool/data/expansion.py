"""The text that names several pictures for one model: `a.png + b.png`, `bloodmnist:train:0-7`, a folder of pictures.

Texts are expanded to single sources, joined by ` + `, before anything else reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ncatool.config.schema import split_sources
from ncatool.data.catalogue import DataSet
from ncatool.data.medmnist import find_labels
from ncatool.data.sample_spec import parse_spec
from ncatool.errors import UsageError, shorten

IMAGE_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".dcm", ".nii", ".nii.gz", ".npy", ".npz",
    ".mp4", ".webm",
)  # fmt: skip
"""Endings of the files that are suggested as a target; others can be read as well."""
MAX_PICTURES = 256
"""Most pictures of one model."""
_RANGE = re.compile(r"(?P<before>.+:)(?P<first>\d{1,9})-(?P<last>\d{1,9})(?P<after>(:.*)?)", re.ASCII)
_EACH = re.compile(r"(?P<set>.+):(?P<split>[a-z]+):each", re.IGNORECASE)


def expand_sources(text: str, root: Path | None = None) -> list[str]:
    """Return the single sources that a text names: ranges, folders of pictures, and one sample of each label.

    Raises UsageError for an empty or too long list, and NcatoolError for `each` of a set that is not fetched.
    """
    parts = split_sources(text)
    if len(parts) > 1 and not all(parts):
        raise UsageError(f"{shorten(text)} has nothing on one side of +", 'name several pictures as "A + B"')
    found = [source for part in parts for source in _expand_part(part, root)]
    if len(found) > MAX_PICTURES:
        raise UsageError(f"{shorten(text)} names {len(found)} pictures, but {MAX_PICTURES} are the most", "name fewer")
    return found


def shorten_sources(text: str) -> str:
    """Return what a text names, in few words: up to two sources, or the first and how many more there are."""
    sources = split_sources(text)
    return text if len(sources) <= 2 else f"{sources[0]} and {len(sources) - 1} more"


def _expand_part(text: str, root: Path | None) -> list[str]:
    if os.path.isdir(text):  # noqa: PTH112 - any text
        return _list_folder(Path(text)) or [text]
    if os.path.lexists(text):
        return [text]
    if (match := _EACH.fullmatch(text)) is not None and (spec := parse_spec(match["set"])) is not None:
        return _list_each_label(spec.dataset, match["split"].lower(), root)
    match = _RANGE.fullmatch(text)
    if match is None:
        return [text]
    first, last = int(match["first"]), int(match["last"])
    if first > last:
        raise UsageError(f"{shorten(text)} runs backwards", f"give the range as {last}-{first}")
    if last - first >= MAX_PICTURES:
        what = f"{shorten(text)} names {last - first + 1} pictures, but {MAX_PICTURES} are the most"
        raise UsageError(what, f"give FIRST-LAST, such as {first}-{first + MAX_PICTURES - 1}")
    return [f"{match['before']}{index}{match['after']}" for index in range(first, last + 1)]


def _list_folder(folder: Path) -> list[str]:
    """Return the pictures of a folder that holds no DICOM series, by name; none of what the system hides."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError:  # reading it will tell
        return []
    names = [path for path in files if path.name.lower().endswith(IMAGE_ENDINGS)]
    is_series = any(path.suffix.lower() == ".dcm" for path in names) or _is_dicom(set(files) - set(names))
    return [] if is_series else [str(path) for path in names if not path.name.endswith(".curve.png")]


def _is_dicom(files: Collection[Path]) -> bool:
    """Return whether one of a few files without an ending of a picture is DICOM."""
    return any(_read_start(path)[128:] == b"DICM" for path in sorted(files)[:5])


def _read_start(path: Path) -> bytes:
    """Return the first bytes of a file, with the preamble and the mark of DICOM; nothing where it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(132)
    return b""


def _list_each_label(dataset: DataSet, split: str, root: Path | None) -> list[str]:
    """Return the first sample of every label of a split."""
    labels = find_labels(dataset, split, root)
    firsts = {tuple(label): index for index, label in reversed([*enumerate(labels.tolist())])}
    size = "" if dataset.size == 28 else f"@{dataset.size}"
    return [f"{dataset.flag}{size}:{split}:{firsts[label]}" for label in sorted(firsts)]
