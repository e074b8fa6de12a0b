"""The text of --help: the common options first, the rest in panels, words whole at every width. It needs no rich."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from typer.core import TyperOption

from ncatool.cli.terminal import has_colours
from ncatool.cli.usage import name_argument, name_value

COMMON_OPTIONS: Mapping[str, str] = {
    "fetch": "size list show pick root force",
    "train": "size padding damage iterations out force",
    "resume": "iterations learning-rate device preview json quiet",
    "sweep": "target loss filter seed out jobs",
    "render": "steps damage scale overlay view force",
    "compare": "rollouts steps sort csv report force",
    "export": "format rollout force json quiet traceback",
    "import": "filter order target size padding force",
}
"""The six options of each command that most users need; of other commands it is the first six."""

COMMON_COUNT = 6
LEAST_WIDTH, MOST_WIDTH = 40, 100
_MOST_TERM = 27
"""Letters of an option and its value; the text of a longer one starts a line below."""

_GLUE = "\xa0"
"""A space that no line ends at."""
_LONGEST_GLUED = 14
"""Letters of a default's first word that stay in its line."""

Row = tuple[str, str]
"""An option with the name of its value, and what it does."""
_HELP_ROW: Row = ("-h, --help", "Show this text.")


def list_examples(*commands: str) -> str:
    """Return the end of a command's help: what one may type."""
    return "\n".join(f"Example:  ncatool {command}" for command in commands)


def format_command_help(command: Any, path: str) -> str:
    """Return the help of a command that is typed as `path`."""
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    arguments = [one for one in command.params if not isinstance(one, TyperOption)]
    usage = " ".join([path, "[OPTIONS]", *map(_describe_usage, arguments)])
    panels = {"Arguments": [(name_argument(one), _describe(one)) for one in arguments]}
    panels |= {name: list(map(_make_row, some)) for name, some in _sort_options(command.name, options).items()}
    panels.setdefault("Running", []).append(_HELP_ROW)
    column = _measure_column(row for rows in panels.values() for row in rows)
    return _format(usage, command.help, panels, command.epilog, column)


def format_group_help(group: Any, path: str) -> str:
    """Return the help of all commands."""
    panels = {
        "Commands": [(name, _read_summary(one.help)) for name, one in group.commands.items() if not one.hidden],
        "Options": [*map(_make_row, group.params), _HELP_ROW],
    }
    return _format(f"{path} COMMAND [OPTIONS] ...", group.help, panels, group.epilog)


def _read_summary(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def _describe_usage(argument: Any) -> str:
    name = name_argument(argument)
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _sort_options(name: str, options: Sequence[Any]) -> dict[str, list[Any]]:
    """Return the options by panel: the common ones in a panel of their own, the others in the order of the command."""
    by_name = {_name_option(one): one for one in options}
    wanted = COMMON_OPTIONS.get(name, " ".join([*by_name][:COMMON_COUNT])).split()
    common = [by_name[one] for one in wanted if one in by_name]
    panels: dict[str, list[Any]] = {"Common options": common}
    for one in options:
        if one not in common:
            panels.setdefault(one.rich_help_panel or "Other options", []).append(one)
    return panels


def _name_option(option: Any) -> str:
    return next(flag for flag in option.opts if flag.startswith("--"))[2:]


def _make_row(option: Any) -> Row:
    short = "".join(f"{flag}, " for flag in option.opts if not flag.startswith("--")) or " " * 4
    flags = ", ".join(flag for flag in (*option.opts, *option.secondary_opts) if flag.startswith("--"))
    return f"{short}{flags} {name_value(option)}".rstrip(), _describe(option)


def _describe(parameter: Any) -> str:
    """Return what an option or argument does, the values that it can have, and its default."""
    text = re.sub(r"\[/?b\]", "", parameter.help or "").replace("\\[", "[")
    kind = parameter.type_descriptor
    choices = [str(getattr(choice, "value", choice)) for choice in kind.choices or ()] if kind.is_choice else []
    listed = f" One of {', '.join(choices)}." if choices else ""
    default = _describe_default(parameter)
    space = _GLUE if len(default.partition(" ")[0]) <= _LONGEST_GLUED else " "
    return f"{text}{listed}" + (f" [default:{space}{default}]" if default else "")


def _describe_default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return "" if getattr(parameter, "is_flag", False) else parameter.show_default
    value = parameter.default
    if value is None or callable(value) or not parameter.show_default or isinstance(value, bool):
        return ""
    return str(value.value if isinstance(value, Enum) else value)


def _measure_column(rows: Iterable[Row]) -> int:
    """Return the width of the column of options."""
    return min(_MOST_TERM, max((len(term) for term, _ in rows), default=0)) + 2


def _format(usage: str, text: str, panels: Mapping[str, Sequence[Row]], epilog: str, column: int = 0) -> str:
    """Return the help; without a width for the column of options, each panel has its own."""
    width = min(MOST_WIDTH, max(LEAST_WIDTH, shutil.get_terminal_size().columns))
    bold = has_colours(sys.stdout)
    lines = [_paint("Usage: ", bold) + textwrap.fill(usage, width - 7, subsequent_indent=" " * 9), ""]
    for paragraph in (text or "").split("\n\n"):
        lines += [*_wrap(" ".join(paragraph.split()), width), ""]
    for name, rows in panels.items():
        if rows:
            lines += _draw_panel(name, rows, column or _measure_column(rows), width, bold)
    return "\n".join([*lines, "", *_format_end(epilog or "", width, bold)])


def _draw_panel(name: str, rows: Iterable[Row], column: int, width: int, bold: bool) -> list[str]:
    """Return the lines of a box with a heading."""
    corners, across, down = ("╭╮╰╯", "─", "│") if _has_boxes() else ("++++", "-", "|")
    top = f"{corners[0]}{across} {_paint(name, bold)} {across * (width - len(name) - 5)}{corners[1]}"
    inner = [line for row in rows for line in _format_row(*row, column, width - 4)]
    framed = [f"{down} {_paint_flags(line.ljust(width - 4), bold)} {down}" for line in inner]
    return [top, *framed, f"{corners[2]}{across * (width - 2)}{corners[3]}"]


def _has_boxes() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def _format_row(term: str, text: str, column: int, width: int) -> list[str]:
    wrapped = _wrap(text, width - column)
    if len(term) + 2 > column:
        return [*_wrap(term, width), *(" " * column + line for line in wrapped)]
    return [f"{term if i == 0 else '':<{column}}{line}" for i, line in enumerate(wrapped or [""])]


def _wrap(text: str, width: int) -> list[str]:
    """Return text in lines that break between words only; a word longer than a line is cut."""
    return [line.replace(_GLUE, " ") for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def _format_end(epilog: str, width: int, bold: bool) -> list[str]:
    """Return the examples, each on a line of its own that can be copied, and the paragraphs behind them."""
    lines, examples = [], []
    for line in epilog.splitlines():
        label, found, command = line.partition("Example:")
        if found and not label.strip():
            examples.append(f"  {command.strip()}")
        else:
            lines += _wrap(line, width) or [""]
    heading = [_paint("Examples:" if len(examples) > 1 else "Example:", bold)] if examples else []
    return [*heading, *examples, *lines]


def _paint(text: str, bold: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if bold else text


def _paint_flags(line: str, bold: bool) -> str:
    """Return a line with the options that it begins with in colour."""
    return re.sub(r"^ *-[^ ]+( --[^ ]+)*", lambda match: f"\x1b[36m{match[0]}\x1b[0m", line) if bold else line
