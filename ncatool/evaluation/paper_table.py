"""The table of a comparison for a paper: as LaTeX or as Markdown."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ncatool.config.names import TableFormat
from ncatool.evaluation.models import Evaluation
from ncatool.evaluation.notation import MISSING
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.table import Column, choose_column_notation, find_best

_LATEX = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    # At the start of a row these would belong to the command before; two of the others would become one sign.
    **{character: f"{{{character}}}" for character in "[]*-`'"},
}
_MARKDOWN = "\\`*_[]<>|~&$"
"""Characters that may mean something in Markdown, its tables, or the formulas and HTML within."""

Row = list[str]


def format_paper_table(
    form: TableFormat, evaluations: Sequence[Evaluation], columns: Sequence[Column], protocol: Protocol
) -> str:
    """Return the table of medians in one of the forms; the best are bold.

    Settings that are the same for all models, and columns without a number, are left out.
    """
    syntax = _SYNTAXES[form]
    shown = [column for column in columns if any(math.isfinite(one.median(column.name)) for one in evaluations)]
    settings = [name for name in evaluations[0].candidate.grouping if _differs(evaluations, name)]
    best = {column.name: find_best(evaluations, column) for column in shown}
    notations = {column.name: choose_column_notation(evaluations, column) for column in shown}

    def make_row(one: Evaluation) -> Row:
        about = [one.candidate.name, *(one.candidate.grouping[name] for name in settings)]
        numbers = {name: syntax.format_number(write(one.median(name))) for name, write in notations.items()}
        bold = [syntax.embolden(text) if one.candidate.name in best[name] else text for name, text in numbers.items()]
        return [*(syntax.escape(_clean(text)) for text in about), *bold]

    headings = ["model", *settings, *(column.heading for column in shown)]
    note = f"Medians over {protocol.rollouts} rollouts of {protocol.steps} steps, seed {protocol.seed}."
    meaning = " Bold: the best of the models that are healthy and have grown." if any(best.values()) else ""
    rows = [make_row(evaluation) for evaluation in evaluations]
    return syntax.write([syntax.escape(heading) for heading in headings], rows, 1 + len(settings), note + meaning)


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a cell of a table, too."""
    return "".join(f"\\{character}" if character in _MARKDOWN else character for character in text)


def _differs(evaluations: Sequence[Evaluation], name: str) -> bool:
    return len({evaluation.candidate.grouping[name] for evaluation in evaluations}) > 1


def _clean(text: str) -> str:
    """Return text as one line without control characters."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text).split())


def _write_latex(headings: Row, rows: Sequence[Row], left: int, note: str) -> str:
    columns = "l" * left + "r" * (len(headings) - left)
    lines = [rf"{' & '.join(row)} \\" for row in (headings, *rows)]
    body = [r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join([f"% {note}", rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}", ""])


def _write_markdown(headings: Row, rows: Sequence[Row], left: int, note: str) -> str:
    rule = ["---"] * left + ["---:"] * (len(headings) - left)
    lines = [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]
    return "\n".join([*lines, "", note, ""])


def _format_latex_number(text: str) -> str:
    digits, _, exponent = text.replace(",", "{,}").partition("e")
    if text == MISSING:
        return "--"
    return rf"${digits} \times 10^{{{int(exponent)}}}$" if exponent else f"${digits}$"


@dataclass(frozen=True)
class _Syntax:
    """How a table is written in one language."""

    write: Callable[[Row, Sequence[Row], int, str], str]
    """Takes headings, rows, the number of columns that are text, and a note."""
    escape: Callable[[str], str]
    format_number: Callable[[str], str]
    embolden: Callable[[str], str]


_SYNTAXES = {
    TableFormat.TEX: _Syntax(
        _write_latex, escape_latex, _format_latex_number, lambda text: rf"$\mathbf{{{text.strip('$')}}}$"
    ),
    TableFormat.MD: _Syntax(_write_markdown, escape_markdown, str, lambda text: f"**{text}**"),
}
