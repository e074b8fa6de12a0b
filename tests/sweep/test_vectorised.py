"""Many runs trained in step: each gives the numbers that it gives alone."""

import dataclasses
import signal
import tomllib
from pathlib import Path

import pytest
import torch

from ncatool.config.names import Device, Filter, Loss, Precision, Regime
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data import targets
from ncatool.engine import batch, choose, rollout
from ncatool.engine.batch import RolloutTask, group_tasks, run_batch
from ncatool.errors import NcatoolError
from ncatool.sweep.dispatch import Failure, run_jobs
from ncatool.sweep.job import Ending, Job, Outcome, Progress
from ncatool.sweep.vectorised import VectorisedWorkers
from ncatool.training.lockstep import iterate_together
from ncatool.training.trainer import Trainer
from tests.conftest import ncatool, small_run
from tests.engine.test_rollout import make_case
from tests.sweep.runs import DISTURBED, begin, curves, history, wait_until, weights

TARGET = TargetConfig(size=10, padding=1)


def make_trainers(target=TARGET, **settings):
    """Trainers of different seeds, losses, regimes and filters."""
    trainers = []
    for number, (loss, regime, name) in enumerate(
        [(Loss.L2, Regime.PERSISTENT, Filter.SOBEL), (Loss.L1, Regime.REGENERATING, Filter.MEAN)]
    ):
        config = small_run(loss=loss, regime=regime, seed=number, **settings)
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, filter=name), target=target)
        trainers.append(Trainer(config, targets.load_target(config.target)))
    return trainers


def is_same(one, other):
    own, others = one.state_tensors(), other.state_tensors()
    return own.keys() == others.keys() and all(torch.equal(own[name], others[name]) for name in own)


def test_each_gives_the_numbers_that_it_gives_alone():
    alone, together = make_trainers(), make_trainers()
    reports = [list(trainer.train()) for trainer in alone]
    iterations = [iterate_together(together) for _ in range(6)]
    assert [list(column) for column in zip(*iterations, strict=True)] == reports
    assert all(map(is_same, alone, together))


def test_the_same_in_one_batch_of_a_gpus_kernels(monkeypatch):
    gpu = pytest.importorskip("ncatool.engine.gpu", reason="Triton is not installed: there is none for this system")
    device = Device.CUDA
    if not torch.cuda.is_available():  # through the interpreter
        device = Device.CPU
        monkeypatch.setattr(gpu, "PARTIAL_SUMS", 2)
        monkeypatch.setattr(choose, "engine_name", lambda *_: "triton")
        for module in (choose, batch):
            monkeypatch.setattr(module, "has_kernels", lambda *_: True)
    batch_sizes = []
    initialise = gpu.BatchEngine.__init__

    def record_size(self, models, *rest):
        batch_sizes.append(len(models))
        initialise(self, models, *rest)

    monkeypatch.setattr(gpu.BatchEngine, "__init__", record_size)
    short = {"target": TargetConfig(size=5), "min_steps": 1, "max_steps": 2, "iterations": 2, "device": device}
    alone, together = make_trainers(**short), make_trainers(**short)
    reports = [list(trainer.train()) for trainer in alone]
    assert set(batch_sizes) == {1}
    batch_sizes.clear()
    assert [list(column) for column in zip(*[iterate_together(together) for _ in range(2)], strict=True)] == reports
    assert 2 in batch_sizes
    assert all(map(is_same, alone, together))


