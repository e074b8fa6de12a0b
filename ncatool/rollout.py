"""The rule of `model`, many steps, forward and backward, fast.

On the CPU the compiled rollout of `native` does the work, through only the cells that live and
fire; on a GPU the kernels of `gpu` do; elsewhere (and where no C compiler or no Triton is at hand) the
dense rule runs under autograd. All give what `model.step` gives, and all bound their memory: where the
steps of a rollout take too much, only some states are kept and the steps between them are repeated in
the backward pass.
"""

from __future__ import annotations

import dataclasses
import importlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ncatool import compiler, native
from ncatool.config import ModelConfig, Precision
from ncatool.device import share_of_memory
from ncatool.errors import brief
from ncatool.model import Linear, Weights, initial_weights, step
from ncatool.native import Fire, Parameters, State
from ncatool.state import living

MEMORY = 512 * 2**20
"""Bytes that the steps kept for a backward pass may take; on a GPU a quarter of its own."""
AGREED = 1e-4
"""Largest difference from the dense rule, as a share of its largest value, with which kernels are trusted."""
_DRAWN_AT_ONCE = 2**22
"""Random numbers held in memory at a time."""


@runtime_checkable
class _Engine(Protocol):
    def step_bytes(self, batch: int) -> int: ...
    def run(self, state: State, fire: Fire) -> State: ...
    def record(self, state: State, fire: Fire) -> Any: ...
    def reverse(self, tape: Any, gradient: State) -> tuple[State, Parameters]: ...


class _RoundedLinear(torch.autograd.Function):
    """A layer whose products take bfloat16 factors and sum in float32, forward and backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        values, weight = _rounded(values), _rounded(weight)
        ctx.save_for_backward(values, weight)
        return F.linear(values, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, weight = ctx.saved_tensors
        flat, rounded = gradient.flatten(0, -2), _rounded(gradient)
        return rounded @ weight, rounded.flatten(0, -2).T @ values.flatten(0, -2), flat.sum(0)


def _rounded(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).to(values.dtype)


LINEAR: dict[Precision, Linear] = {
    Precision.FLOAT32: F.linear,
    Precision.BFLOAT16: _RoundedLinear.apply,
}


class _DenseTape(NamedTuple):
    start: State
    final: State
    parameters: Parameters


class _Dense:
    """The dense rule and autograd: any device, any dtype."""

    def __init__(
        self,
        model: ModelConfig,
        parameters: Parameters,
        height: int,
        width: int,
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        self._model, self._parameters, self._cells = model, parameters, height * width
        self._linear = LINEAR[precision]

    def step_bytes(self, batch: int) -> int:
        """Perception twice, hidden units before and after relu, a few states and masks."""
        values = 10 * self._model.channels + 2 * self._model.hidden
        return batch * self._cells * values * self._parameters[0].element_size()

    def run(self, state: State, fire: Fire) -> State:
        with torch.no_grad():
            return self._steps(state, Weights(*self._parameters), fire)

    def record(self, state: State, fire: Fire) -> _DenseTape:
        start = state.detach().requires_grad_()
        w1, b1, w2, b2 = (parameter.detach().requires_grad_() for parameter in self._parameters)
        with torch.enable_grad():
            final = self._steps(start, Weights(w1, b1, w2, b2), fire)
        return _DenseTape(start, final, (w1, b1, w2, b2))

    def reverse(self, tape: _DenseTape, gradient: State) -> tuple[State, Parameters]:
        first, w1, b1, w2, b2 = torch.autograd.grad(tape.final, (tape.start, *tape.parameters), gradient)
        return first, (w1, b1, w2, b2)

    def _steps(self, state: State, weights: Weights, fire: Fire) -> State:
        for mask in fire:
            state = step(state, weights, self._model, mask, self._linear)
        return state


@cache
def _tried(device: torch.device) -> ModuleType | str:
    """The kernels, where Triton can build them for this device and they do there what they should; or why not."""
    try:
        gpu = importlib.import_module("ncatool.gpu")
        return gpu if _agrees(gpu.Engine, device) else "they come to other numbers than the dense rule"
    except Exception as error:
        # No Triton, no C compiler for its launcher, too old a GPU: there are many ways, none ours to mend.
        return brief(f"{type(error).__name__}: {error}")


def _gpu(device: torch.device) -> ModuleType | None:
    found = _tried(device)
    return None if isinstance(found, str) else found


def slowness(device: torch.device, precision: Precision) -> str:
    """What makes rollouts slow on a device, for people; empty where nothing does."""
    why = _tried(device) if device.type == "cuda" else ""
    if isinstance(why, str) and why:
        return (
            f"the kernels for GPUs do not run here ({why}), so rollouts take the dense path, several times slower; "
            "they need Triton (in torch's CUDA builds on Linux, else: pip install triton) and a C compiler"
        )
    if device.type == "cpu" and not native.available():
        return compiler.MISSING
    if device.type == "cpu" and precision is Precision.BFLOAT16:
        return "bfloat16 is for GPUs: on the CPU it takes the dense path, several times slower than float32"
    return ""


def _agrees(engine: Callable[..., _Engine], device: torch.device) -> bool:
    """Whether an engine comes to the dense rule's states and gradients, on a small grid of lively cells."""
    model, generator = ModelConfig(), torch.Generator().manual_seed(0)
    weights = initial_weights(model, generator)
    output = 0.02 * torch.randn(weights.output_weight.shape, generator=generator)
    w1, b1, w2, b2 = (t.to(device) for t in (*weights[:2], output, torch.zeros(model.channels)))
    state = (0.4 * torch.randn(2, 9, 7, model.channels, generator=generator)).to(device)
    fire = (torch.rand(3, 2, 9, 7, generator=generator) < model.fire_rate).to(device)
    outcomes = []
    for kind in (engine, _Dense):
        one = kind(model, (w1, b1, w2, b2), 9, 7, Precision.FLOAT32)
        tape = one.record(state, fire)
        first, gradients = one.reverse(tape, state)
        outcomes.append((tape.final.detach(), first, *gradients))
    return all((a - b).abs().max() <= AGREED * b.abs().max() for a, b in zip(*outcomes, strict=True))


