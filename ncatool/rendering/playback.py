"""Rollouts as frames: models grow on their grids, damage is done on schedule, and the planned steps are captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ncatool.config.names import Boundary, View
from ncatool.engine.advance import advance
from ncatool.errors import UsageError
from ncatool.evaluation.variation import measure_variation
from ncatool.nca.damage import draw_circle
from ncatool.nca.model_file import ModelData
from ncatool.nca.orientation import turn_model
from ncatool.nca.seed import fits_grid, list_cells, place_seed
from ncatool.nca.state import middle_cell
from ncatool.nca.types import Mask, Seed, State
from ncatool.rendering.damage_script import DamageEvent, make_mask
from ncatool.rendering.expected import ExpectedImage, draw_expected
from ncatool.rendering.timeline import Moment, RenderSettings, plan_moments
from ncatool.rendering.views import Scene


class Frame(NamedTuple):
    """A moment, and the scene of each model in it."""

    moment: Moment
    scenes: list[Scene]


class Playback:
    """The rollout of one model, or several of them: states at a step, which can be advanced, damaged and captured.

    Raises UsageError for a seed or damage outside the grid, and where nothing in the model has a direction to turn.
    """

    def __init__(self, model: ModelData, settings: RenderSettings, name: str = "") -> None:
        self.model, self.name = turn_model(model, settings.rotate, settings.mirror), name
        self.grid = settings.grid or model.target.shape
        self.seeds = settings.at or (middle_cell(*self.grid),)
        _check_seeds(self.model, self.seeds, self.grid)
        self.expected = draw_expected(model, self.grid, self.seeds, settings.rotate, settings.mirror)
        """The picture that the state should show."""
        self._picture_box = self._locate_target() if self.grid == model.target.shape else _select_all(self.grid)
        self._shown_box = _locate_visible(self.expected) if settings.trim else _select_all(self.grid)
        self._side = min(model.target.pixels.shape[:2])
        self._masks = {event: self._make_mask(event) for event in settings.damage if event.shape is not None}
        self._seed = settings.seed
        self._count = settings.rollouts if settings.view is View.VARIANCE else 1
        self.restart()

    def restart(self) -> None:
        """Go back to the seed, and draw the same fire masks and damage again."""
        seeds = place_seed(self.model.seed, self._count, *self.grid, self.seeds)
        self.state: State = seeds.to(self.model.device)
        self.step = 0
        self._captured = self.state
        self._fire_generator = torch.Generator().manual_seed(self._seed)
        self._damage_generator = torch.Generator().manual_seed(self._seed + 1)

    def advance_to(self, step: int) -> None:
        """Advance the state to a step, which must not be before the current one."""
        self.state, self.step = advance(self.model, self.state, step - self.step, self._fire_generator), step

    def erase(self, event: DamageEvent) -> None:
        """Set the cells of an event to zero."""
        mask = self._find_mask(event) if event.shape is not None else self._draw_circle()
        self.state = self.state.clone()
        self.state[:, mask.to(self.state.device)] = 0

    def _find_mask(self, event: DamageEvent) -> Mask:
        """Return the mask of an event of the script, or of one that was not foreseen."""
        mask = self._masks.get(event)
        return self._make_mask(event) if mask is None else mask

    def capture(self) -> Scene:
        """Return the scene of the current state; `before` in it is the state of the last capture."""
        before, self._captured = self._captured, self.state
        cells = self.state[0].cpu().numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # a state that explodes is shown, not warned of
            mse = float(np.square(cells[..., :4] - self.expected).mean())
        box = self._shown_box
        variation = measure_variation(self.state[:, *box, :4].cpu().numpy()) if len(self.state) > 1 else None
        return Scene(cells[box], before[0].cpu().numpy()[box], self.expected[box], mse, variation)

    def _locate_target(self) -> tuple[slice, slice]:
        padding = self.model.target.padding
        height, width = self.grid
        return slice(padding, height - padding), slice(padding, width - padding)

    def _make_mask(self, event: DamageEvent) -> Mask:
        return make_mask(event, self._picture_box, self.grid, self._side)

    def _draw_circle(self) -> Mask:
        """Draw a random circle around a cell where the target is not transparent."""
        mask = torch.zeros(self.grid, dtype=torch.bool)
        visible = torch.from_numpy(self.expected[self._picture_box][..., 3] > 0)
        mask[self._picture_box] = draw_circle(visible, self._damage_generator, self._side)
        return mask


def play_frames(playbacks: Sequence[Playback], settings: RenderSettings) -> Iterator[Frame]:
    """Yield a frame for each planned moment; all models are advanced and damaged together."""
    events: dict[int, list[DamageEvent]] = {}
    for event in settings.damage:
        events.setdefault(event.step, []).append(event)
    for moment in plan_moments(settings):
        for playback in playbacks:
            playback.advance_to(moment.step)
            for event in events[moment.step] if moment.damaged else []:
                playback.erase(event)
        yield Frame(moment, [playback.capture() for playback in playbacks])


def _check_seeds(model: ModelData, seeds: Sequence[tuple[int, int]], grid: tuple[int, int]) -> None:
    """Raise UsageError for a seed whose middle, or any cell where the grid does not wrap, lies outside the grid."""
    for y, x in seeds:
        if not (0 <= y < grid[0] and 0 <= x < grid[1]):
            raise UsageError(
                f"a seed at row {y}, column {x} lies outside the grid of {grid[0]}x{grid[1]} cells",
                f"rows go from 0 to {grid[0] - 1}, columns from 0 to {grid[1] - 1}",
            )
        if model.config.boundary is not Boundary.WRAP and not fits_grid(model.seed, *grid, (y, x)):
            raise UsageError(
                f"a seed at row {y}, column {x} reaches beyond the edge of the grid of {grid[0]}x{grid[1]} cells",
                _list_places(model.seed, grid),
            )


def _list_places(seed: Seed, grid: tuple[int, int]) -> str:
    """Return in words where on a grid all cells of a seed have room."""
    rows, columns = zip(*list_cells(seed), strict=True)
    top, bottom = -min(rows), grid[0] - 1 - max(rows)
    left, right = -min(columns), grid[1] - 1 - max(columns)
    if top > bottom or left > right:
        return "give a larger --grid"
    return f"the cells of this seed have room from row {top} to {bottom} and from column {left} to {right}"


def _select_all(grid: tuple[int, int]) -> tuple[slice, slice]:
    return slice(0, grid[0]), slice(0, grid[1])


def _locate_visible(picture: ExpectedImage) -> tuple[slice, slice]:
    """Return the smallest rectangle that holds every pixel that is not transparent."""
    rows, columns = np.nonzero(picture[..., 3] > 0)
    if not len(rows):
        return _select_all(picture.shape[:2])
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
