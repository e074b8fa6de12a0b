"""Rollouts of many samples on a GPU, by the kernels of `kernels`: a launch a step, nothing waited for.

The gradients by the weights need no order: the steps back leave the gradients by the network's output, and
one kernel goes over all cells of all steps. A batch may hold the samples of several models of one size;
what a sample comes to, and what gradient a model gets, is the same to the last bit whatever else is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ncatool.config.names import Boundary, Filter, Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import gpu_kernels
from ncatool.engine.compiled import State
from ncatool.nca import filters as rule
from ncatool.nca.types import Parameters

Masks = Bool[Tensor, "steps batch height width"] | UInt8[Tensor, "steps batch height width"]
"""Which cells update in which step; as bytes with HALTED for all cells of samples whose rollout is over."""
HALTED: int = gpu_kernels.HALTED.value

CELLS_PER_PROGRAM = 32
"""Cells that a program takes through the network together."""
UNITS_PER_BLOCK = 32
"""Hidden units at a time, in a step: more spill from the registers of sm_80 and sm_90."""
UNITS_PER_SUM = 64
"""The same, where gradients by the weights are summed."""
PARTIAL_SUMS = 64
"""Programs that share a model's sum; fixed, as the order of the sum is."""
MAX_CHANNELS = 32
"""Of a model: more would take more shared memory than small GPUs have."""


@cache
def _stack_filters(filters: tuple[Filter, ...], device: torch.device) -> Float[Tensor, "model 2 3 3"]:
    return torch.stack([rule.filter_pair(name) for name in filters]).to(device)


def _pad_size(count: int) -> int:
    """The next power of two that the GPU's products take."""
    return max(16, 1 << (count - 1).bit_length())


def step_bytes(batch: int, height: int, width: int, channels: int) -> int:
    """Memory that one step of a batch takes: states, gradients by the network's output, life, and fire mask."""
    return batch * height * width * (2 * 4 * channels + 2)


class GpuTape(NamedTuple):
    """What `Batch.record` leaves for `Batch.reverse`."""

    final: State
    states: Float[Tensor, "steps batch height width channel"]
    life: UInt8[Tensor, "moments batch height width"]
    fire: UInt8[Tensor, "steps batch height width"]


