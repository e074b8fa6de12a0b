"""`ncatool export` of several models: one page of them, or one line that says why not."""

import dataclasses
import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from ncatool.formats import browser, exporting
from ncatool.nca.model_file import load_model, save_model
from tests.conftest import GOLDEN, run_in_process
from tests.formats.page_helpers import random_model

needs_browser = pytest.mark.skipif(not any(map(shutil.which, browser.BROWSERS)), reason="there is no browser")


@pytest.fixture
def models():
    """Two models, and one that explodes at once; another lies in a folder."""
    Path("runs").mkdir()
    shutil.copy(GOLDEN, "a.safetensors")
    save_model(Path("runs/b.safetensors"), random_model())
    model = random_model()
    wild = model.weights._replace(output_bias=torch.full((12,), 1e38))
    save_model(Path("wild.safetensors"), dataclasses.replace(model, weights=wild))


def export(*arguments):
    done = run_in_process("export", *arguments)
    assert "Traceback" not in done.stderr
    return done


@needs_browser
def test_several_models_and_folders_make_one_page(models):
    done = export("a.safetensors", "runs", "gallery.html", "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["models"], found["checked"], found["steps"]) == (2, True, 64)
    assert found["largest_difference"] < 1e-3
    assert Path("gallery.html").stat().st_size == found["bytes"]
    record = tomllib.loads(Path("gallery.html.toml").read_text())
    assert [(row["model"], row["checked"]) for row in record["model"]] == [
        ("a.safetensors", True),
        ("runs/b.safetensors", True),
    ]
    assert record["export"]["largest_difference"] == max(row["largest_difference"] for row in record["model"])
    first = Path("gallery.html").read_bytes()
    refused = export("a.safetensors", "runs", "gallery.html")
    assert refused.returncode == 2
    assert "gallery.html exists already" in refused.stderr
    assert export("a.safetensors", "runs", "gallery.html", "--force").returncode == 0
    assert Path("gallery.html").read_bytes() == first


def test_a_folder_of_one_model_makes_the_page_of_that_model(models):
    assert export("runs", "one.html").returncode == 0
    assert export("runs/b.safetensors", "same.html").returncode == 0
    assert Path("one.html").read_bytes() == Path("same.html").read_bytes()
    assert 'id="choice"' not in Path("one.html").read_text()


@needs_browser
def test_what_explodes_is_left_out_and_told(models):
    done = export("a.safetensors", "wild.safetensors", "gallery.html")
    assert done.returncode == 1, "as for models that compare cannot load"
    assert "left out: wild explodes" in done.stderr
    assert len(tomllib.loads(Path("gallery.html.toml").read_text())["model"]) == 1
    shutil.copy("wild.safetensors", "wilder.safetensors")
    none = export("wild.safetensors", "wilder.safetensors", "none.html")
    assert none.returncode == 1
    assert "2 models explode within 64 steps" in none.stderr
    assert not list(Path().glob("none*"))


@needs_browser
def test_a_model_that_the_page_computes_wrongly_is_not_let_out(models, monkeypatch):
    monkeypatch.setattr(exporting, "PARITY_TOLERANCE", 1e-12)
    done = export("a.safetensors", "runs", "gallery.html")
    assert done.returncode == 1
    assert "the .html differs from the model by" in done.stderr
    assert not list(Path().glob("gallery*"))


def test_without_a_browser_a_gallery_is_written_unchecked(models, monkeypatch):
    monkeypatch.setattr(browser, "BROWSERS", ())
    done = export("a.safetensors", "runs", "gallery.html", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checked"] is False
    assert "not checked: there is no browser" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("a.safetensors runs out.onnx", "2 models do not fit into one .onnx"),
        ("a.safetensors runs out.html --format npz", "2 models do not fit into one .npz"),
        ("a.safetensors runs out.gif", "out.gif ends in .gif"),
        ("a.safetensors runs/b.safetensors", "b.safetensors ends in .safetensors"),
        ("a.safetensors runs out.html --rollout 5", "--rollout is for .onnx"),
        ("a.safetensors nowhere.safetensors out.html", "nowhere.safetensors"),
        ("a.safetensors runs a.html --force --format html", None),
        ("empty out.html", "there is no model in empty"),
        ("a.safetensors runs a.safetensors --force --format html", "a.safetensors is read by this command"),
        ("a.safetensors runs nowhere/out.html", "nowhere cannot be written"),
        ("out.html", ""),
        ("", ""),
    ],
)
def test_what_cannot_be(models, arguments, what):
    Path("empty").mkdir()
    before = sorted(str(path) for path in Path().rglob("*"))
    done = export(*arguments.split())
    if what is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode in (1, 2)
    assert what in done.stderr
    assert done.stderr.count("hint: ") == 1
    assert sorted(str(path) for path in Path().rglob("*")) == before
    assert load_model(Path("a.safetensors")).config.channels == 16
