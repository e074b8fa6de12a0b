"""Slices of volumes as radiologists look at them, whatever the order of a file's axes.

Anatomical axes are those of NIfTI: to the patient's right, to the front (anterior), and up (superior). A slice is
shown as in radiology: the patient's right on the left of axial and coronal slices, the front on top of axial ones and
on the left of sagittal ones, the head on top of both others. In each, rows and columns run against their axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ncatool.data.file_spec import Part
from ncatool.data.sample_spec import PLANES

RIGHT, FRONT, UP = range(3)
_NORMALS = {"axial": UP, "coronal": FRONT, "sagittal": RIGHT}
_SHOWN = {"axial": (FRONT, RIGHT), "coronal": (UP, RIGHT), "sagittal": (UP, FRONT)}
"""The anatomical axes of a slice's rows, from top to bottom, and of its columns."""

SliceReader = Callable[[int, int], NDArray[Any]]
"""Reads a slice of an array across one of its axes: [the other axes in order, colours if any]."""


@dataclass(frozen=True)
class Placement:
    """How the three axes of an array lie in the patient."""

    axes: tuple[int, int, int]
    """The array's axis nearest to each anatomical axis: right, front, up."""
    flipped: tuple[bool, bool, bool]
    """Whether it runs against that anatomical axis."""
    spacing: tuple[float, float, float]
    """Distance of neighbours along each axis of the array."""


def find_placement(directions: Float[np.ndarray, "arrayaxes=3 anatomicalaxes=3"]) -> Placement:
    """Return how an array lies, from the step that each of its axes makes along right, front and up.

    Oblique axes count as the nearest anatomical ones. Where steps are not finite, or are zero, the array is taken to
    lie along right, front and up.
    """
    lengths = np.linalg.norm(directions, axis=1)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return Placement((0, 1, 2), (False, False, False), (1.0, 1.0, 1.0))
    cosines = directions / lengths[:, None]
    a, b, c = max(itertools.permutations(range(3)), key=lambda axes: sum(abs(cosines[axes, range(3)])))
    flipped = cosines[a, RIGHT] < 0, cosines[b, FRONT] < 0, cosines[c, UP] < 0
    return Placement((a, b, c), tuple(map(bool, flipped)), tuple(map(float, lengths)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class AnatomicalSlice:
    """One slice as it is shown."""

    values: NDArray[Any]
    """[height, width, colours if any]"""
    spacing: tuple[float, float]
    """Height and width of a pixel."""
    plane: str
    index: int
    """Position in the plane's stack: from the feet, the back or the left of the patient."""
    count: int


def cut_slice(
    read: SliceReader, shape: Sequence[int], placement: Placement, part: Part, path: Path, default: str = PLANES[0]
) -> AnatomicalSlice:
    """Read the slice that the part names, and turn it as it is shown.

    Raises UsageError for a slice that does not exist.
    """
    plane = part.plane or default
    axis, (rows, columns) = _NORMALS[plane], _SHOWN[plane]
    across = placement.axes[axis]
    count = int(shape[across])
    index = part.choose_index(count, path, f"{plane} slice")
    values = read(across, count - 1 - index if placement.flipped[axis] else index)
    down, right = placement.axes[rows], placement.axes[columns]
    if down > right:
        values = values.swapaxes(0, 1)
    values = values[:: 1 if placement.flipped[rows] else -1, :: 1 if placement.flipped[columns] else -1]
    return AnatomicalSlice(values, (placement.spacing[down], placement.spacing[right]), plane, index, count)


def find_plane(placement: Placement, across: int) -> str:
    """Return the plane whose slices lie across an axis of the array."""
    return next(plane for plane, axis in _NORMALS.items() if placement.axes[axis] == across)
