"""Safetensors files with tables and a checksum in their header: how all files of ncatool keep tensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncatool.config.schema import FILE_FORMAT
from ncatool.config.tables import check_values
from ncatool.errors import NcatoolError
from ncatool.nca.model_name import describe_missing

WHOLE_FILE_HINT = "give a file that ncatool has written, whole"


def _compute_checksum(tables: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]]) -> int:
    """Return the CRC-32 of tables and tensors with their names, dtypes and shapes."""
    value = zlib.crc32(json.dumps(tables, sort_keys=True).encode())
    for name, tensor in tensors:
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)  # numpy lacks some dtypes
    return value


def pack_tensors(tensors: Mapping[str, Tensor], tables: Mapping[str, Any]) -> bytes:
    """Return the bytes of a safetensors file that holds tensors, tables and a checksum over both.

    The tables are one entry of its metadata: several would be written in an order that changes.
    """
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    body = json.loads(json.dumps({"format": FILE_FORMAT, **tables}))
    header = {"checksum": _compute_checksum(body, contents.items()), **body}
    return save(contents, {"ncatool": json.dumps(header, sort_keys=True)})


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file.

    Raises UsageError for a missing file, NcatoolError for one that is empty, truncated, unreadable or of another kind.
    """
    try:
        if path.exists() and not path.is_file():
            raise NcatoolError(f"{path} is not a regular file", WHOLE_FILE_HINT)
        if path.exists() and path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", WHOLE_FILE_HINT)
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise describe_missing(path) from None
    except SafetensorError as error:
        raise NcatoolError(f"{path} is truncated or not a safetensors file ({error})", WHOLE_FILE_HINT) from None
    except OSError as error:
        raise NcatoolError(f"{path} cannot be read: {error.strerror or error}", WHOLE_FILE_HINT) from None


def _read_tables(path: Path, file: Any) -> dict[str, Any]:
    """Return the tables of the header's metadata, with the checksum."""
    try:
        tables = json.loads((file.metadata() or {})["ncatool"])
        check_values(tables)
    except (KeyError, ValueError, RecursionError):
        tables = None
    if not isinstance(tables, dict) or tables.get("format") != FILE_FORMAT:
        raise NcatoolError(f"{path} has no header of the format {FILE_FORMAT}", WHOLE_FILE_HINT)
    return tables


def check_checksum(path: Path, file: Any) -> None:
    """Raise NcatoolError where the contents do not match the checksum.

    It reads every tensor: check their sizes before.
    """
    tables = _read_tables(path, file)
    stored = tables.pop("checksum", None)
    actual = _compute_checksum(tables, ((name, file.get_tensor(name)) for name in sorted(file.keys())))
    if stored != actual:
        raise NcatoolError(
            f"{path} has changed since it was written: its checksum is {actual}, not {stored}", WHOLE_FILE_HINT
        )


def read_header_table(path: Path, file: Any, name: str, required: bool = True) -> dict[str, Any]:
    """Return one table of the header's metadata.

    Raises NcatoolError where there is none of that name, unless it need not be there: then it is empty.
    """
    table = _read_tables(path, file).get(name, None if required else {})
    if not isinstance(table, dict):
        raise NcatoolError(f"{path} has no [{name}] table in its header", WHOLE_FILE_HINT)
    return table


def read_tensor(path: Path, file: Any, name: str, shape: tuple[int, ...], dtype: str = "F32") -> Tensor:
    """Read a tensor whose shape and dtype must be these; both are checked before its values are read.

    Raises NcatoolError where it is missing or different, or holds float32 values that are not finite.
    """
    hint = "the file is damaged or not a model of ncatool; use another copy"
    if name not in file.keys():  # noqa: SIM118 - safe_open returns no mapping
        raise NcatoolError(f"{path} lacks the tensor {name} of shape {list(shape)}", hint)
    entry = file.get_slice(name)
    if tuple(entry.get_shape()) != shape or entry.get_dtype() != dtype:
        actual = f"{entry.get_dtype()} {entry.get_shape()}"
        raise NcatoolError(f"{path}: {name} should be {dtype} {list(shape)}, but is {actual}", hint)
    tensor: Tensor = file.get_tensor(name)
    if dtype == "F32" and not torch.isfinite(tensor).all():
        raise NcatoolError(f"{path}: {name} holds values that are not finite", hint)
    return tensor


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, by their names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
