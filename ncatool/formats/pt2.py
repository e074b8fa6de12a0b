"""`.pt2`: one step as a program of `torch.export`, which PyTorch runs or compiles without ncatool."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncatool.formats.common import describe_model, make_seed_states
from ncatool.nca.model_file import ModelData
from ncatool.nca.rule import step
from ncatool.nca.types import Fire, State
from ncatool.nca.weights import Weights


class StepModule(nn.Module):
    """One step of a model, with its weights as buffers.

    Takes `state` [batch, height, width, channel] and `fire` [batch, height, width]; returns the next state.
    """

    def __init__(self, model: ModelData) -> None:
        super().__init__()
        self._config = model.config
        for name, tensor in model.weights._asdict().items():
            self.register_buffer(name, None if tensor is None else tensor.detach().clone())

    def forward(self, state: Tensor, fire: Tensor) -> Tensor:
        weights = Weights(*(getattr(self, name) for name in Weights._fields))
        return step(state, weights, self._config, fire)


def make_example_inputs(model: ModelData) -> tuple[Tensor, Tensor]:
    """Return a state and a fire mask to trace with; no side is 1, because tracing fixes such sides."""
    height, width = (max(2, side) for side in model.target.shape)
    return torch.zeros(2, height, width, model.config.channels), torch.ones(2, height, width, dtype=torch.bool)


def make_dynamic_shapes() -> dict[str, dict[int, Any]]:
    """Return the specification that leaves batch, height and width of both inputs free."""
    sides = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    return {"state": sides, "fire": sides}


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write the program of one step; its extra file `ncatool.json` holds the settings."""
    program = torch.export.export(StepModule(model), make_example_inputs(model), dynamic_shapes=make_dynamic_shapes())
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"ncatool.json": json.dumps(describe_model(model, record, name))})
    path.write_bytes(buffer.getvalue())


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """Return the states that the file's program computes from the seeds with these fire masks."""
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    state = make_seed_states(model)
    for mask in fire:
        state = program(state, mask)
    return state
