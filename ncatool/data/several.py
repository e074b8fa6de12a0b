"""Several pictures as the target of one model: of one size, each with a name of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ncatool.data.file_spec import locate_file
from ncatool.data.target import Target
from ncatool.errors import NcatoolError


def combine_targets(targets: Sequence[Target]) -> Target:
    """Return one target of several pictures: all of the largest height and width, each in the middle, with a name.

    Raises NcatoolError where a picture occurs twice.
    """
    height, width = (max(one.pixels.shape[axis] for one in targets) for axis in (0, 1))
    centred = [_centre(one, height, width) for one in targets]
    names = name_pictures(targets)
    seen: dict[bytes, str] = {}
    for one, name in zip(centred, names, strict=True):
        twin = seen.setdefault(one.pixels.tobytes(), name)
        if twin != name:
            raise NcatoolError(f"the pictures {twin} and {name} are the same", "leave one of them out")
    named = [dataclasses.replace(one, name=name) for one, name in zip(centred, names, strict=True)]
    return dataclasses.replace(named[0], others=tuple(named[1:]))


def _centre(target: Target, height: int, width: int) -> Target:
    rows, columns = height - target.pixels.shape[0], width - target.pixels.shape[1]
    margins = (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)
    return dataclasses.replace(target, pixels=np.pad(target.pixels, margins))


def name_pictures(targets: Sequence[Target]) -> list[str]:
    """Return a name for each picture, all different: that of its file, of its slice, or of its label."""
    names: list[str] = []
    for target in targets:
        name = _name_picture(target)
        same = [f"{name}-{number}" for number in range(2, len(targets) + 2)]
        names.append(next(one for one in [name, *same] if one not in names))
    return names


def _name_picture(target: Target) -> str:
    source = str(target.origin.get("source", "picture"))
    text = str(target.origin.get("meaning", "")) or Path(source.partition(":")[0]).stem
    found = locate_file(source)
    part = source.partition(":")[2] if found is None or found.part else ""
    if not target.origin.get("meaning") and part:
        text = "-".join([text, *part.split(":")])
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "picture"
