"""A run's files: what they hold, that they repeat byte by byte, and that a run goes on."""

import csv
import json
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from ncatool import checkpoint, native
from ncatool import target as targets
from ncatool.checkpoint import RunFiles, load_model
from ncatool.errors import NcatoolError
from ncatool.run import Run
from tests.conftest import small_run


def never():
    return False


def start(name="m", **train):
    config = small_run(**train)
    return Run(config, targets.load(config.target), RunFiles(Path(f"{name}.safetensors")))


def completed(name="m", **train):
    run = start(name, **train)
    list(run.reports(never))
    run.finish()
    return run


def test_files():
    run = completed()
    assert all(path.exists() for path in run.files.all())
    rows = list(csv.DictReader(run.files.curve.open()))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert list(rows[0]) == ["iteration", "loss", "mse", "learning_rate", "events"]
    record = tomllib.loads(run.files.record.read_text())
    assert record["format"] == "ncatool-1"
    assert record["model"]["channels"] == 6
    assert record["target"]["padding"] == 1
    assert record["train"]["batch_size"] == 2
    assert record["result"]["iterations"] == 6
    assert record["result"]["loss"] == float(rows[-1]["loss"])
    assert record["environment"]["threads"] == native.threads()
    with Image.open(run.files.picture) as image:
        assert image.width > 500
    model = load_model(run.files.model)
    assert torch.equal(model.weights.hidden_weight, run.trainer.weights.hidden_weight.detach())


def test_checkpoint_is_complete_and_named():
    run = completed()
    with safe_open(run.files.checkpoint, "pt") as file:
        names = set(file.keys())
        facts = json.loads(file.metadata()["ncatool"])["facts"]
    assert {"weights.hidden.weight", "pool", "target", "generator.draws", "generator.fire"} <= names
    assert {f"optimiser.{i}.{name}" for i in range(3) for name in ("exp_avg", "exp_avg_sq", "step")} <= names
    assert facts["trainer"]["iteration"] == 6
    assert len(facts["rows"]) == 6


def test_same_run_same_bytes():
    for name in "ab":
        completed(name)
    for ending in (".safetensors", ".csv", ".png"):
        assert Path(f"a{ending}").read_bytes() == Path(f"b{ending}").read_bytes()


def test_resumed_run_ends_with_the_same_bytes():
    completed("straight")
    run = start("broken")
    list(run.reports(lambda: run.trainer.iteration == 3))
    assert run.trainer.iteration == 3
    again = Run.resumed(RunFiles(Path("broken.safetensors")), None)
    list(again.reports(never))
    again.finish()
    for ending in (".safetensors", ".csv"):
        assert Path(f"straight{ending}").read_bytes() == Path(f"broken{ending}").read_bytes()


def test_resume_refuses_what_it_cannot_do():
    completed()
    files = RunFiles(Path("m.safetensors"))
    with pytest.raises(NcatoolError, match="6 iterations already") as caught:
        Run.resumed(files, None)
    assert "--iterations" in caught.value.mend
    assert Run.resumed(files, 8).config.train.iterations == 8
    whole = files.checkpoint.read_bytes()
    for length in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        files.checkpoint.write_bytes(whole[:length])
        with pytest.raises(NcatoolError, match="checkpoint"):
            Run.resumed(files, 8)
    files.checkpoint.unlink()
    with pytest.raises(NcatoolError, match="no such"):
        Run.resumed(files, 8)


def test_failed_training_keeps_the_last_good_model(monkeypatch):
    from ncatool import train as training

    run = start(iterations=50)
    real = training.rollout
    monkeypatch.setattr(
        training, "rollout", lambda *a: real(*a) if run.trainer.iteration < 4 else torch.full_like(a[0], torch.nan)
    )
    with pytest.raises(NcatoolError, match="training failed"):
        list(run.reports(never))
    model = load_model(run.files.model)
    assert all(torch.isfinite(tensor).all() for tensor in model.weights if tensor is not None)
    assert "restored" in run.files.curve.read_text()


def test_a_disk_that_fills_up_leaves_the_previous_files(monkeypatch):
    run = start()
    list(run.reports(never))
    before = {path: path.read_bytes() for path in run.files.all() if path.exists()}

    def full(path, content):
        raise OSError(28, "No space left on device")

    run.trainer.iteration = 0
    with monkeypatch.context() as patched, pytest.raises(NcatoolError, match="No space left"):
        patched.setattr(Path, "write_bytes", full)
        run.save()
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in Path().iterdir() if "partial" in path.name]
    assert checkpoint.load_model(run.files.model)
