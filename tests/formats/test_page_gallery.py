"""A page of several models."""

from pathlib import Path

import numpy as np
import pytest

from ncatool.config.names import Boundary
from ncatool.formats import page as pages
from ncatool.formats.browser import run_all
from ncatool.nca.model_file import load_model
from tests.formats.page_helpers import (
    GOLDEN,
    HOSTILE,
    MODELS,
    RECORD,
    USE,
    decoded,
    fire_masks,
    grow,
    number,
    stepped,
    wait,
)

GALLERY = ("phantom", "sobel-wrap", "gaussian-zero", "wide", "least", "three", "three-odd")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "gallery.html"
    models = [pages.PageModel(MODELS[name](), RECORD if name == "phantom" else {}, name) for name in GALLERY]
    pages.write_gallery(models, path)
    return path


@pytest.mark.parametrize("backend", ["plain", "webgl"])
def test_every_model_of_a_gallery_is_stepped(browser, gallery, backend):
    models = [MODELS[name]() for name in GALLERY]
    fires = [fire_masks(model, 64) for model in models]
    found = run_all(models, gallery, fires, engine=backend)
    assert found is not None
    for state, model, fire, name in zip(found, models, fires, GALLERY, strict=True):
        assert (state - stepped(model, fire)).abs().max() < 1e-3, name


def test_a_gallery_shows_the_model_that_is_chosen(visit, gallery):
    page = visit(gallery)
    assert page.locator("#choice option").all_inner_texts() == list(GALLERY)
    page.click("summary")
    assert "next model" in page.inner_text(".keys")
    page.click("#pause")
    page.click("#restart")
    page.focus("#choice")
    for i, name in enumerate(GALLERY):
        model = MODELS[name]()
        assert page.inner_text("h1") == name
        assert page.title() == f"{name}: {page.inner_text('#about')}"
        assert page.locator(".facts:visible").count() == 1
        assert f"name\t{name}" in page.inner_text(".facts:visible")
        assert f"own {model.config.channels} channels" in page.inner_text("#sight")
        assert ("symmetric" in page.inner_text("#sight")) == (name in ("gaussian-zero", "three"))
        assert ("the 3 cells of the seed give" in page.inner_text("#sight")) == (name == "three")
        assert ("seed\t3 cells, 2 to 2.2 from" in page.inner_text(".facts:visible")) == name.startswith("three")
        assert ("wraps" in page.inner_text("#sight")) == (model.config.boundary is Boundary.WRAP)
        wait(page, "document.querySelector('#backend').textContent !== '–'")
        state = decoded(page.evaluate("ncatool.base64(ncatool.state)"))
        assert np.array_equal(state, model.place_seeds(1).numpy().reshape(-1))
        shape = page.evaluate("[ncatool.player.canvas.height, ncatool.player.canvas.width]")
        assert shape[0] / shape[1] == model.target.shape[0] / model.target.shape[1]
        assert page.locator("#view [value=hidden]").is_disabled() == (model.config.channels == 4)
        grow(page, 5)
        page.keyboard.press("ArrowDown") if i % 2 else page.evaluate("document.activeElement.blur()")
        page.keyboard.press("n") if not i % 2 else None
        page.focus("#choice")
    assert page.inner_text("h1") == GALLERY[0], "after the last comes the first"


def test_a_model_grows_and_heals_after_others_have_been_shown(visit, gallery):
    page = visit(gallery)
    for name in (*GALLERY[1:4], "phantom"):
        page.select_option("#choice", label=name)
        wait(page, "document.querySelector('#backend').textContent !== '–'")
    wait(page, "ncatool.player.count > 5")
    grow(page, 300)
    page.click("#pause")
    assert number(page, "mse") < 2e-3
    page.click("#left")
    assert number(page, "mse") > 2e-2
    grow(page, 200)
    assert number(page, "mse") < 1e-2


def test_engines_of_models_before_are_given_back(visit, gallery):
    """A browser has some sixteen at most, and takes the oldest away."""
    page = visit(gallery)
    page.click("#pause")
    for _ in range(5):
        for name in GALLERY[1:4]:
            page.select_option("#choice", label=name)
            wait(page, "document.querySelector('#backend').textContent !== '–'")
            page.evaluate(USE, "webgl")
    assert page.inner_text("#backend") == "WebGL2"
    grow(page, 3)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_gallery_of_hostile_names(visit, width):
    names = [HOSTILE, "x" * 300, "two\nlines\u202e", "'&{{7*7}}"]
    pages.write_gallery(
        [pages.PageModel(load_model(GOLDEN), {"train": {"loss": HOSTILE}}, one) for one in names], Path("h.html")
    )
    page = visit(Path("h.html").absolute(), viewport={"width": width, "height": 844})
    for i, name in enumerate(names):
        page.select_option("#choice", index=i)
        assert page.inner_text("h1") == pages.clean_text(name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2


def test_the_script_is_there_once(gallery):
    text = gallery.read_text()
    assert text.count("class Player") == 1
    assert text.count('"hiddenWeight"') == len(GALLERY)
