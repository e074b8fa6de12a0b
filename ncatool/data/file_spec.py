"""The text that names a picture file and which part of it: `scan.nii.gz:axial:42`, `stack.tif:17`.

The grammar is FILE[:ARRAY][:PLANE][:INDEX[:VOLUME]]; what is left out takes its default, the middle of the slices.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ncatool.data.sample_spec import PLANES
from ncatool.errors import UsageError, shorten

PART_GRAMMAR = "which part is said as FILE:PLANE:INDEX, FILE:PLANE or FILE:INDEX, such as scan.nii.gz:axial:42"
_MAX_INDEX_DIGITS = 9


@dataclass(frozen=True)
class Part:
    """Which picture of a file that holds several."""

    array: str = ""
    """Name of an array in a file that holds several; empty: the only one."""
    plane: str = ""
    """One of PLANES; empty: that in which the file holds its slices."""
    index: int | None = None
    """Position of the slice, page or frame; None: the middle."""
    volume: int = 0
    """Position of the volume, where there are several."""
    is_inherited: bool = False
    """Whether it comes from the picture that a mask belongs to, so that a mask of one picture may ignore it."""

    def choose_index(self, count: int, path: Path, noun: str) -> int:
        """Return the position of one of `count` slices, by default the middle one.

        Raises UsageError for a position that does not exist.
        """
        if self.index is None or (self.is_inherited and count == 1):
            return count // 2
        return _check_position(self.index, count, path, noun)

    def choose_volume(self, count: int, path: Path) -> int:
        """Return the position of one of `count` volumes, by default the first.

        Raises UsageError for a position that does not exist.
        """
        return _check_position(self.volume, count, path, "volume")

    def refuse_plane(self, path: Path, holds: str) -> None:
        """Raise UsageError where a plane is named, but the file `holds` pictures that are not slices of a volume."""
        if self.plane and not self.is_inherited:
            raise UsageError(f"{path} holds {holds}, so it has no {self.plane} plane", "leave the plane out")

    def refuse_array(self, path: Path) -> None:
        """Raise UsageError where an array is named, but the file holds none with a name."""
        if self.array and not self.is_inherited:
            raise UsageError(f"{path} has no part {shorten(self.array)}", PART_GRAMMAR)


def _check_position(index: int, count: int, path: Path, noun: str) -> int:
    if index >= count:
        last = "it has one only, 0" if count == 1 else f"give one from 0 to {count - 1}"
        raise UsageError(f"{path} has no {noun} {index}", last)
    return index


@dataclass(frozen=True)
class FileSpec:
    """A picture file, or the folder of a DICOM series, and the text of the part that is meant."""

    path: Path
    part: str = ""

    @property
    def name(self) -> str:
        """The file's own name, without its folder, and the part."""
        return f"{self.path.name}:{self.part}" if self.part else self.path.name

    @property
    def stem(self) -> str:
        """The file's name without its endings, and the part, as the stem of another file's name."""
        stem = self.path.stem.removesuffix(".nii") if self.path.suffix == ".gz" else self.path.stem
        return "-".join([stem, *filter(None, self.part.split(":"))])


def locate_file(text: str) -> FileSpec | None:
    """Return the file or folder that a text names, with the part that follows its name; None where there is none.

    The longest name that exists is meant: a file's name may hold colons.
    """
    name, part = text, ""
    while not os.path.lexists(name):  # unlike Path.exists, it takes any text
        name, colon, word = name.rpartition(":")
        if not colon or not name:
            return None
        part = f"{word}:{part}" if part else word
    return FileSpec(Path(name), part)


def parse_part(text: str) -> Part:
    """Parse [ARRAY][:PLANE][:INDEX[:VOLUME]]; planes may be in capitals, and words be left empty.

    Raises UsageError for anything else.
    """
    words = text.split(":") if text else []
    array, plane = "", ""
    if words[:1] == [""]:  # as in folder/:coronal
        words.pop(0)
    if words and not _is_index(words[0]) and words[0].lower() not in PLANES:
        array = words.pop(0)
    if words and not _is_index(words[0]):
        plane = words.pop(0).lower()
    if plane not in ("", *PLANES) or len(words) > 2 or not all(_is_index(word) or not word for word in words):
        raise UsageError(f"{shorten(text)} names no part of a file", f"{PART_GRAMMAR}; planes: {', '.join(PLANES)}")
    index, volume = (*(int(word) if word else None for word in words), None, None)[:2]
    return Part(array, plane, index, volume or 0)


def _is_index(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _MAX_INDEX_DIGITS
