"""TODO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ncatool.config.names import Damage, View
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.nca.damage import DEFAULT_SIZES
from ncatool.nca.picture import WHITE, Picture, compose, enlarge
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.playback import Playback
from ncatool.rendering.render import render
from ncatool.rendering.sheet import arrange_sheet, default_scale
from ncatool.rendering.timeline import RenderSettings
from ncatool.rendering.views import VIEWS, Scene

TILE_PIXELS = 84
"""Pixels that the longer side of a picture takes on a sheet, about."""


ANIMATION = RenderSettings(steps=400, every=4, damage=(DamageEvent(200, Damage.CIRCLE, DEFAULT_SIZES[Damage.CIRCLE]),))
"""All models grow side by side, and are wounded together."""


def draw_strip(entry: Evaluation) -> Image.Image:
    """Target, stages, wound, what became of it, and where the last step is wrong; the first rollout's."""
    model, measures = entry.candidate.model, entry.measures
    wanted = model.target.premultiply()
    scale = default_scale(wanted.shape[0], wanted.shape[1], TILE_PIXELS)
    damaged, healed = measures.damage[Damage.CIRCLE].snapshots
    moments = {f"step {step}": shot for step, shot in sorted(measures.trajectory.snapshots.items())}
    pictures: dict[str, Picture] = {
        label: compose(visible, WHITE, scale)
        for label, visible in {"target": wanted, **moments, "damaged": damaged, "healed": healed}.items()
    }
    final = measures.trajectory.snapshots[max(measures.trajectory.snapshots)]
    (error,) = VIEWS[View.ERROR](Scene(final, final, wanted), WHITE, scale)
    pictures["error at the end"] = error.picture
    enlarged_ = [enlarge(picture, scale) for picture in pictures.values()]
    return arrange_sheet(enlarged_, list(pictures), len(pictures), WHITE)


def draw_sheet(entries: Sequence[Evaluation]) -> Image.Image:
    """A strip a model, its name below."""
    strips = [np.asarray(draw_strip(entry)) for entry in entries]
    return arrange_sheet(strips, [entry.candidate.name for entry in entries], 1, WHITE)


def save_animation(contenders: Sequence[Candidate], out: str, watch: Callable[[Any], Any]) -> None:
    """All models side by side, from the seed, wounded together half-way."""
    films = [Playback(contender.model, ANIMATION, contender.name) for contender in contenders]
    render(films, [out], ANIMATION, watch)
