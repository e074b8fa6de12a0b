"""The end of a sweep: a comparison of its models, a table of its runs, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncatool.cli import terminal
from ncatool.cli.compare import measure_models, print_evaluations, write_report
from ncatool.config.names import Metric
from ncatool.engine.device import resolve_device
from ncatool.errors import ExitCode
from ncatool.evaluation import table
from ncatool.evaluation.models import Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.files.atomic import write_bytes
from ncatool.files.text import format_csv
from ncatool.files.toml import read_toml
from ncatool.sweep.dispatch import Failure
from ncatool.sweep.folder import SweepFolder
from ncatool.sweep.item import SweepItem
from ncatool.sweep.plan import to_json

RESULTS = ("iterations", "loss", "mse", "mse_at_96", "mse_at_500", "psnr_at_500", "seconds")
"""Columns of the summary from a run's `[result]`."""
PRINTED_COLUMNS = ("run", "state", "iterations", "mse_at_96", "mse_at_500", "seconds")
"""Columns of the printed table, where the models are not compared."""

Row = dict[str, Any]


def summarise(
    items: Sequence[SweepItem], failed: Mapping[str, Failure], folder: SweepFolder, compare: bool
) -> ExitCode:
    """Compare the finished models, write summary and report, print both, and return the exit code."""
    finished = [item for item in items if item.name not in failed]
    rows = [_make_row(item, failed.get(item.name), folder) for item in items]
    evaluations = _compare_models(finished, rows, folder) if compare and finished else []
    write_bytes(folder.summary, _format_csv(rows))
    written = [str(folder.summary), *([str(folder.report)] if evaluations else [])]
    if terminal.settings.as_json:
        models = {"models": [table.to_json(evaluation) for evaluation in evaluations]} if evaluations else {}
        counts = {"finished": len(finished), "failed": len(failed)}
        terminal.print_result({"wrote": written, **counts, "runs": rows, **models})
    else:
        _print_table(rows, evaluations)
        terminal.print_note(f"wrote {' and '.join(written)}")
    _print_failures(failed, len(items))
    return ExitCode.FAILED if failed else ExitCode.DONE


def _make_row(item: SweepItem, failure: Failure | None, folder: SweepFolder) -> Row:
    """Return a run's row of the summary: its name, state and varied settings, and how training ended."""
    record = {} if failure else read_toml(folder.get_run_files(item.name).record)
    result = record.get("result", {})
    return {
        "run": item.name,
        "state": "failed" if failure else "finished",
        "error": failure.what if failure else "",
        **to_json(item.plan.varied),
        **{name: result.get(name) for name in RESULTS if name not in item.plan.varied},
    }


def _compare_models(finished: Sequence[SweepItem], rows: Sequence[Row], folder: SweepFolder) -> list[Evaluation]:
    """Measure the finished models, add the measures to their rows, and write the report."""
    paths = [folder.get_run_files(item.name).model for item in finished]
    device = resolve_device(finished[0].config.train.device)
    evaluations, unreadable = measure_models(paths, Protocol(), device)
    measures = {evaluation.candidate.path.stem: table.flatten_evaluation(evaluation) for evaluation in evaluations}
    for row in rows:
        row.update(_select_measures(row, measures.get(row["run"], {})))
    write_report(folder.report, evaluations, Metric.MSE, Protocol(), unreadable)
    return evaluations


def _select_measures(row: Row, measures: Mapping[str, Any]) -> Row:
    """Return the measures that belong into a row.

    They replace what training measured, which took fewer rollouts, but never a setting.
    """
    return {
        name: value
        for name, value in measures.items()
        if name not in ("model", "path") and (name in RESULTS or name not in row)
    }


def _format_csv(rows: Sequence[Row]) -> bytes:
    """Return rows, which may have different columns, as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return format_csv(names, [[row.get(name) for name in names] for row in rows])


def _print_table(rows: Sequence[Row], evaluations: Sequence[Evaluation]) -> None:
    if evaluations:
        return print_evaluations(evaluations, Metric.MSE)
    return terminal.print_table(
        PRINTED_COLUMNS, [[_format_cell(row[name]) for name in PRINTED_COLUMNS] for row in rows]
    )


def _format_cell(value: Any) -> str:
    """Return a value as text; a dash where a run has failed and has none."""
    if value is None:
        return "–"
    return table.format_number(value) if isinstance(value, float) else str(value)


def _print_failures(failed: Mapping[str, Failure], count: int) -> None:
    for failure in failed.values():
        terminal.print_failure(f"failed: {failure.name}: {terminal.clean_line(failure.what, 300)}")
    if failed:
        terminal.print_failure(f"{len(failed)} of {count} runs failed; the same command tries them again")
