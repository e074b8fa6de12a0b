"""Devices: runs and commands work on each of them, and a GPU computes what the CPU does."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.config.names import Device, Precision
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data import targets
from ncatool.engine.advance import advance, measure_mse
from ncatool.engine.device import memory_limit, resolve_device
from ncatool.engine.rollout import draw_fire_masks
from ncatool.evaluation.errors import measure_errors
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.protocol import Protocol
from ncatool.nca.model_file import ModelData, load_model, save_model
from ncatool.nca.weights import draw_weights
from ncatool.rendering.damage_script import parse_script
from ncatool.rendering.playback import Playback
from ncatool.rendering.timeline import RenderSettings
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from tests.conftest import SMALL, run_in_process, small_run

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
CPU = torch.device("cpu")
META = torch.device("meta")
"""A device that every machine has, and that is not the CPU; its tensors hold no values."""


@pytest.fixture(params=[Device.CPU, pytest.param(Device.CUDA, marks=needs_cuda)])
def device(request):
    return request.param


@pytest.fixture(scope="module")
def growing():
    """Return a model whose cells grow quickly, and live."""
    config = ModelConfig(channels=8, hidden=12)
    generator = torch.Generator().manual_seed(1)
    weights = draw_weights(config, generator)
    weights = weights._replace(output_weight=torch.randn(8, 12, generator=generator) * 0.05)
    return ModelData(weights, config, targets.load_target(TargetConfig(size=12, padding=1)))


def train_run(device, name, stop=0, **settings):
    config = small_run(device=device, iterations=12, **settings)
    run = Run(config, targets.load_target(config.target), RunFiles(Path(f"{name}.safetensors")))
    for _ in run.train(lambda: 0 < stop <= run.trainer.iteration):
        pass
    return run


@pytest.mark.parametrize("precision", Precision)
def test_a_resumed_run_ends_with_the_same_bytes(device, precision):
    whole = train_run(device, "whole", precision=precision)
    assert train_run(device, "parts", stop=5, precision=precision).trainer.iteration == 5
    run = Run.resume(RunFiles(Path("parts.safetensors")))
    assert run.trainer.device.type == device.value
    assert run.config.train.precision is precision
    assert len(list(run.train(lambda: False))) == 7
    for ending in ("safetensors", "csv"):
        assert Path(f"parts.{ending}").read_bytes() == Path(f"whole.{ending}").read_bytes()
    one, other = run.trainer.state_tensors(), whole.trainer.state_tensors()
    assert all(torch.equal(one[name].cpu(), other[name].cpu()) for name in other)
    assert run.write_results()["mse_at_500"] == whole.write_results()["mse_at_500"]


def test_a_run_resumes_on_another_device():
    """Its generator of masks is then a new one, seeded by the iteration."""
    run = train_run(Device.CPU, "m", stop=5)

    class OtherGenerator(torch.Generator):
        def get_state(self):
            return torch.arange(16, dtype=torch.uint8)

    run.trainer.fire_generator = OtherGenerator()
    run.save()
    checkpoint, models = Path("m.checkpoint").read_bytes(), []
    for _ in range(2):
        Path("m.checkpoint").write_bytes(checkpoint)
        again = Run.resume(RunFiles(Path("m.safetensors")))
        assert len(list(again.train(lambda: False))) == 7
        models.append(Path("m.safetensors").read_bytes())
    assert models[0] == models[1]


@needs_cuda
def test_training_on_a_gpu_is_as_on_the_cpu(monkeypatch):
    """With the same masks; in twelve iterations rounding has little time to grow."""
    draws = iter([])

    def same_masks(steps, state, fire_rate, generator):
        return draw_fire_masks(steps, state, fire_rate, next(draws))

    monkeypatch.setattr("ncatool.training.trainer.draw_fire_masks", same_masks)
    outcomes = []
    for device in (Device.CPU, Device.CUDA):
        draws = (torch.Generator().manual_seed(number) for number in range(99))
        run = train_run(device, device.value, learning_rate=1e-4)
        outcomes.append(([row[1:3] for row in run.rows], run.trainer.copy_model().weights))
    (curve, weights), (other_curve, others) = outcomes
    torch.testing.assert_close(torch.tensor(other_curve), torch.tensor(curve), rtol=1e-3, atol=1e-5)
    for one, other in zip(weights[:3], others[:3], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("bias", [None, torch.zeros(8)])
def test_a_model_moves_to_a_device_whole(growing, bias):
    model = dataclasses.replace(growing, weights=growing.weights._replace(output_bias=bias))
    moved = model.move_to(META)
    assert moved.device == META
    assert all(one.device == META for one in moved.weights[:3])
    assert bias is moved.weights.output_bias or moved.weights.output_bias.device == META
    assert model.device == CPU
    assert (moved.config, moved.target) == (model.config, model.target)


@needs_cuda
def test_a_model_comes_back_from_a_gpu_unchanged(growing):
    back = growing.move_to(resolve_device(Device.CUDA)).move_to(CPU)
    assert all(torch.equal(a, b) for a, b in zip(back.weights[:3], growing.weights[:3], strict=True))


def test_masks_are_for_the_device_of_the_state():
    drawn = draw_fire_masks(3, torch.zeros(2, 5, 4, 6, device=META), 0.5, torch.Generator().manual_seed(1))
    assert drawn.device == META
    assert drawn.shape == (3, 2, 5, 4)


@needs_cuda
def test_the_same_rollouts(growing):
    gpu = resolve_device(Device.CUDA)
    state = growing.place_seeds(2)
    masks = [draw_fire_masks(3, s, 0.5, torch.Generator().manual_seed(1)).cpu() for s in (state, state.to(gpu))]
    assert torch.equal(*masks), "they are drawn on the device of the generator"
    found = advance(growing.move_to(gpu), state.to(gpu), 30, torch.Generator().manual_seed(2))
    expected = advance(growing, state, 30, torch.Generator().manual_seed(2))
    assert expected.any()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)
    errors = [
        measure_mse(model, [5, 20], 3, torch.Generator().manual_seed(1)) for model in (growing.move_to(gpu), growing)
    ]  # fmt: skip
    torch.testing.assert_close(*errors, rtol=1e-3, atol=1e-5)


@needs_cuda
def test_the_same_pictures(growing):
    settings = RenderSettings(steps=24, damage=parse_script(["circle@10,random@15"], 24))
    films = [Playback(growing.move_to(device), settings) for device in (resolve_device(Device.CUDA), CPU)]
    for step in (10, 24):
        for film in films:
            film.advance_to(step)
        found, expected = (film.capture() for film in films)
        np.testing.assert_allclose(found.cells, expected.cells, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.mse, expected.mse, rtol=1e-3)
        for film in films if step == 10 else []:
            film.erase(settings.damage[0])
            film.erase(settings.damage[1])
    assert measure_errors(films[0].state, films[0].expected)["mse"] == pytest.approx(films[1].capture().mse, rel=1e-3)


@needs_cuda
def test_the_same_measures(growing):
    protocol = Protocol(rollouts=2, steps=200)
    devices = (resolve_device(Device.CUDA), CPU)
    found, expected = (measure_model(growing.move_to(device), protocol) for device in devices)
    np.testing.assert_allclose(found.trajectory.mse[:, :40], expected.trajectory.mse[:, :40], rtol=1e-3)
    assert found.trajectory.mse.shape == expected.trajectory.mse.shape == (2, 201)
    assert found.damage.keys() == expected.damage.keys()
    assert found.dead == expected.dead


def test_commands_take_a_device(device, growing):
    save_model(Path("m.safetensors"), growing)
    precision = ["--precision", "bfloat16"] if device is Device.CUDA else []
    for words in (
        ["train", *SMALL, "--target", "phantom", "--out", "t.safetensors", *precision],
        ["resume", "t.safetensors", "--iterations", 7],
        ["render", "m.safetensors", "m.png", "--steps", 8],
        ["compare", "m.safetensors", "--rollouts", 1, "--steps", 200],
        ["sweep", *SMALL, "--target", "phantom", "--seed", "1,2", "--jobs", 1, "--no-compare"],
    ):
        done = run_in_process(*words, "--device", device.value)
        assert done.returncode == 0, done.stderr
        assert "bfloat16" not in done.stderr
    assert load_model(Path("t.safetensors")).device == CPU


@pytest.mark.parametrize("words", [["train"], ["sweep", "--seed", "1,2"], ["sweep", "--seed", "1,2", "--vectorise"]])
def test_bfloat16_on_a_processor_is_refused(words):
    more = ["--target", "phantom", "--precision", "bfloat16", "--device", "cpu"]
    done = run_in_process(words[0], *SMALL, *more, *words[1:])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "error: --precision bfloat16 is for GPUs: on a processor it is several times slower than float32",
        "hint: leave it out, or give --device cuda",
    ]
    assert not [*Path().rglob("*.safetensors")]


def test_a_run_in_bfloat16_is_resumed_on_a_processor():
    """One that a GPU has begun ends anywhere, though slowly."""
    run = train_run(Device.CPU, "b", 3, precision=Precision.BFLOAT16)
    done = run_in_process("resume", run.files.model)
    assert done.returncode == 0
    assert "bfloat16 is for GPUs: on the CPU it takes the dense path" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("words", [["train"], ["render", "m.safetensors", "m.gif"], ["compare", "m.safetensors"]])
def test_a_device_that_does_not_exist_is_refused(words, growing):
    save_model(Path("m.safetensors"), growing)
    done = run_in_process(*words, "--device", "cuda")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "error: torch sees no cuda device on this machine", "hint: use --device cpu, or leave it out"
    ]  # fmt: skip
    assert done.stderr.count("error: ") == 1
    assert not [path for path in Path().iterdir() if path.name not in ("m.safetensors", "home")]


@pytest.mark.parametrize(
    "words",
    [
        ["render", "a.safetensors", "b.safetensors", "m.png", "--steps", 4],
        ["compare", "a.safetensors", "b.safetensors"],
    ],
)
def test_commands_judge_the_speed_of_their_models(words, growing, monkeypatch):
    """What each model's rollouts run on is asked for the size of that model, on a CPU as on a GPU."""
    asked = []

    def explain(device, model, precision):
        asked.append((device.type, model.channels, model.hidden, precision))
        return f"{model.hidden} hidden units are slow" if model.hidden > 12 else ""

    monkeypatch.setattr("ncatool.engine.choose.explain_slowness", explain)
    save_model(Path("a.safetensors"), growing)
    config = ModelConfig(channels=40, hidden=20)
    weights = draw_weights(config, torch.Generator().manual_seed(1))
    save_model(Path("b.safetensors"), ModelData(weights, config, growing.target))
    done = run_in_process(*words, *(["--rollouts", 1, "--steps", 200] if words[0] == "compare" else []))
    assert done.returncode == 0, done.stderr
    assert sorted(asked) == [("cpu", 8, 12, Precision.FLOAT32), ("cpu", 40, 20, Precision.FLOAT32)]
    assert done.stderr.count("1 of 2 models: 20 hidden units are slow") == 1


def test_a_gpu_may_hold_a_quarter_of_its_memory(monkeypatch):
    properties = type("Properties", (), {"total_memory": 4000})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert memory_limit(torch.device("cuda"), 7) == 1000
    assert memory_limit(CPU, 7) == 7


def test_an_unknown_precision_is_refused():
    done = run_in_process("train", "--target", "phantom", "--precision", "float16")
    assert done.returncode == 2
    assert "float32" in done.stderr
    assert "bfloat16" in done.stderr


def test_too_little_memory_is_one_line(monkeypatch):
    def exhaust(self, stopped):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr(Run, "train", exhaust)
    done = run_in_process("train", *SMALL, "--target", "phantom")
    assert done.returncode == 1
    *_, what, hint = done.stderr.splitlines()
    assert what == "error: out of memory: 'CUDA out of memory. Tried to allocate 20.00 GiB.'"
    assert "--batch-size" in hint
