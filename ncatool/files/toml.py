"""TODO."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from ncatool.errors import NcatoolError, UsageError, brief
from ncatool.files.atomic import write


def write_toml(path: Path, tables: Mapping[str, Any]) -> None:
    """Writes tables as TOML."""
    write(path, tomli_w.dumps(tables).encode())


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's tables."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", "give the name of a TOML file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NcatoolError(f"{path} is not valid TOML: {brief(str(error))}", "mend or remove that file") from None
