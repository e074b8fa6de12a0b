"""Pictures of a model, made anew from the file beside them and compared.

The model was trained with `ncatool train --target phantom --damage`. To remake the pictures:

    cd tests/golden
    ncatool render phantom.safetensors phantom.png --damage --steps 1100 --scale 4 --force
    ncatool render phantom.safetensors phantom.gif --damage --steps 1100 --scale 6 --every 10 --force
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ncatool.evaluation.errors import measure_errors
from ncatool.nca.model_file import load_model
from ncatool.rendering.damage_script import repeat_random
from ncatool.rendering.pace import plan_pace
from ncatool.rendering.playback import Playback
from ncatool.rendering.render import render
from ncatool.rendering.timeline import RenderSettings

GOLDEN = Path(__file__).parents[1] / "golden"
PICTURES = {
    "phantom.png": {"scale": 4},
    "phantom.gif": {"scale": 6, "every": 10},
}


def frames(path):
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB"), dtype=int) for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_the_code_draws(name, tmp_path):
    """Other processors round otherwise: a level of 255 in the mean, not bytes, is the measure."""
    model = load_model(GOLDEN / "phantom.safetensors")
    given = {"steps": 1100, **PICTURES[name]}
    settings = plan_pace([model], RenderSettings(damage=repeat_random(1100), **given), given)
    film = Playback(model, settings)
    render([film], [str(tmp_path / name)], settings)
    found, expected = frames(tmp_path / name), frames(GOLDEN / name)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).mean() < 1
    assert measure_errors(film.state, film.expected)["mse"] < 1e-3, "the last picture is the healed phantom"
