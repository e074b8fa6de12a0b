"""Renderings of a small model, and what is read from them."""

import numpy as np
from PIL import Image

from ncatool.config.names import Damage
from ncatool.nca.picture import compose, enlarge
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.render import render
from ncatool.rendering.timeline import RenderSettings
from tests.rendering.test_playback import lively

HURT = (DamageEvent(30, Damage.LEFT),)
STILL = [".gif", ".webp", ".apng"]


def render_outputs(*outputs, model=None, **how):
    settings = RenderSettings(**how)
    film = Playback(model or lively(), settings)
    render([film], [str(output) for output in outputs], settings)
    return film


def paint_frames(scale, **how):
    """Frames as they should look, and how long each stays."""
    settings = RenderSettings(**how)
    shots = list(play_frames([Playback(lively(), settings)], settings))
    pictures = [compose(shot.scenes[0].cells[..., :4], settings.background, scale) for shot in shots]
    return [enlarge(picture, scale) for picture in pictures], [shot.moment.pause for shot in shots]


def read_frames(path, mode="RGB"):
    with Image.open(path) as image:
        pictures, pauses = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert(mode)).astype(int))
            pauses.append(image.info["duration"])
        return pictures, pauses, image.info.get("loop")
