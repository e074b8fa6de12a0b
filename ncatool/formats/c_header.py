"""`.h`: a C99 header of weights and a static step function, without any dependency."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncatool.config.names import Boundary
from ncatool.engine import build
from ncatool.errors import NcatoolError
from ncatool.formats.common import Fire, describe_model, seed_state
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData
from ncatool.nca.state import middle_cell
from ncatool.nca.types import State

_TEMPLATE = Path(__file__).with_name("c_header.h")


def make_identifier(name: str) -> str:
    """A name as C allows it in identifiers."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower())[:40].strip("_")
    return f"nca_{plain or 'model'}"


def _format_comment(value: Any) -> str:
    """Any text as part of a comment: nothing can end it, continue it, or be a trigraph."""
    text = json.dumps(value, ensure_ascii=True)[:2000]
    return re.sub(r"[^A-Za-z0-9 .,:;_+\-()\[\]{}=\"']", "_", text)


def _format_array(name: str, values: Iterable[float]) -> str:
    numbers = [f"{value:.9g}" for value in values]
    written = [f"{n}f" if "." in n or "e" in n else f"{n}.0f" for n in numbers]
    lines = [", ".join(written[i : i + 8]) for i in range(0, len(written), 8)]
    body = ",\n    ".join(lines)
    return f"static const float {name}[{len(written)}] = {{\n    {body}\n}};\n"


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Fills the template; all sizes are constants of the header."""
    prefix = make_identifier(name)
    weights, config = model.weights, model.config
    bias = torch.zeros(config.channels) if weights.output_bias is None else weights.output_bias
    arrays = {
        "kernel": filter_pair(config.filter),
        "w1": weights.hidden_weight,
        "b1": weights.hidden_bias,
        "w2": weights.output_weight,
        "b2": bias,
    }
    height, width = model.target.shape
    row, column = middle_cell(height, width)
    fill = {
        "ABOUT": "\n".join(
            f" * {key}: {_format_comment(value)}" for key, value in describe_model(model, record, name).items()
        ),
        "PREFIX": prefix,
        "GUARD": f"{prefix.upper()}_H",
        "CHANNELS": config.channels,
        "HIDDEN": config.hidden,
        "HEIGHT": height,
        "WIDTH": width,
        "ROW": row,
        "COLUMN": column,
        "WRAP": int(config.boundary is Boundary.WRAP),
        "THRESHOLD": f"{float(np.float32(config.threshold)):.9e}f",
        "FIRE_RATE": f"{float(np.float32(config.fire_rate)):.9e}f",
        "ARRAYS": "\n".join(
            _format_array(f"{prefix}_{key}", tensor.detach().flatten().tolist()) for key, tensor in arrays.items()
        ),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    path.write_text(re.sub(r"@([A-Z_0-9]+)@", lambda found: str(fill[found[1]]), text), encoding="ascii")


def run(model: ModelData, path: Path, fire: Fire) -> State | None:
    """Compiled by the system's compiler; None where there is none."""
    if not build.has_compiler():
        return None
    prefix = re.search(r"void (nca_\w+)_step", path.read_text())
    assert prefix is not None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "artefact.c", Path(folder) / "artefact.so"
        call = f"{prefix[1]}_step(state, next, fire, scratch);"
        shutil.copy(path, Path(folder) / "artefact.h")
        source.write_text(
            '#include "artefact.h"\n'
            f"void artefact_step(const float *state, float *next, const unsigned char *fire, unsigned char *scratch)\n"
            f"{{\n    {call}\n}}\n"
        )
        if not build.build_shared_library(source, library):
            raise NcatoolError("the .h does not compile", "please report this with the model file")
        return _run_library(ctypes.CDLL(str(library)), model, fire)


def _run_library(library: ctypes.CDLL, model: ModelData, fire: Fire) -> State:
    state = seed_state(model)
    scratch = torch.zeros(model.target.shape, dtype=torch.uint8)
    for mask in fire.to(torch.uint8).contiguous():
        following = torch.empty_like(state)
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (state, following, mask, scratch))
        library.artefact_step(*pointers)
        state = following
    return state
