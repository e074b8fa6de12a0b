"""A run's files: what they hold, that equal runs give equal bytes, and that a stopped run can be resumed."""

import csv
import dataclasses
import errno
import json
import os
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from ncatool.config.names import Regime, Schedule
from ncatool.config.schema import TargetConfig
from ncatool.data import targets
from ncatool.engine import compiled
from ncatool.errors import ExitCode, NcatoolError
from ncatool.nca.model_file import load_model
from ncatool.training import trainer as training
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from tests.conftest import small_run


def never():
    return False


def start(name="m", **train):
    config = small_run(**train)
    return Run(config, targets.load_target(config.target), RunFiles(Path(f"{name}.safetensors")))


def complete(name="m", **train):
    run = start(name, **train)
    list(run.train(never))
    run.write_results()
    return run


ENDINGS = (".safetensors", ".csv", ".curve.png")
"""Of the files whose bytes depend on the settings alone."""


def read_bytes(run):
    return {ending: run.files.model.with_suffix(ending).read_bytes() for ending in ENDINGS}


class Uninterrupted(NamedTuple):
    files: dict[str, bytes]
    pool: torch.Tensor


@cache
def train_uninterrupted(**train):
    """Train without a stop, once for each choice of settings: several tests compare with it."""
    run = complete("uninterrupted", **train)
    return Uninterrupted(read_bytes(run), Run.resume(run.files).trainer.pool.states)


def test_files():
    run = complete()
    assert all(path.exists() for path in run.files.list_paths())
    rows = list(csv.DictReader(run.files.csv.open()))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert list(rows[0]) == ["iteration", "loss", "mse", "learning_rate", "events"]
    record = tomllib.loads(run.files.record.read_text())
    assert record["format"] == "ncatool-1"
    assert record["model"]["channels"] == 6
    assert record["target"]["padding"] == 1
    assert record["train"]["batch_size"] == 2
    assert record["result"]["iterations"] == 6
    assert record["result"]["loss"] == float(rows[-1]["loss"])
    assert record["environment"]["threads"] == compiled.thread_count()
    with Image.open(run.files.plot) as image:
        assert image.width > 500
    model = load_model(run.files.model)
    assert torch.equal(model.weights.hidden_weight, run.trainer.weights.hidden_weight.detach())


def test_checkpoint_is_complete_and_named():
    run = complete()
    with safe_open(run.files.checkpoint, "pt") as file:
        names = set(file.keys())
        facts = json.loads(file.metadata()["ncatool"])["facts"]
        rows = file.get_tensor("rows")
    assert {"weights.hidden.weight", "pool", "seed", "target", "generator.draws", "generator.fire"} <= names
    assert {"optimiser.0.momentum", "optimiser.2.momentum"} <= names
    assert {f"optimiser.1.{name}" for name in ("exp_avg", "exp_avg_sq", "step")} <= names
    assert facts["trainer"]["iteration"] == 6
    assert rows.shape == (6, 4)


def test_same_run_same_bytes():
    assert read_bytes(complete("a")) == read_bytes(complete("b"))


def test_resume_refuses_what_it_cannot_do():
    complete()
    files = RunFiles(Path("m.safetensors"))
    with pytest.raises(NcatoolError, match="has done 6 iterations, more than 5") as caught:
        Run.resume(files, iterations=5)
    assert "--iterations 6" in caught.value.hint
    assert Run.resume(files, iterations=8).config.train.iterations == 8
    whole = files.checkpoint.read_bytes()
    for length in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        files.checkpoint.write_bytes(whole[:length])
        with pytest.raises(NcatoolError, match="checkpoint"):
            Run.resume(files, iterations=8)
    files.checkpoint.unlink()
    with pytest.raises(NcatoolError, match="there is no checkpoint"):
        Run.resume(files, iterations=8)


