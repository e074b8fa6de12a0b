"""The folder of a sweep: which of its runs are there, whole, half done, or of another plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ncatool.config.flat import flattened
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import unwritable, write
from ncatool.files.lock import held
from ncatool.files.toml import read_toml, write_toml
from ncatool.nca.model_file import load_model
from ncatool.sweep import plan as plans
from ncatool.sweep.job import same_picture, same_training
from ncatool.sweep.plan import Planned
from ncatool.training import checkpoint_schema
from ncatool.training.checkpoint import checkpoint_tables
from ncatool.training.run_files import RunFiles

VOLATILE = ("threads", "checkpoint_every", "target")
"""Settings in which a run may differ from the plan: they change no byte, or the pixels tell more."""


class State(StrEnum):
    """What there is of a run."""

    NEW = "new"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    STALE = "stale"


@dataclass(frozen=True)
class Found:
    """What there is of a run, and what is to be said of it."""

    state: State
    iteration: int = 0
    """How far its checkpoint is."""
    why: str = ""
    """What makes it stale."""


@dataclass(frozen=True)
class Folder:
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

    def run(self, name: str) -> RunFiles:
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
    def alone(self) -> Iterator[None]:
        """Makes the folder, and keeps other sweeps out of it; goes without a trace if nothing came of it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from None
        try:
            with held(self.path / ".sweep.lock", str(self.path)):
                yield
        finally:
            with suppress(OSError):
                self.path.rmdir()  # only if it is empty

    def planned(self) -> dict[str, RunConfig]:
        """What the last sweep planned here, by name."""
        if not self.manifest.exists():
            return {}
        tables = read_toml(self.manifest)
        before = plans.load(tables, str(self.manifest), {}, most=10**9)
        return {plan.name: plan.config for plan in before}

    def plan(self, planned: Sequence[Planned]) -> None:
        """Records what is planned here from now on."""
        write_toml(self.manifest, plans.tables_of(planned))

    def deliver(self, files: Mapping[str, bytes]) -> None:
        """Writes a run's files that came from afar, those last that say that it is finished."""
        for name in sorted(files, key=lambda name: (name.endswith(".png"), name.endswith(".toml"), name)):
            write(self.path / name, files[name])

    def look(self, plan: Planned, target: Target, before: RunConfig | None) -> Found:
        """What there is of a run; `before` is what was planned under its name."""
        files = self.run(plan.name)
        if not any(path.exists() for path in files.all()):
            return Found(State.NEW)
        if _finished(plan.config, target, files):
            return Found(State.FINISHED, plan.config.train.iterations)
        reached, config, picture = _reached(files.checkpoint)
        if config is not None and same_training(plan.config, config) and same_picture(picture, target.record()):
            return Found(State.UNFINISHED, reached)
        if before is not None and not _differences(before, plan.config) and not _of_another(plan.config, target, files):
            return Found(State.UNFINISHED)
        return Found(State.STALE, why=_why(plan.config, target, files, config or before))


def _reached(checkpoint: Path) -> tuple[int, RunConfig | None, dict[str, Any]]:
    """How far a checkpoint is, and of what; (0, None, {}) where it cannot be read."""
    try:
        facts, picture = checkpoint_tables(checkpoint)
        config = checkpoint_schema.configuration(facts, str(checkpoint))
        return checkpoint_schema.numbers(facts, config)["iteration"], config, picture
    except NcatoolError:
        return 0, None, {}


def _record(files: RunFiles) -> dict[str, Any] | None:
    try:
        return read_toml(files.record)
    except NcatoolError:
        return None


def _of_another(config: RunConfig, target: Target, files: RunFiles) -> bool:
    """Whether the record tells of a run that is not the planned one."""
    record = _record(files)
    return record is not None and bool(_recorded_differences(config, target, record))


def _finished(config: RunConfig, target: Target, files: RunFiles) -> bool:
    """Whether all files are there, the model whole, and the record that of the plan, measured at the end.

    The picture is what a run writes last.
    """
    needed = [path for path in files.all() if path != files.checkpoint or config.train.checkpoint]
    record = _record(files)
    if record is None or not all(path.is_file() for path in needed) or _recorded_differences(config, target, record):
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
    return same_picture(model.target.record(), target.record())


def _recorded_differences(config: RunConfig, target: Target, record: Mapping[str, Any]) -> list[str]:
    told = {name: table if isinstance(table := record.get(name), dict) else {} for name in ("model", "target", "train")}
    wanted = {"model": dataclasses.asdict(config.model), "train": dataclasses.asdict(config.train)}
    lines = [
        f"{name} {told[table].get(name, 'nothing')}, now {value}"
        for table, settings in wanted.items()
        for name, value in settings.items()
        if name not in VOLATILE and told[table].get(name) != value
    ]
    return lines if same_picture(told["target"], target.record()) else [*lines, "another picture"]


def _differences(one: RunConfig, other: RunConfig) -> list[str]:
    a, b = flattened(one), flattened(other)
    return [f"{name} {a[name]}, now {b[name]}" for name in a if a[name] != b[name] and name not in VOLATILE]


def _why(config: RunConfig, target: Target, files: RunFiles, before: RunConfig | None) -> str:
    record = _record(files)
    lines = _recorded_differences(config, target, record) if record is not None else []
    if not lines and before is not None:
        lines = _differences(before, config)
    return ", ".join(lines) or "it is not known what it was trained with"
