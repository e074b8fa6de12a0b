"""TOML files, read and written with errors that the user can fix."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from ncatool.config.tables import check_values
from ncatool.errors import NcatoolError, UsageError, shorten
from ncatool.files.atomic import write_bytes

MAX_FILE_BYTES = 2**24
"""Largest TOML file that is read: far more than the record of a run with thousands of sessions takes."""

MAX_DOTS_SQUARED = 5 * 10**7
"""Most squares of the dots of all lines: a key a.b.c... takes time and memory with the square of its parts."""


def write_toml(path: Path, tables: Mapping[str, Any]) -> None:
    """Write tables as a TOML file, whole or not at all; in a folder's name, a byte that is not UTF-8 becomes "?"."""
    write_bytes(path, tomli_w.dumps(tables).encode(errors="replace"))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises UsageError where there is no such file, and NcatoolError where it is not valid TOML.
    """
    try:
        tables = _parse(path)
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", "give the name of a TOML file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NcatoolError(f"{path} is not valid TOML: {shorten(str(error))}", "fix or remove that file") from None
    return tables


def _parse(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; ValueError for one that is not valid, or that no file of ours is like."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
    if sum(line.count(b".") ** 2 for line in content.splitlines()) > MAX_DOTS_SQUARED:
        raise ValueError("it has a line of thousands of dots")
    tables = tomllib.loads(content.decode("utf-8-sig"))  # some editors start a file with a byte order mark
    check_values(tables)
    return tables
