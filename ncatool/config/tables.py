"""Tables of TOML or JSON as settings, every name and type checked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from ncatool.errors import UsageError, shorten

T = TypeVar("T")


def read_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Return a dataclass of settings made from a table.

    Raises UsageError for a name that does not exist (with the nearest that does) or a value of the wrong type.
    """
    fields = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(fields)}"
            raise UsageError(f"{where}: unknown setting {shorten(name)}", hint)
        values[name] = convert_value(fields[name], name, value, where)
    try:
        return kind(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.what}", error.hint) from None


def convert_value(default: Any, name: str, value: Any, where: str) -> Any:
    """Return a value as one of the type of `default`; raise UsageError where it is not one."""
    kind = type(default)
    if issubclass(kind, StrEnum):
        if value not in list(kind):
            raise UsageError(f"{where}: {name} is {shorten(value)}", f"choose from {', '.join(kind)}")
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: {name} is {shorten(value)}", f"give a value of type {kind.__name__}")
    return value
