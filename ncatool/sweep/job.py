"""One run of a sweep as a job: what a worker receives, does and answers, in any process on any machine."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import platformdirs

from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.engine import compiled
from ncatool.errors import NcatoolError
from ncatool.evaluation.measures import Measures
from ncatool.nca.model_file import hash_weights, unpack_arrays
from ncatool.nca.types import Seed, Seeds
from ncatool.nca.weights import Weights
from ncatool.sweep.identity import RunIdentity, read_progress
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from ncatool.training.timing import time_iteration

PROGRESS_INTERVAL = 0.5
"""Seconds between two progress messages of a run."""


class Ending(StrEnum):
    """How a job ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@runtime_checkable
class Task(Protocol):
    """What workers do: train or time a run (`Job`), or measure a model (`MeasureJob`)."""

    @property
    def name(self) -> str:
        """The name of the run."""

    @property
    def token(self) -> str:
        """Names the sweep."""

    @property
    def key(self) -> str:
        """A hash that is the same for the same task."""

    def run(self, stopped: Callable[[], bool], report_progress: ProgressCallback) -> Outcome:
        """Do it to the end or until `stopped`, and return the result; errors are returned as well, not raised."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs for a run; none of the user's files has to be on its machine."""

    name: str
    config: RunConfig
    target: Target
    initial: dict[str, Any] | None
    """Weights to start from and the seed by name, as numpy arrays; None for new ones."""
    folder: Path
    """The folder of the sweep."""
    token: str
    """Names a file that the sweep has written into that folder: a worker that sees it writes its files there itself."""
    threads: int
    files: dict[str, bytes] = field(default_factory=dict)
    """The run's checkpoint by file name, for a worker that does not see the folder."""
    timing_only: bool = False
    """Whether to measure only how long an iteration takes."""

    @property
    def identity(self) -> RunIdentity:
        """What decides the result."""
        initial, _ = _read_start(self)
        return RunIdentity(self.config, self.target.describe(), hash_weights(initial) if initial else "")

    @property
    def key(self) -> str:
        """A hash that is the same for the same run of the same plan."""
        digest = hashlib.sha256(repr((self.name, self.config, sorted(self.initial or {}))).encode())
        for picture in self.target.pictures:
            digest.update(picture.pixels.tobytes())
        for _, array in sorted((self.initial or {}).items()):
            digest.update(array.tobytes())
        return digest.hexdigest()[:32]

    def run(self, stopped: Callable[[], bool], report_progress: ProgressCallback) -> Outcome:
        """Train or time the run; see `run_job`."""
        return run_job(self, stopped, report_progress)


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    name: str
    iteration: int
    loss: float
    mse: float


@dataclass(frozen=True)
class Outcome:
    """The result of a job."""

    name: str
    ending: Ending
    what: str = ""
    hint: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """The run's files by name, where the worker does not see the folder."""
    seconds: float = 0.0
    """Time of an iteration, of a job that measured only this."""
    measures: Measures | None = None
    """Of a job that measured a model."""


@dataclass(frozen=True)
class WorkerLost:
    """A job whose worker ended before the job did."""

    name: str
    what: str
    failures: int = 1
    """How many failures of the run this counts as; 0 where the run is not to blame."""


Message = Progress | Outcome | WorkerLost
ProgressCallback = Callable[[Progress], object]


def locate_token(folder: Path, token: str) -> Path:
    """Return the file by which a worker knows that it sees the sweep's folder."""
    return folder / f".sweep-{token}"


def locate_scratch(key: str) -> Path:
    """Return the folder of a run on a machine that does not see the sweep's.

    It is the same for the same run, on all machines that share a home folder.
    """
    return platformdirs.user_cache_path("ncatool") / "sweeps" / key


def remove_scratch(keys: list[str]) -> None:
    """Remove the files of these runs from this machine's scratch folder, once the sweep has them."""
    for key in keys:
        shutil.rmtree(locate_scratch(key), ignore_errors=True)


def run_job(job: Job, stopped: Callable[[], bool], report_progress: ProgressCallback) -> Outcome:
    """Start or resume a run, train it to the end or until `stopped`, and return the result.

    Errors are returned as well, not raised.
    """
    compiled.configure_process(job.threads)
    try:
        if job.timing_only:
            return Outcome(job.name, Ending.FINISHED, seconds=time_iteration(job.config, job.target, *_read_start(job)))
        if stopped():
            return Outcome(job.name, Ending.STOPPED)
        if locate_token(job.folder, job.token).exists():
            return Outcome(job.name, _run_in_folder(job, job.folder, stopped, report_progress))
        folder = locate_scratch(job.key)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in job.files.items():
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
        ending = _run_in_folder(job, folder, stopped, report_progress)
        return Outcome(job.name, ending, files=read_files(folder, job.name))
    except NcatoolError as error:
        return Outcome(job.name, Ending.FAILED, error.what, error.hint)
    except Exception as error:  # one run must not end the others
        return Outcome(job.name, Ending.FAILED, f"{type(error).__name__}: {error}", "look at this run's settings")


def read_files(folder: Path, name: str) -> dict[str, bytes]:
    """Return the files of a run that exist, by name."""
    return {
        path.name: path.read_bytes() for path in RunFiles(folder / f"{name}.safetensors").list_paths() if path.exists()
    }


def _run_in_folder(job: Job, folder: Path, stopped: Callable[[], bool], report_progress: ProgressCallback) -> Ending:
    files = RunFiles(folder / f"{job.name}.safetensors")
    with files.lock():
        run, last_progress = open_run(job, files), 0.0
        for report in run.train(stopped):
            now = time.monotonic()
            if now - last_progress >= PROGRESS_INTERVAL or report.iteration == job.config.train.iterations:
                report_progress(Progress(job.name, report.iteration, report.loss, report.mse))
                last_progress = now
        if run.trainer.iteration < job.config.train.iterations:
            return Ending.STOPPED
        run.write_results()
        return Ending.FINISHED


def open_run(job: Job, files: RunFiles) -> Run:
    """Return the run as its checkpoint left it, or a new run where there is no valid checkpoint."""
    _, found = read_progress(files.find_checkpoint())
    if found is not None and found.is_same(job.identity):
        train = job.config.train
        try:
            return Run.resume(files, threads=train.threads, checkpoint_every=train.checkpoint_every)
        except NcatoolError:
            pass  # its checksum is wrong: start again
    for path in files.list_existing():
        path.unlink()
    return Run(job.config, job.target, files, *_read_start(job))


def _read_start(job: Job) -> tuple[Weights | None, Seed | Seeds | None]:
    """Return the weights that a run starts from, and the seed; None for new ones."""
    if job.initial is None:
        return None, None
    return unpack_arrays(job.initial)
