"""`ncatool info`: models, checkpoints and records tell of themselves."""

import dataclasses
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from ncatool.nca.model_file import load_model, save_model
from tests.conftest import GOLDEN, SMALL, run_in_process
from tests.nca.test_model_file import make_model
from tests.several import make_several


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the files of a run."""
    folder = tmp_path_factory.mktemp("run")
    out = folder / "phantom.safetensors"
    done = run_in_process("train", *SMALL, "--target", "phantom", "--damage", "--loss", "l1", "--out", out, "-q")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def read(*names):
    done = run_in_process("info", *names, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


RULE = {
    "filter": "sobel", "channels": 6, "hidden": 10, "parameters": 250, "fire_rate": 0.5, "threshold": 0.1,
    "boundary": "zero",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("phantom", "model"), ("phantom.safetensors", "model"), ("phantom.checkpoint", "checkpoint"),
        ("phantom.toml", "record"),
    ],
)  # fmt: skip
def test_every_file_of_a_run_tells_what_it_is(name, kind, run):
    found = read(name)
    assert found["kind"] == kind
    assert found["rule"] == RULE
    assert (found["target"]["source"], found["target"]["height"], found["target"]["width"]) == ("phantom", 12, 12)
    training = found["training"]
    assert (training["iterations"], training["planned"], training["loss"]) == (6, 6, "l1")
    assert (training["regime"], training["damage"], training["seed"]) == ("regenerating", True, 0)
    assert training["seconds"] > 0
    assert found["version"]["ncatool"] == version("ncatool")
    assert found["version"]["format"] == "ncatool-1"
    if kind != "checkpoint":
        assert found["quality"]["source"] == "record"
        assert {"mse_at_96", "mse_at_500", "psnr_at_500"} < set(found["quality"])


def test_the_number_of_parameters_is_that_of_the_tensors():
    weights = [tensor for tensor in load_model(GOLDEN).weights if tensor is not None]
    assert read(GOLDEN)["rule"]["parameters"] == sum(tensor.numel() for tensor in weights)


def test_a_lone_model_tells_what_it_knows(run):
    Path("alone").mkdir()
    shutil.copy("phantom.safetensors", "alone")
    found = read("alone/phantom.safetensors")
    assert (found["training"]["iterations"], found["training"]["planned"]) == (None, 6)
    assert found["quality"] == {}
    assert found["version"]["ncatool"] == version("ncatool")
    text = run_in_process("info", "alone/phantom").stdout
    assert "not measured: ncatool compare alone/phantom.safetensors" in text
    assert "6 iterations as planned" in text


def test_the_text_says_all_in_six_lines(run):
    done = run_in_process("info", "phantom")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "model", "grows", "rule", "trained", "quality", "version"
    ]  # fmt: skip
    for part in ("12×12 cells", "250 parameters", "l1 loss", "regenerating (with damage)", " s on cpu", "step 96"):
        assert part in done.stdout
    assert f"ncatool {version('ncatool')}" in done.stdout


def test_the_seed_has_a_line_where_it_is_more_than_one_cell():
    words = ["train", *SMALL, "--target", "phantom", "--filter", "mean", "--seed-radius", 2, "--out", "m.safetensors"]
    assert run_in_process(*words).returncode == 0
    for name in ("m", "m.checkpoint", "m.toml"):
        assert read(name)["seed"] == {"cells": 3, "places": [[-2, 0], [1, -2], [1, 2]]}
        lines = run_in_process("info", name).stdout.splitlines()
        assert lines[3] == "seed        3 cells, 2 to 2.2 from the middle"
    Path("m.safetensors").unlink()
    assert "seed" not in read("m.toml")


def test_a_plain_seed_has_no_line(run):
    for name in ("phantom", "phantom.checkpoint", "phantom.toml"):
        assert "seed" not in read(name)
        assert "\nseed" not in run_in_process("info", name).stdout


@pytest.mark.parametrize(
    ("filled", "words"),
    [
        ({(1, 1): 0.5}, "1 cell, other than the plain one"),
        ({(0, 1): 1.0}, "1 cell, 1 from the middle"),
        ({(1, 0): 1.0, (1, 2): 1.0}, "2 cells, 1 from the middle"),
        ({(1, 1): 1.0, (2, 2): 1.0}, "2 cells, 0 to 1.4 from the middle"),
    ],
)
def test_any_seed_in_words(filled, words):
    seed = torch.zeros(3, 3, 5)
    for place, value in filled.items():
        seed[place] = value
    save_model(Path("m.safetensors"), dataclasses.replace(make_model(), own_seed=seed))
    assert f"seed        {words}\n" in run_in_process("info", "m").stdout


@pytest.mark.parametrize("seed", [torch.ones(3, 5), torch.ones(1, 1, 5, dtype=torch.bfloat16), torch.zeros(1, 1, 5)])
def test_a_seed_that_is_none_says_nothing(seed):
    tensors = load_file(GOLDEN)
    with safe_open(GOLDEN, "pt") as file:
        Path("m.safetensors").write_bytes(save({**tensors, "seed": seed}, file.metadata()))
    assert "seed" not in read("m")


def test_several_at_once(run):
    found = read("phantom", GOLDEN)
    assert [one["kind"] for one in found["models"]] == ["model", "model"]
    assert run_in_process("info", "phantom", GOLDEN).stdout.count("filter") == 2


def test_measures_of_a_sweep_are_told_as_long_as_they_are_of_this_file():
    words = ["sweep", *SMALL, "--target", "phantom", "--seed", "1,2", "--vectorise", "--quiet"]
    assert run_in_process(*words).returncode == 0
    quality = read("sweep/seed1")["quality"]
    assert (quality["source"], quality["rollouts"]) == ("compare", 16)
    measured = json.loads(run_in_process("compare", "sweep/seed1.safetensors", "--json").stdout)["models"][0]
    for name in ("mse_at_96", "mse_later", "mse_worst"):
        assert quality[name] == (pytest.approx(measured[name]["median"], rel=1e-6) if quality[name] else None)
    assert quality["exploded"] == measured["exploded"]
    shutil.copy("sweep/seed2.safetensors", "sweep/seed1.safetensors")
    assert read("sweep/seed1")["quality"]["source"] == "record"


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        ("nowhere", None, "no such model: nowhere", "models here: phantom.safetensors"),
        ("phantm", None, "no such model: phantm", "did you mean phantom.safetensors?"),
        ("phantom.csv", None, "phantom.csv is the table of a run's iterations", "give the model, phantom.safetensors"),
        ("t.toml", b"a = 1\n", "t.toml is not the record of a model", ".toml beside one"),
        ("t.toml", b"a = [", "t.toml is not valid TOML", "fix"),
        ("t.safetensors", b"hello", "t.safetensors is damaged, or no file of ncatool", "whole"),
        ("t.safetensors", b"", "t.safetensors is damaged, or no file of ncatool", "whole"),
        ("t.checkpoint", b"\xff" * 99, "t.checkpoint is damaged, or no file of ncatool", "whole"),
        ("t.pt", b"x", "t.pt is another program's model", "ncatool import t.pt t.safetensors"),
    ],
)
def test_what_is_no_model(name, content, what, hint, run):
    if content is not None:
        Path(name).write_bytes(content)
    done = run_in_process("info", name)
    assert done.returncode in (1, 2)
    error, advice = done.stderr.splitlines()
    assert error.startswith(f"error: {what}")
    assert hint in advice


def test_a_model_that_is_cut_off_is_none(run):
    path = Path("phantom.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    assert "phantom.safetensors is damaged" in run_in_process("info", "phantom").stderr


@pytest.mark.parametrize("value", ["\x1b[2J", 10**15, [1], {"a": 1}, "x" * 500])
def test_a_record_can_say_anything(value, run):
    import tomllib

    record = tomllib.loads(Path("phantom.toml").read_text())
    record["train"] |= {"loss": value, "regime": value, "seed": value, "iterations": value}
    record["result"] |= {"iterations": value, "seconds": value, "mse_at_96": value}
    record["environment"] = {"ncatool": value, "device": value}
    Path("phantom.toml").write_text(tomli_w.dumps(record))
    for name in ("phantom", "phantom.toml"):
        done = run_in_process("info", name)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) < 500
        read(name)


def test_torch_is_not_needed(run):
    script = (
        "import sys; from ncatool.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    for name in ("phantom", "phantom.checkpoint", "phantom.toml"):
        done = subprocess.run([sys.executable, "-c", script, "info", name], capture_output=True, text=True, check=True)
        assert done.stderr == "False\n"
        assert "250 parameters" in done.stdout


def test_several_pictures_are_listed_with_their_errors_and_sources():
    names = [f"cell-{i}" for i in range(32)]
    save_model(Path("m.safetensors"), make_several(names=names, channels=12))
    found = read("m")
    assert found["target"]["names"] == names
    assert found["seed"]["cells"] == 1
    lines = run_in_process("info", "m").stdout.splitlines()
    assert lines[1] == "grows       32 pictures, 13×13 cells with 2 around the picture"
    assert "a code for each picture" in lines[3]
    assert [line.split() for line in lines[-32:]] == [[name, f"{name}.png"] for name in names]
    assert max(map(len, lines[-32:])) < 60


def test_errors_of_several_pictures_stand_beside_their_names(tmp_path):
    save_model(Path("m.safetensors"), make_several())
    result = {"mse_at_500": 1e-3, "worst_mse_at_500": 1e-2, "each_mse_at_500": [1e-4, 1e-3, 1e-2]}
    Path("m.toml").write_text(tomli_w.dumps({"format": "ncatool-1", "result": result}))
    lines = run_in_process("info", "m").stdout.splitlines()
    assert any("30.0 dB at step 500, the worst picture 20.0 dB" in line for line in lines)
    assert lines[-3:] == ["  red    40.0 dB  red.png", "  green  30.0 dB  green.png", "  blue   20.0 dB  blue.png"]
