"""Scripts of damage: `left@300,square:0.4@500` erases the left half after step 300 and a square after step 500."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ncatool.config.names import Damage
from ncatool.data.file_spec import FileSpec, locate_file
from ncatool.data.masks import read_mask, scale_mask
from ncatool.errors import UsageError, shorten
from ncatool.nca.damage import DAMAGE_SHAPES, DEFAULT_SIZES, Centre
from ncatool.nca.types import Mask

RANDOM = "random"
REPEATED_RANDOM = (RANDOM, "1", "true", "yes", "on")
"""Scripts that mean a random circle every hundred steps: plain `--damage`, and values of a variable that mean yes."""
NO_DAMAGE = ("0", "false", "no", "off")
"""Values of an environment variable that mean no damage."""
REPETITION_INTERVAL = 100
"""Steps between the random circles of plain `--damage`: enough for most models to heal."""
_GRAMMAR = "write SHAPE@STEP, such as circle@200, square:0.4@500 or circle:0.2:10:14@300"


@dataclass(frozen=True)
class DamageEvent:
    """Cells that are erased after a step."""

    step: int
    shape: Damage | FileSpec | None = None
    """A shape, a mask, or None for a random circle."""
    size: float = 0
    """Radius of a circle or half the side of a square, as a share of the picture's shorter side."""
    centre: Centre | None = None
    """Row and column of the grid; None: the middle of the picture."""
    repeated: bool = False
    """Whether it is one of the circles of plain `--damage`, whose steps follow the model's growth."""


def parse_script(texts: Iterable[str], steps: int) -> tuple[DamageEvent, ...]:
    """Return the events of scripts, in the order of their steps.

    Raises UsageError for an unknown shape, a step after the last one, and sizes or positions that make no sense.
    """
    parts = [part.strip() for text in texts for part in _split_script(text)]
    events = [event for part in parts for event in _parse_part(part, steps)]
    return tuple(sorted(events, key=lambda event: event.step))


def _split_script(text: str) -> list[str]:
    """Return the events of a script; the name of a mask that exists may contain commas."""
    return [text] if locate_file(text.rpartition("@")[0]) is not None else text.split(",")


def repeat_random(steps: int, first: int = REPETITION_INTERVAL) -> tuple[DamageEvent, ...]:
    """Return a random circle after step `first`, and one every hundred steps, as long as there is time to heal.

    Where there is no time for any, one circle comes after step `first`, or after half of the steps.
    """
    circles = range(first, steps - REPETITION_INTERVAL + 1, REPETITION_INTERVAL)
    chosen = list(circles) or [first if first < steps else max(1, steps // 2)]
    return tuple(DamageEvent(step, repeated=True) for step in chosen)


def _parse_part(part: str, steps: int) -> tuple[DamageEvent, ...]:
    if part in REPEATED_RANDOM:
        return repeat_random(steps)
    if part in NO_DAMAGE:
        return ()
    shape, separator, digits = part.rpartition("@")
    if not separator:
        named = part.partition(":")[0] in (*Damage, RANDOM) or locate_file(part) is not None
        raise UsageError(
            f"damage {shorten(part)} does not say after which step", f"write {part}@200" if named else _GRAMMAR
        )
    if not digits.isdecimal() or len(digits) > 9:
        raise UsageError(f"damage {shorten(part)} does not say after which step", _GRAMMAR)
    step = int(digits)
    if step > steps:
        raise UsageError(
            f"damage {shorten(part)} comes after the end: the last step is {steps}",
            f"give --steps {step} or more, or an earlier step",
        )
    if shape == RANDOM:
        return (DamageEvent(step),)
    return (_parse_shape(step, shape),)


def _parse_shape(step: int, text: str) -> DamageEvent:
    name, *numbers = text.split(":")
    if name not in list(Damage):
        found = locate_file(text)
        if found is not None:
            return DamageEvent(step, found)
        choices = ", ".join([*Damage, RANDOM])
        raise UsageError(f"there is no damage {shorten(text)}", f"choose from {choices}, or give the file of a mask")
    shape = Damage(name)
    try:
        size, *centre = [float(number) for number in numbers] or [DEFAULT_SIZES.get(shape, 0.0)]
    except ValueError:
        raise UsageError(f"damage {shorten(text)} has a size or position that is no number", _GRAMMAR) from None
    if numbers and shape not in DEFAULT_SIZES:
        raise UsageError(f"damage {shorten(text)} has a size, but a half has none", f"write {shape}@{step}")
    if len(centre) not in (0, 2):
        raise UsageError(f"damage {shorten(text)} has a position of {len(centre)} numbers", _GRAMMAR)
    if shape in DEFAULT_SIZES and not 0 < size <= 1:
        raise UsageError(
            f"damage {shorten(text)} has size {size:g}, but sizes go from 0 to 1", "1 is the picture's shorter side"
        )
    return DamageEvent(step, shape, size, (centre[0], centre[1]) if centre else None)


def make_mask(event: DamageEvent, box: tuple[slice, slice], grid: tuple[int, int], side: int) -> Mask:
    """Return the cells of the grid that an event erases.

    `box` holds the rows and columns of the picture in the grid, `side` is the side to which sizes are relative. The
    event must not be random. Raises UsageError for a position outside the grid, NcatoolError for a file that is not a
    picture.
    """
    if event.centre is not None:
        box = slice(0, grid[0]), slice(0, grid[1])
    top, left = box[0].start, box[1].start
    height, width = box[0].stop - top, box[1].stop - left
    if isinstance(event.shape, FileSpec):
        erased = _read_mask(event.shape, height, width)
    else:
        assert event.shape is not None
        size = event.size * side / min(height, width)
        erased = DAMAGE_SHAPES[event.shape](height, width, size, _check_centre(event, grid))
    mask = torch.zeros(grid, dtype=torch.bool)
    mask[box] = erased
    return mask


def _check_centre(event: DamageEvent, grid: tuple[int, int]) -> Centre | None:
    """Return the centre, or None where none is set; raise UsageError where it lies outside the grid."""
    if event.centre is None:
        return None
    y, x = event.centre
    if not (0 <= y <= grid[0] - 1 and 0 <= x <= grid[1] - 1):
        raise UsageError(
            f"damage at row {y:g}, column {x:g} lies outside the grid of {grid[0]}x{grid[1]} cells",
            f"rows go from 0 to {grid[0] - 1}, columns from 0 to {grid[1] - 1}",
        )
    return y, x


def _read_mask(spec: FileSpec, height: int, width: int) -> Mask:
    """Return a mask scaled to the grid: cells are erased of which at least half are inside."""
    return torch.from_numpy(scale_mask(read_mask(spec), height, width) > 0.5)
