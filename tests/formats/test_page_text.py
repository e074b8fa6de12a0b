"""The page: its words, hostile names and records, and what the file holds."""

import json
from pathlib import Path

import pytest

from ncatool.data.target import Target
from ncatool.formats import page as pages
from ncatool.formats.browser import run as run_page
from ncatool.nca.model_file import ModelData, load_model
from tests.formats.page_helpers import GOLDEN, HOSTILE, RECORD, fire_masks, random_model


@pytest.mark.parametrize(
    "value", [HOSTILE, "x" * 100_000, "two\nlines\x00\x1b[31m\u202e\u2028\ud800", "'\"&{{7*7}}${hacked=1}"]
)
def test_hostile_names_and_records(visit, value):
    model = load_model(GOLDEN)
    record = {
        "train": {"loss": value, "regime": [value], value: value},
        "target": {"source": value, "licence": {value: 1}},
    }
    pages.write(model, record, value, Path("hostile.html"))
    assert Path("hostile.html").stat().st_size < 120_000
    page = visit(Path("hostile.html").absolute(), viewport={"width": 390, "height": 844})
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert page.inner_text("h1") == pages.clean_text(value)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if value == HOSTILE:
        assert run_page(model, Path("hostile.html"), fire_masks(model, 2)) is not None, "the true body is found"


@pytest.mark.parametrize("record", [{}, {"train": 3, "target": [], "model": "x"}, {"train": {"loss": None}}])
def test_records_that_lack_things(record):
    page = pages.render_page(load_model(GOLDEN), record, "")
    assert "training" not in page.split("<h2>The model</h2>")[1].split("</table>")[0]


def test_what_cannot_be_written_out_is_left_out():
    assert pages.clean_text(1 << 20_000) == pages.clean_text([1 << 20_000]) == "…"
    assert '<h1 dir="auto">model</h1>' in pages.render_page(load_model(GOLDEN), {"train": {"loss": 1 << 20_000}}, "\n")


def test_facts():
    found = pages.describe_facts(load_model(GOLDEN), RECORD)
    assert found["filter"] == "sobel"
    assert found["training regime"] == "regenerating"
    assert found["target licence"] == "CC0"
    assert found["grid"] == "28 × 28 cells"


def test_the_page_is_small_and_the_same_every_time(phantom):
    text = phantom.read_text()
    assert len(text.encode()) < 120_000
    assert text == pages.render_page(load_model(GOLDEN), RECORD, "phantom")
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ({"source": "phantom", "label": "Shepp-Logan head phantom"}, "Shepp-Logan head phantom, 11 × 11"),
        ({"source": "/home/me/scans/chest.png"}, "chest.png, 11 × 11"),
        ({"source": "C:\\scans\\chest.png"}, "chest.png, 11 × 11"),
        (
            {"source": "bloodmnist:train:3", "label": [1], "meaning": "eosinophil"},
            "bloodmnist:train:3, eosinophil, 11 × 11",
        ),
        ({}, "a picture, 11 × 11"),
        ({"source": 3, "label": None}, "3, 11 × 11"),
    ],
)
def test_the_target_in_words(origin, said):
    model = random_model()
    model = ModelData(model.weights, model.config, Target(model.target.pixels, 2, origin))
    assert pages.describe_target(model, {}) == said
    assert f"<title>m: {said}</title>" in pages.render_page(model, {}, "m")


def test_json_ends_no_script():
    assert json.loads(pages.to_script_json("</script>&\u2028")) == "</script>&\u2028"
    assert not set("<>&\u2028") & set(pages.to_script_json("</script>&\u2028"))
