"""What makes a run of a sweep stale: the content of what it is made from, not only the names of files."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from ncatool.nca.model_file import hash_weights, load_model
from ncatool.training.checkpoint import load_checkpoint, save_checkpoint
from ncatool.training.checkpoint_schema import read_facts
from ncatool.training.checkpoint_tensors import list_tensors
from tests.conftest import SMALL, run_in_process
from tests.sweep.runs import BASE, IN_PROCESS, weights

FLAGS = ["sweep", *BASE, *IN_PROCESS, "--target", "picture.png", "--from", "start.safetensors", "--seed", "0,1"]


def train_start(seed):
    done = run_in_process("train", *SMALL, "--target", "phantom", "--seed", seed, "--out", "start.safetensors", "-fq")
    assert done.returncode == 0, done.stderr


def draw_target(shade):
    Image.new("L", (10, 10), shade).save("picture.png")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Where the first test leaves its sweep for the others."""
    return tmp_path_factory.mktemp("example") / "files"


@pytest.fixture
def finished_sweep(example):
    if example.exists():
        shutil.copytree(example, Path.cwd(), dirs_exist_ok=True)
    else:
        train_start(0)
        draw_target(90)
        assert run_in_process(*FLAGS).returncode == 0
        shutil.copytree(Path.cwd(), example)
    return weights()


OTHER_START, OTHER_TARGET = "the model that it starts from has changed", "another picture"


@pytest.mark.parametrize(
    ("change", "why", "unfinished"),
    [
        (lambda: train_start(1), OTHER_START, False),
        (lambda: train_start(1), OTHER_START, True),
        (lambda: draw_target(200), OTHER_TARGET, False),
    ],
)
def test_another_content_under_the_same_name_makes_runs_stale(change, why, unfinished, finished_sweep):
    """With --force they are trained anew, not gone on with from their checkpoints."""
    change()
    if unfinished:
        for path in Path("sweep").glob("seed*.png"):
            path.unlink()
    done = run_in_process(*FLAGS)
    assert done.returncode == 2
    assert f"stale: seed0 ({why})" in done.stderr
    assert "error: 2 of 2 runs exist with other settings than planned" in done.stderr
    assert weights() == finished_sweep
    assert run_in_process(*FLAGS, "--force").returncode == 0
    assert run_in_process(*FLAGS, "--out", "fresh").returncode == 0
    assert weights() == weights("fresh")
    assert weights().keys() == finished_sweep.keys()
    assert weights() != finished_sweep


def test_the_same_weights_in_another_file_change_nothing(finished_sweep):
    record = tomllib.loads(Path("sweep/seed0.toml").read_text())
    assert record["origin"] == {"weights_sha256": hash_weights(load_model(Path("start.safetensors")).weights)}
    train_start(0)
    assert run_in_process(*FLAGS).returncode == 0
    assert weights() == finished_sweep


def forget_origins():
    """Leave record and checkpoint of each run as earlier versions wrote them."""
    for name in ("seed0", "seed1"):
        record = Path(f"sweep/{name}.toml")
        text, count = re.subn(r'\[origin\]\nweights_sha256 = "\w+"\n\n', "", record.read_text())
        assert count == 1
        record.write_text(text)
        path = next(Path("sweep").glob(f"{name}.checkpoint*"))

        def expect(facts, target, path=path):
            checked = read_facts(facts, str(path))
            return list_tensors(checked.config, target, checked.numbers)

        tensors, target, facts = load_checkpoint(path, expect)
        del facts["origin"]
        save_checkpoint(path, {name: tensor for name, tensor in tensors.items() if name != "target"}, target, facts)


@pytest.mark.parametrize("unfinished", [False, True])
def test_files_of_earlier_versions_are_not_stale(unfinished, finished_sweep):
    forget_origins()
    if unfinished:
        for path in Path("sweep").glob("seed*.png"):
            path.unlink()
    done = run_in_process(*FLAGS)
    assert done.returncode == 0, done.stderr
    assert weights() == finished_sweep
    assert "origin" not in tomllib.loads(Path("sweep/seed0.toml").read_text())


def test_what_a_run_started_from_outlives_its_resumption():
    train_start(0)
    flags = ["--target", "phantom", "--from", "start.safetensors", "--out", "a.safetensors", "-q"]
    assert run_in_process("train", *SMALL, *flags).returncode == 0
    before = tomllib.loads(Path("a.toml").read_text())
    assert run_in_process("resume", "a.safetensors", "--iterations", 8, "-q").returncode == 0
    after = tomllib.loads(Path("a.toml").read_text())
    assert after["origin"] == before["origin"]
    assert after["result"]["iterations"] == 8
    done = run_in_process("train", "--config", "a.toml", "--out", "b.safetensors", "-q")
    assert done.returncode == 0, done.stderr
