"""Rollouts as frames: models grow on their grids, damage is done on schedule, and the planned steps are captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ncatool.config.names import View
from ncatool.engine.advance import advance
from ncatool.evaluation.variation import measure_variation
from ncatool.nca.damage import draw_circle
from ncatool.nca.model_file import ModelData
from ncatool.nca.orientation import turn_model
from ncatool.nca.seed import sow_seed
from ncatool.nca.state import middle_cell
from ncatool.nca.types import Mask, State
from ncatool.rendering.damage_script import DamageEvent, make_mask
from ncatool.rendering.expected import ExpectedImage, draw_expected
from ncatool.rendering.sowing import Place, Sowing, check_places
from ncatool.rendering.timeline import Moment, RenderSettings, plan_moments
from ncatool.rendering.views import Scene


class Frame(NamedTuple):
    """A moment, and the scene of each model in it."""

    moment: Moment
    scenes: list[Scene]


class Playback:
    """The rollout of one model, or several of them: states at a step, which can be advanced, changed and captured.

    Raises UsageError for a seed or damage outside the grid, and where nothing in the model has a direction to turn.
    """

    def __init__(self, model: ModelData, settings: RenderSettings, name: str = "") -> None:
        self._settings, self.name = settings, name
        self.model = self._turn(model)
        self.grid = settings.grid or model.target.shape
        places = [Sowing(model, place) for place in settings.at or [None]]
        self._first = [one for one in settings.sow if one.step == 0] or places
        """The seeds that growth starts from."""
        for one in (*self._first, *settings.sow):
            check_places(self._turn(one.model), [self._locate(one)], self.grid)
        self._grown = list(self._first)
        """The seeds from which the pictures that the state should show have grown."""
        self.expected = self._draw_expected()
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
        self.state: State = torch.zeros(self._count, *self.grid, self.model.config.channels, device=self.model.device)
        for one in self._first:
            sow_seed(self.state, self._turn(one.model).seed, self._locate(one))
        self._grown = list(self._first)
        self.expected = self._draw_expected()
        self.step = 0
        self._captured = self.state
        self._fire_generator = torch.Generator().manual_seed(self._seed)
        self._damage_generator = torch.Generator().manual_seed(self._seed + 1)

    def advance_to(self, step: int) -> None:
        """Advance the state to a step, which must not be before the current one."""
        self.state, self.step = advance(self.model, self.state, step - self.step, self._fire_generator), step

    def change(self, change: DamageEvent | Sowing) -> None:
        """Erase cells, or sow a seed."""
        if isinstance(change, Sowing):
            self._sow(change)
        else:
            self.erase(change)

    def _sow(self, sowing: Sowing) -> None:
        """Put a seed on the grid; its picture takes the place of one that has grown there."""
        self.state = self.state.clone()
        place = self._locate(sowing)
        sow_seed(self.state, self._turn(sowing.model).seed, place)
        self._grown = [*(one for one in self._grown if self._locate(one) != place), sowing]
        self.expected = self._draw_expected()

    def _locate(self, sowing: Sowing) -> Place:
        return sowing.at or middle_cell(*self.grid)

    def _turn(self, model: ModelData) -> ModelData:
        return turn_model(model, self._settings.rotate, self._settings.mirror)

    def _draw_expected(self) -> ExpectedImage:
        models, places = [one.model for one in self._grown], [self._locate(one) for one in self._grown]
        return draw_expected(models, self.grid, places, self._settings.rotate, self._settings.mirror)

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
    """Yield a frame for each planned moment; all models are advanced and changed together."""
    for moment in plan_moments(settings):
        for playback in playbacks:
            playback.advance_to(moment.step)
            for change in settings.list_changes(moment.step) if moment.change else []:
                playback.change(change)
        yield Frame(moment, [playback.capture() for playback in playbacks])


def _select_all(grid: tuple[int, int]) -> tuple[slice, slice]:
    return slice(0, grid[0]), slice(0, grid[1])


def _locate_visible(picture: ExpectedImage) -> tuple[slice, slice]:
    """Return the smallest rectangle that holds every pixel that is not transparent."""
    rows, columns = np.nonzero(picture[..., 3] > 0)
    if not len(rows):
        return _select_all(picture.shape[:2])
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
