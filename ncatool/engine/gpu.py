"""Rollouts on a GPU by the kernels of `gpu_kernels`: one launch a step, and the CPU never waits for one.

The backward steps write the gradients by the network's output; then one kernel sums the gradients by the weights over
all cells of all steps. A batch may hold the samples of several models of one size: the final state of a sample and the
gradient of a model are the same to the last bit, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from jaxtyping import Float, UInt8
from torch import Tensor

from ncatool.config.names import Boundary, Filter, Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import gpu_functions, gpu_kernels
from ncatool.engine.interface import Tape
from ncatool.nca.filters import filter_pair
from ncatool.nca.types import Fire, FireBytes, Parameters, State

HALTED: int = gpu_functions.HALTED.value
"""In fire masks as bytes, for all cells: the rollout of this sample is over."""

CELLS_PER_PROGRAM = 32
"""Cells that one program applies the network to."""
UNITS_PER_BLOCK = 32
"""Hidden units at a time in a step: more do not fit into the registers of sm_80 and sm_90."""
UNITS_PER_SUM = 64
"""Hidden units at a time where gradients by the weights are summed."""
PARTIAL_SUMS = 64
"""Programs that share the sum of a model's gradients; fixed, so that the order of the sum is."""
MAX_CHANNELS = 32
"""Most channels of a model: more would need more shared memory than small GPUs have."""


@cache
def _stack_filters(names: tuple[Filter, ...], device: torch.device) -> Float[Tensor, "model 2 3 3"]:
    return torch.stack([filter_pair(name) for name in names]).to(device)


def _pad_size(count: int) -> int:
    """Return the next power of two, and at least 16: what the GPU's matrix products take."""
    return max(16, 1 << (count - 1).bit_length())


def step_bytes(batch: int, height: int, width: int, channels: int) -> int:
    """Return the memory of one step of a batch: states, gradients by the network's output, life and fire masks."""
    return batch * height * width * (2 * 4 * channels + 2)


class GpuRecord(NamedTuple):
    """The record of a rollout's tape."""

    states: Float[Tensor, "steps batch height width channel"]
    """The states before each step."""
    life: UInt8[Tensor, "steps+1 batch height width"]
    """Which cells live in these states and in the final one."""
    fire: FireBytes