def test_rollouts_of_another_kind_or_too_many_for_memory_are_another_batch(monkeypatch):
    tasks = []
    for model, shape, precision in (
        (ModelConfig(channels=5, hidden=7), (2, 4, 4), Precision.FLOAT32),
        (ModelConfig(channels=5, hidden=7), (2, 4, 5), Precision.FLOAT32),
        (ModelConfig(channels=5, hidden=7, filter=Filter.MEAN, fire_rate=1.0), (2, 4, 4), Precision.FLOAT32),
        (ModelConfig(channels=5, hidden=7), (2, 4, 4), Precision.BFLOAT16),
        (ModelConfig(channels=5, hidden=7, threshold=0.2), (2, 4, 4), Precision.FLOAT32),
    ):
        state, own, fire, _ = make_case(model, shape, 3, 0.8, 0.1, 1)
        tasks.append(RolloutTask(state, own, model, fire, precision))
    assert group_tasks(tasks) == [[0], [1], [2], [3], [4]], "on the processor"
    for task in tasks:
        assert torch.equal(run_batch([task])[0], rollout.rollout(*task))
    gpu = pytest.importorskip("ncatool.engine.gpu", reason="Triton is not installed: there is none for this system")
    monkeypatch.setattr(batch, "has_kernels", lambda *_: True)
    assert group_tasks(tasks) == [[0, 2], [1], [3], [4]]
    room = 3 * gpu.step_bytes(2, 4, 4, 5)  # for all steps of one of them
    for models, expected in ((1, [[0], [2]]), (2, [[0, 2]]), (0.5, [[0], [2]])):
        monkeypatch.setattr(batch, "memory_limit", lambda *_, models=models: models * room)
        assert [places for places in group_tasks(tasks) if places[0] in (0, 2)] == expected


def test_one_whose_training_fails_leaves_the_others_alone():
    alone, together = make_trainers(iterations=40), make_trainers(iterations=40)
    list(alone[0].train())
    with torch.no_grad():
        together[1].weights.output_weight.fill_(torch.nan)
    together[1].guard.snapshots[0].tensors["weights.2"].fill_(torch.nan)  # the state it is reset to is no better
    running, failed = list(together), []
    for _ in range(40):
        for trainer, report in zip(list(running), iterate_together(running), strict=True):
            if isinstance(report, NcatoolError):
                failed.append(report.what)
                running.remove(trainer)
    assert len(failed) == 1
    assert "training failed" in failed[0]
    assert is_same(alone[0], together[0])


def make_job(name, folder, **settings):
    config = small_run(**settings)
    return Job(name, config, targets.load_target(config.target), None, folder, "token", 1)


def test_runs_start_end_and_fail_independently(tmp_path, monkeypatch):
    """More runs than may train at the same time, of which one cannot start."""
    jobs = [make_job("a", tmp_path), make_job("b", tmp_path, seed=1, iterations=3), make_job("c", tmp_path, seed=2)]
    (tmp_path / "c.safetensors").mkdir()
    workers = VectorisedWorkers(2, 1)
    assert workers.count_slots() == workers.count_free() == 2
    events = list(run_jobs(jobs, workers, lambda: False))
    workers.close()
    ended = {event.name: event for event in events if isinstance(event, (Outcome, Failure))}
    assert [ended[name].ending for name in "ab"] == [Ending.FINISHED] * 2
    assert isinstance(ended["c"], Failure)
    assert ended["c"].final
    last = {event.name: event.iteration for event in events if isinstance(event, Progress)}
    assert last == {"a": 6, "b": 3}


def test_too_little_memory_for_all_is_a_failure_of_each_run(tmp_path, monkeypatch):
    def exhausted(trainers):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ncatool.sweep.vectorised.iterate_together", exhausted)
    workers = VectorisedWorkers(2, 1)
    events = list(run_jobs([make_job("a", tmp_path), make_job("b", tmp_path)], workers, lambda: False))
    assert {event.name for event in events if event.final} == {"a", "b"}
    assert "out of memory" in events[-1].what
    assert "--jobs" in events[-1].hint


def test_a_vectorised_sweep_survives_kills_and_gives_the_bytes_of_any_other(undisturbed):
    command = [*DISTURBED, "--checkpoint-every", 20, "--vectorise"]
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = begin(*command)
        before = read_iterations()
        wait_until(lambda before=before: has_advanced(before), process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
    assert [events[-1] for events in history().values()] == ["stopped"] * 12
    done = ncatool(*command)
    assert done.returncode == 0, done.stderr
    assert "--vectorise is for a CUDA GPU" in done.stderr
    assert weights() == weights(undisturbed)
    assert curves() == curves(undisturbed)


def has_advanced(before):
    """Whether all twelve runs have saved more iterations than any had `before`."""
    iterations = read_iterations()
    return len(iterations) == 12 and min(iterations) > max([0, *before])


def read_iterations():
    """The iterations in each run's record."""
    records = [path for path in Path("sweep").glob("*-*.toml") if not path.name.startswith(".")]
    return [tomllib.loads(path.read_text())["result"]["iterations"] for path in records]
