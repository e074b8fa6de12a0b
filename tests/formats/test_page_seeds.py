"""The page: seeds are planted, of one cell and of several."""

from pathlib import Path

import numpy as np
import pytest

from ncatool.config.names import Boundary, Filter, SeedCells
from ncatool.formats import page as pages
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import make_seed, place_seed
from tests.formats.page_helpers import MODELS, USE, cells, click_cell, grow, random_model, square_cells, wait


def test_seeds_are_planted_where_visitors_click(visit, phantom):
    page = visit(phantom)
    page.check("#plants")
    assert "Clear" in page.inner_text("#said")
    page.click("#clear")
    assert page.inner_text("#pause") == "Play", "so that several can be planted before the first grows"
    places = [(5, 7), (20, 22), (0, 27)]
    for place in places:
        click_cell(page, *place)
    assert np.array_equal(cells(page), place_seed(make_seed(16), 1, 28, 28, places)[0].numpy())
    assert page.inner_text("#said") == "Planted a seed at row 0, column 27."
    page.click("#pause")
    wait(page, "ncatool.player.count > 40")
    page.click("#pause")
    alpha = cells(page)[..., 3]
    assert (alpha[2:9, 4:11] > 0.1).sum() > 9
    assert (alpha[17:24, 19:26] > 0.1).sum() > 9


def test_seeds_are_planted_by_keyboard_and_in_a_picture_that_lives(visit, phantom):
    page = visit(phantom)
    page.click("#pause")
    page.keyboard.press("e")
    assert page.is_checked("#plants")
    grow(page, 60)
    before = cells(page)
    page.focus("#cells")
    for key in ("ArrowUp", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    before[13, 9] = place_seed(make_seed(16), 1, 1, 1)[0, 0, 0].numpy()
    assert np.array_equal(cells(page), before)
    page.keyboard.press("e")
    assert page.is_checked("#erases")
    page.keyboard.press("Space")
    assert not cells(page)[13, 9].any()


def three_celled_page(boundary):
    """The page of a model of 15 x 15 cells, and the model."""
    model = random_model(filter=Filter.MEAN, cells=SeedCells.THREE, boundary=boundary)
    pages.write(model, {}, "three", Path("three.html"))
    return Path("three.html").absolute(), model


@pytest.mark.parametrize("backend", ["plain", "webgl"])
@pytest.mark.parametrize("boundary", Boundary)
def test_a_seed_of_three_cells_is_restarted_from_and_planted_whole(visit, boundary, backend):
    path, model = three_celled_page(boundary)
    page = visit(path)
    assert "grows from a few cells" in page.inner_text(".quiet >> nth=0")
    page.click("#pause")
    page.evaluate(USE, backend)
    grow(page, 5)
    page.click("#restart")
    assert np.array_equal(square_cells(page), model.place_seeds(1)[0].numpy())
    page.check("#plants")
    page.click("#clear")
    inwards = {(0, 4): (2, 4), (14, 14): (13, 12), (7, 0): (7, 2), (7, 8): (7, 8)}
    for clicked, moved in inwards.items():
        page.click("#clear")
        click_cell(page, *clicked, side=15)
        place = clicked if boundary is Boundary.WRAP else moved
        assert np.array_equal(square_cells(page), place_seed(model.seed, 1, 15, 15, [place])[0].numpy())
        assert page.inner_text("#said") == f"Planted a seed at row {place[0]}, column {place[1]}."
    grow(page, 4)
    before = square_cells(page)
    click_cell(page, 5, 6, side=15)
    sown = place_seed(model.seed, 1, 15, 15, [(5, 6)])[0].numpy()
    expected = np.where(sown.any(-1, keepdims=True), sown, before)
    assert np.array_equal(square_cells(page), expected), "between the cells of the seed all stays"
    assert np.array_equal(expected[7, 8], before[7, 8])


def test_the_ring_shows_where_a_seed_of_three_cells_goes(visit):
    """In the upper left corner it stays where the seed has room, around all of its cells."""
    path, _ = three_celled_page(Boundary.ZERO)
    page = visit(path)
    page.click("#pause")
    page.check("#plants")
    page.click("#clear")
    box = page.locator("#cells").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    width = page.evaluate("ncatool.player.canvas.width") / 15
    darkest = "([x, y]) => Math.min(...ncatool.player.context.getImageData(x - 2, y - 2, 5, 5).data)"
    middle, radius = 2.5 * width, (5**0.5 + 0.5) * width
    assert page.evaluate(darkest, [middle + 0.6 * radius, middle + 0.8 * radius]) < 100
    assert page.evaluate(darkest, [middle + 0.5 * radius, middle + 0.7 * radius]) == 255


def test_pages_of_plain_models_hold_no_seed():
    plain, three = pages.make_page_data(random_model(), "m"), pages.make_page_data(MODELS["three"](), "m")
    assert set(three) - set(plain) == {"seedCells"}
    assert three["seedCells"]["places"] == [(-2, 0), (1, -2), (1, 2)]
    kept = ModelData(**{**vars(random_model()), "own_seed": make_seed(12)})
    assert pages.make_page_data(kept, "m") == plain
    assert "grows from one cell. Erase" in pages.render_page(random_model(), {}, "m")
    both = [pages.PageModel(model, {}, "m") for model in (random_model(), MODELS["three"]())]
    assert "grows from one cell or a few. Erase" in pages.render_gallery(both)