class BatchEngine:
    """Rollouts of several models that differ only in weights and filters, each with the same number of samples."""

    def __init__(
        self, models: Sequence[ModelConfig], parameters: Parameters, height: int, width: int, precision: Precision
    ) -> None:
        """Prepare; the first axis of each of the parameters is that of the models."""
        model, w1 = models[0], parameters[0].detach()
        self._count, self._height, self._width = len(models), height, width
        self._threshold, self._wrap = model.threshold, model.boundary is Boundary.WRAP
        self._dot = "bfloat16" if precision is Precision.BFLOAT16 else "tf32x3"
        self._channels, self._hidden = model.channels, model.hidden
        self._cp, self._hp = _pad_size(model.channels), _pad_size(model.hidden)
        self._filters = _stack_filters(tuple(model.filter for model in models), w1.device)
        self._w1, self._b1, self._w2, self._b2 = self._pack(parameters)

    def _pack(self, parameters: Parameters) -> list[Tensor]:
        """Return the parameters as the kernels take them, inputs first: [3, CP, HP], [HP], [HP, CP], [CP] a model."""
        w1, b1, w2, b2 = (parameter.detach() for parameter in parameters)
        spare, spare_hidden = self._cp - self._channels, self._hp - self._hidden
        w1 = w1.unflatten(2, (3, self._channels)).permute(0, 2, 3, 1)
        w1 = F.pad(w1, (0, spare_hidden, 0, spare))
        w2 = F.pad(w2.transpose(1, 2), (0, spare, 0, spare_hidden))
        return [t.contiguous() for t in (w1, F.pad(b1, (0, spare_hidden)), w2, F.pad(b2, (0, spare)))]

    def _shape_arguments(self, batch: int) -> dict[str, Any]:
        """Return the arguments that all kernels take."""
        return {
            "batch": batch, "height": self._height, "width": self._width, "per_model": batch // self._count,
            "C": self._channels, "CP": self._cp, "BN": CELLS_PER_PROGRAM, "WRAP": self._wrap,
        }  # fmt: skip

    def _network_arguments(self, units: int) -> dict[str, Any]:
        """Return the arguments of the kernels that use the network."""
        return {"HP": self._hp, "BH": min(units, self._hp), "DOT": self._dot}

    def _launch_grid(self, batch: int) -> tuple[int, int]:
        return batch, triton.cdiv(self._height * self._width, CELLS_PER_PROGRAM)

    def step_bytes(self, batch: int) -> int:
        """Return the memory that one step takes."""
        return step_bytes(batch, self._height, self._width, self._channels)

    def run(self, state: State, fire: Fire | FireBytes) -> State:
        """Return the state after all steps of `fire`."""
        return self._forward(state, fire, keep=False).final

    def record(self, state: State, fire: Fire | FireBytes) -> Tape[GpuRecord]:
        """Run all steps of `fire`, and keep what `reverse` needs."""
        return self._forward(state, fire, keep=True)

    def _forward(self, state: State, fire: Fire | FireBytes, keep: bool) -> Tape[GpuRecord]:
        state, masks = state.detach().contiguous(), fire.contiguous().view(torch.uint8)
        count, batch = masks.shape[:2]
        kept = count if keep else 0
        states, life = state.new_empty(kept, *state.shape), masks.new_empty(kept + 1, *masks.shape[1:])
        shape = {**self._shape_arguments(batch), "threshold": self._threshold, "KEEP": keep}
        # Two of each, written in turn: the next step reads what this one writes.
        buffers = [torch.empty_like(state) for _ in range(2)]
        alive = [torch.full_like(masks[0], gpu_functions.MASKED.value) for _ in range(2)]
        before = state
        for t in range(count):
            after = buffers[t % 2]
            gpu_kernels.step_forward[self._launch_grid(batch)](
                before, alive[1 - t % 2], masks, after, alive[t % 2], states, life, self._filters, self._w1, self._b1,
                self._w2, self._b2, t, **shape, **self._network_arguments(UNITS_PER_BLOCK),
            )  # fmt: skip
            before = after
        final = torch.empty_like(state)
        gpu_kernels.apply_life_mask[self._launch_grid(batch)](
            before, alive[(count - 1) % 2], final, life, count, **shape
        )
        return Tape(final, GpuRecord(states, life, masks))

    def reverse(self, tape: Tape[GpuRecord], gradient: State) -> tuple[State, Parameters]:
        """Return the gradients by the first state and by the parameters, from the gradient by the final state."""
        record = tape.release()
        count, batch = record.fire.shape[:2]
        shape = self._shape_arguments(batch)
        output_gradient = torch.empty_like(record.states)
        gradients = [gradient.new_zeros(3, *gradient.shape) for _ in range(2)]
        gradients[count % 2][0] = gradient
        for t in reversed(range(count)):
            gpu_kernels.step_backward[self._launch_grid(batch)](
                gradients[1 - t % 2], gradients[t % 2], output_gradient, record.states, record.life, record.fire,
                self._filters, self._w1, self._b1, self._w2, t, **shape, **self._network_arguments(UNITS_PER_BLOCK),
            )  # fmt: skip
        first = torch.empty_like(gradient, memory_format=torch.contiguous_format)
        gpu_kernels.finish_backward[self._launch_grid(batch)](gradients[0], first, self._filters, **shape)
        return first, self._sum_weight_gradients(record, output_gradient)

    def _sum_weight_gradients(self, record: GpuRecord, output_gradient: Tensor) -> Parameters:
        """Return the gradients by the parameters of each model."""
        network = self._network_arguments(UNITS_PER_SUM)
        sizes = [3 * self._cp * self._hp, self._hp * self._cp, self._hp, self._cp]
        sums = output_gradient.new_empty(PARTIAL_SUMS, self._count, sum(sizes))
        gpu_kernels.sum_weight_gradients[PARTIAL_SUMS, self._hp // network["BH"], self._count](
            output_gradient, record.states, record.fire, self._filters, self._w1, self._b1, self._w2, sums,
            len(output_gradient), PARTS=PARTIAL_SUMS, **self._shape_arguments(output_gradient.shape[1]), **network,
        )  # fmt: skip
        w1, w2, b1, b2 = sums.sum(0).split(sizes, dim=1)
        channels, hidden = self._channels, self._hidden
        w1 = w1.unflatten(1, (3, self._cp, self._hp))[:, :, :channels, :hidden].permute(0, 3, 1, 2).flatten(2)
        w2 = w2.unflatten(1, (self._hp, self._cp))[:, :hidden, :channels].transpose(1, 2)
        return w1, b1[:, :hidden], w2, b2[:, :channels]


class GpuEngine:
    """Rollouts of one model, by the same kernels."""

    def __init__(
        self, model: ModelConfig, parameters: Parameters, height: int, width: int, precision: Precision
    ) -> None:
        w1, b1, w2, b2 = (parameter.unsqueeze(0) for parameter in parameters)
        self._batch = BatchEngine([model], (w1, b1, w2, b2), height, width, precision)
        self.step_bytes, self.run, self.record = self._batch.step_bytes, self._batch.run, self._batch.record

    def reverse(self, tape: Tape[GpuRecord], gradient: State) -> tuple[State, Parameters]:
        """Return the gradients by the first state and by the parameters, from the gradient by the final state."""
        first, (w1, b1, w2, b2) = self._batch.reverse(tape, gradient)
        return first, (w1[0], b1[0], w2[0], b2[0])
