"""What a command is about to do: said before torch is imported, and only where it is going to be done."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import GOLDEN, SMALL, ncatool, run_in_process

MODEL = "phantom 28×28 · sobel"


@pytest.fixture
def model():
    shutil.copy(GOLDEN, "m.safetensors")
    return "m.safetensors"


TRAIN = ["train", "--size", "10", "--iterations", "3", "--hidden", "16", "--out", "t.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [*TRAIN, "--target", "phantom"],
            "phantom 10×10 · sobel · 16 hidden units · l2 · 3 iterations → t.safetensors",
        ),
        (
            [*TRAIN, "--target", "phantom", "--damage", "--loss", "l1", "--padding", "2", "--filter", "mean"],
            "phantom 10×10 + 2 around · mean · 16 hidden units · l1 · damage · 3 iterations → t.safetensors",
        ),
        (
            [*TRAIN, "--target", "picture.png", "--regime", "growing"],
            "picture.png 10 cells · sobel · 16 hidden units · l2 · growing only · 3 iterations → t.safetensors",
        ),
        (
            ["train", "--target", "phantom", "--from", "m.safetensors", "-n", "2", "--out", "t.safetensors"],
            "phantom 28×28 · from m.safetensors · l2 · 2 iterations → t.safetensors",
        ),
        (["render", "m.safetensors", "a.gif", "--steps", "1000"], f"{MODEL} · 1,000 steps → a.gif"),
        (["render", "m.safetensors", "a.gif", "b.png", "--steps", "4"], f"{MODEL} · 4 steps → a.gif, b.png"),
        (
            ["compare", "m.safetensors", "--rollouts", "1", "--steps", "200", "--csv", "c.csv"],
            "1 model · 1 rollout of 200 steps · 6 kinds of damage → c.csv",
        ),
        (["export", "m.safetensors", "x.npz"], f"m.safetensors · {MODEL} → x.npz"),
        (
            ["sweep", *SMALL, "--target", "phantom", "--seed", "1,2", "--loss", "l1,l2", "--dry-run", "--jobs", "1"],
            "4 runs of phantom 10×10 + 1 around · loss l1, l2 · seed 1, 2 · 24 iterations → timing only",
        ),
    ],
)
def test_the_first_line_says_what_is_done(arguments, expected, model):
    Image.fromarray(np.full((9, 7, 3), 90, np.uint8)).save("picture.png")
    done = run_in_process(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == expected
    for path in [*Path().glob("t.*"), *Path().glob("a.*"), *Path().glob("b.*"), *Path().glob("x.*")]:
        path.unlink()
    assert expected not in run_in_process(*arguments, "--quiet").stderr


def test_a_run_that_goes_on_says_how_far_it_is():
    assert run_in_process("train", *SMALL, "--target", "phantom", "--out", "t.safetensors", "-q").returncode == 0
    done = run_in_process("resume", "t.safetensors", "--iterations", "1200", "--device", "cpu")
    assert done.stderr.splitlines()[0] == "phantom 12×12 · sobel · iteration 6 of 1,200 → t.safetensors"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--target", "nowhere.png"],
        ["train", "--target", "chestmnist"],
        ["train", "--target", "phantom", "--out", "m.safetensors"],
        ["train", "--target", "phantom", "--from", "nowhere.safetensors"],
        ["train", "--target", "phantom", "--from", "m.safetensors", "--filter", "mean"],
        ["train", "--target", "phantom", "--out", "nowhere/a.safetensors"],
        ["render", "m.safetensors", "there.gif"],
        ["render", "nowhere.safetensors", "a.gif"],
        ["render", "m.safetensors"],
        ["compare", "m.safetensors", "--csv", "there.csv"],
        ["sweep", "--target", "phantom", "--from", "m.safetensors", "--filter", "sobel,mean"],
        ["sweep", "--target", "phantom", "--seed", "1,2", "--out", "/proc/nowhere"],
        ["resume", "nowhere.safetensors"],
        ["export", "m.safetensors", "there.csv"],
    ],
)
def test_an_error_that_can_be_foreseen_stands_alone(arguments, model):
    for name in ("there.gif", "there.csv"):
        Path(name).touch()
    done = run_in_process(*arguments)
    assert done.returncode != 0
    assert done.stderr.startswith("error: "), done.stderr


def test_a_pipe_is_not_waited_for():
    os.mkfifo("pipe.safetensors")
    for words in (["render", "pipe.safetensors", "a.gif"], ["export", "pipe.safetensors", "a.npz"]):
        done = run_in_process(*words)
        assert done.returncode != 0
        assert "pipe.safetensors is not a regular file" in done.stderr


def test_it_is_said_before_torch_is_imported(model):
    """A torch that cannot be imported stands in the way of all that comes after."""
    Path("broken/torch").mkdir(parents=True)
    Path("broken/torch/__init__.py").write_text("raise SystemExit(77)\n")
    environment = {"PYTHONPATH": os.pathsep.join(["broken", str(Path(__file__).parents[2])])}
    for arguments in (
        [*TRAIN, "--target", "phantom"],
        ["render", model, "a.gif"],
        ["compare", model],
        ["sweep", "--target", "phantom", "--seed", "1,2"],
        ["export", model, "x.npz"],
    ):
        done = ncatool(*arguments, env=environment)
        assert done.returncode == 77, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "28×28" in done.stderr or "10×10" in done.stderr or "1 model" in done.stderr
