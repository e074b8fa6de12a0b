"""The folder of a sweep: its files, and which of its runs are new, unfinished, finished, or of another plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ncatool.config.flat import flatten_config
from ncatool.config.schema import RunConfig, check_file_name
from ncatool.config.tables import complete_training
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import check_writable, describe_write_error, write_bytes
from ncatool.files.lock import Note, hold_lock
from ncatool.files.toml import read_toml, write_toml
from ncatool.nca.model_file import load_model
from ncatool.sweep import plan as plans
from ncatool.sweep.identity import RunIdentity, is_same_start, is_same_target, read_progress
from ncatool.sweep.plan import PlannedRun
from ncatool.training.checkpoint_schema import read_origin
from ncatool.training.run_files import RunFiles, list_inputs

IGNORED_SETTINGS = ("threads", "checkpoint_every", "target")
"""Settings in which a run may differ from the plan: they do not change the result; targets are compared by pixels."""

OTHER_START = "the model that it starts from has changed"
"""Why a run is stale whose `--from` names a file with other weights than before."""


class RunState(StrEnum):
    """How much of a run exists."""

    NEW = "new"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STALE = "stale"
    """There are files, but of other settings or another target than planned."""


@dataclass(frozen=True)
class RunStatus:
    """How much of a run exists, and the details for messages."""

    state: RunState
    iteration: int = 0
    """Iterations that are done, as far as a checkpoint or the record shows."""
    why: str = ""
    """The settings that differ from the plan, where it is stale."""


@dataclass(frozen=True)
class SweepFolder:
    """The names of a sweep's files, and what they contain."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The file of the last plan that ran in this folder; it can be run again."""
        return self.path / "sweep.toml"

    @property
    def summary(self) -> Path:
        """The table of all runs."""
        return self.path / "summary.csv"

    @property
    def report(self) -> Path:
        """The page that compares the models."""
        return self.path / "report.html"

    def get_run_files(self, name: str) -> RunFiles:
        """Return the names of a run's files."""
        return RunFiles(self.path / f"{name}.safetensors")

    def check(self, force: bool) -> None:
        """Raise UsageError where the folder is a file, or holds files under the sweep's names that no sweep wrote."""
        check_file_name(str(self.path.resolve()))
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file", "give --out the name of a folder")
        for path in (self.summary, self.report):
            if path.exists() and not self.manifest.exists() and not force:
                raise UsageError(
                    f"{path} exists already, and no sweep wrote it", "give another --out, or --force to overwrite it"
                )

    @contextmanager
    def lock(self, note: Note) -> Iterator[None]:
        """Create the folder, and lock it against other sweeps; an empty folder is removed at the end.

        See `hold_lock`.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise describe_write_error(self.path, error) from None
        try:
            with hold_lock(self.path / ".sweep.lock", str(self.path), note):
                yield
        finally:
            with suppress(OSError):
                self.path.rmdir()  # fails if it is not empty

    def read_plan(self) -> dict[str, RunConfig]:
        """Return the settings of each run that the last sweep planned here, by name; empty if there was none."""
        if not self.manifest.exists():
            return {}
        tables = read_toml(self.manifest)
        planned = plans.read_plan(tables, str(self.manifest), {}, max_runs=10**9)
        return {plan.name: plan.config for plan in planned}

    def write_plan(self, planned: Sequence[PlannedRun]) -> None:
        """Write the plan, for later sweeps in this folder, unless it stands there already."""
        if not self._holds_plan(planned):
            write_toml(self.manifest, plans.plan_to_tables(planned))

    def _holds_plan(self, planned: Sequence[PlannedRun]) -> bool:
        return self.manifest.exists() and read_toml(self.manifest) == plans.plan_to_tables(planned)

    def check_inputs(self, planned: Sequence[PlannedRun], plan_file: Path | None) -> list[Path]:
        """Return all files that the sweep reads or writes.

        Raises UsageError where a file that a run reads, or the file of the plan, would be written.
        """
        runs = [path for plan in planned for path in self.get_run_files(plan.name).list_paths()]
        manifest = [] if self._holds_plan(planned) else [self.manifest]
        inputs = [*{path for plan in planned for path in list_inputs(plan.config)}, *([plan_file] if plan_file else [])]
        check_writable([*manifest, self.summary, self.report, *runs], True, inputs)
        return [*{self.manifest, self.summary, self.report, *runs, *inputs}]

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write a run's files that a worker has sent; last the record and the picture, which mark it as finished."""
        for name in sorted(files, key=lambda name: (name.endswith(".png"), name.endswith(".toml"), name)):
            write_bytes(self.path / name, files[name])

    def find_status(self, name: str, planned: RunIdentity, previous: RunConfig | None) -> RunStatus:
        """Return how much of a run exists; `previous` are the settings last planned under its name, if any."""
        files = self.get_run_files(name)
        if not files.list_existing():
            return RunStatus(RunState.NEW)
        if _is_finished(planned, files):
            return RunStatus(RunState.FINISHED, planned.config.train.iterations)
        iteration, found = read_progress(files.find_checkpoint())
        if found is not None and found.is_same(planned):
            return RunStatus(RunState.UNFINISHED, iteration)
        record = _read_record(files)
        differences = _compare_record(planned, record) if record is not None else []
        if found is not None and not is_same_start(found.start, planned.start):
            differences = list(dict.fromkeys([*differences, OTHER_START]))
        if previous is not None and not differences and not _compare_configs(previous, planned.config):
            return RunStatus(RunState.UNFINISHED)
        if not differences and (known := found.config if found is not None else previous) is not None:
            differences = _compare_configs(known, planned.config)
        return RunStatus(RunState.STALE, why=", ".join(differences) or "its settings are unknown")


