"""Tables that are whole at every width: one notation a column, and no word that is broken.

What all rows have in common is said once above. A table that is still too wide for the terminal is turned over, rows as
columns, where that fits; else its columns follow in several tables below each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncatool.cli.letters import clean_line, escape
from ncatool.evaluation.notation import MISSING, choose_notation, fix_decimals

if TYPE_CHECKING:
    from rich.text import Text

GAP = 2
"""Spaces between two columns."""
MIN_NAME = 16
"""Letters of a row's name that are always shown."""
_NUMBER = re.compile(r"[-+–]?[\d,.]*(e[-+]?\d+)?( (days|h|min|s|MB|dB|%))?")


class Best(float):
    """A number that is the best of its column, and marked as such."""


Cell = str | float | list[str] | None
"""A text, a number, the parts of a list, or None where there is nothing."""


@dataclass(frozen=True)
class Column:
    """A column as text."""

    heading: str
    cells: Sequence[str]
    bold: frozenset[int]
    """The rows whose cells are the best."""

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))

    @property
    def is_right(self) -> bool:
        """Whether it holds numbers, which are aligned at the right."""
        return all(_NUMBER.fullmatch(cell.strip("* ")) for cell in self.cells if cell.strip())


def lay_out_plain(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], format_number: Callable[[float], str]
) -> list[str]:
    """Return a line for the headings and one for each row, whole whatever their length: for scripts."""
    texts = [list(map(escape, headings)), *([_format_plain(cell, format_number) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [(" " * GAP).join(map(str.ljust, line, widths)).rstrip() for line in texts]


def _format_plain(cell: Cell, format_number: Callable[[float], str]) -> str:
    if isinstance(cell, Best):
        return f"{format_number(float(cell))}*"
    if isinstance(cell, float):
        return format_number(cell)
    return MISSING if cell is None else escape(", ".join(cell) if isinstance(cell, list) else cell)


def lay_out_table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, decimals: Mapping[str, int] | None = None
) -> list[Text]:
    """Return the lines of a table for a terminal of this width; the first column names the rows.

    `decimals` are those of columns, by heading, whose notation is not left to their numbers.
    """
    from rich.text import Text

    cells = zip(*rows, strict=True) if rows else [()] * len(headings)
    fixed = [(decimals or {}).get(heading) for heading in headings]
    names, *columns = map(_make_column, headings, cells, fixed)
    constant = [column for column in columns if len(rows) > 1 and len(set(column.cells)) == 1]
    columns = [column for column in columns if column not in constant]
    lines = [Text(f"all: {_describe_constant(constant)}")] if constant else []
    if not _fits([names, *columns], width) and rows:
        turned = _transpose(names, columns)
        if _fits(turned, width):
            return [*lines, *_draw(turned)]
    limit = max(MIN_NAME, width - GAP - max((column.width for column in columns), default=0))
    names = Column(names.heading, [_cut_middle(name, limit) for name in names.cells], names.bold)
    groups = _group(names, columns, width)
    return [*lines, *(line for i, group in enumerate(groups) for line in [*[Text()] * bool(i), *_draw(group)])]


def _describe_constant(columns: Sequence[Column]) -> str:
    """Return what all rows have in common; what they all lack stands last."""
    values = {column.heading: column.cells[0].strip() for column in columns}
    known = [f"{heading} {value}" for heading, value in values.items() if value not in ("", MISSING)]
    missing = [heading for heading, value in values.items() if value in ("", MISSING)]
    return " · ".join([*known, *([f"no number: {', '.join(missing)}"] if missing else [])])


def _make_column(heading: str, cells: Sequence[Cell], decimals: int | None) -> Column:
    numbers = [float(cell) for cell in cells if isinstance(cell, int | float) and not isinstance(cell, bool)]
    notation = choose_notation(numbers) if decimals is None else fix_decimals(decimals)
    best = frozenset(i for i, cell in enumerate(cells) if isinstance(cell, Best))
    texts = [_format_cell(cell, notation) for cell in cells]
    marked = [f"{text}{'*' if i in best else ' '}" for i, text in enumerate(texts)] if best else texts
    return Column(escape(heading), marked, best)


def _format_cell(cell: Cell, notation: Callable[[float], str]) -> str:
    if cell is None:
        return MISSING
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return notation(float(cell))
    return escape(", ".join(cell) if isinstance(cell, list) else cell)


def _cut_middle(name: str, most: int) -> str:
    """Return a name of at most so many letters: names of runs differ at both ends."""
    if len(name) <= most:
        return name
    tail = most // 2
    return f"{clean_line(name, most - tail)}{name[-tail:]}"


def _measure(columns: Sequence[Column]) -> int:
    return sum(column.width + GAP for column in columns) - GAP


def _fits(columns: Sequence[Column], width: int) -> bool:
    return _measure(columns) <= width


def _transpose(names: Column, columns: Sequence[Column]) -> list[Column]:
    """Return the table turned over: a column a row."""
    first = Column(names.heading, [column.heading for column in columns], frozenset())
    return [first] + [
        Column(name, [column.cells[i] for column in columns],
               frozenset(j for j, column in enumerate(columns) if i in column.bold))
        for i, name in enumerate(names.cells)
    ]  # fmt: skip


def _group(names: Column, columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Return the columns in as few tables as they need, each with the names, and of much the same width."""
    count = len(_pack(names, columns, width))
    narrow = next(narrow for narrow in range(width + 1) if len(_pack(names, columns, narrow)) <= count)
    return _pack(names, columns, narrow)


def _pack(names: Column, columns: Sequence[Column], width: int) -> list[list[Column]]:
    groups = [[names]]
    for column in columns:
        if len(groups[-1]) > 1 and not _fits([*groups[-1], column], width):
            groups.append([names])
        groups[-1].append(column)
    return groups


def _draw(columns: Sequence[Column]) -> list[Text]:
    """Return the lines of a table that fits."""
    from rich.text import Text

    lines = []
    for i in range(-1, len(columns[0].cells)):
        line = Text(no_wrap=True)
        for column in columns:
            text = column.heading if i < 0 else column.cells[i]
            padded = text.rjust(column.width) if column.is_right else text.ljust(column.width)
            line.append(padded, "bold" if i < 0 or i in column.bold else "")
            line.append(" " * GAP)
        line.rstrip()
        lines.append(line)
    return lines
