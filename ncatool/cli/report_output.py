"""The report of a comparison, and how it was made."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ncatool.config.names import Metric
from ncatool.errors import NcatoolError
from ncatool.files.atomic import write_bytes

if TYPE_CHECKING:
    from ncatool.evaluation.models import Evaluation
    from ncatool.evaluation.protocol import Protocol


def write_report(
    path: Path,
    evaluations: Sequence[Evaluation],
    metric: Metric,
    protocol: Protocol,
    failed: Mapping[Path, NcatoolError],
    overwrite: bool = True,
) -> None:
    """Write the page of numbers, curves and pictures."""
    from ncatool.evaluation.report import render_report
    from ncatool.evaluation.table import select_columns
    from ncatool.nca.picture import Background
    from ncatool.rendering.comparison import draw_strip

    around = Background(transparent=True)  # so that it is the page's, light or dark
    strips = [draw_strip(evaluation, around) for evaluation in evaluations]
    columns = select_columns(metric)
    page = render_report(evaluations, columns, protocol, failed, _describe_origin(), strips)
    write_bytes(path, page.encode(errors="backslashreplace"), overwrite)  # a file's name need not be UTF-8


def _describe_origin() -> dict[str, str]:
    packages = [f"{name} {version(name)}" for name in ("ncatool", "torch", "numpy", "scikit-image")]
    return {
        "command": shlex.join(["ncatool", *sys.argv[1:]]),
        "versions": ", ".join([*packages, f"Python {platform.python_version()}"]),
        "machine": platform.platform(),
    }
