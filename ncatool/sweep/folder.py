"""The folder of a sweep: which of its runs are there, whole, half done, or of another plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ncatool.config.flat import flatten_config
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import describe_write_error, write_bytes
from ncatool.files.lock import hold_lock
from ncatool.files.toml import read_toml, write_toml
from ncatool.nca.model_file import load_model
from ncatool.sweep import plan as plans
from ncatool.sweep.job import is_same_target, trains_alike
from ncatool.sweep.plan import PlannedRun
from ncatool.training import checkpoint_schema
from ncatool.training.checkpoint import read_checkpoint_tables
from ncatool.training.run_files import RunFiles

IGNORED_SETTINGS = ("threads", "checkpoint_every", "target")
"""Settings in which a run may differ from the plan: they change no byte, or the pixels tell more."""


class RunState(StrEnum):
    """What there is of a run."""

    NEW = "new"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STALE = "stale"


@dataclass(frozen=True)
class RunStatus:
    """What there is of a run, and what is to be said of it."""

    state: RunState
    iteration: int = 0
    """How far its checkpoint is."""
    why: str = ""
    """What makes it stale."""


@dataclass(frozen=True)
class SweepFolder:
    """Where a sweep's files lie."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The plan that this folder was last filled by, as a plan that can be run."""
        return self.path / "sweep.toml"

    @property
    def summary(self) -> Path:
        return self.path / "summary.csv"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def run_files(self, name: str) -> RunFiles:
        return RunFiles(self.path / f"{name}.safetensors")

    def check(self, force: bool) -> None:
        """Refuses a folder that cannot be one, or in which something lies under the sweep's own names."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file", "give --out the name of a folder")
        for path in (self.summary, self.report):
            if path.exists() and not self.manifest.exists() and not force:
                raise UsageError(
                    f"{path} exists already, and is of no sweep", "give another --out, or --force to overwrite it"
                )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder, and keeps other sweeps out of it; goes without a trace if nothing came of it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise describe_write_error(self.path, error) from None
        try:
            with hold_lock(self.path / ".sweep.lock", str(self.path)):
                yield
        finally:
            with suppress(OSError):
                self.path.rmdir()  # only if it is empty

    def read_plan(self) -> dict[str, RunConfig]:
        """What the last sweep planned here, by name."""
        if not self.manifest.exists():
            return {}
        tables = read_toml(self.manifest)
        before = plans.read_plan(tables, str(self.manifest), {}, most=10**9)
        return {plan.name: plan.config for plan in before}

    def write_plan(self, planned: Sequence[PlannedRun]) -> None:
        """Records what is planned here from now on."""
        write_toml(self.manifest, plans.plan_to_tables(planned))

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Writes a run's files that came from afar, those last that say that it is finished."""
        for name in sorted(files, key=lambda name: (name.endswith(".png"), name.endswith(".toml"), name)):
            write_bytes(self.path / name, files[name])

    def find_status(self, plan: PlannedRun, target: Target, before: RunConfig | None) -> RunStatus:
        """What there is of a run; `before` is what was planned under its name."""
        files = self.run_files(plan.name)
        if not any(path.exists() for path in files.list_paths()):
            return RunStatus(RunState.NEW)
        if _is_finished(plan.config, target, files):
            return RunStatus(RunState.FINISHED, plan.config.train.iterations)
        reached, config, picture = _read_progress(files.checkpoint)
        if config is not None and trains_alike(plan.config, config) and is_same_target(picture, target.describe()):
            return RunStatus(RunState.UNFINISHED, reached)
        if (
            before is not None
            and not _compare_configs(before, plan.config)
            and not _is_another_run(plan.config, target, files)
        ):
            return RunStatus(RunState.UNFINISHED)
        return RunStatus(RunState.STALE, why=_explain_stale(plan.config, target, files, config or before))


def _read_progress(checkpoint: Path) -> tuple[int, RunConfig | None, dict[str, Any]]:
    """How far a checkpoint is, and of what; (0, None, {}) where it cannot be read."""
    try:
        facts, picture = read_checkpoint_tables(checkpoint)
        config = checkpoint_schema.read_config(facts, str(checkpoint))
        return checkpoint_schema.check_numbers(facts, config)["iteration"], config, picture
    except NcatoolError:
        return 0, None, {}


def _read_record(files: RunFiles) -> dict[str, Any] | None:
    try:
        return read_toml(files.record)
    except NcatoolError:
        return None


def _is_another_run(config: RunConfig, target: Target, files: RunFiles) -> bool:
    """Whether the record tells of a run that is not the planned one."""
    record = _read_record(files)
    return record is not None and bool(_compare_record(config, target, record))


def _is_finished(config: RunConfig, target: Target, files: RunFiles) -> bool:
    """Whether all files are there, the model whole, and the record that of the plan, measured at the end.

    The picture is what a run writes last.
    """
    needed = [path for path in files.list_paths() if path != files.checkpoint or config.train.checkpoint]
    record = _read_record(files)
    if record is None or not all(path.is_file() for path in needed) or _compare_record(config, target, record):
        return False
    result = record.get("result")
    if (
        not isinstance(result, dict)
        or result.get("iterations") != config.train.iterations
        or "mse_at_500" not in result
    ):
        return False
    try:
        model = load_model(files.model)
    except NcatoolError:
        return False
    return is_same_target(model.target.describe(), target.describe())


def _compare_record(config: RunConfig, target: Target, record: Mapping[str, Any]) -> list[str]:
    told = {name: table if isinstance(table := record.get(name), dict) else {} for name in ("model", "target", "train")}
    wanted = {"model": dataclasses.asdict(config.model), "train": dataclasses.asdict(config.train)}
    lines = [
        f"{name} {told[table].get(name, 'nothing')}, now {value}"
        for table, settings in wanted.items()
        for name, value in settings.items()
        if name not in IGNORED_SETTINGS and told[table].get(name) != value
    ]
    return lines if is_same_target(told["target"], target.describe()) else [*lines, "another picture"]


def _compare_configs(one: RunConfig, other: RunConfig) -> list[str]:
    a, b = flatten_config(one), flatten_config(other)
    return [f"{name} {a[name]}, now {b[name]}" for name in a if a[name] != b[name] and name not in IGNORED_SETTINGS]


def _explain_stale(config: RunConfig, target: Target, files: RunFiles, before: RunConfig | None) -> str:
    record = _read_record(files)
    lines = _compare_record(config, target, record) if record is not None else []
    if not lines and before is not None:
        lines = _compare_configs(before, config)
    return ", ".join(lines) or "it is not known what it was trained with"
