"""The page of a model of several pictures: its menu, and whose seed is planted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.config.names import ExportFormat, SeedCells
from ncatool.errors import NcatoolError
from ncatool.formats import page as pages
from ncatool.formats.browser import run_all
from ncatool.formats.exporting import check_parity
from ncatool.nca.rule import step
from ncatool.nca.seed import place_seed
from tests.formats.page_helpers import (
    HOSTILE,
    USE,
    click_cell,
    fire_masks,
    grow,
    number,
    random_model,
    several_pictures,
    square_cells,
    stepped,
)


@pytest.fixture
def several():
    """A page of a model of three pictures on 15 x 15 cells, and the model."""
    model = several_pictures()
    pages.write(model, {}, "three", Path("several.html"))
    return Path("several.html").absolute(), model


def square_mse(page, picture):
    """The MSE of the grid of 15 x 15 cells to a picture."""
    return float(((square_cells(page)[..., :4] - picture.target.premultiply()) ** 2).mean())


def test_a_menu_lists_the_pictures_of_a_model(visit, several):
    path, model = several
    page = visit(path)
    assert page.title() == "three: 3 pictures, 11 × 11"
    assert page.locator("#picture option").all_inner_texts() == ["ring", "a long name", "square"]
    assert page.input_value("#picture") == "0"
    assert page.is_checked("#plants"), "a click plants what is chosen"
    assert "pictures\tring, a long name, square" in page.inner_text(".facts")
    assert "target sources\tring.png, a long name.png, square.png" in page.inner_text(".facts")
    page.click("#pause")
    page.click("#restart")
    grow(page, 3)
    before = square_cells(page)
    for name, picture in zip(("ring", "a long name", "square"), model.pictures, strict=True):
        page.select_option("#picture", label=name)
        assert np.array_equal(square_cells(page), before), "to choose changes no cell"
        assert page.inner_text("#target-name") == f"target: {name}"
        assert number(page, "mse") == pytest.approx(square_mse(page, picture), rel=5e-3)
    assert page.inner_text("#picture-hint").startswith("grows where you click")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("e")
    assert page.inner_text("#picture-hint") == "grows by Restart; clicks erase"
    page.keyboard.press("g")
    assert page.input_value("#picture") == "0", "after the last comes the first"


@pytest.mark.parametrize("backend", ["plain", "webgl"])
@pytest.mark.parametrize("cells", SeedCells)
def test_the_chosen_picture_is_planted_and_restarted_from(visit, backend, cells):
    """Two grow at once, each from its own seed, as the rule has it."""
    model = several_pictures(seed_cells=cells)
    pages.write(model, {}, "three", Path("several.html"))
    page = visit(Path("several.html").absolute())
    page.click("#pause")
    page.evaluate(USE, backend)
    for i, picture in reversed([*enumerate(model.pictures)]):
        page.select_option("#picture", index=i)
        page.click("#restart")
        assert np.array_equal(square_cells(page), picture.place_seeds(1)[0].numpy())
        assert page.inner_text("#said") == f"Restarted from the seed of {picture.target.name}."
    page.click("#clear")
    state = torch.zeros(1, 15, 15, 12)
    for i, place in ((1, (4, 4)), (2, (10, 11))):
        page.select_option("#picture", index=i)
        click_cell(page, *place, side=15)
        state += place_seed(model.seeds[i], 1, 15, 15, [place])
        said = f"Planted a seed of {model.pictures[i].target.name} at row {place[0]}, column {place[1]}."
        assert page.inner_text("#said") == said
    assert np.array_equal(square_cells(page), state[0].numpy())
    page.evaluate("ncatool.player.draw = () => new Uint8Array(225).fill(1)")
    grow(page, 6)
    for _ in range(6):
        state = step(state, model.weights, model.config, torch.ones(1, 15, 15, dtype=torch.bool))
    assert np.abs(square_cells(page) - state[0].numpy()).max() < 1e-3
    assert number(page, "mse") == pytest.approx(square_mse(page, model.pictures[2]), rel=5e-3)


def test_a_seed_is_that_of_the_picture_chosen_when_it_was_planted(visit, several):
    """While the page plays, clicks wait for the next step."""
    path, model = several
    page = visit(path)
    page.click("#pause")
    page.click("#clear")
    planted = """() => {
      const { player } = ncatool;
      player.choose(1);
      player.playing = true;
      player.plant(3, 4);
      player.choose(0);
      player.playing = false;
      player.show();
    }"""
    page.evaluate(planted)
    assert np.array_equal(square_cells(page), place_seed(model.seeds[1], 1, 15, 15, [(4, 3)])[0].numpy())


@pytest.mark.parametrize("backend", ["plain", "webgl"])
def test_every_picture_of_a_page_is_stepped(browser, backend):
    models = [several_pictures(), random_model(), several_pictures(2, SeedCells.THREE)]
    pages.write_gallery([pages.PageModel(model, {}, f"m{i}") for i, model in enumerate(models)], Path("all.html"))
    pictures = [model.pictures for model in models]
    masks = [[torch.roll(fire_masks(one, 32), i, 0) for i, one in enumerate(group)] for group in pictures]
    found = run_all(models, Path("all.html").absolute(), [torch.cat(one, 1) for one in masks], engine=backend)
    assert found is not None
    assert [len(states) for states in found] == [3, 1, 2]
    for states, group, fires in zip(found, pictures, masks, strict=True):
        expected = torch.cat([stepped(one, fire) for one, fire in zip(group, fires, strict=True)])
        assert (states - expected).abs().max() < 1e-3


def test_a_page_with_the_wrong_seed_for_a_later_picture_fails_its_check(browser):
    model = several_pictures()
    swapped = dataclasses.replace(model, own_seed=model.seeds[[0, 2, 1]])
    pages.write(swapped, {}, "swapped", Path("swapped.html"))
    with pytest.raises(NcatoolError, match="differs from the model"):
        check_parity(model, Path("swapped.html").absolute(), ExportFormat.HTML)
    pages.write(model, {}, "right", Path("right.html"))
    difference = check_parity(model, Path("right.html").absolute(), ExportFormat.HTML).difference
    assert difference is not None
    assert difference < 1e-3


def test_weights_are_there_once_and_pages_of_one_picture_have_no_menu_of_pictures(several):
    path, model = several
    data = pages.make_page_data(model, "three")
    alone = pages.make_page_data(model.pictures[1], "three")
    assert path.read_text().count('"hiddenWeight"') == path.read_text().count(data["hiddenWeight"]) == 1
    assert set(alone) - set(data) == {"target", "seedCells"}
    assert [one["label"] for one in data["pictures"]] == ["ring", "a long name", "square"]
    assert data["pictures"][1] == {"label": "a long name", "target": alone["target"], "seedCells": alone["seedCells"]}
    page = pages.render_page(random_model(), {}, "m")
    assert 'id="picture"' not in page
    assert "next picture" not in page


def test_a_gallery_with_a_model_of_several_pictures(visit):
    models = {"one": random_model(), "several": several_pictures(), "two": several_pictures(2, names=("x", "y"))}
    pages.write_gallery([pages.PageModel(model, {}, name) for name, model in models.items()], Path("g.html"))
    page = visit(Path("g.html").absolute())
    page.click("#pause")
    assert not page.is_visible("#picture")
    assert page.is_visible("#alone")
    assert page.is_checked("#erases")
    page.keyboard.press("g")
    page.select_option("#choice", label="several")
    page.select_option("#picture", label="square")
    page.click("#restart")
    assert np.array_equal(square_cells(page), models["several"].pictures[2].place_seeds(1)[0].numpy())
    page.select_option("#choice", label="two")
    assert page.locator("#picture option").all_inner_texts() == ["x", "y"]
    assert not page.is_visible("#alone")
    page.click("#restart")
    assert np.array_equal(square_cells(page), models["two"].place_seeds(1)[0].numpy())
    page.select_option("#choice", label="several")
    assert page.input_value("#picture") == "2", "it is as it was left"
    page.select_option("#choice", label="one")
    assert not page.is_visible("#picture")
    assert page.inner_text("#target-name") == "target"


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_names_of_pictures(visit, width):
    names = (HOSTILE, "x" * 300, "two\nlines\u202e")
    model = several_pictures(names=names)
    pages.write(model, {}, "m", Path("h.html"))
    page = visit(Path("h.html").absolute(), viewport={"width": width, "height": 844})
    for i, name in enumerate(names):
        page.select_option("#picture", index=i)
        assert page.inner_text("#target-name") == f"target: {pages.clean_text(name)}"
        click_cell(page, 4, 4, side=15)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2
