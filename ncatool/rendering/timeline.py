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

DAMAGE_PAUSE = 400.0
"""Milliseconds that a frame with fresh damage is shown."""
GROWTH_FRAMES = 75
"""Frames of growth, where they are not given: three seconds at 25 frames a second."""
HEALING_STEPS = 50
"""Steps after damage that are shown as slowly as growth."""
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


class Moment(NamedTuple):
    """The step and the duration of a frame."""

    step: int
    damaged: bool
    """Whether it shows the state after the damage of this step, instead of before."""
    pause: float
    """Duration in milliseconds."""


def plan_moments(settings: RenderSettings) -> list[Moment]:
    """Return the moments of all frames: step 0, some steps, before and after each damage, the last step."""
    damage_steps = {event.step for event in settings.damage}
    pause = 1000 / settings.fps
    frame_steps = range(0, settings.steps, settings.every) if settings.every else _list_frame_steps(settings)
    moments = []
    for step in sorted({*frame_steps, *damage_steps, settings.steps}):
        moments.append(Moment(step, False, pause))
        if step in damage_steps:
            moments.append(Moment(step, True, max(pause, DAMAGE_PAUSE)))
    moments[0] = moments[0]._replace(pause=max(pause, 1000 * settings.seed_pause))
    moments[-1] = moments[-1]._replace(pause=max(moments[-1].pause, pause, 1000 * settings.hold))
    return moments


def _list_frame_steps(settings: RenderSettings) -> Iterator[int]:
    """Yield the steps of frames that are close together while the picture grows or heals."""
    slow = max(1, round(settings.grown / GROWTH_FRAMES))
    starts = sorted({0, *(event.step for event in settings.damage)})
    for start, end in pairwise([*starts, settings.steps]):
        slow_end = min(end, settings.grown if start == 0 else start + HEALING_STEPS)
        yield from range(start, slow_end, slow)
        yield from range(max(start, slow_end), end, slow * QUICKENING)
