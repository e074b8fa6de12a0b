"""Several pictures as one target: sizes, names, what is refused, and which picture an error is about."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncatool.config.names import Colormap
from ncatool.config.schema import TargetConfig
from ncatool.data.targets import load_target
from ncatool.errors import NcatoolError, UsageError


def draw(name, height=20, width=20, value=90):
    pixels = np.full((height, width, 3), value, np.uint8)
    pixels[2:5, 3:9, 0] = 200
    Image.fromarray(pixels).save(name)


def load(source, **settings):
    return load_target(TargetConfig(source=source, size=10, **settings))


def test_pictures_of_different_sizes_are_centred_and_transparent_around():
    draw("wide.png", 10, 20)
    draw("tall.png", 20, 10)
    target = load("wide.png + tall.png", padding=1)
    wide, tall = target.pictures
    assert [one.name for one in target.pictures] == ["wide", "tall"]
    assert wide.pixels.shape == tall.pixels.shape == (10, 10, 4)
    assert target.shape == (12, 12)
    assert wide.visible.any(axis=1).tolist() == [False] * 2 + [True] * 5 + [False] * 3
    assert tall.visible.any(axis=0).sum() == 5


def test_the_record_names_all_of_them_and_repeats():
    draw("a.png")
    draw("b.png", value=10)
    table = load("a.png + b.png").describe()
    assert table["source"] == "a.png + b.png"
    assert (table["names"], table["sources"]) == (["a", "b"], ["a.png", "b.png"])


def test_the_same_picture_twice_is_refused():
    draw("a.png")
    Path("b.png").write_bytes(Path("a.png").read_bytes())
    for source in ("a.png + b.png", "a.png + a.png"):
        with pytest.raises(NcatoolError, match="are the same"):
            load(source)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"crop": "0,0,20,20"}, r"^small\.png: the crop ends"),
        ({"window": "0:100"}, "colour.png: --window 0:100 is for greys"),
        ({"colormap": Colormap.VIRIDIS}, "the target is grey.png"),
    ],
)
def test_an_error_says_which_picture_it_is_about(settings, what):
    Image.linear_gradient("L").resize((20, 20)).save("grey.png")
    draw("colour.png")
    draw("small.png", 10, 10)
    others = "colour.png" if "window" in settings else "small.png"
    with pytest.raises(UsageError, match=what):
        load(f"grey.png + {others}", **settings)


def test_a_file_that_is_no_picture_is_named():
    Path("cells").mkdir()
    draw("cells/a.png")
    Path("cells/b.png").write_text("no picture")
    with pytest.raises(NcatoolError, match=r"cells/b\.png is not a picture"):
        load("cells")
