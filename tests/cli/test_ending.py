"""What a command says at its end: files, quality in words, and a next command that works."""

import dataclasses
import json
import math
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from ncatool.cli.ending import describe_end
from ncatool.nca.model_file import load_model, save_model
from tests.conftest import GOLDEN, SMALL, run_in_process

TRAIN = ["train", *SMALL, "--target", "phantom", "--device", "cpu"]


def notes(done):
    """The lines at the end, by their first word."""
    assert done.returncode == 0, done.stderr
    lines = (line.partition(": ") for line in done.stderr.splitlines())
    return {name: text for name, _, text in lines if name in ("files", "quality", "next")}


def run_next(line):
    name, *words = shlex.split(line)
    assert name == "ncatool"
    return run_in_process(*words)


@pytest.fixture
def model():
    shutil.copy(GOLDEN, "my model.safetensors")
    return "my model.safetensors"


def test_a_bad_end_is_said_and_the_next_command_goes_on():
    done = run_in_process(*TRAIN, "--out", "my t.safetensors")
    found = notes(done)
    assert set(found["files"].split(", ")) == {path.name for path in Path().glob("my t.*")}
    assert "train longer" in found["quality"]
    assert found["next"].startswith("ncatool resume 'my t.safetensors' --iterations 12")
    assert "iteration 6 of 12" in run_next(found["next"]).stderr


def test_json_says_the_same_and_quiet_nothing():
    done = run_in_process(*TRAIN, "--out", "t.safetensors", "--json")
    told, found = json.loads(done.stdout), notes(done)
    assert told["wrote"] == "t.safetensors"
    assert told["files"] == found["files"].split(", ")
    assert told["next"] == found["next"]
    quality = told["quality"]
    assert found["quality"] == f"{quality['words']}: {quality['advice']}"
    assert {"outcome", "psnr", "step", "final_psnr"} <= set(quality)
    quiet = run_in_process(*TRAIN, "--out", "t.safetensors", "--force", "-q")
    assert quiet.stderr == ""
    assert quiet.stdout.startswith("wrote ")


def test_the_measure_changes_no_file(monkeypatch):
    assert run_in_process(*TRAIN, "--out", "a.safetensors", "-q").returncode == 0
    monkeypatch.setattr("ncatool.cli.training._print_ending", lambda run, result: None)
    assert run_in_process(*TRAIN, "--out", "b.safetensors", "-q").returncode == 0
    for ending in (".safetensors", ".csv", ".curve.png"):
        assert Path(f"a{ending}").read_bytes() == Path(f"b{ending}").read_bytes()


def test_rendering_and_then_the_page(model):
    found = notes(run_in_process("render", model, "a.gif", "b.png", "--steps", "300"))
    assert found["files"] == "a.gif, b.png"
    assert found["quality"].startswith("ends at 4")
    assert found["next"] == "ncatool export 'my model.safetensors' 'my model.html'"
    assert notes(run_in_process("render", model, "c.gif", "--steps", "2"))["quality"].startswith("ends blank")


def test_a_model_that_explodes_is_named_where_it_is_shown(model):
    data = load_model(GOLDEN)
    wild = data.weights._replace(output_bias=torch.full((16,), 0.5))
    save_model(Path("wild.safetensors"), dataclasses.replace(data, weights=wild))
    found = notes(run_in_process("render", model, "wild.safetensors", "a.gif", "--steps", "400"))
    assert "wild has exploded: train it longer" in found["quality"]
    assert "my model ends at" in found["quality"]
    found = notes(run_in_process(*shlex.split(found["next"])[1:], "--rollouts", "1", "--steps", "400"))
    assert found["quality"].startswith("1 of 2 models have grown and held; 1 exploded (wild); best: my model, 4")
    assert found["next"] == "ncatool compare 'my model.safetensors' wild.safetensors --report comparison.html"


def test_a_sweep_and_what_it_would_do():
    sweep = ["sweep", *SMALL, "--target", "phantom", "--seed", "1,2", "--jobs", "1", "--out", "my runs", "--vectorise"]
    told = notes(run_in_process(*sweep, "--dry-run"))["next"]
    assert told == shlex.join(["ncatool", *sweep])
    found = notes(run_in_process(*sweep, "--no-compare"))
    assert found["files"] == "my runs/summary.csv, 2 models in my runs"
    assert found["next"] == "ncatool compare 'my runs'"


def test_names_that_look_like_flags(model):
    shutil.copy(model, "-m.safetensors")
    found = notes(run_in_process("render", "./-m.safetensors", "a.gif", "--steps", "300"))
    assert run_next(found["next"]).returncode == 0
    assert Path("-m.html").exists()


def test_many_rendered_pictures_are_counted_and_those_that_failed_are_named():
    def end(errors):
        found = {f"p{i}": {"mse": mse, "psnr": -10 * math.log10(mse)} for i, mse in enumerate(errors)}
        return describe_end(found, [0.2] * len(found))

    assert end([1e-4] * 6) == "ends at 40 dB"
    assert end([1e-4, 1e-3]) == "p0 ends at 40 dB; p1 ends at 30 dB"
    assert end([1e-4, 1e-3, 1e-3, 1e-4, 0.05]) == "4 of 5 end at 30 to 40 dB; p4 ends at 13 dB: not the picture"
    assert end([0.05, 0.06, 0.07, 0.08, 0.09, 0.1]) == "none is its picture"
    assert "ends blank" in end([0.2])
    assert end([0.4]) == "ends at 4 dB: not the picture", "it has grown beyond the target"
