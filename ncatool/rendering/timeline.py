"""The settings of a rendering, and the steps and durations of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ncatool.config.names import View
from ncatool.config.schema import check_range
from ncatool.nca.picture import WHITE, Background
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.sowing import Sowing

CHANGE_PAUSE = 400.0
"""Milliseconds that a frame with fresh damage or a new seed is shown."""
GROWTH_FRAMES = 75
"""Frames of growth, where they are not given: three seconds at 25 frames a second."""
HEALING_STEPS = 50
"""Steps after damage or a new seed that are shown as slowly as growth."""
QUICKENING = 4
"""How many times as quickly the rest is shown."""


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """Settings of a rendering; `ncatool render` has an option for each."""

    steps: int = 500
    """Steps from the seed."""
    every: int = 2
    """Steps between frames; 0 shows growth and healing slowly, and the rest quickly."""
    grown: int = 100
    """Step by which the picture has grown, where `every` is 0."""
    fps: float = 25
    """Frames per second."""
    seed_pause: float = 0
    """Seconds that the seed is shown, at least."""
    hold: float = 2
    """Seconds that the last frame is shown."""
    scale: int = 0
    """Side of a cell in pixels; 0 chooses one that suits the size of the grid."""
    damage: tuple[DamageEvent, ...] = ()
    """What is erased at which step, in the order of the steps."""
    seed: int = 0
    """Seed of the fire masks and of random damage."""
    background: Background = WHITE
    """What shows through transparent cells."""
    view: View = View.RGBA
    """Which channels or differences are shown."""
    rollouts: int = 16
    """Rollouts that the view of their variation compares."""
    overlay: bool = False
    """Draw the step and the curve of the error below the picture."""
    trim: bool = False
    """Cut off the cells around the target."""
    grid: tuple[int, int] | None = None
    """Height and width in cells; None: those of the target with its padding."""
    at: tuple[tuple[int, int], ...] = ()
    """Row and column of the middle of each seed; empty: one in the middle of the grid."""
    sow: tuple[Sowing, ...] = ()
    """Seeds of chosen pictures, in the order of their steps; those of step 0 come instead of the model's own."""
    rotate: float = 0
    """Degrees, counter-clockwise, by which the picture is turned, by the weights or the seed."""
    mirror: bool = False
    """Exchange left and right of the picture, before it is turned."""

    def __post_init__(self) -> None:
        check_range("fps", self.fps, 0.1, 50)
        check_range("hold", self.hold, 0, 60)
        check_range("rotate", self.rotate, -360, 360)
        check_range("rollouts", self.rollouts, 2, 4096)
        check_range("seed", self.seed, 0, 2**62)

    def list_changes(self, step: int) -> list[DamageEvent | Sowing]:
        """Return what changes the state after a step: damage, then seeds that are sown into what has grown."""
        return [*(one for one in self.damage if one.step == step), *(one for one in self.sow if one.step == step > 0)]

    @property
    def change_steps(self) -> list[int]:
        """The steps after which something changes the state."""
        return sorted({*(one.step for one in self.damage), *(one.step for one in self.sow if one.step > 0)})


class Moment(NamedTuple):
    """The step and the duration of a frame."""

    step: int
    change: str
    """`damaged` or `sown` where it shows the state after the changes of this step; before them, empty."""
    pause: float
    """Duration in milliseconds."""


def plan_moments(settings: RenderSettings) -> list[Moment]:
    """Return the moments of all frames: step 0, some steps, before and after each change, the last step."""
    change_steps, damage_steps = settings.change_steps, {event.step for event in settings.damage}
    pause = 1000 / settings.fps
    frame_steps = range(0, settings.steps, settings.every) if settings.every else _list_frame_steps(settings)
    moments = []
    for step in sorted({*frame_steps, *change_steps, settings.steps}):
        moments.append(Moment(step, "", pause))
        if step in change_steps:
            change = "damaged" if step in damage_steps else "sown"
            moments.append(Moment(step, change, max(pause, CHANGE_PAUSE)))
    moments[0] = moments[0]._replace(pause=max(pause, 1000 * settings.seed_pause))
    moments[-1] = moments[-1]._replace(pause=max(moments[-1].pause, pause, 1000 * settings.hold))
    return moments


def _list_frame_steps(settings: RenderSettings) -> Iterator[int]:
    """Yield the steps of frames that are close together while the picture grows, heals or changes."""
    slow = max(1, round(settings.grown / GROWTH_FRAMES))
    starts = sorted({0, *settings.change_steps})
    for start, end in pairwise([*starts, settings.steps]):
        slow_end = min(end, settings.grown if start == 0 else start + HEALING_STEPS)
        yield from range(start, slow_end, slow)
        yield from range(max(start, slow_end), end, slow * QUICKENING)