class BatchEngine:
    """Rollouts of equally many samples of each of some models, which differ in weights and filters alone."""

    def __init__(
        self, models: Sequence[ModelConfig], parameters: Parameters, height: int, width: int, precision: Precision
    ) -> None:
        """Parameters as in `Weights`, with a first axis for the models."""
        model, w1 = models[0], parameters[0].detach()
        self._count, self._height, self._width = len(models), height, width
        self._threshold, self._wrap = model.threshold, model.boundary is Boundary.WRAP
        self._dot = "bfloat16" if precision is Precision.BFLOAT16 else "tf32x3"
        self._channels, self._hidden = model.channels, model.hidden
        self._cp, self._hp = _pad_size(model.channels), _pad_size(model.hidden)
        self._kernels = _stack_filters(tuple(model.filter for model in models), w1.device)
        self._w1, self._b1, self._w2, self._b2 = self._pack(parameters)

    def _pack(self, parameters: Parameters) -> list[Tensor]:
        """Weights as the kernels have them, inputs first: [3, CP, HP], [HP], [HP, CP], [CP] a model."""
        w1, b1, w2, b2 = (parameter.detach() for parameter in parameters)
        spare, spare_hidden = self._cp - self._channels, self._hp - self._hidden
        w1 = w1.unflatten(2, (3, self._channels)).permute(0, 2, 3, 1)
        w1 = F.pad(w1, (0, spare_hidden, 0, spare))
        w2 = F.pad(w2.transpose(1, 2), (0, spare, 0, spare_hidden))
        return [t.contiguous() for t in (w1, F.pad(b1, (0, spare_hidden)), w2, F.pad(b2, (0, spare)))]

    def _shape_arguments(self, batch: int) -> dict[str, Any]:
        """Arguments of all kernels."""
        return {
            "batch": batch, "height": self._height, "width": self._width, "per_model": batch // self._count,
            "C": self._channels, "CP": self._cp, "BN": CELLS_PER_PROGRAM, "WRAP": self._wrap,
        }  # fmt: skip

    def _network_arguments(self, units: int) -> dict[str, Any]:
        """Arguments of the kernels that use the network."""
        return {"HP": self._hp, "BH": min(units, self._hp), "DOT": self._dot}

    def _launch_grid(self, batch: int) -> tuple[int, int]:
        return batch, triton.cdiv(self._height * self._width, CELLS_PER_PROGRAM)

    def step_bytes(self, batch: int) -> int:
        """Memory that one step takes."""
        return step_bytes(batch, self._height, self._width, self._channels)

    def run(self, state: State, fire: Masks) -> State:
        """The state after all steps of `fire`."""
        return self._forward(state, fire, keep=False).final

    def record(self, state: State, fire: Masks) -> GpuTape:
        """As `run`, with what the backward pass needs."""
        return self._forward(state, fire, keep=True)

    def _forward(self, state: State, fire: Masks, keep: bool) -> GpuTape:
        state, masks = state.detach().contiguous(), fire.contiguous().view(torch.uint8)
        count, batch = masks.shape[:2]
        kept = count if keep else 0
        states, life = state.new_empty(kept, *state.shape), masks.new_empty(kept + 1, *masks.shape[1:])
        shape = {**self._shape_arguments(batch), "threshold": self._threshold, "KEEP": keep}
        # Written in turn: what one step leaves, the next one reads.
        open_states = [torch.empty_like(state) for _ in range(2)]
        alive = [torch.full_like(masks[0], gpu_kernels.MASKED.value) for _ in range(2)]
        before = state
        for t in range(count):
            after = open_states[t % 2]
            gpu_kernels.forward[self._launch_grid(batch)](
                before, alive[1 - t % 2], masks, after, alive[t % 2], states, life, self._kernels, self._w1, self._b1,
                self._w2, self._b2, t, **shape, **self._network_arguments(UNITS_PER_BLOCK),
            )  # fmt: skip
            before = after
        final = torch.empty_like(state)
        gpu_kernels.mask[self._launch_grid(batch)](before, alive[(count - 1) % 2], final, life, count, **shape)
        return GpuTape(final, states, life, masks)

    def reverse(self, tape: GpuTape, gradient: State) -> tuple[State, Parameters]:
        """The gradients by the first state and by the parameters, from the one by the final state."""
        count, batch = tape.fire.shape[:2]
        shape = self._shape_arguments(batch)
        wanted = torch.empty_like(tape.states)
        given = [gradient.new_zeros(3, *gradient.shape) for _ in range(2)]
        given[count % 2][0] = gradient
        for t in reversed(range(count)):
            gpu_kernels.backward[self._launch_grid(batch)](
                given[1 - t % 2], given[t % 2], wanted, tape.states, tape.life, tape.fire, self._kernels, self._w1,
                self._b1, self._w2, t, **shape, **self._network_arguments(UNITS_PER_BLOCK),
            )  # fmt: skip
        first = torch.empty_like(gradient, memory_format=torch.contiguous_format)
        gpu_kernels.fold[self._launch_grid(batch)](given[0], first, self._kernels, **shape)
        return first, self._sum_gradients(tape, wanted)

    def _sum_gradients(self, tape: GpuTape, wanted: Tensor) -> Parameters:
        """The gradients by the parameters, of each model."""
        network = self._network_arguments(UNITS_PER_SUM)
        sizes = [3 * self._cp * self._hp, self._hp * self._cp, self._hp, self._cp]
        sums = wanted.new_empty(PARTIAL_SUMS, self._count, sum(sizes))
        gpu_kernels.weights[PARTIAL_SUMS, self._hp // network["BH"], self._count](
            wanted, tape.states, tape.fire, self._kernels, self._w1, self._b1, self._w2, sums, len(wanted),
            PARTS=PARTIAL_SUMS, **self._shape_arguments(wanted.shape[1]), **network,
        )  # fmt: skip
        w1, w2, b1, b2 = sums.sum(0).split(sizes, dim=1)
        channels, hidden = self._channels, self._hidden
        w1 = w1.unflatten(1, (3, self._cp, self._hp))[:, :, :channels, :hidden].permute(0, 3, 1, 2).flatten(2)
        w2 = w2.unflatten(1, (self._hp, self._cp))[:, :hidden, :channels].transpose(1, 2)
        return w1, b1[:, :hidden], w2, b2[:, :channels]


class GpuEngine:
    """The same for one model."""

    def __init__(
        self, model: ModelConfig, parameters: Parameters, height: int, width: int, precision: Precision
    ) -> None:
        w1, b1, w2, b2 = (parameter.unsqueeze(0) for parameter in parameters)
        self._batch = BatchEngine([model], (w1, b1, w2, b2), height, width, precision)
        self.step_bytes, self.run, self.record = self._batch.step_bytes, self._batch.run, self._batch.record

    def reverse(self, tape: GpuTape, gradient: State) -> tuple[State, Parameters]:
        """As that of `Batch`."""
        first, (w1, b1, w2, b2) = self._batch.reverse(tape, gradient)
        return first, (w1[0], b1[0], w2[0], b2[0])
