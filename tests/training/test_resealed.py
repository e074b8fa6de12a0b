"""Checkpoints and models that were edited and given a checksum again: refused in one line, or they run."""

import itertools
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL, run_in_process
from tests.resealed import MISSING, WRONG_VALUES, list_places, list_wrong_tensors, read_parts, replace, write_parts

CHECKPOINT = "m.checkpoint"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with the files of a run that was stopped, and whose guard has done something."""
    folder = tmp_path_factory.mktemp("run")
    done = run_in_process("train", *SMALL, "--target", "phantom", "--out", folder / "m.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    tensors, tables = read_parts(folder / CHECKPOINT)
    tables["facts"]["events"] = [[3, "1 dead state replaced by the seed"]]
    write_parts(folder / CHECKPOINT, tensors, tables)
    return folder


def succeeds_or_is_refused(*arguments):
    """Run a command, and return whether it has worked; fails unless it has, or ends with one line and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = run_in_process(*arguments)
    if done.returncode == 0:
        return True
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode in (1, 2), done.stderr
    assert len(errors) == 1, done.stderr
    assert len(errors[0]) < 600
    return False


def copy_run(run):
    for path in run.iterdir():
        shutil.copy(path, path.name)


def resume(tensors, tables):
    write_parts(CHECKPOINT, tensors, tables)
    return succeeds_or_is_refused("resume", "m.safetensors", "--iterations", 7, "-q")


@pytest.mark.parametrize("part", ["events", "history", "model", "seconds", "target", "train", "trainer", "origin"])
def test_every_fact_of_a_checkpoint(run, part):
    tensors, tables = read_parts(run / CHECKPOINT)
    top = ("target",) if part == "origin" else ("facts", part)
    places = [place for place in list_places(tables) if place[: len(top)] == top]
    if part in ("history", "origin"):  # what they say is free: a name stands for all
        places = places[:4]
    assert places
    for place, value in itertools.product(places, WRONG_VALUES):
        copy_run(run)
        before = Path("m.safetensors").read_bytes(), Path("m.toml").read_bytes()
        if not resume(tensors, replace(tables, place, value)):
            assert (Path("m.safetensors").read_bytes(), Path("m.toml").read_bytes()) == before
            continue
        # What may be absent: facts of earlier versions, and what only describes.
        assert value is MISSING or part in ("origin", "history") or (value, place[-1]) in ACCEPTED, (place, value)


ACCEPTED = [
    *(([], name) for name in ("events", "history")),
    ("x", "initial"), ("x", "source"), ("x", "alpha"), (True, "bias"), (True, "checkpoint"), (-1, "learning_rate"),
]  # fmt: skip


def test_every_tensor_of_a_checkpoint(run):
    tensors, tables = read_parts(run / CHECKPOINT)
    accepted = set()
    for name, tensor in tensors.items():
        for what, other in list_wrong_tensors(tensor).items():
            copy_run(run)
            changed = {key: value for key, value in (tensors | {name: other}).items() if value is not None}
            if resume(changed, tables):
                accepted.add((name.rpartition(".")[2], what))
    shapes_and_dtypes = {"absent", "short", "deeper", "nan", "inf", *map(str, (torch.float64, torch.int64, torch.bool))}
    assert [pair for pair in accepted if pair[1] in shapes_and_dtypes] == [("rows", "torch.float64")], "its own"
    refused = {
        ("step", "-1.0"),
        ("step", "0.5"),
        ("exp_avg_sq", "-1.0"),
        ("rows", "0.5"),
        ("draws", "255"),
        ("fire", "0"),
    }
    assert not refused & accepted


def test_every_fact_of_a_model(run):
    tensors, tables = read_parts(run / "m.safetensors")
    places = [place for place in list_places(tables) if place[:1] in (("model",), ("target",))]
    for place, value in itertools.product(places, WRONG_VALUES):
        write_parts("m.safetensors", tensors, replace(tables, place, value))
        succeeds_or_is_refused("render", "m.safetensors", "m.gif", "--steps", 2, "--force", "-q")


@pytest.mark.parametrize("value", [None, 10**400, -1, "x", [[]], {"a": {}}])
@pytest.mark.parametrize("place", [("model",), ("model", "fire_rate"), ("target",), ("target", "source")])
def test_models_in_every_command(run, place, value):
    tensors, tables = read_parts(run / "m.safetensors")
    write_parts("m.safetensors", tensors, replace(tables, place, value))
    succeeds_or_is_refused("compare", "m.safetensors", "--rollouts", 1, "--steps", 200, "-q")
    succeeds_or_is_refused("export", "m.safetensors", "m.npz", "-q")
    succeeds_or_is_refused("train", "--from", "m.safetensors", *SMALL, "--out", "n.safetensors", "-q")


def test_every_tensor_of_a_model(run):
    tensors, tables = read_parts(run / "m.safetensors")
    for name, tensor in {**tensors, "more": torch.zeros(2)}.items():
        for other in list_wrong_tensors(tensor).values():
            changed = {key: value for key, value in (tensors | {name: other}).items() if value is not None}
            write_parts("m.safetensors", changed, tables)
            succeeds_or_is_refused("render", "m.safetensors", "m.gif", "--steps", 2, "--force", "-q")


@pytest.mark.parametrize("name", ["m.safetensors", CHECKPOINT])
def test_a_grid_larger_than_the_flags_allow(run, name):
    """A target and a padding that are each allowed make 3072 cells a side: 2.4 GB a state."""
    copy_run(run)
    tensors, tables = read_parts(name)
    tensors["target"] = torch.zeros(1024, 3, 4, dtype=torch.uint8)
    write_parts(name, tensors, replace(tables, ("target", "padding"), 1024))
    command = ("resume", "m.safetensors") if name == CHECKPOINT else ("render", name, "m.gif", "--steps", 2)
    done = run_in_process(*command)
    assert done.returncode == 1
    assert "1024x3 with padding 1024 makes 3072 cells a side, but 1024 is the most" in done.stderr
