"""TOML files, read and written with errors that the user can fix."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from ncatool.errors import NcatoolError, UsageError, shorten
from ncatool.files.atomic import write_bytes


def write_toml(path: Path, tables: Mapping[str, Any]) -> None:
    """Write tables as a TOML file, whole or not at all; in a folder's name, a byte that is not UTF-8 becomes "?"."""
    write_bytes(path, tomli_w.dumps(tables).encode(errors="replace"))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises UsageError where there is no such file, and NcatoolError where it is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", "give the name of a TOML file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NcatoolError(f"{path} is not valid TOML: {shorten(str(error))}", "fix or remove that file") from None
