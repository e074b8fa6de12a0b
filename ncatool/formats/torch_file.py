"""What is checked of a torch file before it is read, and of its tensors before anything is computed with them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ncatool.errors import NcatoolError

MAX_BYTES = 2**28
"""Most bytes of a torch file, unpacked; the largest model that can be imported has 34 MB of float64."""
MAX_TENSORS = 4096
"""Most tensors of a torch file."""
MAX_VALUES = 2**24
"""Most values of a tensor of the network; the largest model has 3 M in one."""


def check_size(path: Path, hint: str) -> None:
    """Raise NcatoolError for a file that is too large, or would be when it is unpacked: an archive's directory says so.

    Raises zipfile.BadZipFile for an archive without a directory.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            with zipfile.ZipFile(file) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > MAX_BYTES:
        raise NcatoolError(f"{path} has {size:,} bytes when it is read, but {MAX_BYTES:,} is the most", hint)


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor holds real numbers in memory: it is not sparse, quantised, complex or without data."""
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return dense and not (tensor.is_quantized or tensor.is_nested) and tensor.is_floating_point()


def copy_values(tensor: Tensor) -> Tensor:
    """Return the values as float32 in memory of their own: several tensors of a file may share theirs."""
    return tensor.detach().to(torch.float32, copy=True).contiguous()


def describe(name: str, tensor: Tensor) -> str:
    """Return name and shape of a tensor, and what keeps it from being a layer."""
    kind = "" if is_plain(tensor) else f" {tensor.dtype} {tensor.layout}".replace("torch.", "")
    return f"{name} {'nested' if tensor.is_nested else list(tensor.shape)}{kind}"
