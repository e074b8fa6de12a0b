"""Which engine runs the rollouts of a model on a device: compiled C, GPU kernels, or the dense rule.

All compute what `nca.rule.step` does. GPU kernels are trusted only where they agree with it on the very device and for
the very size of model: there are too many GPUs, drivers and versions of Triton to assume it.
"""

from __future__ import annotations

from functools import cache

import torch

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import compiled
from ncatool.engine.agreement import DEFAULT_MODEL, agrees_with_dense
from ncatool.engine.dense import DenseEngine
from ncatool.engine.interface import Engine
from ncatool.errors import UsageError, shorten
from ncatool.nca.types import Parameters, State


@cache
def _explain_missing_kernels(device: torch.device, model: ModelConfig, precision: Precision) -> str:
    """Return why GPU kernels do not run for models of this size; empty where they are built and pass the check."""
    try:
        import ncatool.engine.gpu as gpu

        if model.channels > gpu.MAX_CHANNELS:
            return f"{model.channels} channels, {gpu.MAX_CHANNELS} are the most"
        passed = agrees_with_dense(gpu.GpuEngine, device, model, precision)
        return "" if passed else "they come to other numbers than the dense rule"
    except Exception as error:
        # No Triton, no C compiler for its launcher, a GPU too old: many causes, and none that this program can remove.
        return shorten(f"{type(error).__name__}: {error}")


def _select_size(model: ModelConfig) -> ModelConfig:
    """Return a model with only those settings that kernels are built for."""
    return ModelConfig(channels=model.channels, hidden=model.hidden, boundary=model.boundary)


def has_kernels(device: torch.device, model: ModelConfig, precision: Precision) -> bool:
    """Return whether GPU kernels run a model's rollouts on a device."""
    return device.type == "cuda" and not _explain_missing_kernels(device, _select_size(model), precision)


def engine_name(
    device: torch.device,
    model: ModelConfig = DEFAULT_MODEL,
    precision: Precision = Precision.FLOAT32,
) -> str:
    """Return what runs the rollouts: "compiled", "triton" or "dense"."""
    if device.type == "cpu":
        return "compiled" if compiled.is_available() and precision is Precision.FLOAT32 else "dense"
    return "triton" if has_kernels(device, model, precision) else "dense"


def check_precision(device: torch.device, precision: Precision) -> None:
    """Raise UsageError for bfloat16 products on a processor, which would be several times slower than float32."""
    if device.type == "cpu" and precision is Precision.BFLOAT16:
        raise UsageError(
            "--precision bfloat16 is for GPUs: on a processor it is several times slower than float32",
            "leave it out, or give --device cuda",
        )


def explain_slowness(device: torch.device, model: ModelConfig, precision: Precision) -> str:
    """Return a sentence that says why rollouts on a device are slow; empty where they are not."""
    if device.type == "cuda" and (reason := _explain_missing_kernels(device, _select_size(model), precision)):
        return (
            f"the kernels for GPUs do not run here ({reason}), so rollouts take the dense path, several times slower; "
            "they need Triton (in torch's CUDA builds on Linux, else: pip install triton) and a C compiler"
        )
    if device.type == "cpu" and (reason := compiled.explain_absence()):
        return reason
    if device.type == "cpu" and precision is Precision.BFLOAT16:
        return "bfloat16 is for GPUs: on the CPU it takes the dense path, several times slower than float32"
    return ""


def create_engine(
    state: State, model: ModelConfig, parameters: Parameters, precision: Precision = Precision.FLOAT32
) -> Engine:
    """Return the engine for states such as this one; other dtypes than float32 take the dense rule."""
    height, width = state.shape[1:3]
    if state.dtype != torch.float32:
        return DenseEngine(model, parameters, height, width, precision)
    if engine_name(state.device, model, precision) == "compiled":
        return compiled.CompiledEngine(model, parameters, height, width)
    if has_kernels(state.device, model, precision):
        from ncatool.engine.gpu import GpuEngine

        return GpuEngine(model, parameters, height, width, precision)
    return DenseEngine(model, parameters, height, width, precision)
