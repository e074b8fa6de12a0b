"""A run's files are named after its target, unless told otherwise."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ncatool
from ncatool.data.default_name import MAX_STEM_BYTES, name_model
from ncatool.errors import UsageError
from ncatool.training.run_files import RunFiles
from tests.conftest import SMALL, replace_flags, run_in_process


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("phantom", "phantom"),
        ("photo.png", "photo"),
        ("photos/of.me.jpg", "of.me"),
        ("photos/no ending", "no ending"),
        ("chestmnist", "chestmnist-train-0"),
        ("chestmnist:test:42", "chestmnist-test-42"),
        ("chestmnist@64", "chestmnist_64-train-0"),
        ("organmnist3d", "organmnist3d-train-0-axial-14"),
        ("organmnist3d@64:val:3:coronal:9", "organmnist3d_64-val-3-coronal-9"),
        ("Zelle ä (1)%.png", "Zelle ä (1)%"),
        ("a\nb\x1b[31m.png", "a_b_[31m"),
        ("-o.png", "_o"),
        (".hidden.png", "_hidden"),
        ("run.checkpoint.png", "run"),
        ("", "model"),
    ],
)
def test_the_name_follows_the_target(source, name):
    assert name_model(source) == Path(f"{name}.safetensors")
    RunFiles(name_model(source))  # it is one that a run can have


def test_a_long_name_is_cut_between_letters():
    stem = name_model("é" * 125 + ".png").stem
    assert stem == "é" * (MAX_STEM_BYTES // 2)


def test_a_file_of_the_name_of_a_sample_is_a_file():
    Image.radial_gradient("L").resize((8, 8)).save("chestmnist", "PNG")
    assert name_model("chestmnist") == Path("chestmnist.safetensors")


def test_a_sample_that_a_set_lacks():
    with pytest.raises(UsageError, match="no split 'tset'"):
        name_model("chestmnist:tset")


@pytest.mark.parametrize("name", ["photo", "x" * 240, "-o", "two words"])
def test_train_writes_files_of_that_name(name):
    Path("photos").mkdir()
    Image.radial_gradient("L").resize((16, 16)).save(f"photos/{name}.png")
    done = run_in_process("train", *SMALL, "--target", f"photos/{name}.png", "-q")
    assert done.returncode == 0, done.stderr
    model = name_model(f"photos/{name}.png")
    assert done.stdout.splitlines()[0].split(None, 1) == ["wrote", str(model)]
    assert all(path.is_file() for path in RunFiles(model).list_paths())


def test_settings_of_a_file_and_of_the_environment_name_it_too(monkeypatch):
    Path("run.toml").write_text('[target]\nsource = "photo.png"\n')
    Image.radial_gradient("L").resize((16, 16)).save("photo.png")
    assert run_in_process("train", *SMALL, "--config", "run.toml", "-q").returncode == 0
    assert tomllib.loads(Path("photo.toml").read_text())["target"]["source"] == "photo.png"
    monkeypatch.setenv("NCATOOL_TRAIN_TARGET", "phantom")
    assert run_in_process("train", *SMALL, "-q").returncode == 0
    assert Path("phantom.safetensors").is_file()


def test_without_a_target_it_is_that_of_what_is_fetched(site):
    assert run_in_process("fetch", "chestmnist", "-q").returncode == 0
    assert run_in_process("train", *replace_flags(SMALL, size=28), "-q").returncode == 0
    assert Path("chestmnist-train-0.safetensors").is_file()


def test_the_library_names_it_alike():
    short = {"size": 10, "padding": 1, "channels": 6, "hidden": 10, "batch_size": 2, "pool_size": 4, "iterations": 2}
    picture = np.zeros((10, 10, 3), np.uint8)
    assert ncatool.train("phantom", **short, steps="4-8", damaged=1).path == Path("phantom.safetensors")
    assert ncatool.train(picture, **short, steps="4-8", damaged=1).path == Path("array.safetensors")
