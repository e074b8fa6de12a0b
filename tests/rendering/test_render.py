"""The command `render`: its outputs, their checks, and what it leaves when it fails."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import View
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation.errors import measure_errors
from ncatool.nca.model_file import save_model
from ncatool.rendering import render as rendering
from ncatool.rendering.playback import Playback
from ncatool.rendering.timeline import RenderSettings
from tests.conftest import ncatool, run_in_process
from tests.rendering.renderings import read_frames, render_outputs
from tests.rendering.test_playback import lively, three_celled


def test_outputs_share_one_rollout(tmp_path, monkeypatch):
    steps = []
    before = Playback.advance_to
    monkeypatch.setattr(Playback, "advance_to", lambda self, step: (steps.append(step), before(self, step)))
    render_outputs(tmp_path / "a.gif", tmp_path / "a.png", tmp_path / "a.apng", f"{tmp_path}/f/", steps=20, every=10)
    assert steps == [0, 10, 20]
    assert (
        read_frames(tmp_path / "a.apng")[0][-1].tolist()
        == np.asarray(Image.open(tmp_path / "f/step-0000020.png")).tolist()
    )


def test_one_frame_is_enough(tmp_path):
    for ending in rendering.WRITERS:
        render_outputs(tmp_path / f"a{ending}", steps=1, hold=0)
        assert (tmp_path / f"a{ending}").stat().st_size > 100


def test_models_of_one_name_are_told_apart(model_file):
    Path("other").mkdir()
    shutil.copy(model_file, "other")
    done = ncatool("render", model_file, "other/m.safetensors", "a.gif", "--steps", 4, "--json", "-q")
    assert [model["model"] for model in json.loads(done.stdout)["models"]] == ["m", "other/m"]
    assert json.loads(done.stdout)["wrote"] == ["a.gif"]


def test_frames_that_nothing_could_hold():
    for how in ({"grid": (1000, 1000), "scale": 17}, {"view": View.ALL, "grid": (500, 500), "scale": 9}):
        with pytest.raises(UsageError, match="are too large: 16383 a side"):
            render_outputs("a.gif", steps=1, **how)
    with pytest.raises(UsageError, match="frames of 16"):
        render_outputs("a.webp", steps=1, grid=(2, 65), scale=63, view=View.ALL)
    assert not Path("a.webp").exists()
    for how in ({"fps": float("nan")}, {"hold": -1}, {"seed": 2**63}, {"rotate": float("inf")}):
        with pytest.raises(UsageError, match="but goes from"):
            RenderSettings(**how)


def test_endings_are_checked():
    with pytest.raises(UsageError, match=r"a\.avi ends in \.avi") as caught:
        rendering.check_outputs(["a.avi"], False)
    assert ".gif, .webp, .apng, .mp4, .webm, .png, .svg, .pdf" in caught.value.hint
    Path("f").mkdir()
    for doubled in (["a.gif", "./a.gif"], ["f", "f/"], ["-", "-"]):
        with pytest.raises(UsageError, match="named twice"):
            rendering.check_outputs(doubled, False)
    with pytest.raises(UsageError, match="ends in nothing"):
        rendering.check_outputs(["./-"], False)
    (Path("f") / "frame").mkdir()
    rendering.check_outputs(["f"], False)
    with pytest.raises(NcatoolError, match="nowhere cannot be written"):
        rendering.check_outputs(["nowhere/frames/"], False)


FULL = """
import resource, sys, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from ncatool.cli.main import main
main()
"""


@pytest.fixture
def model_file(tmp_path):
    shutil.copy(Path(__file__).parents[1] / "golden" / "phantom.safetensors", tmp_path / "m.safetensors")
    return "m.safetensors"


def render_words(*words):
    done = run_in_process("render", *words, "--steps", 4, "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None, done.stderr.splitlines()


def test_a_seed_of_three_cells_is_placed_turned_and_mirrored():
    model = three_celled()
    save_model(Path("three.safetensors"), model)
    save_model(Path("one.safetensors"), dataclasses.replace(model, own_seed=None))
    for words in ((), ("--mirror",), ("--mirror", "--rotate", "60"), ("--rotate", "180", "--at", "4,6")):
        found, said = render_words("three.safetensors", "a.png", "--force", *words)
        how = {"mirror": "--mirror" in words, "at": ((4, 6),) if "--at" in words else ()}
        settings = RenderSettings(
            steps=4, rotate=int(words[words.index("--rotate") + 1]) if len(words) > 1 else 0, **how
        )
        playback = Playback(model, settings)
        playback.advance_to(4)
        assert found["mse"] == measure_errors(playback.state, playback.expected)["mse"]
        assert any("right angles only" in line for line in said) == ("60" in words)
    for words, what, hint in (
        (
            ("three.safetensors", "b.png", "--at", "6,0"),
            "a seed at row 6, column 0 reaches beyond",
            "from column 2 to 10",
        ),
        (
            ("one.safetensors", "b.png", "--mirror"),
            "the gaussian filter is symmetric, and the seed is one",
            "--mirror out",
        ),
        (("one.safetensors", "b.png", "--rotate", "9"), "the gaussian filter is symmetric, and the", "--rotate out"),
    ):
        found, (*_, error, advice) = render_words(*words)
        assert found is None
        assert error.startswith(f"error: {what}")
        assert advice.startswith("hint: ")
        assert hint in advice
        assert not Path("b.png").exists()


@pytest.mark.parametrize("output", ["a.gif", "a.webp", "a.apng", "a.mp4", "a.webm", "a.png", "frames/"])
def test_a_full_disk_leaves_nothing(output, model_file):
    command = [sys.executable, "-c", FULL, "render", model_file, output, "--steps", "60", "--scale", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot be written: " in done.stderr
    assert len([line for line in done.stderr.splitlines() if " → " not in line]) == 2, done.stderr
    assert not Path(output).exists()
    assert not list(Path().rglob("*.partial*"))


def test_a_gif_on_stdout_and_nothing_else(model_file):
    command = [sys.executable, "-m", "ncatool", "render", model_file, "-", "--steps", "20", "--every", "2"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    Path("a.gif").write_bytes(done.stdout)
    assert len(read_frames("a.gif")[0]) == 11


def test_a_reader_that_goes_away(model_file):
    ours = f"{sys.executable} -m ncatool render {model_file} - --steps 900"
    script = f"{ours} | head -c 5000 > part.gif; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: stdout was closed before the GIF was whole"
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert Path("part.gif").stat().st_size == 5000


def test_a_terminal_shows_no_gif(model_file):
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "ncatool", "render", model_file, "-"]
    done = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, timeout=120, text=True, check=False)
    os.close(master)
    os.close(slave)
    assert done.returncode == 2
    assert "stdout is a terminal" in done.stderr


def test_plain_damage_may_stand_anywhere(model_file):
    for order in (["--damage", "a.gif"], ["a.gif", "--damage"], ["--damage", "random", "--force", "a.gif"]):
        done = run_in_process("render", model_file, *order, "--steps", 11, "--every", 11, "-q")
        assert done.returncode == 0, done.stderr
        assert len(read_frames("a.gif")[0]) == 4, "the seed, before and after, the end"
        Path("a.gif").unlink()
    done = run_in_process(
        "render", model_file, "a.gif", "--damage", "left@3,top@4", "--damage=right@3", "--every", 9, "--steps", 9
    )
    assert done.returncode == 0, done.stderr
    assert len(read_frames("a.gif")[0]) == 6


def test_figures_by_hand():
    wanted = lively().target.premultiply()
    state = torch.from_numpy(wanted)[None] + 0.1
    found = measure_errors(torch.cat([state, state], dim=-1), wanted)
    cells = 13 * 13 * 4
    expected_ = {"mse": 0.01, "psnr": 20, "l1": 0.1, "l2": 0.01, "manhattan": 0.1 * cells, "hinge": 0.095}
    assert found == pytest.approx(expected_, rel=1e-4)
