"""Tables of TOML or JSON as settings, every name and type checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from ncatool.config.synonyms import translate_setting
from ncatool.errors import UsageError, shorten

T = TypeVar("T")

MAX_DEPTH = 16
"""Most tables and lists within each other, in a file that is read."""

_INTEGERS = range(-(2**63), 2**63)
"""Integers of TOML; larger ones have digits without end, and no float and no text for them."""


_EARLIER_TRAINING = {"optimiser": "adam", "seed_cells": "one", "seed_radius": 0.0, "widening": 0.0}
"""Settings of training that files of earlier versions lack, and what those versions did."""


def complete_training(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table `[train]` of a file that ncatool has written, with what it lacks where it is an earlier one."""
    return {**_EARLIER_TRAINING, **table}


def check_values(value: Any, depth: int = MAX_DEPTH) -> None:
    """Raise ValueError for what no file of ours holds: integers beyond 64 bits, or tables and lists nested deeply."""
    if isinstance(value, int) and value not in _INTEGERS:
        raise ValueError("it holds a whole number of more than 64 bits")
    if isinstance(value, dict | list):
        _check_parts(value, depth)


def _check_parts(value: dict[str, Any] | list[Any], depth: int) -> None:
    if depth == 0:
        raise ValueError("its tables or lists are nested too deeply")
    for part in value.values() if isinstance(value, dict) else value:
        check_values(part, depth - 1)


def is_record_value(value: Any) -> bool:
    """Return whether a value may stand in a record: text, a number, or a list of them."""
    if isinstance(value, list):
        return all(is_record_value(part) and not isinstance(part, list) for part in value)
    return _is_encodable(value) if isinstance(value, str) else isinstance(value, int | float)


def _is_encodable(text: str) -> bool:
    """Return whether text has a form in UTF-8, which half of a surrogate pair has not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def read_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Return a dataclass of settings made from a table.

    Raises UsageError for a name that does not exist (with the nearest that does) or a value of the wrong type.
    """
    fields = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in fields:
            meant = translate_setting(name, fields)
            hint = f"did you mean {meant}?" if meant else f"choose from {', '.join(fields)}"
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
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: {name} is {shorten(value)}", f"give a value of type {kind.__name__}")
    if isinstance(value, str) and not _is_encodable(value):
        raise UsageError(f"{where}: {name} is {shorten(value)}, which is not UTF-8", "give another name")
    return value
