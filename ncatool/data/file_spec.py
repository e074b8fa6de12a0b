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
    volume: int | None = None
    """Position of the volume, where there are several; None: the first."""
    inherited_count: int = 0
    """Slices of the picture from which a mask takes plane and index; 0 where they are its own."""

    def __str__(self) -> str:
        words = [self.array, self.plane, "" if self.index is None else str(self.index)]
        return ":".join([*filter(None, words), *([] if self.volume is None else [str(self.volume)])])

    def choose_index(self, count: int, path: Path, noun: str) -> int:
        """Return the position of one of `count` slices, by default the middle one.

        Raises UsageError for a position that does not exist, or that of a picture with another number of slices.
        """
        if self.inherited_count and count == 1:
            return 0
        if self.inherited_count not in (0, count):
            raise UsageError(
                f"the mask {path} has {count} {noun}s, but its picture has {self.inherited_count}",
                f"name the one that is meant: {path}:INDEX",
            )
        return count // 2 if self.index is None else _check_position(self.index, count, path, noun)

    def choose_volume(self, count: int, path: Path) -> int:
        """Return the position of one of `count` volumes, by default the first.

        Raises UsageError for a position that does not exist.
        """
        if self.volume is None or (self.inherited_count and count == 1):
            return 0
        return _check_position(self.volume, count, path, "volume")

    def refuse_other(
        self, path: Path, holds: str, arrays: bool = False, planes: bool = False, volumes: bool = False
    ) -> None:
        """Raise UsageError where an array, a plane or a volume is named that a file has none of: it `holds` others."""
        named = {"array": not arrays and self.array, "plane": not planes and self.plane}
        named["volume"] = not volumes and self.volume is not None and str(self.volume)
        for kind, name in named.items():
            if name and not self.inherited_count:
                raise UsageError(f"{path} holds {holds}, and has no {kind} {shorten(name)}", PART_GRAMMAR)

    def inherit(self, picture: Part, count: int) -> Part:
        """Return the part of a mask: what it does not name itself is that of its picture, one of `count` slices."""
        if self.plane or self.index is not None or not count:
            return self
        volume = picture.volume if self.volume is None else self.volume
        return Part(self.array, picture.plane, picture.index, volume, count)


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
        return f"{self._own_name}:{self.part}" if self.part else self._own_name

    @property
    def _own_name(self) -> str:
        """The last part of the path, also of `.` and `..`."""
        return self.path.name if self.path.name not in ("", "..") else self.path.resolve().name

    @property
    def file_stem(self) -> str:
        """The file's name without its endings, and the part, as the stem of another file's name."""
        name = Path(self._own_name)
        stem = name.stem.removesuffix(".nii") if name.suffix == ".gz" else name.stem
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


def list_words(text: str) -> list[str]:
    """Return the parts of a list between commas; the name of a file that exists may contain commas."""
    found = locate_file(text)
    return [text] if found is not None and "," not in found.part else text.split(",")


def parse_part(text: str) -> Part:
    """Parse [ARRAY][:PLANE][:INDEX[:VOLUME]]; planes may be in capitals, and words be left empty.

    Raises UsageError for anything else.
    """
    words = text.split(":") if text else []
    array, plane = "", ""
    if words[:1] == [""]:  # as in folder/:coronal
        words.pop(0)
    is_array = words[1:] and words[1].lower() in PLANES  # it may have a number for a name
    if words and (is_array or (not _is_index(words[0]) and words[0].lower() not in PLANES)):
        array = words.pop(0)
    if words and not _is_index(words[0]):
        plane = words.pop(0).lower()
    if plane not in ("", *PLANES) or len(words) > 2 or not all(_is_index(word) or not word for word in words):
        raise UsageError(f"{shorten(text)} names no part of a file", f"{PART_GRAMMAR}; planes: {', '.join(PLANES)}")
    index, volume = (*(int(word) if word else None for word in words), None, None)[:2]
    return Part(array, plane, index, volume)


def _is_index(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _MAX_INDEX_DIGITS
