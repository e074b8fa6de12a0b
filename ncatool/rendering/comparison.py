"""The pictures of a comparison: a strip of stages for each model, and all models in one animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from ncatool.config.names import Damage, View
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.nca.damage import DEFAULT_SIZES
from ncatool.nca.picture import WHITE, Background, Picture, compose, enlarge
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.pace import SEED_PAUSE
from ncatool.rendering.playback import Frame, Playback
from ncatool.rendering.render import render
from ncatool.rendering.sheet import arrange_sheet, choose_scale
from ncatool.rendering.timeline import RenderSettings
from ncatool.rendering.views import VIEWS, Scene

TILE_PIXELS = 84
"""Approximate length of a picture's longer side in a strip."""

ANIMATION = RenderSettings(
    steps=400, every=0, seed_pause=SEED_PAUSE, damage=(DamageEvent(200, Damage.CIRCLE, DEFAULT_SIZES[Damage.CIRCLE]),)
)
"""Settings of the animation: 200 steps of growth, the same circle erased from all models, 200 more steps."""


def draw_strip(evaluation: Evaluation, background: Background = WHITE) -> Image.Image:
    """Draw the first rollout in a row: target, growth, damage by a circle, recovery, and the error at the end.

    `background` is around the pictures; behind transparent cells it is white.
    """
    measures = evaluation.measures
    snapshots = measures.trajectory.snapshots
    target = evaluation.candidate.model.target.premultiply()
    scale = choose_scale(target.shape[0], target.shape[1], TILE_PIXELS)
    damaged, healed = measures.damage[Damage.CIRCLE].snapshots
    growth = {f"step {step}": snapshots[step] for step in sorted(snapshots)}
    pictures: dict[str, Picture] = {
        label: compose(visible, WHITE, scale)
        for label, visible in {"target": target, **growth, "damaged": damaged, "healed": healed}.items()
    }
    final = snapshots[max(snapshots)]
    (error,) = VIEWS[View.ERROR](Scene(final, final, target), WHITE, scale)
    pictures["error at the end"] = error.picture
    enlarged = [enlarge(picture, scale) for picture in pictures.values()]
    return arrange_sheet(enlarged, list(pictures), len(pictures), background)


def draw_sheet(evaluations: Sequence[Evaluation]) -> Image.Image:
    """Draw a strip for each model, with its name below."""
    strips = [np.asarray(draw_strip(evaluation)) for evaluation in evaluations]
    return arrange_sheet(strips, [evaluation.candidate.name for evaluation in evaluations], 1, WHITE)


def save_animation(
    candidates: Sequence[Candidate],
    output: str,
    track: Callable[[Iterator[Frame]], Iterator[Frame]],
    overwrite: bool,
) -> None:
    """Write an animation of all models side by side; `track` wraps the iterator of frames, for a progress bar."""
    playbacks = [Playback(candidate.model, ANIMATION, candidate.name) for candidate in candidates]
    render(playbacks, [output], ANIMATION, track, overwrite)
