"""`.pt2`: one step as a program of `torch.export`, for PyTorch without ncatool and for what compiles such programs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncatool.formats.common import Fire, describe_model, seed_state
from ncatool.nca.model_file import ModelData
from ncatool.nca.rule import step
from ncatool.nca.types import State
from ncatool.nca.weights import Weights


class StepModule(nn.Module):
    """One step: `state` [batch, height, width, channel] and `fire` [batch, height, width] in, the next state out."""

    def __init__(self, model: ModelData) -> None:
        super().__init__()
        self._config = model.config
        for name, tensor in model.weights._asdict().items():
            self.register_buffer(name, None if tensor is None else tensor.detach().clone())

    def forward(self, state: Tensor, fire: Tensor) -> Tensor:
        weights = Weights(*(getattr(self, name) for name in Weights._fields))
        return step(state, weights, self._config, fire)


def example_inputs(model: ModelData) -> tuple[Tensor, Tensor]:
    """Inputs to trace with: at least two of everything, as one would be taken for a constant."""
    height, width = (max(2, side) for side in model.target.shape)
    return torch.zeros(2, height, width, model.config.channels), torch.ones(2, height, width, dtype=torch.bool)


def dynamic_shapes() -> dict[str, dict[int, Any]]:
    """Batch, height and width may be any."""
    sides = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    return {"state": sides, "fire": sides}


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Also holds the settings as JSON, in the extra file `ncatool.json`."""
    program = torch.export.export(StepModule(model), example_inputs(model), dynamic_shapes=dynamic_shapes())
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"ncatool.json": json.dumps(describe_model(model, record, name))})
    path.write_bytes(buffer.getvalue())


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """The program loaded again."""
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    state = seed_state(model)
    for mask in fire:
        state = program(state, mask)
    return state
