"""`ncatool info`: what a file is, how it was trained, how good it is, and what wrote it."""

from __future__ import annotations

import math
import shlex
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_models
from ncatool.cli.help import list_examples
from ncatool.cli.progress_line import format_duration
from ncatool.nca.seed_summary import describe_places

if TYPE_CHECKING:
    from ncatool.evaluation.model_info import ModelInfo

MOST_LETTERS = 60
"""Letters of a text from a file that are shown."""


@app.command(epilog=list_examples("info phantom", "info phantom.safetensors --json", "info runs/*.toml"))
def info(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model files, checkpoints, or records (NAME.toml).", metavar="MODEL...", autocompletion=complete_models
        ),
    ],
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Tell of models: what they are, how they were trained, how good they are, and which version wrote them."""
    from ncatool.evaluation.model_info import read_info

    found = [read_info(name) for name in models]
    if terminal.settings.as_json:
        described = [_to_json(one) for one in found]
        return terminal.print_result(described[0] if len(found) == 1 else {"models": described})
    for one in found:
        _print(one)
    return None


def _to_json(one: ModelInfo) -> dict[str, Any]:
    parts = {"target": one.target, "rule": one.rule, "training": one.training, "quality": one.quality}
    seed = {"seed": {"cells": len(one.seed), "places": [[*place] for place in one.seed]}} if one.seed else {}
    return {"path": str(one.path), "kind": one.kind, **parts, **seed, "version": one.version}


def _print(one: ModelInfo) -> None:
    lines = {
        one.kind: str(one.path),
        "grows": _describe_target(one.target),
        "rule": _describe_rule(one.rule),
        **({"seed": _describe_seed(one)} if one.seed else {}),
        "trained": _describe_training(one.training),
        "quality": _describe_quality(one),
        "version": _describe_version(one.version),
    }
    for name, text in lines.items():
        terminal.print_line(f"{name:<10}  {text}")
    for line in _list_pictures(one):
        terminal.print_line(line)


def _shorten(value: Any) -> str:
    return terminal.clean_line(str(value), MOST_LETTERS)


def _describe_target(target: dict[str, Any]) -> str:
    sides = f"{target['height']}×{target['width']}" if "height" in target else _shorten(target.get("size", "?"))
    size = f", {sides} cells"
    margin = f" with {_shorten(target['padding'])} around the picture" if target.get("padding") else ""
    if isinstance(target.get("names"), list):
        return f"{len(target['names'])} pictures{size}{margin}"
    label = target.get("meaning") or (target.get("label") if isinstance(target.get("label"), str) else None)
    return f"{_shorten(target.get('source', '?'))}{f' ({_shorten(label)})' if label else ''}{size}{margin}"


def _describe_seed(one: ModelInfo) -> str:
    places = describe_places(one.seed)
    return f"{places}; a code for each picture" if _get_names(one) else places


def _get_names(one: ModelInfo) -> list[str]:
    """Return the names of several pictures; none of one picture, or where the file's list is no such list."""
    names = one.target.get("names")
    return [str(name) for name in names] if isinstance(names, list) else []


def _list_pictures(one: ModelInfo) -> list[str]:
    """Return a line for each of several pictures: its name, its error where it is known, and its source."""
    names = [_shorten(name) for name in _get_names(one)]
    errors = next((one.quality[key] for key in one.quality if key.startswith("each_mse_at_")), None)
    known = [_describe_error(error) for error in errors] if isinstance(errors, list) else []
    sources = one.target.get("sources")
    rows = zip_longest(names, known, map(_shorten, sources) if isinstance(sources, list) else [], fillvalue="")
    width, most = max(map(len, names), default=0), max(map(len, known), default=0)
    return [f"  {name:<{width}}  {error:>{most}}  {source}".rstrip() for name, error, source in rows]


def _describe_rule(rule: dict[str, Any]) -> str:
    wrap = ", edges wrap" if rule["boundary"] == "wrap" else ""
    sizes = f"{rule['channels']} channels, {rule['hidden']} hidden units, {rule['parameters']:,} parameters"
    return f"{rule['filter']} filter, {sizes}, fire rate {rule['fire_rate']:g}{wrap}"


def _describe_training(training: dict[str, Any]) -> str:
    if not training:
        return "not known: it was imported, or written by an early version"
    done, planned = training["iterations"], training["planned"]
    if done is None:
        count = f"for {_count(planned)} iterations as planned (its record tells how many were done)"
    else:
        count = f"{_count(done)} of {_count(planned)} iterations" if done != planned else f"{_count(done)} iterations"
    loss = f"{_shorten(training.get('loss', '?'))} loss"
    regime = f"{_shorten(training.get('regime', '?'))}{' (with damage)' if training['damage'] else ''}"
    start = f"from {_shorten(training['initial'])}" if "initial" in training else ""
    seconds = training["seconds"]
    took = format_duration(seconds) if isinstance(seconds, int | float) else ""
    place = f"on {_shorten(training['device'])}" if training["device"] else ""
    seed = f"seed {_shorten(training.get('seed', '?'))}"
    return ", ".join(part for part in (count, loss, regime, seed, start, f"{took} {place}".strip()) if part)


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else _shorten(number)


def _describe_quality(one: ModelInfo) -> str:
    quality, name = one.quality, shlex.quote(str(one.path.with_suffix(".safetensors")))
    if not quality:
        again = f"; go on training: ncatool resume {name}" if one.kind == "checkpoint" else ""
        return f"not measured: ncatool compare {name}{again}"
    if quality["source"] == "record":
        steps = [key.removeprefix("mse_at_") for key in quality if key.startswith("mse_at_")]
        parts = [f"{_describe_error(quality[f'mse_at_{step}'])} at step {step}" for step in steps]
        worst = next((quality[key] for key in quality if key.startswith("worst_mse_at_")), None)
        parts += [] if worst is None else [f"the worst picture {_describe_error(worst)}"]
        return f"{', '.join(parts)}; more: ncatool compare {name}"
    parts = [
        f"{_describe_error(quality['mse_at_96'])} at step 96",
        f"{_describe_error(quality['mse_later'])} from 200 to {_count(quality['steps'])}",
        f"a circle heals to {_describe_error(quality['mse_healed_circle'])}",
        *(f"{quality[key]:.0%} {key}" for key in ("dead", "exploded") if quality[key]),
    ]
    return f"{', '.join(parts)} ({_count(quality['rollouts'])} rollouts)"


def _describe_error(mse: Any) -> str:
    """Return an error in dB; one beyond any picture's as it is."""
    if not isinstance(mse, int | float) or not math.isfinite(mse):
        return "exploded"
    if mse > 1:
        return f"exploded (MSE {mse:.2g})"
    return f"{-10 * math.log10(mse):.1f} dB" if mse > 0 else "exact"


def _describe_version(version: dict[str, Any]) -> str:
    packages = [f"{name} {_shorten(version[name])}" for name in ("ncatool", "torch") if name in version]
    return f"{', '.join(packages) or 'not in the file'} (format {_shorten(version.get('format'))})"
