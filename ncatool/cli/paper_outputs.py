"""What a comparison writes for a paper: the table, and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ncatool.config.names import Metric, TableFormat
from ncatool.errors import UsageError
from ncatool.files.atomic import write_bytes

if TYPE_CHECKING:
    from ncatool.evaluation.models import Evaluation
    from ncatool.evaluation.protocol import Protocol


@dataclass(frozen=True)
class PaperOutputs:
    """The files that are asked for, if any."""

    table: Path | None
    """LaTeX or Markdown."""
    curves: Path | None
    """CSV."""
    force: bool
    """Whether to overwrite files."""

    @property
    def paths(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.table, self.curves) if path is not None]

    def check_names(self) -> None:
        """Raise UsageError for an ending that is none of a table for a paper, or of curves."""
        if self.table is not None and self.table.suffix.lower() not in [f".{form}" for form in TableFormat]:
            endings = " or ".join(f".{form}" for form in TableFormat)
            what = f"{self.table} is no table of a paper: it ends in {self.table.suffix or 'nothing'}"
            raise UsageError(what, f"end it in {endings}")
        check_ending(self.curves, ".csv")

    def write(self, evaluations: Sequence[Evaluation], metric: Metric, protocol: Protocol) -> None:
        """Write the files that are asked for."""
        from ncatool.evaluation.curves import format_curves
        from ncatool.evaluation.paper_table import format_paper_table
        from ncatool.evaluation.table import select_columns

        if self.table is not None:
            form = TableFormat(self.table.suffix.lower().removeprefix("."))
            text = format_paper_table(form, evaluations, select_columns(metric), protocol)
            write_bytes(self.table, text.encode(errors="backslashreplace"), self.force)
        if self.curves is not None:
            write_bytes(self.curves, format_curves(evaluations), self.force)


def check_ending(path: Path | None, *endings: str) -> None:
    """Raise UsageError for an output whose name does not end as it should."""
    if path is not None and path.suffix.lower() not in endings:
        names = " or ".join(path.stem + ending for ending in endings)
        raise UsageError(f"{path} does not end in {' or '.join(endings)}", f"give a name such as {names}")


def check_distinct(files: Sequence[Path]) -> None:
    """Raise UsageError where two of a command's files would be the same."""
    places = [path.resolve() for path in files]
    for i, path in enumerate(files):
        if places[i] in places[:i]:
            raise UsageError(f"{path} is another file of this command already", "give each file a name of its own")
