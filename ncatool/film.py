"""Rollouts as frames: what grows where, what is erased when, and which steps are shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from ncatool.checkpoint import Model
from ncatool.config import Boundary, View, within
from ncatool.errors import UsageError
from ncatool.evaluate import advance
from ncatool.model import rotated
from ncatool.script import Event, shape_mask
from ncatool.state import Mask, State, middle, random_circle, seed
from ncatool.view import WHITE, Background, Scene

DAMAGE_PAUSE = 400.0
"""Milliseconds that a wound is shown before it heals."""

Wanted = Float[np.ndarray, "height width 4"]


@dataclass(frozen=True, kw_only=True)
class Rendering:
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
    damage: tuple[Event, ...] = ()
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
        within("fps", self.fps, 0.1, 50)
        within("hold", self.hold, 0, 60)
        within("rotate", self.rotate, -360, 360)
        within("seed", self.seed, 0, 2**62)


class Moment(NamedTuple):
    """When a frame is, and how long it stays."""

    step: int
    damaged: bool
    pause: float
    """Milliseconds."""


class Frame(NamedTuple):
    """A moment, and what every model looks like in it."""

    moment: Moment
    scenes: list[Scene]


def plan(how: Rendering) -> list[Moment]:
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


class Film:
    """One model's rollout, where it has got to."""

    def __init__(self, model: Model, how: Rendering, name: str = "") -> None:
        self.model, self.name = model, name
        if how.rotate:
            self.model = dataclasses.replace(model, weights=rotated(model.weights, model.config, how.rotate))
        self.grid = how.grid or model.target.shape
        self.seeds = how.at or (middle(*self.grid),)
        _check_seeds(self.seeds, self.grid)
        self.wanted = wanted(model, self.grid, self.seeds, how.rotate)
        """What the state should look like."""
        self.state: State = seed(1, *self.grid, model.config.channels, self.seeds).to(model.device)
        self.step = 0
        self._picture = self._lies() if self.grid == model.target.shape else _everything(self.grid)
        self._box = _visible_box(self.wanted) if how.trim else _everything(self.grid)
        self._before = self.state
        self._side = min(model.target.pixels.shape[:2])
        self._masks = {event: self._mask(event) for event in how.damage if event.what is not None}
        self._fire = torch.Generator().manual_seed(how.seed)
        self._draws = torch.Generator().manual_seed(how.seed + 1)

    def to(self, step: int) -> None:
        """Lets the state grow up to a step."""
        self.state, self.step = advance(self.model, self.state, step - self.step, self._fire), step

    def erase(self, event: Event) -> None:
        """Sets the cells of an event to zero."""
        mask = self._masks[event] if event.what is not None else self._random_circle()
        self.state = self.state.clone()
        self.state[:, mask.to(self.state.device)] = 0

    def scene(self) -> Scene:
        """What there is to see, and what there was when it was last asked."""
        before, self._before = self._before, self.state
        cells = self.state[0].cpu().numpy()
        mse = float(np.square(cells[..., :4] - self.wanted).mean())
        return Scene(cells[self._box], before[0].cpu().numpy()[self._box], self.wanted[self._box], mse)

    def _lies(self) -> tuple[slice, slice]:
        padding = self.model.target.padding
        height, width = self.grid
        return slice(padding, height - padding), slice(padding, width - padding)

    def _mask(self, event: Event) -> Mask:
        return shape_mask(event, self._picture, self.grid, self._side)

    def _random_circle(self) -> Mask:
        """Around a cell where the target shows something."""
        mask = torch.zeros(self.grid, dtype=torch.bool)
        visible = torch.from_numpy(self.wanted[self._picture][..., 3] > 0)
        mask[self._picture] = random_circle(visible, self._draws, self._side)
        return mask


def frames(films: Sequence[Film], how: Rendering) -> Iterator[Frame]:
    """Every moment of the plan; all models grow, and are damaged, together."""
    hits: dict[int, list[Event]] = {}
    for event in how.damage:
        hits.setdefault(event.step, []).append(event)
    for moment in plan(how):
        for film in films:
            film.to(moment.step)
            for event in hits[moment.step] if moment.damaged else []:
                film.erase(event)
        yield Frame(moment, [film.scene() for film in films])


def _check_seeds(seeds: Sequence[tuple[int, int]], grid: tuple[int, int]) -> None:
    for y, x in seeds:
        if not (0 <= y < grid[0] and 0 <= x < grid[1]):
            raise UsageError(
                f"a seed at row {y}, column {x} lies outside the grid of {grid[0]}x{grid[1]} cells",
                f"rows go from 0 to {grid[0] - 1}, columns from 0 to {grid[1] - 1}",
            )


def _everything(grid: tuple[int, int]) -> tuple[slice, slice]:
    return slice(0, grid[0]), slice(0, grid[1])


def _visible_box(picture: Wanted) -> tuple[slice, slice]:
    """The smallest rectangle that holds everything that is not transparent."""
    rows, columns = np.nonzero(picture[..., 3] > 0)
    if not len(rows):
        return _everything(picture.shape[:2])
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def wanted(model: Model, grid: tuple[int, int], seeds: Sequence[tuple[int, int]], degrees: float = 0) -> Wanted:
    """The target around each seed of the grid, rotated about it; premultiplied RGBA, what comes later on top."""
    stamp, centre = model.target.premultiplied(), middle(*model.target.shape)
    if degrees:
        stamp, centre = _turned(stamp, centre, degrees)
    whole = np.zeros((*grid, 4), np.float32)
    for seed_cell in seeds:
        _place(whole, stamp, seed_cell[0] - centre[0], seed_cell[1] - centre[1], model.config.boundary)
    return whole


def _place(whole: Wanted, stamp: Float[np.ndarray, "tall wide 4"], top: int, left: int, boundary: Boundary) -> None:
    rows, columns = np.nonzero(stamp[..., 3] > 0)
    y, x = rows + top, columns + left
    if boundary is Boundary.WRAP:
        y, x = y % whole.shape[0], x % whole.shape[1]
    inside = (y >= 0) & (y < whole.shape[0]) & (x >= 0) & (x < whole.shape[1])
    whole[y[inside], x[inside]] = stamp[rows[inside], columns[inside]]


def _turned(
    stamp: Float[np.ndarray, "height width 4"], centre: tuple[int, int], degrees: float
) -> tuple[Float[np.ndarray, "tall wide 4"], tuple[int, int]]:
    """A picture rotated about its seed cell, with room for its corners, and where that cell then is."""
    room = math.ceil(max(stamp.shape[:2]) / 2)
    padded = np.pad(stamp, ((room, room), (room, room), (0, 0)))
    y, x = centre[0] + room, centre[1] + room
    turned = [
        Image.fromarray(channel).rotate(degrees, Image.Resampling.BICUBIC, center=(x + 0.5, y + 0.5))
        for channel in np.moveaxis(padded, -1, 0)
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in turned], axis=-1), 0, 1), (y, x)
