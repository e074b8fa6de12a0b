"""What the TAB key offers for values of options and arguments; quick, and without torch."""

# ruff: noqa: PTH112, PTH118, PTH120, PTH208
# Names must stay as they are typed, and pathlib drops "./".

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from ncatool.config.names import Alpha, ExportFormat, Window

RENDER_ENDINGS = (".gif", ".webp", ".apng", ".mp4", ".webm", ".png")
_BASH_BREAKS = frozenset(" \t\n'\"\\:=&|;<>()$`*?[]{}!#")
"""Letters that bash would take as more than letters where it inserts a name."""


def complete_sets(incomplete: str) -> list[str]:
    """Return the names of MedMNIST sets, and `all`."""
    from ncatool.data.catalogue import load_catalogue

    return [*load_catalogue(), "all"]


def complete_targets(incomplete: str) -> list[str]:
    """Return the phantom, the names of MedMNIST sets, picture files, and folders that hold a DICOM series."""
    from ncatool.data.catalogue import load_catalogue
    from ncatool.data.sources import PHANTOM

    return [PHANTOM, *load_catalogue(), *_list_pictures(incomplete)]


def complete_masks(incomplete: str) -> list[str]:
    """Return the rules of transparency, and files that may be masks."""
    return [*Alpha, *_list_pictures(incomplete)]


def complete_windows(incomplete: str) -> list[str]:
    """Return the names of windows."""
    return [*Window]


def complete_models(incomplete: str) -> list[str]:
    """Return model files."""
    return _list_files(incomplete, (".safetensors",))


def complete_settings(incomplete: str) -> list[str]:
    """Return TOML files."""
    return _list_files(incomplete, (".toml",))


def complete_foreign_models(incomplete: str) -> list[str]:
    """Return files that hold other people's models."""
    return _list_files(incomplete, (".pt", ".pth", ".json", ".safetensors"))


def complete_rendering(context: typer.Context, incomplete: str) -> list[str]:
    """Return model files, and behind the first one the outputs that may follow it."""
    named = context.params.get("files") or []
    return [*complete_models(incomplete), *_name_outputs(named[:1], RENDER_ENDINGS)]


def complete_export(context: typer.Context, incomplete: str) -> list[str]:
    """Return model files, and behind the first one a name for each format that it can be exported to."""
    last = context.params.get("out")  # of the words so far, the last stands there
    named = [*(context.params.get("models") or []), *([last] if last else [])]
    return [*complete_models(incomplete), *_name_outputs(named[:1], [f".{form}" for form in ExportFormat])]


def complete_import(context: typer.Context, incomplete: str) -> list[str]:
    """Return the name of the model that a file is imported as."""
    file = context.params.get("file")
    return _name_outputs([file] if file else [], (".safetensors",))


def complete_list(choices: type[StrEnum]) -> Callable[[str], list[str]]:
    """Return the completion of a list between commas whose entries are choices."""

    def complete(incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",")
        given = before.split(",")
        return [f"{before}{comma}{choice}" for choice in choices if choice not in given]

    return complete


def _name_outputs(inputs: Iterable[Any], endings: Iterable[str]) -> list[str]:
    """Return the names of the inputs with other endings, in the current folder."""
    return [f"{Path(str(one)).stem}{ending}" for one in inputs for ending in endings]


def _list_pictures(incomplete: str) -> list[str]:
    """Return picture files; in place of the DICOM files of a folder that is not typed out yet, the folder."""
    from ncatool.data.expansion import IMAGE_ENDINGS

    files = [file for file in _list_files(incomplete, IMAGE_ENDINGS) if not file.endswith(".curve.png")]
    typed = os.path.dirname(incomplete)
    series = {os.path.dirname(file) for file in files if file.lower().endswith(".dcm")} - {typed}
    return [
        *(os.path.join(folder, "") for folder in sorted(series)),
        *(file for file in files if os.path.dirname(file) not in series),
    ]


def _list_files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Return the files of these endings that an incomplete name may become, with those in a folder that fits."""
    folder, name = os.path.split(incomplete)
    found = []
    for path in _list_folder(folder, name):
        inner = _list_folder(path, "") if os.path.isdir(path) else [path]
        found += [one for one in inner if one.lower().endswith(endings) and not os.path.isdir(one)]
    return [one for one in found if not _BASH_BREAKS & set(one) or not _is_bash()]


def _list_folder(folder: str, start: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    fitting = [name for name in names if name.startswith(start) and (start.startswith(".") or name[0] != ".")]
    return [os.path.join(folder, name) for name in fitting]


def _is_bash() -> bool:
    """Return whether it is bash that asks: it inserts names as they are, so those that it would split are left out."""
    return "bash" in os.environ.get("_NCATOOL_COMPLETE", "")
