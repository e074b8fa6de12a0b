"""The checkpoint of a run: what `resume` needs, written and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ncatool.data.target import Target
from ncatool.errors import NcatoolError
from ncatool.files.atomic import write_bytes
from ncatool.nca.model_file import read_target, target_to_tensor
from ncatool.nca.tensor_file import (
    WHOLE_FILE_HINT,
    check_checksum,
    open_tensors,
    pack_tensors,
    read_header_table,
    read_tensor,
)


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], target: Target, facts: Mapping[str, Any]) -> None:
    """Write what `resume` needs: the run's tensors, the target, and `facts` as JSON."""
    content = {**tensors, "target": target_to_tensor(target)}
    write_bytes(path, pack_tensors(content, {"facts": facts, "target": target.describe()}))


def read_checkpoint_tables(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a checkpoint's facts and the record of its target, without reading a tensor."""
    with open_tensors(path) as file:
        return read_header_table(path, file, "facts"), read_header_table(path, file, "target")


ExpectedTensors = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and safetensors dtype of each tensor that a checkpoint must hold, by name."""


def load_checkpoint(
    path: Path, expected: Callable[[Mapping[str, Any], Target], ExpectedTensors]
) -> tuple[dict[str, Tensor], Target, dict[str, Any]]:
    """Return the tensors, target and facts that `save_checkpoint` wrote.

    `expected` returns, for facts and target, the tensors that must be there.

    Raises NcatoolError where one is missing, superfluous, of another shape or dtype, or not finite,
    before it is read; and where the checksum differs.
    """
    with open_tensors(path) as file:
        facts = read_header_table(path, file, "facts")
        target = read_target(path, file)
        kinds = expected(facts, target)
        unknown = set(file.keys()) - set(kinds) - {"target"}
        if unknown:
            raise NcatoolError(f"{path} holds the unknown tensor {min(unknown)}", WHOLE_FILE_HINT)
        tensors = {name: read_tensor(path, file, name, *kind) for name, kind in kinds.items()}
        check_checksum(path, file)
        return tensors, target, facts
