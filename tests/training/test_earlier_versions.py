"""Runs that earlier versions left, under the names that their files had, are resumed, rendered and compared."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import SMALL, run_in_process

TRAIN = ["train", *SMALL, "--target", "phantom", "--quiet"]
RENAMED = {".checkpoint": ".checkpoint.safetensors", ".curve.png": ".png"}


def make_earlier(path):
    """Give a run's files the names of version 0.1."""
    for now, then in RENAMED.items():
        path.with_suffix(now).rename(path.with_suffix(then))


@pytest.fixture
def run():
    """A run of six iterations, and what it is after eight."""
    path = Path("m.safetensors")
    assert run_in_process(*TRAIN, "--out", path).returncode == 0
    for file in list(Path().glob("m.*")):
        shutil.copyfile(file, f"n{file.name.removeprefix('m')}")
    assert run_in_process("resume", "n.safetensors", "--iterations", 8, "--quiet").returncode == 0
    make_earlier(path)
    return path


def test_an_earlier_run_is_resumed(run):
    picture = Path("m.png").read_bytes()
    assert run_in_process("resume", run, "--iterations", 8, "--quiet").returncode == 0
    for ending in (".safetensors", ".csv", ".curve.png"):
        assert Path(f"m{ending}").read_bytes() == Path(f"n{ending}").read_bytes(), ending
    assert not Path("m.checkpoint.safetensors").exists(), "the new one replaces it"
    assert Path("m.png").read_bytes() == picture, "it may be the user's by now"


def test_its_checkpoint_is_not_taken_for_a_model(run):
    names = sorted(map(str, Path().glob("m*.safetensors")))
    assert names == ["m.checkpoint.safetensors", "m.safetensors"]
    done = run_in_process("render", *names, "a.gif", "--steps", 4)
    assert done.returncode == 0, done.stderr
    done = run_in_process("compare", *names, "--rollouts", 1, "--steps", 200, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"model":') == 1


def test_a_new_run_replaces_it_only_by_force(run):
    before = {path: path.read_bytes() for path in Path().glob("m.*")}
    Path("m.safetensors").unlink()
    for ending in (".toml", ".csv"):
        Path(f"m{ending}").unlink()
    done = run_in_process(*TRAIN, "--out", run)
    assert done.returncode == 2
    assert "m.checkpoint.safetensors exists already" in done.stderr
    assert run_in_process(*TRAIN, "--out", run, "--force", "--no-checkpoint").returncode == 0
    assert not Path("m.checkpoint.safetensors").exists(), "or resume would go on with the old run"
    assert Path("m.png").read_bytes() == before[Path("m.png")]


@pytest.mark.parametrize("name", ["m.checkpoint.safetensors", "m.checkpoint"])
@pytest.mark.parametrize("command", [[*TRAIN, "--out"], ["resume"], ["import", "m.pt"]])
def test_a_checkpoints_name_is_no_models(command, name):
    Path("m.pt").touch()
    done = run_in_process(*command, name)
    assert done.returncode == 2
    assert f"error: {name} is the name of a checkpoint" in done.stderr
    assert "m.safetensors" in done.stderr


def test_runs_of_an_earlier_sweep_are_finished():
    options = ["sweep", *SMALL, "--target", "phantom", "--filter", "sobel,mean", "--jobs", 1, "--no-compare", "--json"]
    assert run_in_process(*options).returncode == 0
    for path in Path("sweep").glob("*.safetensors"):
        make_earlier(path)
    before = {path: path.read_bytes() for path in Path("sweep").iterdir() if path.suffix != ".toml"}
    done = run_in_process(*options)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not list(Path("sweep").glob("*.curve.png")), "none is trained again"


def test_a_sweep_from_before_there_were_seeds_and_optimisers_is_finished():
    """Records of earlier versions lack these settings, which then had one value."""
    sweep = ["sweep", *SMALL, "--target", "phantom", "--filter", "sobel,mean", "--optimiser", "adam"]
    options = [*sweep, "--seed-cells", "one", "--jobs", 1, "--no-compare", "--no-checkpoint"]
    assert run_in_process(*options).returncode == 0
    for name in ("sobel", "mean", "sweep"):
        path = Path(f"sweep/{name}.toml")
        text, count = re.subn(r"(optimiser|seed_cells|seed_radius) = .*\n", "", path.read_text())
        assert count == 3
        path.write_text(text)
    before = {path: path.read_bytes() for path in Path("sweep").iterdir() if path.stem != "sweep"}
    done = run_in_process(*options)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    done = run_in_process(*options, "--seed-radius", 3)
    assert "stale: sobel (seed_radius 0.0, now 3.0)" in done.stderr
