"""`ncatool compare`: progress, table, files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_models
from ncatool.cli.ending import Ending, describe_models, protect_name, suggest_watching
from ncatool.cli.help import list_examples
from ncatool.cli.paper_outputs import PaperOutputs, check_distinct, check_ending
from ncatool.cli.report_output import write_report
from ncatool.cli.table_layout import Best, Cell
from ncatool.cli.training import prepare_device, print_slowness
from ncatool.config.names import Device, Metric
from ncatool.errors import ExitCode, NcatoolError, UsageError
from ncatool.files.atomic import check_writable, replace_atomically, write_bytes

if TYPE_CHECKING:
    import torch

    from ncatool.evaluation.models import Candidate, Evaluation
    from ncatool.evaluation.protocol import Protocol
    from ncatool.evaluation.table import Column

BEST = "best of the models that are healthy and have grown"
"""What a mark in the table means."""


@app.command(
    epilog=list_examples(
        "compare phantom",
        "compare runs/ --sort mse_later --report comparison.html",
        "compare *.safetensors --csv measures.csv",
    )
)
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model files, folders that hold some, or patterns.",
            metavar="MODEL...",
            autocompletion=complete_models,
        ),
    ],
    rollouts: o.Rollouts = 16,
    steps: o.EvaluationSteps = 2000,
    metric: o.MetricOption = Metric.MSE,
    sort: o.Sort = None,
    csv: o.Csv = None,
    table: o.Table = None,
    curves: o.Curves = None,
    picture: o.ComparePicture = None,
    animation: o.Animation = None,
    report: o.Report = None,
    force: o.Force = False,
    device: o.DeviceOption = Device.AUTO,
    threads: o.Threads = 0,
    seed: o.Seed = 0,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Measure how well models grow, persist and regenerate, and set the numbers side by side."""
    from ncatool.cli.announce import announce_comparison
    from ncatool.nca.model_header import read_header, require_model
    from ncatool.nca.model_name import find_models

    paths = find_models(models)
    outputs = ComparisonOutputs(metric, sort, csv, picture, animation, report, force, table, curves)
    readable = any(read_header(path) for path in paths)
    if not readable:
        require_model(paths[0])
    announce_comparison(paths, rollouts, steps, outputs.list_files(), force)

    from ncatool.evaluation.protocol import Protocol
    from ncatool.evaluation.table import sort_evaluations

    protocol = Protocol(rollouts=rollouts, steps=steps, seed=seed)
    if readable:  # else the error to come is that of the models
        outputs.check(paths)
    place = prepare_device(threads, device)
    evaluations, failed = measure_models(paths, protocol, place)
    if sort is not None:
        evaluations = sort_evaluations(evaluations, sort)
    words, best = describe_models(evaluations)
    ending = Ending(outputs.list_files(), words, _suggest(models, best, outputs))
    _print(evaluations, metric, protocol, failed, ending)
    _write(evaluations, outputs, protocol, failed)
    ending.print()
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@dataclass(frozen=True)
class ComparisonOutputs:
    """What is printed and written of a comparison."""

    metric: Metric
    sort: str | None
    csv: Path | None
    picture: Path | None
    animation: Path | None
    report: Path | None
    force: bool
    """Whether to overwrite files."""
    table: Path | None = None
    """LaTeX or Markdown."""
    curves: Path | None = None

    @property
    def paper(self) -> PaperOutputs:
        """The outputs for a paper."""
        return PaperOutputs(self.table, self.curves, self.force)

    def list_files(self) -> list[Path]:
        """Return the files to write."""
        return [path for path in (self.csv, self.table, self.curves, self.picture, self.animation, self.report) if path]

    def check(self, models: Sequence[Path]) -> None:
        """Raise UsageError, before anything is measured, for what could not be written or sorted."""
        from ncatool.evaluation.table import check_sortable
        from ncatool.nca.model_name import find_record
        from ncatool.rendering.drawing import SHEET_FORMATS
        from ncatool.rendering.render import WRITERS, check_outputs

        curves = [model.with_suffix(".csv") for model in models]  # of training, which the report shows
        inputs = [*models, *map(find_record, models), *curves]
        if self.sort is not None:
            check_sortable(self.sort)
        for path, endings in ((self.csv, [".csv"]), (self.picture, [*SHEET_FORMATS]), (self.report, [".html"])):
            check_ending(path, *endings)
        self.paper.check_names()
        check_distinct(self.list_files())
        if self.animation is not None:
            if self.animation.suffix.lower() in (*SHEET_FORMATS, ""):
                choices = ", ".join(ending for ending in WRITERS if ending not in SHEET_FORMATS)
                raise UsageError(f"{self.animation} is no animation", f"choose an ending from {choices}")
            check_outputs([str(self.animation)], self.force, inputs)
        check_writable([path for path in self.list_files() if path != self.animation], self.force, inputs)


def measure_models(
    paths: Sequence[Path], protocol: Protocol, device: torch.device
) -> tuple[list[Evaluation], dict[Path, NcatoolError]]:
    """Measure models with a progress bar; return the evaluations, and why other files could not be loaded.

    Raises NcatoolError where none could.
    """
    from ncatool.evaluation.models import load_candidates

    candidates, failed = load_candidates(paths, device)
    for error in failed.values():
        terminal.print_failure(f"not compared: {error.what}")
    if not candidates:
        raise NcatoolError(f"none of {len(failed)} models can be loaded", "name model files that ncatool has written")
    print_slowness(device, [candidate.model.config for candidate in candidates])
    total = sum(protocol.count_steps(one.model.target.shape) for one in candidates)
    with terminal.show_progress(total, "steps") as update:
        return _measure_each(candidates, protocol, update), failed


