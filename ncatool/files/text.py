"""JSON and CSV that every other program reads as they are meant: no number that is none, no cell that is a formula."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take text for a formula; fields that start with white space may lose it when read."""


def format_json(value: Any) -> str:
    """Return a value as JSON in ASCII; a number that is not finite becomes null at any depth."""
    return json.dumps(_replace_non_finite(value), allow_nan=False)


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _replace_non_finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows under column names as CSV in UTF-8.

    Text that a spreadsheet would compute as a formula gets a leading apostrophe; numbers stay what they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_defuse(name) for name in columns])
    writer.writerows([_defuse(cell) for cell in row] for row in rows)
    return text.getvalue().encode(errors="backslashreplace")  # a file's name need not be UTF-8


def _defuse(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
