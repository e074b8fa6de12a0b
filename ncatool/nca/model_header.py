"""What a model file says of itself, read from its header alone: no tensor is read, so torch is not needed for it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.nca.model_name import describe_missing, describe_other_file

SEED_SETTINGS = ("seed_cells", "seed_radius")
"""What the table `train` says of the seed; in that of an imported model nothing else is known."""
_MAX_HEADER_BYTES = 2**20


@dataclass(frozen=True)
class ModelHeader:
    """The tables of a model's header, and the shape of its target."""

    tables: dict[str, Any]
    """By name: `model`, `target`, and where it is known, `train`."""
    shape: tuple[int, int]
    """Height and width of the grid, padding included."""
    tensors: dict[str, list[int]]
    """Shape of each tensor, by name."""

    def get(self, table: str, name: str) -> Any:
        """Return a value of a table, or None where there is none."""
        values = self.tables.get(table)
        return values.get(name) if isinstance(values, dict) else None


def require_model(path: Path) -> None:
    """Raise UsageError for a file that does not exist, or is plainly of another kind than a model.

    What else is wrong with it, `load_model` says.
    """
    if read_header(path) is not None:
        return
    if not os.path.lexists(path):
        raise describe_missing(path)
    if (error := describe_other_file(path)) is not None:
        raise error


def read_header(path: Path) -> ModelHeader | None:
    """Return the header of a model file, unchecked; None for whatever is no such file: to say why is `load_model`'s."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(size)) if size <= _MAX_HEADER_BYTES else {}
            whole = os.fstat(file.fileno()).st_size
        tables = json.loads(entries["__metadata__"]["ncatool"])
        height, width = entries["target"]["shape"][-3:-1]
        padding = tables["target"]["padding"]
        tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        if whole != 8 + size + max(entry["data_offsets"][1] for entry in tensors.values()):
            return None
        shapes = {name: list(entry["shape"]) for name, entry in tensors.items()}
        return ModelHeader(tables, (height + 2 * padding, width + 2 * padding), shapes)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
