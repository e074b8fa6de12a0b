"""The pace of a rendering: where it ends, when it slows down, and when it is damaged, chosen by a rollout in advance.

The seed stays for half a second, growth and healing are shown slowly, the rest quickly, and the end comes soon after
nothing moves any more; what a user has given holds instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Float

from ncatool.config.names import View
from ncatool.evaluation.protocol import PERSISTENCE_STEP, SETTLED_CHANGE
from ncatool.nca.model_file import ModelData
from ncatool.rendering.damage_script import REPETITION_INTERVAL, DamageEvent, repeat_random
from ncatool.rendering.playback import Playback
from ncatool.rendering.timeline import RenderSettings

SEED_PAUSE = 0.5
"""Seconds that the seed is shown."""
MAX_STEPS = 500
"""Steps that are looked at in advance, and that a rendering takes where the model never settles."""
REPETITIONS = 3
"""Random circles of plain `--damage` where the number of steps is not given."""
_REST = 40
"""Steps that are still shown of a model that has settled."""
_SMOOTHING = 10
"""Steps over which changes are averaged."""
_PEAK_SHARE = 0.05
"""Share of the quickest growth under which a model counts as settled; some flicker for ever."""

Changes = Float[np.ndarray, "steps"]
"""Mean absolute change of RGBA in each step, relative to the cells that the target shows."""


def plan_pace(models: Sequence[ModelData], settings: RenderSettings, given: Collection[str]) -> RenderSettings:
    """Return settings whose steps, frames and repeated damage suit the models.

    `given` holds the names of settings that the user has chosen: `steps`, `every` and `fps` stay as they are then.
    """
    repeated = any(event.repeated for event in settings.damage)
    fixed = tuple(event for event in settings.damage if not event.repeated)
    if "fps" not in given:
        settings = dataclasses.replace(settings, seed_pause=SEED_PAUSE)
    if "every" not in given:
        settings = dataclasses.replace(settings, every=0)
    if not repeated and settings.every and "steps" in given:
        return settings
    horizon = min(settings.steps, MAX_STEPS)
    scans = [measure_changes(model, dataclasses.replace(settings, damage=fixed), horizon) for model in models]
    change_steps = dataclasses.replace(settings, damage=fixed).change_steps
    first_change = min([step for step in change_steps if step > 0], default=horizon)
    grown = _find_latest([find_settled(changes[:first_change]) for changes in scans])
    settings = dataclasses.replace(settings, grown=min(grown or PERSISTENCE_STEP, first_change))
    if repeated:
        return _plan_damage(settings, fixed, "steps" in given)
    if "steps" in given:
        return settings
    settled = _find_latest([find_settled(changes) for changes in scans]) or horizon
    end = min(horizon, -(-(settled + _REST) // 10) * 10)
    return dataclasses.replace(settings, steps=max([end, *(step + REPETITION_INTERVAL for step in change_steps)]))


def _plan_damage(settings: RenderSettings, fixed: tuple[DamageEvent, ...], steps_given: bool) -> RenderSettings:
    """Return settings with a random circle every hundred steps, the first one after the models have grown."""
    first = -(-settings.grown // REPETITION_INTERVAL) * REPETITION_INTERVAL
    steps = settings.steps if steps_given else first + REPETITIONS * REPETITION_INTERVAL
    events = sorted([*fixed, *repeat_random(steps, first)], key=lambda event: event.step)
    return dataclasses.replace(settings, steps=max([steps, *(event.step for event in fixed)]), damage=tuple(events))


def _find_latest(steps: Sequence[int | None]) -> int | None:
    """Return the latest of some steps; None where one is missing."""
    return None if None in steps else max(step for step in steps if step is not None)


def measure_changes(model: ModelData, settings: RenderSettings, steps: int) -> Changes:
    """Return the changes of the rollout that will be rendered, without those that damage makes."""
    playback = Playback(model, dataclasses.replace(settings, view=View.RGBA))  # of several rollouts, one will do
    shown = max(1, int((playback.expected[..., 3] > 0).sum()))
    changes = []
    for step in range(1, steps + 1):
        before = playback.state
        playback.advance_to(step)
        changes.append((playback.state[0, ..., :4] - before[0, ..., :4]).abs().sum() / (4 * shown))
        for change in settings.list_changes(step):
            playback.change(change)
    return np.nan_to_num(torch.stack(changes).cpu().numpy(), nan=np.inf, posinf=np.inf)


def find_settled(changes: Changes) -> int | None:
    """Return the step from which on changes are small compared to the largest; None where they never are."""
    if len(changes) < _SMOOTHING:
        return None
    smooth = np.convolve(changes, np.full(_SMOOTHING, 1 / _SMOOTHING), "valid")
    limit = max(SETTLED_CHANGE, _PEAK_SHARE * float(smooth.max()))
    moving = np.flatnonzero(~(smooth < limit))
    if not len(moving):
        return _SMOOTHING
    return None if moving[-1] == len(smooth) - 1 else int(moving[-1]) + _SMOOTHING
