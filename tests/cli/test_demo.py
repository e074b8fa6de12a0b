"""`ncatool demo`: what it shows and writes, and that it needs no torch for the terminal."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncatool.nca.model_file import load_model
from ncatool.nca.numpy_rule import read_arrays
from ncatool.rendering.demo import DEMO_MODEL, PHASES, Demo, describe_cells
from tests.conftest import run_in_process
from tests.terminal import Terminal


def test_it_grows_and_heals_without_torch():
    code = "import sys; sys.argv = ['ncatool', 'demo', '--json']\nfrom ncatool.cli.main import main\n"
    code += "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["steps"] == PHASES[-1].until
    assert min(result[name] for name in ("psnr_grown", "psnr_healed", "psnr_healed_again")) > 30


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_on_a_terminal(columns):
    with Terminal("demo", columns=columns) as terminal:
        terminal.read_until(lambda text: "It grows" in text)
        assert "▀" in terminal.text
        assert "q stop   d damage   space pause" in terminal.text
        assert ("None of them has the picture" in " ".join(terminal.text.replace("▀", "").split())) == (columns > 60)
        terminal.press(" d")
        terminal.press("q")
        assert terminal.read_all() == 0
        assert "ncatool train photo.png" in " ".join(terminal.text.split())


def test_what_is_told_of_a_model():
    model = read_arrays(DEMO_MODEL)
    assert "from a single cell of a grid. All 784 cells" in describe_cells(model)
    seed = np.zeros((5, 5, model.config.channels), np.float32)
    seed[[0, 3, 3], [2, 0, 4], 3:] = 1
    three = dataclasses.replace(model, seed=seed)
    assert "from 3 cells of a grid" in describe_cells(three)
    demo = Demo(three)
    assert np.argwhere(demo.state[..., 3]).tolist() == [[12, 14], [15, 12], [15, 16]]
    demo.advance(3)
    assert (demo.state[..., 3] > 0).sum() > 3


def read_files():
    return {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def test_the_files():
    outputs = ["page.html", "healing.gif", "stages.png", "cell.safetensors"]
    done = run_in_process("demo", *outputs)
    assert done.returncode == 0, done.stderr
    assert "const" in Path("page.html").read_text()
    for name in ("healing.gif", "stages.png"):
        with Image.open(name) as image:
            assert image.width > 100
    assert Path("cell.safetensors").read_bytes() == DEMO_MODEL.read_bytes()
    assert load_model(Path("cell.safetensors")).train["regime"] == "regenerating"
    before = read_files()
    assert run_in_process("demo", "new.html", "healing.gif").returncode == 2
    assert read_files() == before, "nothing is half-written"
    assert run_in_process("demo", "healing.gif", "--force").returncode == 0


def test_a_file_is_named_once():
    done = run_in_process("demo", "page.html", "./page.html", "--force")
    assert done.returncode == 2
    assert "page.html is another file of this command already" in done.stderr
    assert not Path("page.html").exists()


def test_an_ending_that_means_nothing():
    done = run_in_process("demo", "new.html", "healing.jpg")
    assert done.returncode == 2
    assert "healing.jpg ends in .jpg" in done.stderr
    assert not Path("new.html").exists()