def _read_record(files: RunFiles) -> dict[str, Any] | None:
    """Return the record, or None where it cannot be read."""
    try:
        return read_toml(files.record)
    except NcatoolError:
        return None


def _is_finished(planned: RunIdentity, files: RunFiles) -> bool:
    """Return whether all files exist, the model can be loaded, and the record fits the plan and has the final measures.

    The picture is the file that a run writes last.
    """
    train, record = planned.config.train, _read_record(files)
    if record is None or not files.is_complete(train.checkpoint) or _compare_record(planned, record):
        return False
    result = record.get("result")
    if not isinstance(result, dict) or result.get("iterations") != train.iterations or "mse_at_500" not in result:
        return False
    try:
        model = load_model(files.model)
    except NcatoolError:
        return False
    return is_same_target(model.target.describe(), planned.picture)


def _compare_record(planned: RunIdentity, record: Mapping[str, Any]) -> list[str]:
    """Return the differences between a plan and a record, as text."""
    tables = ("model", "target", "train")
    recorded = {name: table if isinstance(table := record.get(name), dict) else {} for name in tables}
    recorded["train"] = complete_training(recorded["train"])
    config = {"model": dataclasses.asdict(planned.config.model), "train": dataclasses.asdict(planned.config.train)}
    lines = [
        f"{name} {recorded[table].get(name, 'nothing')}, now {value}"
        for table, settings in config.items()
        for name, value in settings.items()
        if name not in IGNORED_SETTINGS and recorded[table].get(name) != value
    ]
    if not is_same_target(recorded["target"], planned.picture):
        lines.append("another picture")
    if not is_same_start(read_origin(record).get("weights_sha256", ""), planned.start):
        lines.append(OTHER_START)
    return lines


def _compare_configs(previous: RunConfig, planned: RunConfig) -> list[str]:
    """Return the differences between two plans of a run, as text."""
    old, new = flatten_config(previous), flatten_config(planned)
    return [
        f"{name} {old[name]}, now {new[name]}"
        for name in old
        if old[name] != new[name] and name not in IGNORED_SETTINGS
    ]