def test_failed_training_keeps_the_last_good_model(monkeypatch):
    run = start(iterations=50)
    real = training.rollout
    monkeypatch.setattr(
        training, "rollout", lambda *a: real(*a) if run.trainer.iteration < 4 else torch.full_like(a[0], torch.nan)
    )
    with pytest.raises(NcatoolError, match="training failed"):
        list(run.train(never))
    model = load_model(run.files.model)
    assert all(torch.isfinite(tensor).all() for tensor in model.weights if tensor is not None)
    assert "restored" in run.files.csv.read_text()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_fault_while_writing_leaves_the_previous_files(monkeypatch, fault, where):
    """The second checkpoint fails; the run resumes from the first one and ends with the same model."""
    run = start()
    owner, name = {"write": (Path, "write_bytes"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[where]

    def fail(*arguments):
        raise OSError(fault, os.strerror(fault))

    before = {}
    with monkeypatch.context() as patched, pytest.raises(NcatoolError, match=os.strerror(fault)) as caught:
        for report in run.train(never):
            if report.iteration == 4:
                before = {path: path.read_bytes() for path in run.files.list_paths() if path.exists()}
                patched.setattr(owner, name, fail)
    assert caught.value.code == ExitCode.FAILED
    assert len(before) == 4
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in Path().iterdir() if "partial" in path.name]
    assert load_model(run.files.model)
    again = Run.resume(run.files)
    assert again.trainer.iteration == 2
    list(again.train(never))
    assert run.files.model.read_bytes() == train_uninterrupted().files[".safetensors"]


def train_until(run, iteration):
    list(run.train(lambda: run.trainer.iteration == iteration))
    return run


@pytest.mark.parametrize("stops", [[], [1], [3, 6], [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("regime", Regime)
def test_any_number_of_stops_gives_the_same_bytes(stops, regime):
    run = start(regime=regime)
    for iteration in stops:
        train_until(run, iteration)
        assert run.trainer.iteration == iteration
        run = Run.resume(run.files)
    list(run.train(never))
    run.write_results()
    expected = train_uninterrupted(regime=regime)
    assert read_bytes(run) == expected.files
    assert torch.equal(run.trainer.pool.states, expected.pool)


def test_history_lists_the_events():
    train_until(start(), 2)
    run = Run.resume(RunFiles(Path("m.safetensors")))
    list(run.train(never))
    run.write_results()
    history = tomllib.loads(run.files.record.read_text())["history"]
    events = [(entry["event"], entry["iteration"]) for entry in history]
    assert events == [("started", 0), ("stopped", 2), ("resumed", 2), ("finished", 6)]
    assert all(entry["device"] == "cpu" and entry["at"].endswith("+00:00") for entry in history)


def test_settings_that_change_on_resume():
    run = train_until(start(schedule=Schedule.CONSTANT), 3)
    run = Run.resume(run.files, iterations=9, learning_rate=5e-3, checkpoint_every=4)
    list(run.train(never))
    assert [row[0] for row in run.rows] == list(range(1, 10))
    assert run.rows[-1][3] == pytest.approx(5e-3)
    assert tomllib.loads(run.files.record.read_text())["train"]["checkpoint_every"] == 4


def test_another_machine_is_reported(monkeypatch):
    run = train_until(start(), 3)
    assert Run.resume(run.files).find_differences() == []
    monkeypatch.setattr("platform.platform", lambda: "another")
    (difference,) = Run.resume(run.files).find_differences()
    assert "platform" in difference
    assert "another now" in difference


def test_no_checkpoint():
    complete()
    run = complete(checkpoint=False)
    assert run.files.model.exists()
    assert not run.files.checkpoint.exists(), "not even that of the run before"


def test_a_guarded_run_resumes(monkeypatch):
    """After a restoration to the very first weights, Adam has no state: that too is a valid checkpoint."""
    run = start(iterations=4)
    real = training.rollout
    monkeypatch.setattr(
        training, "rollout", lambda *a: real(*a) if run.trainer.iteration != 1 else torch.full_like(a[0], torch.nan)
    )
    train_until(run, 2)
    assert "restored" in run.rows[-1][4]
    again = Run.resume(run.files)
    assert str(again.rows) == str(run.rows)
    list(again.train(never))
    assert again.trainer.iteration == 4


def test_training_starts_from_another_models_weights():
    first = complete("first")
    model = load_model(first.files.model)
    config = small_run(iterations=1, learning_rate=1e-9)
    config = dataclasses.replace(config, target=TargetConfig(size=14))
    run = Run(config, targets.load_target(config.target), RunFiles(Path("second.safetensors")), model.weights)
    list(run.train(never))
    tuned = load_model(run.files.model)
    assert torch.allclose(tuned.weights.output_weight, model.weights.output_weight, atol=1e-6)
    assert tuned.target.shape == (14, 14)
    assert model.weights.output_weight.abs().sum() > 0


def test_weights_with_an_output_bias_resume():
    model = load_model(complete("first").files.model)
    weights = model.weights._replace(output_bias=torch.full((6,), 1e-3))
    config = small_run(iterations=4)
    run = Run(config, targets.load_target(config.target), RunFiles(Path("b.safetensors")), weights)
    train_until(run, 2)
    again = Run.resume(run.files)
    list(again.train(never))
    assert load_model(run.files.model).weights.output_bias.shape == (6,)
    assert again.trainer.iteration == 4
