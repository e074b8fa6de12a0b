"""`.h`: a C99 header with the weights and a step function, without dependencies."""

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
from ncatool.formats.common import describe_model, make_seed_state
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData
from ncatool.nca.state import middle_cell
from ncatool.nca.types import Fire, State

_TEMPLATE = Path(__file__).with_name("c_header.h")


def make_identifier(name: str) -> str:
    """Return a C identifier for a model's name: `nca_` and its letters and digits."""
    letters = re.sub(r"[^a-z0-9]+", "_", name.lower())[:40].strip("_")
    return f"nca_{letters or 'model'}"


def _format_comment(value: Any) -> str:
    """Return any value as text inside a C comment: it cannot end or continue the comment, nor form a trigraph."""
    text = json.dumps(value, ensure_ascii=True)[:2000]
    return re.sub(r"[^A-Za-z0-9 .,:;_+\-()\[\]{}=\"']", "_", text)


def _format_float(value: float) -> str:
    digits = f"{value:.9g}"
    return f"{digits}f" if "." in digits or "e" in digits else f"{digits}.0f"


def _format_array(name: str, values: Iterable[float]) -> str:
    literals = [_format_float(value) for value in values]
    lines = [", ".join(literals[i : i + 8]) for i in range(0, len(literals), 8)]
    body = ",\n    ".join(lines)
    return f"static const float {name}[{len(literals)}] = {{\n    {body}\n}};\n"


def _format_arrays(model: ModelData, prefix: str) -> str:
    weights, config = model.weights, model.config
    bias = torch.zeros(config.channels) if weights.output_bias is None else weights.output_bias
    arrays = {
        "filters": filter_pair(config.filter),
        "w1": weights.hidden_weight,
        "b1": weights.hidden_bias,
        "w2": weights.output_weight,
        "b2": bias,
    }
    return "\n".join(
        _format_array(f"{prefix}_{key}", tensor.detach().flatten().tolist()) for key, tensor in arrays.items()
    )


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write the header: the template with the model's sizes as constants and its weights as arrays."""
    prefix, config = make_identifier(name), model.config
    height, width = model.target.shape
    row, column = middle_cell(height, width)
    description = describe_model(model, record, name)
    replacements = {
        "DESCRIPTION": "\n".join(f" * {key}: {_format_comment(value)}" for key, value in description.items()),
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
        "ARRAYS": _format_arrays(model, prefix),
    }
    template = _TEMPLATE.read_text(encoding="utf-8")
    text = re.sub(r"@([A-Z_0-9]+)@", lambda match: str(replacements[match[1]]), template)
    path.write_text(text, encoding="ascii")


def run(model: ModelData, path: Path, fire: Fire) -> State | None:
    """Return the state that the compiled header computes from the seed; None where there is no C compiler."""
    if not build.has_compiler():
        return None
    prefix = re.search(r"void (nca_\w+)_step", path.read_text())
    assert prefix is not None
    with tempfile.TemporaryDirectory() as folder:
        # Copied under a fixed name: the user's may hold characters that an #include cannot.
        shutil.copy(path, Path(folder) / "model.h")
        source, library = Path(folder) / "model.c", Path(folder) / "model.so"
        source.write_text(
            '#include "model.h"\n'
            "void exported_step(const float *state, float *next, const unsigned char *fire, unsigned char *alive)\n"
            f"{{\n    {prefix[1]}_step(state, next, fire, alive);\n}}\n"
        )
        if not build.build_shared_library(source, library):
            raise NcatoolError("the .h does not compile", "please report this with the model file")
        return _run_library(ctypes.CDLL(str(library)), model, fire)


def _run_library(library: ctypes.CDLL, model: ModelData, fire: Fire) -> State:
    state = make_seed_state(model)
    alive = torch.zeros(model.target.shape, dtype=torch.uint8)
    for mask in fire.to(torch.uint8).contiguous():
        following = torch.empty_like(state)
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (state, following, mask, alive))
        library.exported_step(*pointers)
        state = following
    return state
