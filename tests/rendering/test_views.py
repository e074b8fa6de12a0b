"""States as pictures, by hand."""

import numpy as np
import pytest
from PIL import Image

from ncatool.config.names import View
from ncatool.errors import UsageError
from ncatool.nca.picture import WHITE, Background, compose, enlarge, parse_background
from ncatool.rendering.colour_bar import draw_colour_bar
from ncatool.rendering.drawing import Drawing, measure_text, shorten_text
from ncatool.rendering.sheet import arrange_drawing, arrange_sheet, choose_scale
from ncatool.rendering.views import LOGARITHMIC, SIGNED, VIEWS, Scene


def test_colours_by_hand():
    visible = np.array([[[0.5, 0, 0, 0.5], [2, -1, np.nan, 1]]], np.float32)
    picture = compose(visible, parse_background("#00ff00"))
    assert picture[0, 0].tolist() == [128, 128, 0]
    assert picture[0, 1].tolist() == [255, 0, 0]
    assert enlarge(picture, 2).shape == (2, 4, 3)
    assert [choose_scale(side, 20) for side in (28, 40, 72, 128, 224, 900)] == [14, 10, 6, 3, 2, 1]


def test_transparent_and_checkered_grounds():
    visible = np.array([[[0.25, 0, 0, 0.5], [0, 0, 0, 0]]], np.float32)
    assert compose(visible, parse_background("transparent"))[0].tolist() == [[128, 0, 0, 128], [0, 0, 0, 0]]
    assert compose(visible, parse_background("checker"), 8)[0].tolist() == [[140, 76, 76], [102] * 3]
    nothing = np.zeros((32, 32, 4), np.float32)
    fine, coarse = (compose(nothing, parse_background("checker"), scale)[..., 0] for scale in (1, 8))
    assert set(fine[:8, :8].flat) == {153}
    assert fine[0, 8] == coarse[0, 1] == 102


def test_a_ground_that_is_none():
    with pytest.raises(UsageError, match="not a colour"):
        parse_background("rgb(300,0,0)")
    with pytest.raises(UsageError, match="not a colour") as caught:
        parse_background("ultraviolet-ish")
    assert "checker" in caught.value.hint


def scene(channels=6):
    cells = np.zeros((2, 3, channels), np.float32)
    cells[0, 0, 3] = 0.5
    if channels > 4:
        cells[0, 0, 4], cells[0, 1, 4] = 1, -1
    wanted = np.zeros((2, 3, 4), np.float32)
    wanted[0, 0, 3], wanted[1, 1] = 0.5, 1
    before = cells.copy()
    before[1, 2] += 1
    return Scene(cells, before, wanted)


def shown(view, channels=6):
    return VIEWS[view](scene(channels), WHITE, 1)


def test_alpha_is_grey():
    (panel,) = shown(View.ALPHA)
    assert panel.picture[0, 0].tolist() == [128] * 3
    assert not panel.picture[1].any()


def test_hidden_channels_diverge_from_white():
    panels = shown(View.HIDDEN)
    assert [panel.label.split(",")[0] for panel in panels] == ["channel 4", "5"]
    assert {panel.scale for panel in panels} == {SIGNED}
    red, blue, zero = panels[0].picture[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert zero.min() > 240


def test_change_and_error_are_dark_where_there_is_none():
    for view, place in ((View.CHANGE, (1, 2)), (View.ERROR, (1, 1))):
        (panel,) = shown(view)
        brightness = panel.picture.sum(axis=-1)
        assert np.unravel_index(brightness.argmax(), brightness.shape) == place
        assert (np.delete(brightness.flat, np.ravel_multi_index(place, (2, 3))) < 10).all()


def test_all_shows_everything_there_is():
    assert len(shown(View.ALL)) == 4 + 2
    assert len(shown(View.ALL, channels=4)) == 4
    with pytest.raises(UsageError, match="no hidden channels"):
        shown(View.HIDDEN, channels=4)


def test_exploded_cells_are_drawn_all_the_same():
    wild = scene()
    wild.cells[0] = np.nan
    wild.cells[1] = np.inf
    for view in View:
        for panel in VIEWS[view](wild, WHITE, 1):
            assert panel.picture.dtype == np.uint8


def test_a_sheet_centres_pictures_and_shortens_labels():
    small, large = (np.zeros((side, side, 3), np.uint8) for side in (20, 60))
    plain = arrange_sheet([small, large], ["", ""], 6, WHITE)
    assert plain.size == (2 * 68 + 8, 76)
    assert plain.getpixel((8 + 30, 8 + 30)) == (0, 0, 0)
    assert plain.getpixel((8 + 15, 8 + 30)) == (255, 255, 255)
    for label in ("x" * 300, "two\nlines", "emoji 🧠", "<script>"):
        labelled = arrange_sheet([large, large], [label, "b"], 6, WHITE)
        assert labelled.height == plain.height + 20
        image = np.asarray(labelled)
        width = (labelled.width - 24) // 2
        assert width == max(60, min(280, int(measure_text(label[:200])) + 1))
        assert (image[: 8 + 20, 8 + width : 16 + width] == 255).all(), "no label runs into the next"
        assert (image[: 8 + 20] != 255).any(), "labels are above"
        assert (image[8 + 20 + 60 :] == 255).all()


def test_a_label_is_cut_only_where_it_is_longer_than_any_tile():
    assert shorten_text("error at the end", 1000) == "error at the end"
    drawing = arrange_drawing([np.zeros((9, 9, 3), np.uint8)], ["standard deviation"], 1, WHITE)
    assert [line.text for line in drawing.texts] == ["standard deviation"]
    drawing = arrange_drawing([np.zeros((9, 9, 3), np.uint8)], ["x" * 300], 1, WHITE)
    (line,) = drawing.texts
    assert line.text.endswith("x...")
    assert measure_text(line.text) <= 280


def test_a_bar_says_what_the_colours_mean():
    bar = draw_colour_bar(LOGARITHMIC, 200, WHITE)
    assert [line.text for line in bar.texts] == ["0.001", "0.01", "0.1", "1"]
    heights = [line.y for line in bar.texts]
    assert heights == sorted(heights, reverse=True)
    assert 0 <= heights[-1] < heights[0] <= 200 - 14
    image = np.asarray(bar.paint())
    (black,), (bright,) = (image[[row], 6].tolist() for row in (199, 0))
    assert sum(black) < 20
    assert sum(bright) > 500
    assert [line.text for line in draw_colour_bar(SIGNED, 10, WHITE).texts] == ["-1", "1"], "what has room"
    clear = draw_colour_bar(SIGNED, 100, parse_background("transparent")).paint()
    assert clear.getpixel((6, 50))[3] == 255
    assert clear.getpixel((0, 50))[3] == 0


def test_drawings_hold_others_at_their_places():
    inner = Drawing(10, 10, WHITE)
    inner.place(np.zeros((2, 3, 3), np.uint8), 1, 2)
    inner.write("a", 3, 4)
    outer = Drawing(40, 40, WHITE)
    outer.place(inner, 20, 10)
    assert (outer.pictures[0].x, outer.pictures[0].y) == (21, 12)
    assert tuple(outer.texts[0]) == (23, 14, "a")
    assert outer.paint().getpixel((22, 13)) == (0, 0, 0)


def test_ink_is_legible():
    assert Background((10, 10, 10)).ink == (255, 255, 255)
    assert Background((250, 250, 250)).ink == (0, 0, 0)
    image = arrange_sheet([np.zeros((9, 9, 3), np.uint8)], ["a"], 1, parse_background("transparent"))
    assert isinstance(image, Image.Image)
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0))[3] == 0
