"""Many models' iterations in step: each does what it would do alone."""

import dataclasses
import signal
import tomllib
from pathlib import Path

import pytest
import torch

from ncatool.config.names import Device, Filter, Loss, Precision, Regime
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data import readers as targets
from ncatool.engine import batch, choose, rollout
from ncatool.engine.batch import RolloutTask, group_tasks, run_batch
from ncatool.errors import NcatoolError
from ncatool.sweep.dispatch import Failure, run_jobs
from ncatool.sweep.job import Ending, Job, Outcome, Progress
from ncatool.sweep.vectorised import VectorisedWorkers
from ncatool.training.lockstep import iterate_together
from ncatool.training.trainer import Trainer
from tests.conftest import SMALL, ncatool, small_run
from tests.engine.test_rollout import make_case
from tests.sweep.test_sweep import begin, history, wait_until, weights

TARGET = TargetConfig(size=10, padding=1)
PLAN = [*SMALL, "--target", "phantom", "--filter", "sobel,mean", "--damage", "both", "--no-compare"]


def trainers(target=TARGET, **settings):
    """Of different seeds, losses, regimes and filters."""
    made = []
    for number, (loss, regime, name) in enumerate(
        [(Loss.L2, Regime.PERSISTENT, Filter.SOBEL), (Loss.L1, Regime.REGENERATING, Filter.MEAN)]
    ):
        config = small_run(loss=loss, regime=regime, seed=number, **settings)
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, filter=name), target=target)
        made.append(Trainer(config, targets.load_target(config.target)))
    return made


def same(one, other):
    a, b = one.tensors(), other.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_each_does_what_it_would_do_alone():
    alone, together = trainers(), trainers()
    reports = [list(trainer.run()) for trainer in alone]
    found = [iterate_together(together) for _ in range(6)]
    assert [list(column) for column in zip(*found, strict=True)] == reports
    assert all(map(same, alone, together))


def test_the_same_as_one_batch_of_a_gpus_kernels(monkeypatch):
    gpu = pytest.importorskip("ncatool.engine.gpu", reason="Triton is not installed: there is none for this system")
    place = Device.CUDA
    if not torch.cuda.is_available():  # through the interpreter
        place = Device.CPU
        monkeypatch.setattr(gpu, "PARTIAL_SUMS", 2)
        monkeypatch.setattr(choose, "engine_name", lambda *_: "triton")
        for module in (choose, batch):
            monkeypatch.setattr(module, "has_kernels", lambda *_: True)
    batches = []
    whole = gpu.BatchEngine.__init__

    def counted(self, models, *rest):
        batches.append(len(models))
        whole(self, models, *rest)

    monkeypatch.setattr(gpu.BatchEngine, "__init__", counted)
    short = {"target": TargetConfig(size=5), "min_steps": 1, "max_steps": 2, "iterations": 2, "device": place}
    alone, together = trainers(**short), trainers(**short)
    reports = [list(trainer.run()) for trainer in alone]
    assert set(batches) == {1}
    batches.clear()
    assert [list(column) for column in zip(*[iterate_together(together) for _ in range(2)], strict=True)] == reports
    assert 2 in batches
    assert all(map(same, alone, together))


def test_what_is_of_another_kind_or_does_not_fit_is_another_batch(monkeypatch):
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
    alone, together = trainers(iterations=40), trainers(iterations=40)
    list(alone[0].run())
    with torch.no_grad():
        together[1].weights.output_weight.fill_(torch.nan)
    together[1].guard.snapshots[0].tensors["weights.2"].fill_(torch.nan)  # what it goes back to is no better
    going, failed = list(together), []
    for _ in range(40):
        for trainer, report in zip(list(going), iterate_together(going), strict=True):
            if isinstance(report, NcatoolError):
                failed.append(report.what)
                going.remove(trainer)
    assert len(failed) == 1
    assert "training failed" in failed[0]
    assert same(alone[0], together[0])


def job(name, folder, **settings):
    config = small_run(**settings)
    return Job(name, config, targets.load_target(config.target), None, folder, "token", 1)


def test_runs_begin_end_and_fail_each_for_itself(tmp_path, monkeypatch):
    """More runs than may go on at once; one of them cannot even begin."""
    jobs = [job("a", tmp_path), job("b", tmp_path, seed=1, iterations=3), job("c", tmp_path, seed=2)]
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


def test_too_little_memory_for_all_is_a_failure_of_each(tmp_path, monkeypatch):
    def exhausted(trainers):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ncatool.sweep.vectorised.iterate_together", exhausted)
    workers = VectorisedWorkers(2, 1)
    events = list(run_jobs([job("a", tmp_path), job("b", tmp_path)], workers, lambda: False))
    assert {event.name for event in events if event.final} == {"a", "b"}
    assert "out of memory" in events[-1].what
    assert "--jobs" in events[-1].hint


def test_a_vectorised_sweep_survives_kills_and_gives_the_bytes_of_any_other():
    command = ["sweep", *PLAN, "--iterations", 300, "--checkpoint-every", 10, "--out"]
    assert ncatool(*command, "apart", "--jobs", 1).returncode == 0
    for end, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = begin(*command, "together", "--vectorise")
        before = iterations()
        wait_until(lambda before=before: len(iterations()) == 4 and min(iterations()) > max([0, *before]), process)
        process.send_signal(end)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
    assert [events[-1] for events in history("together").values()] == ["stopped"] * 4
    done = ncatool(*command, "together", "--vectorise")
    assert done.returncode == 0, done.stderr
    assert "--vectorise is for a CUDA GPU" in done.stderr
    assert weights("together") == weights("apart")
    for name in weights("apart"):
        curve = Path(name).with_suffix(".csv")
        assert (Path("together") / curve).read_bytes() == (Path("apart") / curve).read_bytes()


def iterations():
    """What each run's record says that it has done."""
    records = [path for path in Path("together").glob("*-*.toml") if not path.name.startswith(".")]
    return [tomllib.loads(path.read_text())["result"]["iterations"] for path in records]


def test_a_cluster_is_no_gpu():
    done = ncatool("sweep", *PLAN, "--vectorise", "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --vectorise is for one GPU, --scheduler for a cluster\n\nhint: give one")
