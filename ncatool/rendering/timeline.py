"""TODO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ncatool.config.names import View
from ncatool.config.schema import check_range
from ncatool.nca.picture import WHITE, Background
from ncatool.rendering.damage_script import DamageEvent

DAMAGE_PAUSE = 400.0
"""Milliseconds that a wound is shown before it heals."""


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """How models are shown."""

    steps: int = 500
    """Steps from the seed."""
    every: int = 2
    """Steps between two frames."""
    fps: float = 25
    """Frames a second."""
    hold: float = 2
    """Seconds that the last frame stays."""
    scale: int = 0
    """Pixels a cell and side; 0: chosen for comfort."""
    damage: tuple[DamageEvent, ...] = ()
    """What is erased, and when."""
    seed: int = 0
    """Of the random generators."""
    background: Background = WHITE
    """What shows through transparent cells."""
    view: View = View.RGBA
    """What of the states is shown."""
    overlay: bool = False
    """Step counter and curve of the error below the picture."""
    trim: bool = False
    """Cut off what lies around the target."""
    grid: tuple[int, int] | None = None
    """Height and width in cells, where they are not those of training."""
    at: tuple[tuple[int, int], ...] = ()
    """Seed cells, row and column; none: the middle."""
    rotate: float = 0
    """Degrees, counter-clockwise, by which the cells' sense of direction is turned."""

    def __post_init__(self) -> None:
        check_range("fps", self.fps, 0.1, 50)
        check_range("hold", self.hold, 0, 60)
        check_range("rotate", self.rotate, -360, 360)
        check_range("seed", self.seed, 0, 2**62)


class Moment(NamedTuple):
    """When a frame is, and how long it stays."""

    step: int
    damaged: bool
    pause: float
    """Milliseconds."""


def plan_moments(how: RenderSettings) -> list[Moment]:
    """The seed, every so many steps, every damage (once before, once after), and the last step."""
    hits = {event.step for event in how.damage}
    pause = 1000 / how.fps
    moments = []
    for step in sorted({*range(0, how.steps, how.every), *hits, how.steps}):
        moments.append(Moment(step, False, pause))
        if step in hits:
            moments.append(Moment(step, True, max(pause, DAMAGE_PAUSE)))
    moments[-1] = moments[-1]._replace(pause=max(pause, 1000 * how.hold))
    return moments
