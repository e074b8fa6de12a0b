"""Rollouts as frames: what grows where, what is erased when, and which steps are shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ncatool.engine.advance import advance
from ncatool.errors import UsageError
from ncatool.nca.damage import draw_circle
from ncatool.nca.model_file import ModelData
from ncatool.nca.state import make_seed, middle_cell
from ncatool.nca.types import Mask, State
from ncatool.nca.weights import rotate_weights
from ncatool.rendering.damage_script import DamageEvent, make_mask
from ncatool.rendering.expected import ExpectedImage, draw_expected
from ncatool.rendering.timeline import Moment, RenderSettings, plan_moments
from ncatool.rendering.views import Scene


class Frame(NamedTuple):
    """A moment, and what every model looks like in it."""

    moment: Moment
    scenes: list[Scene]


class Playback:
    """One model's rollout, where it has got to."""

    def __init__(self, model: ModelData, how: RenderSettings, name: str = "") -> None:
        self.model, self.name = model, name
        if how.rotate:
            self.model = dataclasses.replace(model, weights=rotate_weights(model.weights, model.config, how.rotate))
        self.grid = how.grid or model.target.shape
        self.seeds = how.at or (middle_cell(*self.grid),)
        _check_seeds(self.seeds, self.grid)
        self.expected = draw_expected(model, self.grid, self.seeds, how.rotate)
        """What the state should look like."""
        self.state: State = make_seed(1, *self.grid, model.config.channels, self.seeds).to(model.device)
        self.step = 0
        self._picture = self._target_box() if self.grid == model.target.shape else _whole_grid(self.grid)
        self._box = _visible_box(self.expected) if how.trim else _whole_grid(self.grid)
        self._before = self.state
        self._side = min(model.target.pixels.shape[:2])
        self._masks = {event: self._make_mask(event) for event in how.damage if event.what is not None}
        self._fire = torch.Generator().manual_seed(how.seed)
        self._draws = torch.Generator().manual_seed(how.seed + 1)

    def advance_to(self, step: int) -> None:
        """Lets the state grow up to a step."""
        self.state, self.step = advance(self.model, self.state, step - self.step, self._fire), step

    def erase(self, event: DamageEvent) -> None:
        """Sets the cells of an event to zero."""
        mask = self._masks[event] if event.what is not None else self._draw_circle()
        self.state = self.state.clone()
        self.state[:, mask.to(self.state.device)] = 0

    def capture(self) -> Scene:
        """What there is to see, and what there was when it was last asked."""
        before, self._before = self._before, self.state
        cells = self.state[0].cpu().numpy()
        mse = float(np.square(cells[..., :4] - self.expected).mean())
        return Scene(cells[self._box], before[0].cpu().numpy()[self._box], self.expected[self._box], mse)

    def _target_box(self) -> tuple[slice, slice]:
        padding = self.model.target.padding
        height, width = self.grid
        return slice(padding, height - padding), slice(padding, width - padding)

    def _make_mask(self, event: DamageEvent) -> Mask:
        return make_mask(event, self._picture, self.grid, self._side)

    def _draw_circle(self) -> Mask:
        """Around a cell where the target shows something."""
        mask = torch.zeros(self.grid, dtype=torch.bool)
        visible = torch.from_numpy(self.expected[self._picture][..., 3] > 0)
        mask[self._picture] = draw_circle(visible, self._draws, self._side)
        return mask


def play_frames(films: Sequence[Playback], how: RenderSettings) -> Iterator[Frame]:
    """Every moment of the plan; all models grow, and are damaged, together."""
    hits: dict[int, list[DamageEvent]] = {}
    for event in how.damage:
        hits.setdefault(event.step, []).append(event)
    for moment in plan_moments(how):
        for film in films:
            film.advance_to(moment.step)
            for event in hits[moment.step] if moment.damaged else []:
                film.erase(event)
        yield Frame(moment, [film.capture() for film in films])


def _check_seeds(seeds: Sequence[tuple[int, int]], grid: tuple[int, int]) -> None:
    for y, x in seeds:
        if not (0 <= y < grid[0] and 0 <= x < grid[1]):
            raise UsageError(
                f"a seed at row {y}, column {x} lies outside the grid of {grid[0]}x{grid[1]} cells",
                f"rows go from 0 to {grid[0] - 1}, columns from 0 to {grid[1] - 1}",
            )


def _whole_grid(grid: tuple[int, int]) -> tuple[slice, slice]:
    return slice(0, grid[0]), slice(0, grid[1])


def _visible_box(picture: ExpectedImage) -> tuple[slice, slice]:
    """The smallest rectangle that holds everything that is not transparent."""
    rows, columns = np.nonzero(picture[..., 3] > 0)
    if not len(rows):
        return _whole_grid(picture.shape[:2])
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
