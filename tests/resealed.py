"""Files whose header or tensors somebody has edited, with a checksum that is right again."""

import copy
import json
import math
from pathlib import Path

import torch
from safetensors import safe_open

from ncatool.nca.tensor_file import pack_tensors

MISSING = object()
WRONG_VALUES = [
    None, True, -1, 2**63, 10**400, math.inf, math.nan, "x",
    "\ud800", [], {}, [["x"]], [[10**400, {}]], [3, 3], MISSING,
]  # fmt: skip


def read_parts(path):
    """Return tensors and tables of a file of ncatool."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tables = json.loads(file.metadata()["ncatool"])
    del tables["checksum"]
    return tensors, tables


def write_parts(path, tensors, tables):
    Path(path).write_bytes(pack_tensors(tensors, tables))


def list_places(value, place=()):
    """Return the place of every table, list and value in tables; of equal entries of a list only the first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [place, *(one for key, part in inner for one in list_places(part, (*place, key)))]


def replace(tables, place, value):
    """Return tables with another value at a place, or without it."""
    changed = copy.deepcopy(tables)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if value is MISSING:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return changed


def list_wrong_tensors(tensor):
    """Return tensors of other shapes, dtypes and values than this one, by what is wrong with them."""
    wrong = {
        "absent": None,
        "short": tensor.reshape(-1)[:-1].clone(),
        "deeper": tensor[None].clone(),
        **{str(dtype): tensor.to(dtype) for dtype in (torch.float64, torch.int64, torch.bool, torch.bfloat16)},
    }
    values = (math.nan, math.inf, -1.0, 0.5, 1e30, -3e38) if tensor.is_floating_point() else (0, 1, 255)
    return {**wrong, **{str(value): torch.full_like(tensor, value) for value in values}}
