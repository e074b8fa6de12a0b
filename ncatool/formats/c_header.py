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
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.config.names import Boundary
from ncatool.engine import build
from ncatool.errors import NcatoolError
from ncatool.formats.common import describe_model, make_seed_states
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import is_plain
from ncatool.nca.state import middle_cell
from ncatool.nca.types import Fire, State

_TEMPLATE = Path(__file__).with_name("c_header.h")

_PLAIN_SEED = """\
/* Set the state to the seed: one cell with alpha and hidden channels 1, all else 0. */
static inline void @PREFIX@_seed(float *state)
{
    int i, first = @PREFIX@_find_cell(@ROW@, @COLUMN@) * @PREFIX@_CHANNELS;
    for (i = 0; i < @PREFIX@_SIZE; i++) state[i] = 0.0f;
    for (i = 3; i < @PREFIX@_CHANNELS; i++) state[first + i] = 1.0f;
}
"""
_OTHER_SEED = """\
/* Channels of each cell of the seed, and the indices of these cells. */
@SEED_VALUES@
static const int @PREFIX@_seed_cells[@SEED_CELLS@] = {@SEED_INDICES@};

/* Set the state to the seed: its cells have their channels, all else is 0. */
static inline void @PREFIX@_seed(float *state)
{
    int i, j;
    for (i = 0; i < @PREFIX@_SIZE; i++) state[i] = 0.0f;
    for (j = 0; j < @SEED_CELLS@; j++)
        for (i = 0; i < @PREFIX@_CHANNELS; i++)
            state[@PREFIX@_seed_cells[j] * @PREFIX@_CHANNELS + i] = @PREFIX@_seed_values[j * @PREFIX@_CHANNELS + i];
}
"""
_SEVERAL_SEEDS = """\
enum { @PREFIX@_PICTURES = @PICTURES@ };

/* Return the name of a picture. */
static inline const char *@PREFIX@_name(int picture)
{
    static const char *const names[@PREFIX@_PICTURES] = {@NAMES@};
    return names[picture];
}

/* Channels of each cell of the seeds, picture by picture, and the indices of these cells. */
@SEED_VALUES@
static const int @PREFIX@_seed_cells[@SEED_CELLS@] = {@SEED_INDICES@};

/* Set the state to the seed of a picture, from 0 to PICTURES - 1: its cells have their channels, all else is 0. */
static inline void @PREFIX@_seed(float *state, int picture)
{
    const float *values = @PREFIX@_seed_values + picture * @SEED_CELLS@ * @PREFIX@_CHANNELS;
    int i, j;
    for (i = 0; i < @PREFIX@_SIZE; i++) state[i] = 0.0f;
    for (j = 0; j < @SEED_CELLS@; j++)
        for (i = 0; i < @PREFIX@_CHANNELS; i++)
            state[@PREFIX@_seed_cells[j] * @PREFIX@_CHANNELS + i] = values[j * @PREFIX@_CHANNELS + i];
}
"""


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
    cells = make_seed_states(model).flatten(1, 2)
    indices = cells.any(dim=2).any(dim=0).nonzero().flatten()
    description = describe_model(model, record, name)
    for table in ("seed", "seeds"):  # an array of the header holds them
        description.pop(table, None)
    names = [re.sub(r"[^A-Za-z0-9.-]", "_", one.name) for one in model.target.pictures]
    replacements = {
        "GROWN_FROM": "one cell" if len(indices) == 1 else f"{len(indices)} cells",
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
        "SEED_CELLS": len(indices),
        "SEED_INDICES": ", ".join(map(str, indices.tolist())),
        "SEED_VALUES": _format_array(f"{prefix}_seed_values", cells[:, indices].flatten().tolist()),
        "SEED_ARGUMENTS": "state, picture" if model.target.others else "state",
        "PICTURES": len(names),
        "NAMES": ", ".join(f'"{name}"' for name in names),
    }
    one_seed = _PLAIN_SEED if is_plain(model.seed) else _OTHER_SEED
    seed = _SEVERAL_SEEDS if model.target.others else one_seed
    template = _TEMPLATE.read_text(encoding="utf-8").replace("@SEED@", seed)
    text = re.sub(r"@([A-Z_0-9]+)@", lambda match: str(replacements[match[1]]), template)
    path.write_text(text, encoding="ascii")


def run(model: ModelData, path: Path, fire: Fire) -> State | None:
    """Return the states that the compiled header computes from the seeds; None where there is no C compiler."""
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
            "void exported_seed(float *state, int picture)\n"
            f"{{\n    (void)picture;\n    {prefix[1]}_seed(state{', picture' * bool(model.target.others)});\n}}\n"
        )
        if not build.build_shared_library(source, library):
            raise NcatoolError("the .h does not compile", "please report this with the model file")
        loaded = ctypes.CDLL(str(library))
        return torch.stack([_run_library(loaded, model, i, fire[:, i]) for i in range(len(model.target.pictures))])


def _run_library(
    library: ctypes.CDLL, model: ModelData, picture: int, fire: Bool[Tensor, "steps height width"]
) -> Float[Tensor, "height width channel"]:
    state = torch.empty(*model.target.shape, model.config.channels)
    library.exported_seed(ctypes.c_void_p(state.data_ptr()), picture)
    alive = torch.zeros(model.target.shape, dtype=torch.uint8)
    for mask in fire.to(torch.uint8).contiguous():
        following = torch.empty_like(state)
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (state, following, mask, alive))
        library.exported_step(*pointers)
        state = following
    return state