def _measure_each(candidates: Sequence[Candidate], protocol: Protocol, update: terminal.Update) -> list[Evaluation]:
    from ncatool.evaluation.models import evaluate

    done = 0
    evaluations = []
    for candidate in candidates:

        def count_step(name: str = candidate.name) -> None:
            nonlocal done
            done += 1
            if done % 20 == 0:
                update(done, terminal.clean_line(name, 30))

        evaluations.append(evaluate(candidate, protocol, count_step))
    return evaluations


def _print(
    evaluations: Sequence[Evaluation],
    metric: Metric,
    protocol: Protocol,
    failed: Mapping[Path, NcatoolError],
    ending: Ending,
) -> None:
    if not terminal.settings.as_json:
        return print_evaluations(evaluations, metric)
    return terminal.print_result(
        {
            "trial": {"rollouts": protocol.rollouts, "steps": protocol.steps, "seed": protocol.seed},
            **describe_evaluations(evaluations),
            "failed": [{"path": str(path), "error": error.what} for path, error in failed.items()],
            **ending.describe(),
        }
    )


def _suggest(models: Sequence[str], best: Evaluation | None, outputs: ComparisonOutputs) -> list[str]:
    """Return the command to type next: to see all models on a page, or to watch the best one."""
    page = "comparison.html"
    if outputs.report is None and not os.path.lexists(page):
        return ["compare", *map(protect_name, models), "--report", page]
    return suggest_watching([best.candidate.path]) if best is not None else []


def describe_evaluations(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return what `--json` says of measured models: each, and those of several pictures also as one."""
    from ncatool.evaluation.several import list_several
    from ncatool.evaluation.table import to_json

    several = [one.to_json() for one in list_several(evaluations)]
    return {"models": [to_json(one) for one in evaluations], **({"several": several} if several else {})}


def print_evaluations(evaluations: Sequence[Evaluation], metric: Metric) -> None:
    """Print the table, and what its reader should know."""
    from ncatool.evaluation.several import describe_several, list_several
    from ncatool.evaluation.table import find_best, format_number, select_columns

    columns = select_columns(metric)
    headings = ["model", "filter", "loss", "damage", "target", *(column.heading for column in columns)]
    decimals = {column.heading: 3 for column in columns if column.name.startswith(("regeneration", "ssim"))}
    best = {column.name: find_best(evaluations, column) for column in columns}
    terminal.print_table(headings, [_make_row(one, columns, best) for one in evaluations], format_number, decimals)
    for line in _list_footnotes(evaluations, any(best.values())):
        terminal.print_note(line)
    for one in list_several(evaluations):
        terminal.print_note(f"{one.name}: {describe_several(one)}")


def _make_row(evaluation: Evaluation, columns: Sequence[Column], best: Mapping[str, set[str]]) -> list[Cell]:
    candidate = evaluation.candidate
    label = terminal.clean_line(candidate.name, 40) + ("†" if candidate.notes else "")
    grouping = [terminal.clean_line(value, 30) for value in candidate.grouping.values()]
    values = {column.name: evaluation.median(column.name) for column in columns}
    marked = [Best(value) if candidate.name in best[name] else value for name, value in values.items()]
    return [label, *grouping, *marked]


def _list_footnotes(evaluations: Sequence[Evaluation], has_best: bool) -> list[str]:
    is_mixed = len({evaluation.candidate.target_key for evaluation in evaluations}) > 1
    lines = ["the targets differ: each model is measured against its own"] if is_mixed else []
    if has_best:
        lines.append(f"* {BEST}{', for each target' if is_mixed else ''}")
    notes = {note for evaluation in evaluations for note in evaluation.candidate.notes}
    return [*lines, *(f"† {note}" for note in sorted(notes))]


def _write(
    evaluations: Sequence[Evaluation],
    outputs: ComparisonOutputs,
    protocol: Protocol,
    failed: Mapping[Path, NcatoolError],
) -> None:
    from ncatool.evaluation.table import to_csv
    from ncatool.rendering.comparison import ANIMATION, arrange_strips, save_animation
    from ncatool.rendering.drawing import SHEET_FORMATS
    from ncatool.rendering.timeline import plan_moments

    if outputs.csv is not None:
        write_bytes(outputs.csv, to_csv(evaluations), outputs.force)
    outputs.paper.write(evaluations, outputs.metric, protocol)
    if outputs.picture is not None:
        with replace_atomically(outputs.picture, outputs.force) as partial:
            arrange_strips(evaluations).save(partial, SHEET_FORMATS[outputs.picture.suffix.lower()])
    if outputs.report is not None:
        write_report(outputs.report, evaluations, outputs.metric, protocol, failed, outputs.force)
    if outputs.animation is not None:
        count = len(plan_moments(ANIMATION))
        candidates = [evaluation.candidate for evaluation in evaluations]
        save_animation(
            candidates, str(outputs.animation), lambda frames: terminal.track(frames, count, "frames"), outputs.force
        )
