"""The end of a sweep: a comparison of its models, a table of its runs, and what failed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ncatool.cli import terminal
from ncatool.cli.compare import describe_evaluations, print_evaluations
from ncatool.cli.ending import Ending, describe_models, protect_name, suggest_watching
from ncatool.cli.paper_outputs import PaperOutputs
from ncatool.cli.report_output import write_report
from ncatool.cli.sweep_measures import PROTOCOL, Comparison, load_comparison, measure_with_progress
from ncatool.config.names import Metric
from ncatool.errors import ExitCode
from ncatool.evaluation import table
from ncatool.evaluation.models import Evaluation
from ncatool.evaluation.several import SeveralEvaluation
from ncatool.files.atomic import write_bytes
from ncatool.files.text import format_csv
from ncatool.files.toml import read_toml
from ncatool.sweep.dispatch import Failure, Workers
from ncatool.sweep.folder import SweepFolder
from ncatool.sweep.item import SweepItem
from ncatool.sweep.plan import to_json
from ncatool.training.signals import catch_signals

RESULTS = ("iterations", "loss", "mse", "mse_at_96", "mse_at_500", "psnr_at_500", "seconds")
"""Columns of the summary from a run's `[result]`."""
SEVERAL_RESULTS = ("worst_mse_at_500", "worst_picture")
"""The same of a run of several pictures; the others are medians over them."""
PRINTED_COLUMNS = ("run", "state", "iterations", "mse_at_96", "mse_at_500", "seconds")
"""Columns of the printed table, where the models are not compared."""

WRITE_INTERVAL = 3.0
"""Seconds between two versions of the summary while models are measured."""

Row = dict[str, Any]


class Summary:
    """The rows of a sweep's summary, and the files that are made from them."""

    def __init__(
        self, items: Sequence[SweepItem], failed: Mapping[str, Failure], folder: SweepFolder, paper: PaperOutputs
    ) -> None:
        self._items, self._failed, self._folder, self._paper = items, failed, folder, paper
        self._finished = [item for item in items if item.name not in failed]
        self._rows = {item.name: _make_row(item, failed.get(item.name), folder) for item in items}
        self._evaluations: dict[str, list[Evaluation]] = {}
        self._written = 0.0

    def complete(self, compare: bool, workers: Workers, token: str, on_cluster: bool) -> ExitCode:
        """Write the summary; with `compare`, measure the models and write the report, too; print what came out.

        The summary is written before the first model is measured and rewritten as their measures come, so that none
        is lost where this is stopped. Returns the exit code.
        """
        self._write()
        if not compare or not self._finished:
            return self._finish(None)
        with catch_signals() as stopped:
            comparison = load_comparison(self._finished, self._folder, on_cluster)
            for evaluation in comparison.list_evaluations():
                self._add_measures(evaluation)
            place = self._folder, workers, token, on_cluster
            measure_with_progress(
                comparison, self._finished, *place, lambda: stopped() is not None, self._receive_measures
            )
            for one in comparison.candidates:
                if (failure := comparison.failed.get(one.name)) is not None:
                    self._rows[one.path.stem]["error"] = f"not measured: {failure.what}"
            self._write()
            number = None if comparison.is_complete else stopped()
        return self._finish(comparison) if number is None else self._print_stopped(comparison, number)

    def _add_measures(self, evaluation: Evaluation) -> None:
        """Add the measures of a run's model to its row, as far as its pictures are measured."""
        name = evaluation.candidate.path.stem
        found = self._evaluations.setdefault(name, [])
        found.append(evaluation)
        row = self._rows[name]
        several = bool(evaluation.candidate.model.target.name)
        measures = SeveralEvaluation(found).make_row() if several else table.flatten_evaluation(evaluation)
        row.update(_select_measures(row, measures))

    def _receive_measures(self, evaluation: Evaluation) -> None:
        self._add_measures(evaluation)
        if time.monotonic() - self._written >= WRITE_INTERVAL:
            self._write()

    def _write(self) -> None:
        write_bytes(self._folder.summary, _format_csv(list(self._rows.values())))
        self._written = time.monotonic()

    def _print_stopped(self, comparison: Comparison, number: int) -> ExitCode:
        terminal.print_note(
            f"stopped with {len(comparison.measures)} of {len(comparison.candidates)} models measured; "
            f"{self._folder.summary} has what there is: the same command goes on"
        )
        return ExitCode(128 + number)

    def _finish(self, comparison: Comparison | None) -> ExitCode:
        evaluations = comparison.list_evaluations() if comparison else []
        written, rows = [str(self._folder.summary)], list(self._rows.values())
        if comparison and evaluations:
            write_report(self._folder.report, evaluations, Metric.MSE, PROTOCOL, comparison.unreadable)
            self._paper.write(evaluations, Metric.MSE, PROTOCOL)
            written += [str(path) for path in (self._folder.report, *self._paper.paths)]
        ending = self._make_ending(evaluations, written)
        if terminal.settings.as_json:
            models = describe_evaluations(evaluations) if evaluations else {}
            counts = {"finished": len(self._finished), "failed": len(self._failed)}
            terminal.print_result({"wrote": written, **counts, "runs": rows, **models, **ending.describe()})
        else:
            _print_table(rows, evaluations)
        ending.print()
        failed = {**self._failed, **(comparison.failed if comparison else {})}
        _print_failures(failed, len(self._items))
        return ExitCode.FAILED if failed else ExitCode.DONE

    def _make_ending(self, evaluations: Sequence[Evaluation], written: Sequence[str]) -> Ending:
        models = [str(self._folder.get_run_files(item.name).model) for item in self._finished]
        files = [*written, *([f"{len(models)} models in {self._folder.path}"] if models else [])]
        compare = ["compare", protect_name(str(self._folder.path))]
        if not evaluations:
            return Ending(files, "", compare if models else [])
        words, best = describe_models(evaluations)
        see = [*compare, "--picture", protect_name(str(self._folder.path / "models.png"))]
        return Ending(files, words, suggest_watching([best.candidate.path]) if best is not None else see)


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
        **({"pictures": len(item.target.pictures)} if item.target.others else {}),
        **{name: result[name] for name in SEVERAL_RESULTS if name in result},
    }


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
    cells = [[row[name] for name in PRINTED_COLUMNS] for row in rows]
    return terminal.print_table(PRINTED_COLUMNS, cells, table.format_number)


def _print_failures(failed: Mapping[str, Failure], count: int) -> None:
    for failure in failed.values():
        terminal.print_failure(f"failed: {failure.name}: {terminal.clean_line(failure.what, 300)}")
    if failed:
        terminal.print_failure(f"{len(failed)} of {count} runs failed; the same command tries them again")
