"""TODO."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncatool.config.schema import FILE_FORMAT
from ncatool.errors import NcatoolError, UsageError

WHOLE_FILE_HINT = "give a file that ncatool has written, whole"


def _compute_checksum(tables: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]]) -> int:
    """CRC-32 of tables and tensors with their names, dtypes and shapes."""
    value = zlib.crc32(json.dumps(tables, sort_keys=True).encode())
    for name, tensor in tensors:
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.numpy().reshape(-1).view(np.uint8).data, value)
    return value


def pack_tensors(tensors: Mapping[str, Tensor], tables: Mapping[str, Any]) -> bytes:
    """A safetensors file with its tables and checksum; one key, for several come in an order that changes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    body = json.loads(json.dumps({"format": FILE_FORMAT, **tables}))
    sealed = {"checksum": _compute_checksum(body, plain.items()), **body}
    return save(plain, {"ncatool": json.dumps(sealed, sort_keys=True)})


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """An open safetensors file, with every way that it can be broken as one NcatoolError."""
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", WHOLE_FILE_HINT)
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UsageError(f"no such model: {path}", "give the name of a .safetensors file") from None
    except SafetensorError as error:
        raise NcatoolError(f"{path} is truncated or not a safetensors file ({error})", WHOLE_FILE_HINT) from None
    except OSError as error:
        raise NcatoolError(f"{path} cannot be read: {error.strerror or error}", WHOLE_FILE_HINT) from None


def _read_tables(path: Path, file: Any) -> dict[str, Any]:
    """The tables of the header's metadata, without the checksum."""
    try:
        tables = json.loads((file.metadata() or {})["ncatool"])
    except (KeyError, ValueError, RecursionError):
        tables = None
    if not isinstance(tables, dict) or tables.get("format") != FILE_FORMAT:
        raise NcatoolError(f"{path} has no header of the format {FILE_FORMAT}", WHOLE_FILE_HINT)
    return tables


def check_checksum(path: Path, file: Any) -> None:
    """Compares the checksum, so that no changed byte passes for a weight; sizes must be known to be sane."""
    tables = _read_tables(path, file)
    told = tables.pop("checksum", None)
    found = _compute_checksum(tables, ((name, file.get_tensor(name)) for name in sorted(file.keys())))
    if told != found:
        raise NcatoolError(
            f"{path} has changed since it was written: its checksum is {found}, not {told}", WHOLE_FILE_HINT
        )


def read_header_table(path: Path, file: Any, name: str) -> dict[str, Any]:
    """One table of the header's metadata."""
    table = _read_tables(path, file).get(name)
    if not isinstance(table, dict):
        raise NcatoolError(f"{path} has no [{name}] table in its header", WHOLE_FILE_HINT)
    return table


def read_tensor(path: Path, file: Any, name: str, shape: tuple[int, ...], dtype: str = "F32") -> Tensor:
    """A tensor whose shape and dtype are what they should be, checked before it is read; float32 must be finite."""
    hint = "the file is damaged or not a model of ncatool; use another copy"
    if name not in file.keys():  # noqa: SIM118 - safe_open is no mapping
        raise NcatoolError(f"{path} lacks the tensor {name} of shape {list(shape)}", hint)
    found = file.get_slice(name)
    if tuple(found.get_shape()) != shape or found.get_dtype() != dtype:
        raise NcatoolError(
            f"{path}: {name} should be {dtype} {list(shape)}, but is {found.get_dtype()} {found.get_shape()}", hint
        )
    tensor: Tensor = file.get_tensor(name)
    if dtype == "F32" and not torch.isfinite(tensor).all():
        raise NcatoolError(f"{path}: {name} holds values that are not finite", hint)
    return tensor


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
