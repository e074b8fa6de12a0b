"""Which engine makes the rollouts of a model on a device: compiled C, kernels of a GPU, or the dense rule.

All give what `model.step` gives. Kernels are trusted only where they come to its states and gradients on the very
device and for the very size of model: there are too many GPUs, drivers and versions of Triton to take it on faith.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import build, compiled
from ncatool.engine.compiled import State
from ncatool.engine.dense import DenseEngine
from ncatool.engine.interface import Engine
from ncatool.errors import shorten
from ncatool.nca.types import Parameters
from ncatool.nca.weights import draw_weights

DEFAULT_MODEL = ModelConfig()


TOLERANCE = {Precision.FLOAT32: 1e-4, Precision.BFLOAT16: 2e-2}
"""Largest difference from the dense rule, as a share of its largest value, with which kernels are trusted."""


@cache
def _load_kernels(device: torch.device, model: ModelConfig, precision: Precision) -> ModuleType | str:
    """The kernels, where Triton can build them and they do what they should; or why not."""
    try:
        gpu = importlib.import_module("ncatool.engine.gpu")
        if model.channels > gpu.MOST_CHANNELS:
            return f"{model.channels} channels, {gpu.MOST_CHANNELS} are the most"
        return (
            gpu
            if agrees_with_dense(gpu.Engine, device, model, precision)
            else "they come to other numbers than the dense rule"
        )
    except Exception as error:
        # No Triton, no C compiler for its launcher, too old a GPU: there are many ways, none that we could fix.
        return shorten(f"{type(error).__name__}: {error}")


def _kernel_size(model: ModelConfig) -> ModelConfig:
    """What kernels are built for."""
    return ModelConfig(channels=model.channels, hidden=model.hidden, boundary=model.boundary)


def find_kernels(device: torch.device, model: ModelConfig, precision: Precision) -> ModuleType | None:
    """The module of the kernels for a GPU, where they run."""
    found = _load_kernels(device, _kernel_size(model), precision) if device.type == "cuda" else ""
    return None if isinstance(found, str) else found


def agrees_with_dense(
    engine: Callable[..., Engine],
    device: torch.device,
    model: ModelConfig = DEFAULT_MODEL,
    precision: Precision = Precision.FLOAT32,
) -> bool:
    """Whether an engine comes to the dense rule's states and gradients, on a small grid of lively cells."""
    generator = torch.Generator().manual_seed(0)
    weights = draw_weights(model, generator)
    output = 0.02 * torch.randn(weights.output_weight.shape, generator=generator)
    w1, b1, w2, b2 = (t.to(device) for t in (*weights[:2], output, torch.zeros(model.channels)))
    state = (0.4 * torch.randn(2, 9, 7, model.channels, generator=generator)).to(device)
    fire = (torch.rand(3, 2, 9, 7, generator=generator) < model.fire_rate).to(device)
    outcomes = []
    for kind in (engine, DenseEngine):
        one = kind(model, (w1, b1, w2, b2), 9, 7, precision)
        tape = one.record(state, fire)
        first, gradients = one.reverse(tape, state)
        outcomes.append((tape.final.detach(), first, *gradients))
    return all((a - b).abs().max() <= TOLERANCE[precision] * b.abs().max() for a, b in zip(*outcomes, strict=True))


def engine_name(
    device: torch.device,
    model: ModelConfig = DEFAULT_MODEL,
    precision: Precision = Precision.FLOAT32,
) -> str:
    """What makes the rollouts: "compiled", "triton" or "dense"."""
    if device.type == "cpu":
        return "compiled" if compiled.is_available() and precision is Precision.FLOAT32 else "dense"
    return "triton" if find_kernels(device, model, precision) else "dense"


def explain_slowness(device: torch.device, model: ModelConfig, precision: Precision) -> str:
    """What makes rollouts slow on a device, for people; empty where nothing does."""
    why = _load_kernels(device, _kernel_size(model), precision) if device.type == "cuda" else ""
    if isinstance(why, str) and why:
        return (
            f"the kernels for GPUs do not run here ({why}), so rollouts take the dense path, several times slower; "
            "they need Triton (in torch's CUDA builds on Linux, else: pip install triton) and a C compiler"
        )
    if device.type == "cpu" and not compiled.is_available():
        return build.NO_COMPILER
    if device.type == "cpu" and precision is Precision.BFLOAT16:
        return "bfloat16 is for GPUs: on the CPU it takes the dense path, several times slower than float32"
    return ""


def create_engine(
    state: State, model: ModelConfig, parameters: Parameters, precision: Precision = Precision.FLOAT32
) -> Engine:
    """The engine for states such as this one."""
    height, width = state.shape[1:3]
    single = state.dtype == torch.float32
    if single and engine_name(state.device, model, precision) == "compiled":
        return compiled.CompiledEngine(model, parameters, height, width)
    gpu = find_kernels(state.device, model, precision) if single else None
    made: Engine = (gpu.Engine if gpu else DenseEngine)(model, parameters, height, width, precision)
    return made
