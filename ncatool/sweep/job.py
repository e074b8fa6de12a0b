"""What a worker does for one run of a sweep, whichever process on whichever machine it is."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import platformdirs
import torch

from ncatool.config.names import Regime
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.engine import compiled
from ncatool.errors import NcatoolError
from ncatool.nca.model_file import tensors_to_weights
from ncatool.nca.weights import Weights
from ncatool.training import checkpoint_schema
from ncatool.training.checkpoint import read_checkpoint_tables
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from ncatool.training.trainer import Trainer

PROGRESS_INTERVAL = 0.5
"""Seconds between two words of a run on how it goes."""
TIMED_ITERATIONS = 3


class Ending(StrEnum):
    """How a worker's time with a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """All that a run needs, wherever it is done: no file of the user's has to be on that machine."""

    name: str
    config: RunConfig
    target: Target
    initial: dict[str, Any] | None
    """Weights to start from by name, as numpy arrays; None: fresh ones."""
    folder: Path
    """Where its files belong."""
    token: str
    """What the sweep has written into that folder: a worker that finds it there writes into the folder itself."""
    threads: int
    files: dict[str, bytes] = field(default_factory=dict)
    """Its checkpoint by the file's name, for a worker that does not see the folder."""
    timing_only: bool = False
    """Whether only to measure how long an iteration takes."""

    @property
    def key(self) -> str:
        """The same for the same run of the same plan."""
        digest = hashlib.sha256(repr((self.name, self.config, sorted(self.initial or {}))).encode())
        digest.update(self.target.pixels.tobytes())
        for _, array in sorted((self.initial or {}).items()):
            digest.update(array.tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Progress:
    """How a run goes."""

    name: str
    iteration: int
    loss: float
    mse: float


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    name: str
    ending: Ending
    what: str = ""
    hint: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """The run's files by name, where the worker did not see the folder."""
    seconds: float = 0.0
    """An iteration's, of a trial."""


@dataclass(frozen=True)
class WorkerLost:
    """A job whose worker has gone."""

    name: str
    what: str
    failures: int = 1
    """How many failures of the run this counts for; none where it was not its fault."""


Message = Progress | Outcome | WorkerLost
ProgressCallback = Callable[[Progress], object]


def token_path(folder: Path, token: str) -> Path:
    """The file by which a worker knows that it sees the sweep's folder."""
    return folder / f".sweep-{token}"


def trains_alike(one: RunConfig, other: RunConfig) -> bool:
    """Whether two configurations train the same way; the target is compared by its pixels."""
    trains = [dataclasses.replace(config.train, threads=0, checkpoint_every=0) for config in (one, other)]
    return one.model == other.model and trains[0] == trains[1]


def is_same_target(record: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two `[target]` tables are of the same pixels on the same grid."""
    return all(record.get(name) == other.get(name) for name in ("sha256", "padding"))


def can_resume(config: RunConfig, target: Target, path: Path) -> bool:
    """Whether a checkpoint is there, can be read, and is of this run."""
    try:
        facts, record = read_checkpoint_tables(path)
        return trains_alike(config, checkpoint_schema.read_config(facts, str(path))) and is_same_target(
            record, target.describe()
        )
    except NcatoolError:
        return False


def scratch_folder(key: str) -> Path:
    """A folder for a run whose own cannot be seen: the same for the same run, on all machines that share a home."""
    return platformdirs.user_cache_path("ncatool") / "sweeps" / key


def remove_scratch(keys: list[str]) -> None:
    """Removes what runs have left on this machine, once it has been delivered."""
    for key in keys:
        shutil.rmtree(scratch_folder(key), ignore_errors=True)


def run_job(job: Job, stopped: Callable[[], bool], tell: ProgressCallback, leased: bool = False) -> Outcome:
    """Begins a run or goes on with it, until the end or until `stopped`; whatever goes wrong is told, not raised."""
    compiled.configure_process(job.threads)
    try:
        if job.timing_only:
            return Outcome(job.name, Ending.FINISHED, seconds=time_iteration(job))
        if stopped():
            return Outcome(job.name, Ending.STOPPED)
        if token_path(job.folder, job.token).exists():
            return Outcome(job.name, _run_in_folder(job, job.folder, stopped, tell, leased))
        folder = scratch_folder(job.key)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in job.files.items():
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
        ending = _run_in_folder(job, folder, stopped, tell, leased)
        return Outcome(job.name, ending, files=read_files(folder, job.name))
    except NcatoolError as error:
        return Outcome(job.name, Ending.FAILED, error.what, error.hint)
    except Exception as error:  # the other runs go on
        return Outcome(job.name, Ending.FAILED, f"{type(error).__name__}: {error}", "look at this run's settings")


def read_files(folder: Path, name: str) -> dict[str, bytes]:
    """A run's files by name."""
    return {
        path.name: path.read_bytes() for path in RunFiles(folder / f"{name}.safetensors").list_paths() if path.exists()
    }


def _run_in_folder(job: Job, folder: Path, stopped: Callable[[], bool], tell: ProgressCallback, leased: bool) -> Ending:
    files = RunFiles(folder / f"{job.name}.safetensors")
    with files.lock(leased):
        run, last = open_run(job, files), 0.0
        for report in run.train(stopped):
            now = time.monotonic()
            if now - last >= PROGRESS_INTERVAL or report.iteration == job.config.train.iterations:
                tell(Progress(job.name, report.iteration, report.loss, report.mse))
                last = now
        if run.trainer.iteration < job.config.train.iterations:
            return Ending.STOPPED
        run.finish()
        return Ending.FINISHED


def open_run(job: Job, files: RunFiles) -> Run:
    """The run where its checkpoint left it, if there is a whole one; else from the start."""
    if can_resume(job.config, job.target, files.checkpoint):
        train = job.config.train
        try:
            return Run.resume(files, threads=train.threads, checkpoint_every=train.checkpoint_every)
        except NcatoolError:
            pass  # a changed byte that only its checksum tells: none of it is believed
    for path in files.list_paths():
        path.unlink(missing_ok=True)
    return Run(job.config, job.target, files, _initial_weights(job))


def _initial_weights(job: Job) -> Weights | None:
    if job.initial is None:
        return None
    return tensors_to_weights({name: torch.from_numpy(array.copy()) for name, array in job.initial.items()})


def time_iteration(job: Job) -> float:
    """Median time of an iteration once the picture has grown, measured on a pool of states that look like it.

    A run's first iterations would tell little: from an untrained seed nothing grows, and nothing costs nothing.
    """
    train = dataclasses.replace(job.config.train, regime=Regime.PERSISTENT, pool_size=job.config.train.batch_size)
    trainer = Trainer(dataclasses.replace(job.config, train=train), job.target, _initial_weights(job))
    grown = torch.zeros_like(trainer.pool.states)
    grown[..., :4] = torch.from_numpy(job.target.premultiply())
    seconds = []
    for _ in range(1 + TIMED_ITERATIONS):  # the first one warms up
        trainer.pool.states.copy_(grown)
        start = time.monotonic()
        next(trainer.train())
        seconds.append(time.monotonic() - start)
    return statistics.median(seconds[1:])
