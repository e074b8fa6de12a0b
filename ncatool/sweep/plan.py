"""The plan of a sweep: turn a TOML file, flags with several values, or both, into runs with names."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ncatool.config.flat import SETTINGS, build_config, check_setting, check_settings, flatten_config
from ncatool.config.names import Regime
from ncatool.config.schema import FILE_FORMAT, RunConfig
from ncatool.config.tables import complete_training
from ncatool.data.default_name import name_targets
from ncatool.data.file_spec import list_words, locate_file
from ncatool.errors import UsageError, shorten

PLAN_TABLES = ("base", "grid", "runs", "replicates")
RESERVED_NAMES = ("summary", "sweep")
"""Names whose files the sweep itself writes."""
_NAME_PATTERN = re.compile(r"\w[\w.,@+=-]*")
MAX_NAME_BYTES = 120
"""Length of a run's name; file systems allow 255 bytes, endings included."""
_TRUE_WORDS, _FALSE_WORDS = ("yes", "true", "1", "on"), ("no", "false", "0", "off")

Settings = dict[str, Any]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep."""

    name: str
    config: RunConfig
    varied: Settings = field(default_factory=dict)
    """The settings in which it differs from other runs, as the plan gives them."""
    given: frozenset[str] = frozenset()
    """The names of all settings that the plan gives it; the others have their defaults."""


def parse_flags(flags: Mapping[str, str | bool | None]) -> dict[str, list[Any]]:
    """Return the values of each flag by setting: one, or several between commas.

    The order is that of `SETTINGS`, in which settings also stand in the names of runs. Raises UsageError for a value
    of the wrong type.
    """
    return {name: _parse_values(name, text) for name in SETTINGS if (text := flags.get(name)) is not None}


def _parse_values(name: str, text: str | bool) -> list[Any]:
    if isinstance(text, bool):
        return [text]
    if name == "damage" and text == "both":
        return [False, True]
    # The name of a file may contain a comma.
    is_file = name in ("target", "from", "alpha")
    parts = [text] if name == "crop" else list_words(text) if is_file else text.split(",")
    return [_parse_value(name, part.strip()) for part in parts]


def _parse_value(name: str, text: str) -> Any:
    kind = type(SETTINGS[name])
    flag = name.replace("_", "-")
    if not text:
        raise UsageError(f"--{flag} has an empty value", f"give --{flag} VALUE,VALUE,...")
    try:
        if kind is bool:
            return [False, True][[*_FALSE_WORDS, *_TRUE_WORDS].index(text.lower()) // len(_FALSE_WORDS)]
        value = text if issubclass(kind, str) else kind(text)
    except ValueError:
        choices = {bool: "yes, no or both", int: "whole numbers", float: "numbers"}[kind]
        raise UsageError(f"--{flag} is {shorten(text)}", f"give {choices}") from None
    return check_setting(name, value, "the command line")[1]


def read_plan(
    tables: Mapping[str, Any],
    where: str,
    flags: Mapping[str, Sequence[Any]],
    max_runs: int,
    expand: Callable[[str], str] = str,
) -> list[PlannedRun]:
    """Return the runs that the tables of a plan and the flags ask for, in order.

    A flag with one value holds for every run; one with several becomes a list of the grid. `where` names the plan in
    error messages; `expand` returns the text of a target with all of its pictures, where it is several. Raises
    UsageError for an unknown, malformed or contradictory entry, for two runs of one name, and for more than `max_runs`
    runs.
    """
    _check_tables(tables, where)
    if {"damage", "regime"} <= set(flags) and len(flags["damage"]) + len(flags["regime"]) > 2:
        raise UsageError("--damage and --regime set the same thing, one of them to several values", "give one of them")
    varied_flags = {name: list(values) for name, values in flags.items() if len(values) > 1}
    fixed = {name: values[0] for name, values in flags.items() if len(values) == 1}
    base = _get_table(tables, "base", where)
    if "format" in tables:  # else a user has written it
        base = complete_training(base)
    base = _merge_settings(check_settings(base, f"{where} [base]"), fixed)
    grid = {name: values for name, values in _read_grid(tables, where).items() if name not in fixed} | varied_flags
    entries = [_read_entry(entry, i, where) for i, entry in enumerate(_get_entries(tables, where), 1)]
    names = _expand_targets(base, grid, [settings for _, settings in entries], expand)
    single_runs = [(name or _make_name(one, names) or f"run{i}", one) for i, (name, one) in enumerate(entries, 1)]
    seeds = _read_seeds(tables, where)
    if "seed" in grid and seeds:
        raise UsageError(f"{where}: seeds stand in [grid] and in [replicates]", "give them in one of the two")
    seeds = [] if "seed" in fixed else seeds
    if not grid and not single_runs and not seeds:
        raise UsageError(f"{where} names no runs", "give [grid] lists of settings, or flags with several values")
    grid_size = math.prod(map(len, grid.values())) if grid or not single_runs else 0
    _check_count((grid_size + len(single_runs)) * max(1, len(seeds)), max_runs, where)
    combinations = itertools.product(*grid.values()) if grid_size else []
    variants = [("", dict(zip(grid, values, strict=True))) for values in combinations] + single_runs
    replicates = [one for variant in variants for one in _replicate(*variant, seeds, names)]
    plans = _build_runs(base, replicates, fixed, where)
    return plans if "format" in tables else list(map(_forget_defaults, plans))


def _expand_targets(
    base: Settings, grid: Settings, runs: Sequence[Settings], expand: Callable[[str], str]
) -> dict[str, str]:
    """Expand all targets of a plan, in place; return what those of several pictures are called in names of runs."""
    for settings in (base, *runs):
        if "target" in settings:
            settings["target"] = expand(settings["target"])
    if "target" in grid:
        grid["target"] = list(map(expand, grid["target"]))
    return name_targets([*grid.get("target", []), *(one["target"] for one in runs if "target" in one)])


def _forget_defaults(plan: PlannedRun) -> PlannedRun:
    """Return a run without defaults among its given settings, where it was planned by an earlier version.

    Those wrote every setting into the sweep's plan, and the default rule for a run that starts from another model.
    """
    settings = flatten_config(plan.config)
    if not plan.config.train.initial or not set(settings) <= plan.given:
        return plan
    return dataclasses.replace(plan, given=frozenset(name for name in settings if settings[name] != SETTINGS[name]))


def _check_tables(tables: Mapping[str, Any], where: str) -> None:
    unknown = set(tables) - set(PLAN_TABLES) - {"format"}
    if unknown:
        similar = difflib.get_close_matches(min(unknown), PLAN_TABLES, 1)
        hint = f"did you mean [{similar[0]}]?" if similar else "choose from [base], [grid], [[runs]], [replicates]"
        raise UsageError(f"{where}: unknown table [{min(unknown)[:80]}]", hint)


def _check_count(count: int, max_runs: int, where: str) -> None:
    """Raise UsageError for too many runs, before any is made: a typing error can ask for billions."""
    if count > max_runs:
        raise UsageError(
            f"{where} asks for {count:,} runs, more than {max_runs:,}", f"if you want so many, give --most {count}"
        )


def _get_table(tables: Mapping[str, Any], name: str, where: str) -> Settings:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(
            f"{where}: [{name}] is {shorten(table)}, which is no table", f"write [{name}] on a line of its own"
        )
    return table


def _read_grid(tables: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    grid: dict[str, list[Any]] = {}
    for name, values in _get_table(tables, "grid", where).items():
        if not isinstance(values, list):
            raise UsageError(f"{where} [grid]: {name} is {shorten(values)}, which is no list", "put it under [base]")
        if not values:
            raise UsageError(f"{where} [grid]: {name} is an empty list", "give it values, or leave it out")
        for value in values:
            field_name, field_value = check_setting(name, value, f"{where} [grid]")
            grid.setdefault(field_name, []).append(field_value)
    return grid


def _get_entries(tables: Mapping[str, Any], where: str) -> list[Settings]:
    entries = tables.get("runs", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{where}: runs is {shorten(entries)}", "write each run as a table [[runs]]")
    return entries


def _read_entry(entry: Settings, number: int, where: str) -> tuple[str, Settings]:
    """Return the name of a run, empty where it has none of its own, and its settings."""
    name = entry.get("name", "")
    if not isinstance(name, str):
        raise UsageError(f"{where}: run {number} has the name {shorten(name)}", "give a name between quotes")
    settings = check_settings(
        {key: value for key, value in entry.items() if key != "name"}, f"{where} [[runs]] {number}"
    )
    return name, settings


def _read_seeds(tables: Mapping[str, Any], where: str) -> list[int]:
    """Return the seeds of [replicates]: those listed, or 0, 1, 2, ... where it gives their number."""
    table = _get_table(tables, "replicates", where)
    if set(table) - {"seeds"}:
        raise UsageError(f"{where} [replicates]: unknown setting {shorten(min(set(table) - {'seeds'}))}", "give seeds")
    seeds = table.get("seeds", [])
    if type(seeds) is int and 0 < seeds <= 10**6:
        return list(range(seeds))
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds) or (table and not seeds):
        raise UsageError(f"{where} [replicates]: seeds is {shorten(seeds)}", "give a list of seeds, or how many")
    return seeds


def _replicate(
    name: str, settings: Settings, seeds: Sequence[int], targets: Mapping[str, str]
) -> list[tuple[str, Settings]]:
    """Return a variant for each seed, or the variant itself where it sets a seed."""
    if not seeds or "seed" in settings:
        return [(name or _make_name(settings, targets), settings)]
    stem = name or _make_name(settings, targets)
    return [("-".join(filter(None, (stem, f"seed{seed}"))), {**settings, "seed": seed}) for seed in seeds]


def _make_name(settings: Settings, targets: Mapping[str, str]) -> str:
    return "-".join(_make_name_part(name, value, targets) for name, value in settings.items())


def _make_name_part(name: str, value: Any, targets: Mapping[str, str]) -> str:
    """Return a setting as part of a file's name: `sobel`, `damage`, `no-damage`, `hidden64`, `chest`.

    `targets` are the names of targets of several pictures.
    """
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return flag if value else f"no-{flag}"
    if isinstance(value, StrEnum):
        return value.value
    found = locate_file(value) if name == "target" else None
    if name == "target" and value in targets:
        text = targets[value]
    elif found is not None:
        text = found.file_stem
    else:
        text = (Path(value).stem if Path(value).suffix else value) if name in ("target", "from") else f"{flag}{value}"
    return re.sub(r"[^\w.@+-]+", "_", text).strip("._-") or flag


def _build_runs(base: Settings, variants: list[tuple[str, Settings]], fixed: Settings, where: str) -> list[PlannedRun]:
    plans: dict[str, PlannedRun] = {}
    for long_name, settings in variants:
        name = _check_name(long_name, where)
        # On file systems that ignore case, both would have the same files.
        if name.casefold() in plans:
            raise UsageError(f"{where}: two runs are named {name}", "give each [[runs]] a name, and each value once")
        varied = {key: value for key, value in settings.items() if key not in fixed}
        try:
            given = _merge_settings(base, varied)
            plans[name.casefold()] = PlannedRun(name, build_config(given), varied, frozenset(given))
        except UsageError as error:
            raise UsageError(f"{where}, run {name}: {error.what}", error.hint) from None
    return list(plans.values())


def _merge_settings(lower: Settings, higher: Settings) -> Settings:
    """Return both; where they differ, `higher` holds. `damage` is short for the regime `regenerating`."""
    replaced = set()
    if "regime" in higher:
        replaced = {"damage"}
    elif "damage" in higher and higher["damage"] != (lower.get("regime") is Regime.REGENERATING):
        replaced = {"regime"}
    return {**{name: value for name, value in lower.items() if name not in replaced}, **higher}


def _check_name(name: str, where: str) -> str:
    if not _NAME_PATTERN.fullmatch(name) or name.endswith((".checkpoint", ".")):
        raise UsageError(
            f"{where}: {shorten(name)} cannot name a run's files", "use letters, digits and -_.,@+=, a letter first"
        )
    if name.casefold() in RESERVED_NAMES:
        raise UsageError(f"{where}: a run is named {name}, as a file of the sweep", "give it another name")
    if len(name.encode()) > MAX_NAME_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return f"{name.encode()[: MAX_NAME_BYTES - 9].decode(errors='ignore')}-{digest}"
    return name


def plan_to_tables(plans: Sequence[PlannedRun]) -> dict[str, Any]:
    """Return a plan as tables that `read_plan` reads: all settings in force, those that all runs share in [base]."""
    settings = [flatten_config(plan.config) for plan in plans]
    base = {name: value for name, value in settings[0].items() if all(other[name] == value for other in settings)}
    runs = [
        {"name": plan.name, **{name: value for name, value in own.items() if name not in base}}
        for plan, own in zip(plans, settings, strict=True)
    ]
    return {"format": FILE_FORMAT, "base": base, "runs": runs}


def to_json(varied: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as values that JSON and CSV can hold."""
    return {name: value if isinstance(value, bool | int | float) else str(value) for name, value in varied.items()}
