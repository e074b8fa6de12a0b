"""TODO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ncatool.data.target import Target
from ncatool.errors import NcatoolError
from ncatool.files.atomic import write
from ncatool.nca.model_file import take_target, target_tensor
from ncatool.nca.tensor_file import WHOLE, _check_seal, _packed, header_table, reading, take


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], target: Target, facts: Mapping[str, Any]) -> None:
    """Writes what `resume` needs: the run's tensors, the target, and `facts` as JSON."""
    content = {**tensors, "target": target_tensor(target)}
    write(path, _packed(content, {"facts": facts, "target": target.record()}))


def checkpoint_tables(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint's facts and the record of its target; no tensor is read."""
    with reading(path) as file:
        return header_table(path, file, "facts"), header_table(path, file, "target")


Expected = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and safetensors dtype of each tensor that must be there, by name."""


def load_checkpoint(
    path: Path, expected: Callable[[Mapping[str, Any], Target], Expected]
) -> tuple[dict[str, Tensor], Target, dict[str, Any]]:
    """What `save_checkpoint` wrote; `expected` says, by facts and target, which tensors must be there.

    Raises NcatoolError where one is missing, superfluous, of another shape or dtype, or not finite,
    before it is read; and where the checksum differs.
    """
    with reading(path) as file:
        facts = header_table(path, file, "facts")
        target = take_target(path, file)
        wanted = expected(facts, target)
        strange = set(file.keys()) - set(wanted) - {"target"}
        if strange:
            raise NcatoolError(f"{path} holds the unknown tensor {min(strange)}", WHOLE)
        tensors = {name: take(path, file, name, *wanted[name]) for name in wanted}
        _check_seal(path, file)
        return tensors, target, facts
