"""Sheets, frames, views and what is written beside them, opened again by Pillow and a browser."""

import re

import numpy as np
import pytest
from PIL import Image

from ncatool.config.names import View
from ncatool.errors import UsageError
from ncatool.nca.picture import WHITE
from ncatool.rendering import render as rendering
from ncatool.rendering.colour_bar import measure_colour_bar
from ncatool.rendering.damage_script import DamageEvent, repeat_random
from ncatool.rendering.drawing import measure_text
from ncatool.rendering.error_curve import ErrorCurve
from ncatool.rendering.playback import Playback
from ncatool.rendering.render import render
from ncatool.rendering.timeline import RenderSettings, plan_moments
from ncatool.rendering.views import LOGARITHMIC, SIGNED
from tests.rendering.renderings import HURT, paint_frames, read_frames, render_outputs
from tests.rendering.test_playback import lively


def test_contact_sheet(tmp_path):
    render_outputs(tmp_path / "sheet.png", steps=60, every=1, scale=5, damage=repeat_random(60))
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 6 * 13 * 5
        assert len(image.getcolors(10**6)) > 3


def test_stages_are_growth_then_each_damage_and_what_became_of_it():
    def steps(how):
        moments = plan_moments(how)
        return [moments[i][:2] for i in rendering.choose_stages(moments)]

    plain = steps(RenderSettings(steps=100, every=1))
    assert plain == [(s, "") for s in (0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100)]
    ten = tuple(DamageEvent(step) for step in range(10, 110, 10))
    hurt = steps(RenderSettings(steps=110, every=1, damage=ten))
    assert hurt[:5] == [(0, ""), (2, ""), (10, ""), (10, "damaged"), (20, "")]
    assert hurt[-2:] == [(100, "damaged"), (110, "")]
    once = steps(RenderSettings(steps=110, every=1, damage=HURT))
    assert [step for step, damaged in once if step < 30] == [0, 0, 2, 4, 8, 12, 17, 23][1:], "much of growth"


def test_a_folder_of_frames(tmp_path):
    folder = tmp_path / "frames"
    render_outputs(f"{folder}/", steps=40, every=10, scale=2, damage=HURT)
    names = sorted(file.name for file in folder.iterdir())
    assert names == [
        "step-0000000.png", "step-0000010.png", "step-0000020.png", "step-0000030.png",
        "step-0000030.then-damaged.png", "step-0000040.png",
    ]  # fmt: skip
    without_punctuation = sorted(names, key=lambda name: re.sub(r"[^a-z0-9]", "", name))
    assert without_punctuation == names, "as some locales sort"
    wanted = paint_frames(2, steps=40, every=10, damage=HURT)[0]
    for name, picture in zip(names, wanted, strict=True):
        with Image.open(folder / name) as image:
            assert np.array_equal(np.asarray(image), picture), name
    Image.new("RGB", (2, 2)).save(folder / "step-0000030-damaged.png")  # as earlier versions named it
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds frames already"):
        rendering.check_outputs([f"{folder}/"], False)
    render_outputs(f"{folder}/", steps=10, every=10)
    assert sorted(file.name for file in folder.iterdir()) == ["mine.txt", "step-0000000.png", "step-0000010.png"]


@pytest.mark.parametrize("view", View)
def test_views_and_overlay_keep_one_size(view, tmp_path):
    how = {"steps": 40, "every": 10, "damage": HURT, "view": view, "overlay": True}
    render_outputs(tmp_path / "a.apng", tmp_path / "a.gif", tmp_path / "a.png", **how)
    pictures, _, _ = read_frames(tmp_path / "a.apng")
    assert len({picture.shape for picture in pictures}) == 1
    assert len(pictures) == 6
    assert (pictures[0] != pictures[-1]).any()


def test_the_curve_shows_the_wound(tmp_path):
    render_outputs(tmp_path / "a.apng", steps=100, every=5, damage=HURT, overlay=True, scale=20)
    strip = read_frames(tmp_path / "a.apng")[0][-1][260:]
    reds = np.argwhere((strip == (214, 39, 40)).all(-1))
    assert len(reds) > 20
    assert set(reds[:, 1]) == {ErrorCurve.LEFT + round((260 - 1 - 4 - ErrorCurve.LEFT) * 0.3)}, "at its step"


@pytest.mark.parametrize("how", [{"scale": 1}, {"scale": 30}, {"scale": 1, "view": View.ERROR}])
def test_what_the_overlay_says_is_whole(how, tmp_path):
    """Nothing is cut at the edge, whatever the size of the picture."""
    render_outputs(tmp_path / "a.apng", steps=900, every=900, overlay=True, **how)
    height = ErrorCurve(1, 900, WHITE).draw(plan_moments(RenderSettings(steps=900))[0], 0).shape[0]
    picture = read_frames(tmp_path / "a.apng")[0][-1]
    strip = picture[-height:]
    words = (strip[:18] < 128).all(-1).any(0).nonzero()[0]
    assert words[0] > 2, "the first letter is whole"
    assert words[-1] < strip.shape[1] - 2, "the last digit is whole"
    assert words[-1] - words[0] > measure_text("step 900   MSE 1.0e-01") - 8
    for power in range(3):
        rows = strip[ErrorCurve.TOP - 6 + power * 28 :][:12, : ErrorCurve.LEFT - 4]
        letters = (rows < 128).all(-1).any(0).nonzero()[0]
        assert letters[0] >= 2, "an axis label is whole"


