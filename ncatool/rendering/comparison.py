"""The pictures of a comparison: a strip of stages for each model, and all models in one animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from ncatool.config.names import Damage, View
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import PERSISTENCE_STEP
from ncatool.nca.damage import DEFAULT_SIZES
from ncatool.nca.picture import WHITE, Background, Picture, compose, enlarge
from ncatool.rendering.colour_bar import attach_colour_bar, draw_colour_bar, measure_colour_bar
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.drawing import Drawing
from ncatool.rendering.pace import SEED_PAUSE
from ncatool.rendering.playback import Frame, Playback
from ncatool.rendering.render import render
from ncatool.rendering.sheet import DEFAULT_SIDE_PIXELS, arrange_drawing, choose_scale, join_drawings
from ncatool.rendering.timeline import RenderSettings
from ncatool.rendering.views import VIEWS, Panel, Scene

TILE_PIXELS = 84
"""Approximate length of a picture's longer side in a strip."""

ANIMATION = RenderSettings(
    steps=400, every=4, seed_pause=SEED_PAUSE, damage=(DamageEvent(200, Damage.CIRCLE, DEFAULT_SIZES[Damage.CIRCLE]),)
)
"""Settings of the animation: 200 steps of growth, the same circle erased from all models, 200 more steps."""


def draw_deviation(evaluation: Evaluation, side: int = DEFAULT_SIDE_PIXELS) -> Image.Image:
    """Draw the standard deviation of each cell over the rollouts at step 200, with a colour bar and a label."""
    panel = _draw_variation_panel(evaluation)
    assert panel.scale is not None
    picture = enlarge(panel.picture, choose_scale(len(panel.picture), panel.picture.shape[1], side))
    content = attach_colour_bar(picture, panel.scale, measure_colour_bar(panel.scale), WHITE)
    return arrange_drawing([content], [panel.label], 1, WHITE).paint()


def _draw_variation_panel(evaluation: Evaluation) -> Panel:
    final = evaluation.candidate.model.target.premultiply()
    (panel,) = VIEWS[View.VARIANCE](Scene(final, final, final, variation=evaluation.measures.variation), WHITE, 1)
    return panel


def arrange_strip(evaluation: Evaluation, background: Background = WHITE) -> Drawing:
    """Arrange the first rollout in a row, from target to healing; then its error, and how much all rollouts vary.

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
    last = max(snapshots)
    (error,) = VIEWS[View.ERROR](Scene(snapshots[last], snapshots[last], target), WHITE, scale)
    pictures[f"error {last}"] = error.picture
    pictures[f"varies {PERSISTENCE_STEP}"] = _draw_variation_panel(evaluation).picture
    enlarged = [enlarge(picture, scale) for picture in pictures.values()]
    strip = arrange_drawing(enlarged, list(pictures), len(pictures), background)
    assert error.scale is not None
    bar = arrange_drawing([draw_colour_bar(error.scale, len(enlarged[0]), background)], [" "], 1, background)
    return join_drawings(strip, bar)


def draw_strip(evaluation: Evaluation, background: Background = WHITE) -> Image.Image:
    """Draw what `arrange_strip` arranges."""
    return arrange_strip(evaluation, background).paint()


def arrange_strips(evaluations: Sequence[Evaluation]) -> Drawing:
    """Arrange a strip for each model, with its name above."""
    strips = [arrange_strip(evaluation) for evaluation in evaluations]
    return arrange_drawing(strips, [evaluation.candidate.name for evaluation in evaluations], 1, WHITE)


def save_animation(
    candidates: Sequence[Candidate],
    output: str,
    track: Callable[[Iterator[Frame]], Iterator[Frame]],
    overwrite: bool,
) -> None:
    """Write an animation of all models side by side; `track` wraps the iterator of frames, for a progress bar."""
    playbacks = [Playback(candidate.model, ANIMATION, candidate.name) for candidate in candidates]
    render(playbacks, [output], ANIMATION, track, overwrite)