def engine_name(device: torch.device, precision: Precision = Precision.FLOAT32) -> str:
    """What does the rollouts of usual models there: "compiled", "triton" or "dense"."""
    if device.type == "cpu":
        return "compiled" if native.available() and precision is Precision.FLOAT32 else "dense"
    return "triton" if device.type == "cuda" and _gpu(device) else "dense"


def _engine(
    state: State, model: ModelConfig, parameters: Parameters, precision: Precision = Precision.FLOAT32
) -> _Engine:
    name = engine_name(state.device, precision) if state.dtype == torch.float32 else "dense"
    if name == "compiled":
        return native.Engine(model, parameters, *state.shape[1:3])
    gpu = _gpu(state.device) if name == "triton" else None
    if gpu is not None and model.channels <= gpu.MOST_CHANNELS:
        engine: _Engine = gpu.Engine(model, parameters, *state.shape[1:3], precision)
        return engine
    height, width = state.shape[1:3]
    return _Dense(model, parameters, height, width, precision)


class _Rollout(torch.autograd.Function):
    """A whole rollout as one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, fire: Tensor, engine: Callable[[Parameters], _Engine], *parameters: Tensor
    ) -> Tensor:
        w1, b1, w2, b2 = parameters
        ctx.engine = engine((w1, b1, w2, b2))
        length = max(1, share_of_memory(state.device, MEMORY) // ctx.engine.step_bytes(len(state)))
        ctx.whole = length >= len(fire)
        if ctx.whole:
            ctx.tape = ctx.engine.record(state, fire)
            return ctx.tape.final.detach()
        # As many states as steps between two of them: the least memory for one repetition.
        length = min(length, max(1, round(len(fire) ** 0.5)))
        ctx.parts = fire.split(length)
        ctx.starts = [state]
        for part in ctx.parts:
            ctx.starts.append(ctx.engine.run(ctx.starts[-1], part))
        return ctx.starts.pop()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.whole:
            tape, ctx.tape = ctx.tape, None
            gradient, parameters = ctx.engine.reverse(tape, gradient)
            return gradient, None, None, *parameters
        sums: list[Tensor] | None = None
        for start, part in zip(reversed(ctx.starts), reversed(ctx.parts), strict=True):
            gradient, parameters = ctx.engine.reverse(ctx.engine.record(start, part), gradient)
            sums = [a + b for a, b in zip(sums, parameters, strict=True)] if sums else list(parameters)
        return gradient, None, None, *(sums or [])


def fire_masks(
    steps: int, state: State, fire_rate: float, generator: torch.Generator
) -> Bool[Tensor, "steps batch height width"]:
    """Which cells update in which step, on the state's device; drawn where `generator` lives."""
    shape = state.shape[:3]
    fire = torch.empty((steps, *shape), dtype=torch.bool, device=state.device)
    at_once = max(1, _DRAWN_AT_ONCE // shape.numel())
    for part in fire.split(at_once):
        part.copy_(torch.rand(part.shape, generator=generator, device=generator.device) < fire_rate)
    return fire


def _parameters(weights: Weights) -> Parameters:
    bias = weights.output_bias
    if bias is None:
        bias = weights.output_weight.new_zeros(len(weights.output_weight))
    return weights.hidden_weight, weights.hidden_bias, weights.output_weight, bias


def rollout(
    state: Float[Tensor, "batch height width channel"],
    weights: Weights,
    model: ModelConfig,
    fire: Bool[Tensor, "steps batch height width"],
    precision: Precision = Precision.FLOAT32,
) -> Float[Tensor, "batch height width channel"]:
    """The state after `len(fire)` steps; differentiable once, in the state and the weights."""
    parameters = _parameters(weights)
    if len(fire) == 0:
        return state
    if torch.is_grad_enabled() and any(t.requires_grad for t in (state, *parameters)):
        final: Tensor = _Rollout.apply(state, fire, lambda own: _engine(state, model, own, precision), *parameters)  # type: ignore[no-untyped-call]
        return final
    return _engine(state, model, parameters, precision).run(state, fire)


class Task(NamedTuple):
    """A rollout to be made: the arguments of `rollout`."""

    state: State
    weights: Weights
    model: ModelConfig
    fire: Fire
    precision: Precision = Precision.FLOAT32

    @property
    def kind(self) -> tuple[Any, ...]:
        """The same for rollouts that can be made as one batch."""
        rule = dataclasses.replace(self.model, filter=ModelConfig.filter, fire_rate=ModelConfig.fire_rate)
        return self.state.device, self.state.shape, rule, self.precision


def rollouts(tasks: Sequence[Task]) -> list[State]:
    """The final states of several models' rollouts; on a GPU those that can be are made as one batch.

    Each is what `rollout` gives, to the last bit, and so are the gradients.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    for place, task in enumerate(tasks):
        alike.setdefault(task.kind, []).append(place)
    finals: dict[int, State] = {}
    for places in alike.values():
        finals.update(zip(places, _of_a_kind([tasks[place] for place in places]), strict=True))
    return [finals[place] for place in range(len(tasks))]


def _of_a_kind(tasks: Sequence[Task]) -> Sequence[State]:
    state, _, model, _, precision = tasks[0]
    gpu = _gpu(state.device) if engine_name(state.device, precision) == "triton" else None
    if gpu is None or model.channels > gpu.MOST_CHANNELS or len(tasks) == 1:
        return [rollout(*task) for task in tasks]
    each = len(state)
    fire = torch.full((max(len(task.fire) for task in tasks), each * len(tasks), *state.shape[1:3]), gpu.HALTED,
                      dtype=torch.uint8, device=state.device)  # fmt: skip
    for task, own in zip(tasks, fire.split(each, dim=1), strict=True):
        own[: len(task.fire)] = task.fire
    models = [task.model for task in tasks]
    parameters = [torch.stack(same) for same in zip(*(_parameters(task.weights) for task in tasks), strict=True)]
    final: Tensor = _Rollout.apply(  # type: ignore[no-untyped-call]
        torch.cat([task.state for task in tasks]), fire,
        lambda stacked: gpu.Batch(models, stacked, *state.shape[1:3], precision), *parameters,
    )  # fmt: skip
    return final.split(each)


def steps_lived(
    state: Float[Tensor, "1 height width channel"],
    weights: Weights,
    model: ModelConfig,
    fire: Bool[Tensor, "steps 1 height width"],
    precision: Precision = Precision.FLOAT32,
) -> int:
    """Steps after which a state that dies within `len(fire)` steps still lives.

    Found by bisection: what is dead stays dead, and costs nothing.
    """

    def dies(steps: int) -> bool:
        return not living(rollout(state, weights, model, fire[:steps], precision), model.threshold).item()

    with torch.no_grad():
        return max(0, bisect_left(range(len(fire)), True, key=dies) - 1)
