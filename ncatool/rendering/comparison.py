"""TODO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ncatool.config.names import Damage, View
from ncatool.evaluation.models import Contender, Entry
from ncatool.nca.damage import SIZES
from ncatool.nca.picture import WHITE, Picture, coloured, enlarged
from ncatool.rendering.damage_script import Event
from ncatool.rendering.film import Film
from ncatool.rendering.render import render
from ncatool.rendering.sheet import default_scale, sheet
from ncatool.rendering.timeline import Rendering
from ncatool.rendering.views import VIEWS, Scene

TILE = 84
"""Pixels that the longer side of a picture takes on a sheet, about."""


ANIMATION = Rendering(steps=400, every=4, damage=(Event(200, Damage.CIRCLE, SIZES[Damage.CIRCLE]),))
"""All models grow side by side, and are wounded together."""


def strip(entry: Entry) -> Image.Image:
    """Target, stages, wound, what became of it, and where the last step is wrong; the first rollout's."""
    model, measures = entry.contender.model, entry.measures
    wanted = model.target.premultiplied()
    scale = default_scale(wanted.shape[0], wanted.shape[1], TILE)
    damaged, healed = measures.wounds[Damage.CIRCLE].shots
    moments = {f"step {step}": shot for step, shot in sorted(measures.course.shots.items())}
    pictures: dict[str, Picture] = {
        label: coloured(visible, WHITE, scale)
        for label, visible in {"target": wanted, **moments, "damaged": damaged, "healed": healed}.items()
    }
    final = measures.course.shots[max(measures.course.shots)]
    (error,) = VIEWS[View.ERROR](Scene(final, final, wanted), WHITE, scale)
    pictures["error at the end"] = error.picture
    enlarged_ = [enlarged(picture, scale) for picture in pictures.values()]
    return sheet(enlarged_, list(pictures), len(pictures), WHITE)


def picture(entries: Sequence[Entry]) -> Image.Image:
    """A strip a model, its name below."""
    strips = [np.asarray(strip(entry)) for entry in entries]
    return sheet(strips, [entry.contender.name for entry in entries], 1, WHITE)


def animate(contenders: Sequence[Contender], out: str, watch: Callable[[Any], Any]) -> None:
    """All models side by side, from the seed, wounded together half-way."""
    films = [Film(contender.model, ANIMATION, contender.name) for contender in contenders]
    render(films, [out], ANIMATION, watch)