def test_lines_have_their_colours_in_a_gif(tmp_path):
    render_outputs(tmp_path / "a.gif", steps=60, every=1, damage=HURT, overlay=True)
    strip = read_frames(tmp_path / "a.gif")[0][-1][-80:]
    assert (strip == (214, 39, 40)).all(-1).sum() > 20


BARS = {
    View.RGBA: [],
    View.ERROR: [True],
    View.HIDDEN: [False, True],
    View.ALL: [False, True, False, True, False, True],
}
"""For six channels, beside which panels there is a bar: none where the next one in the row has the same."""


@pytest.mark.parametrize("view", BARS)
def test_maps_have_colour_bars(view, tmp_path):
    render_outputs(tmp_path / "a.apng", steps=2, view=view, scale=8)
    picture = read_frames(tmp_path / "a.apng")[0][-1]
    if not BARS[view]:
        assert picture.shape == (104, 104, 3)
        return
    room = measure_colour_bar(SIGNED if view is View.HIDDEN else LOGARITHMIC)
    tile = 104 + room + 8
    assert picture.shape[:2] == (8 + -(-len(BARS[view]) // 4) * 132, 8 + min(4, len(BARS[view])) * tile)
    corners = [(36 + i // 4 * 132, 8 + i % 4 * tile + 104 + 10) for i in range(len(BARS[view]))]
    gradients = [picture[y : y + 104, x] for y, x in corners]
    assert [bool((np.ptp(gradient, axis=0) > 90).any()) for gradient in gradients] == BARS[view]


def test_a_sheet_of_maps_has_one_bar_beside_it(tmp_path):
    render_outputs(tmp_path / "a.png", steps=8, every=1, scale=8, view=View.ERROR)
    plain = RenderSettings(steps=8, every=1, scale=8)
    render([Playback(lively(), plain)], [str(tmp_path / "c.png")], plain)
    with Image.open(tmp_path / "a.png") as maps, Image.open(tmp_path / "c.png") as cells:
        assert maps.width == cells.width + measure_colour_bar(LOGARITHMIC) + 16


@pytest.mark.parametrize("ending", [".svg", ".pdf"])
def test_a_sheet_as_a_vector_picture(ending, tmp_path, monkeypatch):
    for name, epoch in (("a", "0"), ("b", "1700000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        render_outputs(tmp_path / f"{name}{ending}", steps=40, every=5, damage=HURT)
    content = (tmp_path / f"a{ending}").read_bytes()
    assert content == (tmp_path / f"b{ending}").read_bytes()
    assert b"Date" not in content
    assert content.startswith({".svg": b"<?xml", ".pdf": b"%PDF"}[ending])
    if ending == ".svg":
        assert ">step 30 damaged</text>" in content.decode()
        assert content.count(b"<image") == content.count(b"</text>") == 9, "six of growth, damage, the end, target"


def test_a_browser_shows_the_svg_as_the_png(browser, tmp_path):
    render_outputs(tmp_path / "a.svg", tmp_path / "a.png", steps=40, every=5, damage=HURT, scale=8)
    with Image.open(tmp_path / "a.png") as image:
        expected_ = np.asarray(image).astype(int)
    svg = (tmp_path / "a.svg").read_text()
    svg = re.sub(r'(width|height)="([0-9.]+)pt"', r'\1="\2"', svg[svg.index("<svg") :])
    page = browser.new_page(viewport={"width": expected_.shape[1], "height": expected_.shape[0]})
    page.set_content(f"<body style='margin:0'>{svg}")
    page.screenshot(path=str(tmp_path / "shot.png"))
    page.close()
    with Image.open(tmp_path / "shot.png") as image:
        shot = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shot - expected_).mean() < 3


def test_several_models_are_tiles(tmp_path):
    how = RenderSettings(steps=10, every=5)
    films = [Playback(lively(), how, name) for name in ("one", "x" * 300, "<b>three\n</b>", "four")]
    render(films, [str(tmp_path / "a.apng")], how)
    (first, *_), _, _ = read_frames(tmp_path / "a.apng")
    assert first.shape[1] == pytest.approx(2 * 286 + 3 * 8, abs=1), "two columns"
    assert first.shape[0] == first.shape[1] + 2 * 20


def test_trimmed_and_larger(tmp_path):
    render_outputs(tmp_path / "a.gif", steps=5, grid=(20, 31), scale=2)
    render_outputs(tmp_path / "b.gif", steps=5, trim=True, scale=2)
    assert read_frames(tmp_path / "a.gif")[0][0].shape == (40, 62, 3)
    assert read_frames(tmp_path / "b.gif")[0][0].shape == (18, 14, 3)
