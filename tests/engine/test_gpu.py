"""The GPU kernels against the dense rule: on a GPU where there is one, else in Triton's interpreter."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ncatool.cli.training import print_slowness
from ncatool.config.names import Boundary, Device, Filter, Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import choose, compiled, rollout
from ncatool.engine import dense as dense_engine
from ncatool.engine.agreement import agrees_with_dense
from ncatool.engine.dense import DenseEngine
from ncatool.engine.device import resolve_device
from ncatool.nca import filters, rule
from ncatool.nca.weights import Weights
from tests.engine.test_rollout import assert_close, is_undecided, make_case, outcome, run_dense

pytest.importorskip("triton", reason="Triton is not installed: there is none for this system")

from ncatool.engine import gpu, gpu_kernels

DEVICE = resolve_device(Device.AUTO)
INTERPRETED = DEVICE.type == "cpu"
KERNELS = ("step_forward", "apply_life_mask", "step_backward", "finish_backward", "sum_weight_gradients")
CASES = {
    "usual": (ModelConfig(), (1, 9, 7), 2, 0.3, 0.02),
    "several blocks": (ModelConfig(channels=5, hidden=70, filter=Filter.SCHARR), (1, 6, 7), 2, 0.5, 0.1),
    "wrapping, a row": (ModelConfig(channels=6, hidden=9, boundary=Boundary.WRAP), (2, 1, 5), 3, 0.7, 0.1),
    "wrapping, two columns": (ModelConfig(channels=20, hidden=33, boundary=Boundary.WRAP), (1, 6, 2), 3, 0.6, 0.1),
    "one cell": (ModelConfig(channels=4, hidden=3, filter=Filter.MEAN), (2, 1, 1), 2, 1.0, 0.2),
    "nothing alive": (ModelConfig(channels=4, hidden=3, fire_rate=1.0), (1, 5, 6), 2, 0.0, 0.2),
    "all fire": (ModelConfig(fire_rate=1.0, hidden=16), (1, 8, 8), 2, 0.05, 0.05),
}


@pytest.fixture(autouse=True)
def _prepare_interpreter(monkeypatch):
    """Let the interpreter run fewer programs, as it runs them in turn, and multiply bfloat16, which it cannot."""
    if INTERPRETED:
        from triton.runtime import interpreter

        monkeypatch.setattr(gpu, "PARTIAL_SUMS", 3)
        original = interpreter.InterpreterBuilder.create_dot

        def widen(value):  # the interpreter holds bfloat16 as the upper half of a float32
            if value.data.dtype != np.uint16:
                return value
            wide = (value.data.astype(np.uint32) << 16).view(np.float32)
            return interpreter.TensorHandle(wide, interpreter.tl.float32)

        def create_dot(self, a, b, *rest):
            return original(self, widen(a), widen(b), *rest)

        monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def on_device(*values):
    return [Weights(*(t.to(DEVICE) for t in value)) if isinstance(value, Weights) else value.to(DEVICE)
            for value in values]  # fmt: skip


def both_ways(engine, state, fire, direction):
    """Return the final state and all gradients of its product with `direction`."""
    tape = engine.record(state, fire)
    first, parameters = engine.reverse(tape, direction)
    assert torch.equal(engine.run(state, fire), tape.final)
    return [tape.final, first, *parameters]


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_dense_rule(name):
    model, *rest = CASES[name]
    state, weights, fire, direction = make_case(model, *rest, number=3)
    assert not is_undecided(state, weights, model, fire)
    expected = outcome(run_dense, state, weights, model, fire, direction)
    state, weights, fire, direction = on_device(state, weights, fire, direction)
    engine = gpu.GpuEngine(model, tuple(weights), *state.shape[1:3], Precision.FLOAT32)
    assert_close([t.cpu() for t in both_ways(engine, state, fire, direction)], expected)


def truncate(values):
    """Return values as bfloat16, cut off as by the interpreter; a GPU rounds."""
    return (values.detach().contiguous().view(torch.int32) & -(2**16)).view(torch.float32)


def test_products_of_bfloat16_are_what_they_are_in_the_dense_rule(monkeypatch):
    monkeypatch.setattr(dense_engine, "_round_to_bfloat16", truncate) if INTERPRETED else None
    model = ModelConfig(hidden=40)
    state, weights, fire, direction = on_device(*make_case(model, (1, 7, 6), 3, 0.6, 0.02, 5))
    found, expected, exact = (
        both_ways(engine(model, tuple(weights), 7, 6, precision), state, fire, direction)
        for engine, precision in (
            (gpu.GpuEngine, Precision.BFLOAT16),
            (DenseEngine, Precision.BFLOAT16),
            (DenseEngine, Precision.FLOAT32),
        )
    )
    # A sum in another order may take a factor to the next value of bfloat16, 2^-8 off: one among many.
    assert_close(found, expected, 1e-3)
    assert all((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in zip(found[2:5], exact[2:5], strict=True))


def test_what_else_is_in_a_batch_changes_no_bit():
    """Two models with filters and numbers of steps of their own, together and alone."""
    kinds = [ModelConfig(channels=6, hidden=20, filter=name) for name in (Filter.SOBEL, Filter.MEAN)]
    counts = (3, 1)
    cases = [on_device(*make_case(kinds[n], (1, 5, 6), counts[n], 0.6, 0.1, n)) for n in (0, 1)]
    states, weights, fires, directions = zip(*cases, strict=True)
    stacked = tuple(torch.stack(tensors) for tensors in zip(*weights, strict=True))
    batch = gpu.BatchEngine(kinds, stacked, 5, 6, Precision.FLOAT32)
    fire = torch.full((3, 2, 5, 6), gpu.HALTED, dtype=torch.uint8, device=DEVICE)
    for n, masks in enumerate(fires):
        fire[: len(masks), n : n + 1] = masks
    tape = batch.record(torch.cat(states), fire)
    first, parameters = batch.reverse(tape, torch.cat(directions))
    assert torch.equal(batch.run(torch.cat(states), fire), tape.final)
    for n, (state, own, masks, direction) in enumerate(cases):
        alone = both_ways(gpu.GpuEngine(kinds[n], tuple(own), 5, 6, Precision.FLOAT32), state, masks, direction)
        together = [tape.final[n : n + 1], first[n : n + 1], *(p[n] for p in parameters)]
        assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


class TransferGuard(TorchDispatchMode):
    """Refuses operations that make a GPU wait for the CPU, or move data between them."""

    FORBIDDEN = ("_local_scalar_dense", "_to_copy", "nonzero", "is_nonzero", "equal", "masked_select", "lift_fresh")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in self.FORBIDDEN, name
        return function(*args, **(kwargs or {}))


@contextmanager
def refuse_waiting():
    """On a GPU, let torch itself refuse operations that wait for it."""
    if INTERPRETED:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(params=["triton", "dense"])
def engine(request, monkeypatch):
    """Whole rollouts by the kernels, on every device, and by the dense rule."""
    monkeypatch.setattr(choose, "engine_name", lambda *_: request.param)
    monkeypatch.setattr(choose, "has_kernels", lambda *_: request.param == "triton")
    return request.param


class EmptyKernel:
    """A kernel that does nothing: the interpreter itself moves data."""

    def __getitem__(self, grid):
        return lambda *values, **named: None


@pytest.mark.parametrize("memory", [2**40, 1])
def test_a_rollout_neither_waits_nor_transfers(engine, memory, monkeypatch):
    monkeypatch.setattr(rollout, "memory_limit", lambda device, otherwise: memory)
    model = ModelConfig(channels=6, hidden=10)
    state, weights, fire, direction = on_device(*make_case(model, (2, 5, 4), 5, 0.8, 0.1, 1))
    if INTERPRETED:
        for name in KERNELS:
            monkeypatch.setattr(gpu_kernels, name, EmptyKernel())
        # The dense rule caches its filters on a GPU alone.
        pair = filters.filter_pair(model.filter)
        monkeypatch.setattr(rule, "pair_for", lambda state, name: pair)
    rollout.rollout(state, weights, model, fire)  # constants are transferred once
    leaves = [tensor.clone().requires_grad_() for tensor in (state, *weights)]
    with refuse_waiting(), TransferGuard():
        final = rollout.rollout(leaves[0], Weights(*leaves[1:]), model, fire)
        (final * direction).sum().backward()
    with pytest.raises(AssertionError, match="_local_scalar_dense"), TransferGuard():
        final.sum().item()  # the guard works


def test_rollouts_under_autograd_and_with_little_memory(engine, monkeypatch):
    model = ModelConfig(channels=6, hidden=10)
    case = make_case(model, (1, 5, 4), 4, 0.8, 0.1, 1)
    state, weights, fire, direction = on_device(*case)
    expected = outcome(run_dense, case[0], case[1], model, case[2], case[3])
    for memory in (2**40, 1):
        monkeypatch.setattr(rollout, "memory_limit", lambda *_, memory=memory: memory)
        found = outcome(rollout.rollout, state, weights, model, fire, direction)
        assert_close([t.cpu() for t in found], expected)
    assert_close([rollout.rollout(state, weights, model, fire).cpu()], expected[:1])


def test_a_tape_is_reversed_once():
    model = ModelConfig(channels=4, hidden=3)
    state, weights, fire, direction = on_device(*make_case(model, (1, 3, 3), 1, 0.6, 0.1, 2))
    engine = gpu.GpuEngine(model, tuple(weights), 3, 3, Precision.FLOAT32)
    tape = engine.record(state, fire)
    engine.reverse(tape, direction)
    with pytest.raises(RuntimeError, match="reversed already"):
        engine.reverse(tape, direction)


def test_kernels_are_trusted_only_where_they_agree_with_the_dense_rule():
    class Wrong(DenseEngine):
        def reverse(self, tape, gradient):
            first, (w1, b1, w2, b2) = super().reverse(tape, gradient)
            return first, (w1 * 1.001, b1, w2, b2)

    assert agrees_with_dense(gpu.GpuEngine, DEVICE)
    assert agrees_with_dense(DenseEngine, DEVICE)
    assert not agrees_with_dense(Wrong, DEVICE)


CUDA = torch.device("cuda")


@pytest.fixture
def _unchecked():
    choose._explain_missing_kernels.cache_clear()
    yield
    choose._explain_missing_kernels.cache_clear()


@pytest.mark.usefixtures("_unchecked")
def test_without_triton_the_dense_rule_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "ncatool.engine.gpu", None)  # its import fails
    assert choose.engine_name(CUDA) == "dense"
    assert not choose.has_kernels(CUDA, ModelConfig(), Precision.FLOAT32)
    reason = choose.explain_slowness(CUDA, ModelConfig(), Precision.FLOAT32)
    assert "do not run here" in reason
    assert "ncatool.engine.gpu" in reason
    assert choose.engine_name(torch.device("mps")) == "dense"
    cpu = torch.device("cpu")
    assert choose.engine_name(cpu) == ("compiled" if compiled.is_available() else "dense")
    assert choose.engine_name(cpu, precision=Precision.BFLOAT16) == "dense"


@pytest.mark.usefixtures("_unchecked")
def test_kernels_that_fail_or_are_wrong_are_not_used(monkeypatch):
    """Whatever goes wrong when they are checked, the dense rule runs, and the reason is given."""

    def missing(*_):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(choose, "agrees_with_dense", missing)
    assert "Failed to find C compiler" in choose.explain_slowness(CUDA, ModelConfig(), Precision.FLOAT32)
    monkeypatch.setattr(choose, "agrees_with_dense", lambda *_: False)
    assert choose.engine_name(CUDA, ModelConfig(hidden=5)) == "dense"
    assert "other numbers" in choose.explain_slowness(CUDA, ModelConfig(hidden=5), Precision.FLOAT32)
    monkeypatch.setattr(choose, "agrees_with_dense", lambda *_: True)
    assert choose.engine_name(CUDA, ModelConfig(hidden=6)) == "triton"
    assert choose.explain_slowness(CUDA, ModelConfig(hidden=6), Precision.FLOAT32) == ""
    many = ModelConfig(channels=gpu.MAX_CHANNELS + 1)
    assert choose.engine_name(CUDA, many) == "dense"
    assert "33 channels" in choose.explain_slowness(CUDA, many, Precision.FLOAT32)


@pytest.mark.usefixtures("_unchecked")
def test_the_models_at_hand_are_judged_not_the_usual_size(monkeypatch, capsys):
    """The usual size has kernels; of three models two do not."""
    monkeypatch.setattr(choose, "agrees_with_dense", lambda *_: True)
    usual, many, more = (ModelConfig(channels=count) for count in (16, 33, 40))
    print_slowness(CUDA, [usual, usual])
    assert capsys.readouterr().err == ""
    print_slowness(CUDA, [usual, many, many])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 of 3 models: the kernels for GPUs do not run here (33 channels, 32 are the most)")
    print_slowness(CUDA, [many, many])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the kernels for GPUs do not run here (33 channels")
    print_slowness(CUDA, [more, usual, many])
    assert [line.split(" (")[1][:11] for line in capsys.readouterr().err.splitlines()] == ["40 channels", "33 channels"]


BUILD = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ncatool.engine import gpu, gpu_kernels as kernels

BYTES, INTEGERS = {"alive", "fire", "out_alive", "life"}, set(kernels.SIZES)
for units, kernel in ((gpu.UNITS_PER_BLOCK, kernels.step_forward), (gpu.UNITS_PER_BLOCK, kernels.step_backward),
                      (gpu.UNITS_PER_SUM, kernels.sum_weight_gradients)):
    fixed = {"C": 16, "CP": 16, "HP": 128, "BH": units, "BN": gpu.CELLS_PER_PROGRAM, "PARTS": gpu.PARTIAL_SUMS,
             "WRAP": WRAP, "KEEP": True, "DOT": DOT}
    kind = lambda name: ("constexpr" if name in fixed else "i32" if name in INTEGERS else "fp32" if name == "threshold"
                         else "*u8" if name in BYTES else "*fp32")
    source = ASTSource(kernel, {name: kind(name) for name in kernel.arg_names},
                       {name: value for name, value in fixed.items() if name in kernel.arg_names})
    built = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32))
    print(kernel.__name__, built.metadata.shared, "mma" in built.asm["ptx"], len(built.asm["cubin"]) > 0)
"""


@pytest.mark.parametrize(("capability", "dot", "wrap"), [(90, "tf32x3", False), (80, "bfloat16", True)])
def test_kernels_build_for_gpus_that_are_not_here(capability, dot, wrap, tmp_path):
    """They compile to machine code that uses the tensor cores, and no more shared memory than any GPU has."""
    script = f"WRAP, DOT, CAPABILITY = {wrap}, {dot!r}, {capability}\n{BUILD}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "TRITON_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["step_forward", "step_backward", "sum_weight_gradients"]
    for _, shared, products, code in lines:
        assert int(shared) <= 48 * 1024
        assert products == code == "True"
