"""Every command that takes a device does on it what it does on the processor."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.config.names import Device, Precision
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data import readers as targets
from ncatool.engine.advance import advance, measure_mse
from ncatool.engine.device import memory_limit, resolve_device
from ncatool.engine.rollout import draw_fire_masks
from ncatool.evaluation.errors import measure_errors
from ncatool.evaluation.protocol import Protocol, measure_model
from ncatool.nca.model_file import ModelData, load_model, save_model
from ncatool.nca.state import make_seed
from ncatool.nca.weights import draw_weights
from ncatool.rendering.damage_script import parse_script
from ncatool.rendering.film import Playback
from ncatool.rendering.timeline import RenderSettings
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from tests.conftest import SMALL, ncatool, small_run

CUDA = pytest.param(
    Device.CUDA, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
)
CPU = torch.device("cpu")


@pytest.fixture(params=[Device.CPU, CUDA])
def device(request):
    return request.param


@pytest.fixture(scope="module")
def lively():
    """A model whose cells grow quickly, and live."""
    config = ModelConfig(channels=8, hidden=12)
    generator = torch.Generator().manual_seed(1)
    weights = draw_weights(config, generator)
    weights = weights._replace(output_weight=torch.randn(8, 12, generator=generator) * 0.05)
    return ModelData(weights, config, targets.load_target(TargetConfig(size=12, padding=1)))


def trained(device, name, stop=0, **settings):
    config = small_run(device=device, iterations=12, **settings)
    run = Run(config, targets.load_target(config.target), RunFiles(Path(f"{name}.safetensors")))
    for _ in run.train(lambda: 0 < stop <= run.trainer.iteration):
        pass
    return run


@pytest.mark.parametrize("precision", Precision)
def test_a_resumed_run_ends_with_the_same_bytes(device, precision):
    whole = trained(device, "whole", precision=precision)
    assert trained(device, "parts", stop=5, precision=precision).trainer.iteration == 5
    run = Run.resume(RunFiles(Path("parts.safetensors")))
    assert run.trainer.device.type == device.value
    assert run.config.train.precision is precision
    assert len(list(run.train(lambda: False))) == 7
    for ending in ("safetensors", "csv"):
        assert Path(f"parts.{ending}").read_bytes() == Path(f"whole.{ending}").read_bytes()
    one, other = run.trainer.state_tensors(), whole.trainer.state_tensors()
    assert all(torch.equal(one[name].cpu(), other[name].cpu()) for name in other)
    assert run.finish()["mse_at_500"] == whole.finish()["mse_at_500"]


def test_a_run_goes_on_on_another_device():
    """Its generator of masks is then another, seeded by the iteration."""
    run = trained(Device.CPU, "m", stop=5)

    class Other(torch.Generator):
        def get_state(self):
            return torch.arange(16, dtype=torch.uint8)

    run.trainer.fire_generator = Other()
    run.save()
    left, found = Path("m.checkpoint.safetensors").read_bytes(), []
    for _ in range(2):
        Path("m.checkpoint.safetensors").write_bytes(left)
        again = Run.resume(RunFiles(Path("m.safetensors")))
        assert len(list(again.train(lambda: False))) == 7
        found.append(Path("m.safetensors").read_bytes())
    assert found[0] == found[1]


def test_training_with_the_masks_of_the_processor_goes_as_it_does_there(device, monkeypatch):
    """One and the same draw of masks; ten iterations, between which rounding has little time to grow."""
    draws = iter([])

    def same_masks(steps, state, fire_rate, generator):
        return draw_fire_masks(steps, state, fire_rate, next(draws))

    monkeypatch.setattr("ncatool.training.trainer.draw_fire_masks", same_masks)
    found = []
    for place in (Device.CPU, device):
        draws = (torch.Generator().manual_seed(number) for number in range(99))
        run = trained(place, place.value, learning_rate=1e-4)
        found.append(([row[1:3] for row in run.rows], run.trainer.copy_model().weights))
    (curve, weights), (other_curve, others) = found
    torch.testing.assert_close(torch.tensor(other_curve), torch.tensor(curve), rtol=1e-3, atol=1e-5)
    for one, other in zip(weights[:3], others[:3], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-2, atol=1e-4)


def test_a_model_on_a_device_goes_back_unchanged(device, lively):
    there = lively.on(resolve_device(device))
    assert there.device.type == device.value
    back = there.on(CPU)
    assert all(torch.equal(a, b) for a, b in zip(back.weights[:3], lively.weights[:3], strict=True))
    assert there.weights.output_bias is None


def test_masks_are_drawn_where_the_generator_is(device):
    state = torch.zeros(2, 5, 4, 6, device=resolve_device(device))
    drawn = draw_fire_masks(3, state, 0.5, torch.Generator().manual_seed(1))
    assert drawn.device == state.device
    assert torch.equal(drawn.cpu(), draw_fire_masks(3, state.cpu(), 0.5, torch.Generator().manual_seed(1)))


def test_the_same_rollouts(device, lively):
    place = resolve_device(device)
    state = make_seed(2, *lively.target.shape, 8)
    there = advance(lively.on(place), state.to(place), 30, torch.Generator().manual_seed(2))
    here = advance(lively, state, 30, torch.Generator().manual_seed(2))
    assert here.any()
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
    numbers = [
        measure_mse(model, [5, 20], 3, torch.Generator().manual_seed(1)) for model in (lively.on(place), lively)
    ]  # fmt: skip
    torch.testing.assert_close(*numbers, rtol=1e-3, atol=1e-5)


def test_the_same_pictures(device, lively):
    how = RenderSettings(steps=24, damage=parse_script(["circle@10,random@15"], 24))
    films = [Playback(lively.on(place), how) for place in (resolve_device(device), CPU)]
    for step in (10, 24):
        for film in films:
            film.advance_to(step)
        there, here = (film.capture() for film in films)
        np.testing.assert_allclose(there.cells, here.cells, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(there.mse, here.mse, rtol=1e-3)
        for film in films if step == 10 else []:
            film.erase(how.damage[0])
            film.erase(how.damage[1])
    assert measure_errors(films[0].state, films[0].expected)["mse"] == pytest.approx(films[1].capture().mse, rel=1e-3)


def test_the_same_measures(device, lively):
    trial = Protocol(rollouts=2, steps=200)
    there, here = (measure_model(lively.on(place), trial) for place in (resolve_device(device), CPU))
    np.testing.assert_allclose(there.trajectory.mse[:, :40], here.trajectory.mse[:, :40], rtol=1e-3)
    assert there.trajectory.mse.shape == here.trajectory.mse.shape == (2, 201)
    assert there.damage.keys() == here.damage.keys()
    assert there.dead == here.dead


def test_commands_take_a_device(device, lively):
    save_model(Path("m.safetensors"), lively)
    for words in (
        ["train", *SMALL, "--target", "phantom", "--out", "t.safetensors", "--precision", "bfloat16"],
        ["resume", "t.safetensors", "--iterations", 7],
        ["render", "m.safetensors", "m.png", "--steps", 8],
        ["compare", "m.safetensors", "--rollouts", 1, "--steps", 200],
        ["sweep", *SMALL, "--target", "phantom", "--seed", "1,2", "--jobs", 1, "--no-compare"],
    ):
        done = ncatool(*words, "--device", device.value)
        assert done.returncode == 0, done.stderr
        slow = "bfloat16 is for GPUs" in done.stderr
        assert slow == (device is Device.CPU and words[0] in ("train", "resume"))
    assert load_model(Path("t.safetensors")).device == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("words", [["train"], ["render", "m.safetensors", "m.gif"], ["compare", "m.safetensors"]])
def test_a_device_that_is_not_there_is_refused(words, lively):
    save_model(Path("m.safetensors"), lively)
    done = ncatool(*words, "--device", "cuda")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("no --target")] == [
        "error: torch sees no cuda device on this machine", "", "hint: use --device cpu, or leave it out"
    ]  # fmt: skip
    assert not [path for path in Path().iterdir() if path.name not in ("m.safetensors", "home")]


def test_a_gpu_may_hold_a_quarter_of_its_memory(monkeypatch):
    facts = type("Facts", (), {"total_memory": 4000})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    assert memory_limit(torch.device("cuda"), 7) == 1000
    assert memory_limit(CPU, 7) == 7


def test_an_unknown_precision_is_refused():
    done = ncatool("train", "--target", "phantom", "--precision", "float16")
    assert done.returncode == 2
    assert "float32" in done.stderr
    assert "bfloat16" in done.stderr


SCARCE = """
import torch
from ncatool.cli.main import main
from ncatool.training import run

def exhausted(self, stopped):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\\nGPU 0 has ...")

run.Run.reports = exhausted
main()
"""


def test_too_little_memory_is_one_line():
    command = [sys.executable, "-c", SCARCE, "train", *SMALL, "--target", "phantom"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    what, empty, hint = done.stderr.splitlines()
    assert what == "error: out of memory: 'CUDA out of memory. Tried to allocate 20.00 GiB.'"
    assert empty == ""
    assert "--batch-size" in hint
