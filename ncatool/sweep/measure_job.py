"""Measuring a model as a job: what a worker receives and does, in any process on any machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ncatool.config.names import Device
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.engine import compiled
from ncatool.engine.device import resolve_device
from ncatool.errors import NcatoolError
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.protocol import Protocol
from ncatool.nca.model_file import ModelData, unpack_arrays
from ncatool.sweep.job import PROGRESS_INTERVAL, Ending, Outcome, Progress, ProgressCallback


class _StoppedError(Exception):
    """The sweep stops."""


@dataclass(frozen=True)
class MeasureJob:
    """All that a worker needs to measure a model."""

    name: str
    arrays: dict[str, Any]
    """The model's weights and seed; see `pack_arrays`."""
    config: ModelConfig
    target: Target
    protocol: Protocol
    device: Device
    token: str
    """Names the sweep."""
    threads: int
    siblings: Sequence[Target] = ()
    """All pictures that the model's weights grow, where they are several."""

    @property
    def key(self) -> str:
        """A hash that is the same for the same model of the same run."""
        digest = hashlib.sha256(repr(("measures", self.name, self.config, self.protocol)).encode())
        for _, array in sorted(self.arrays.items()):
            digest.update(array.tobytes())
        return digest.hexdigest()[:32]

    def run(self, stopped: Callable[[], bool], report_progress: ProgressCallback) -> Outcome:
        """Measure the model to the end or until `stopped`; errors are returned as well, not raised."""
        done, last_progress = 0, time.monotonic()

        def check() -> None:
            if stopped():
                raise _StoppedError

        def count_step() -> None:
            nonlocal done, last_progress
            check()
            done += 1
            if time.monotonic() - last_progress >= PROGRESS_INTERVAL:
                last_progress = time.monotonic()
                report_progress(Progress(self.name, done, 0.0, 0.0))

        try:
            compiled.configure_process(self.threads)
            measures = measure_model(self._load_model(), self.protocol, count_step, check, self.siblings)
        except _StoppedError:
            return Outcome(self.name, Ending.STOPPED)
        except NcatoolError as error:
            return Outcome(self.name, Ending.FAILED, error.what, error.hint)
        except Exception as error:  # one model must not end the others
            return Outcome(self.name, Ending.FAILED, f"{type(error).__name__}: {error}", "look at this model")
        return Outcome(self.name, Ending.FINISHED, measures=measures)

    def _load_model(self) -> ModelData:
        weights, seed = unpack_arrays(self.arrays)
        return ModelData(weights, self.config, self.target, own_seed=seed).move_to(resolve_device(self.device))
