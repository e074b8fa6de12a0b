"""A training run and its files."""

from __future__ import annotations

import csv
import dataclasses
import io
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch

from ncatool import curve, native
from ncatool.checkpoint import RunFiles, load_checkpoint, save_checkpoint, save_model, write_record
from ncatool.config import ModelConfig, RunConfig, TargetConfig, TrainConfig, from_table
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluate import mse_at
from ncatool.files import replacing, write
from ncatool.loss import psnr
from ncatool.target import Target
from ncatool.train import Report, Trainer

COLUMNS = ("iteration", "loss", "mse", "learning_rate", "events")
MEASURED_STEPS = (96, 500)
"""Steps from the seed at which a finished model is measured."""
MEASURED_ROLLOUTS = 8


class Run:
    """Trains, and keeps the files of design section 3 up to date."""

    def __init__(self, config: RunConfig, target: Target, files: RunFiles) -> None:
        self.config, self.files = config, files
        self.trainer = Trainer(config, target)
        self.rows: list[tuple[Any, ...]] = []
        self._before = 0.0
        self._started = time.monotonic()

    @classmethod
    def resumed(cls, files: RunFiles, iterations: int | None) -> Run:
        """The run as its checkpoint left it, to go on to `iterations` (default: as planned)."""
        tensors, target, facts = load_checkpoint(files.checkpoint)
        try:
            kinds = {"model": ModelConfig, "target": TargetConfig, "train": TrainConfig}
            where = str(files.checkpoint)
            config = RunConfig(**{name: from_table(kind, facts[name], where) for name, kind in kinds.items()})
            if iterations is not None:
                config = dataclasses.replace(config, train=dataclasses.replace(config.train, iterations=iterations))
            run = cls(config, target, files)
            run.trainer.restore(tensors, facts["trainer"])
            run.rows = [tuple(row) for row in facts["rows"]]
            run._before = float(facts["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise NcatoolError(f"{files.checkpoint} is damaged: {error}", "train again") from None
        if run.trainer.iteration >= config.train.iterations:
            raise UsageError(
                f"{files.model} has done its {run.trainer.iteration} iterations already",
                f"give --iterations more than {run.trainer.iteration} to go on",
            )
        return run

    @property
    def seconds(self) -> float:
        """Training time so far, earlier stretches included."""
        return self._before + time.monotonic() - self._started

    def reports(self, stopped: Callable[[], bool]) -> Iterator[Report]:
        """Trains, a report an iteration, until the end or until `stopped`; then everything is saved.

        Raises NcatoolError where training failed for good; the last good model is saved all the same.
        """
        try:
            for report in self.trainer.run():
                self.rows.append((*dataclasses.astuple(report)[:4], "; ".join(report.events)))
                yield report
                if stopped():
                    break
                if report.iteration % self.config.train.checkpoint_every == 0:
                    self.save()
        except NcatoolError:
            self.save()
            raise
        self.save()

    def save(self) -> None:
        """Writes checkpoint, model, record and curve, each whole or not at all."""
        trainer, files = self.trainer, self.files
        facts = {
            **dataclasses.asdict(self.config),
            "trainer": trainer.numbers(),
            "rows": self.rows,
            "seconds": self.seconds,
        }
        save_checkpoint(files.checkpoint, trainer.tensors(), trainer.target, facts)
        save_model(files.model, trainer.model())
        write(files.curve, self._csv().encode())
        write_record(files.record, self.record({}))

    def finish(self) -> dict[str, Any]:
        """Measures the model, writes the final record and the picture; the `[result]` table."""
        model = self.trainer.model()
        generator = torch.Generator().manual_seed(self.config.train.seed + 2)
        at = mse_at(model, MEASURED_STEPS, MEASURED_ROLLOUTS, generator).median(dim=1).values.tolist()
        measures = {f"mse_at_{step}": value for step, value in zip(MEASURED_STEPS, at, strict=True)}
        record = self.record({**measures, f"psnr_at_{MEASURED_STEPS[-1]}": round(psnr(at[-1]), 3)})
        write_record(self.files.record, record)
        with replacing(self.files.picture) as partial:
            curve.draw(partial, model, self.rows, generator)
        result: dict[str, Any] = record["result"]
        return result

    def record(self, measures: Mapping[str, Any]) -> dict[str, Any]:
        """The run's TOML: settings, result, environment."""
        train = dataclasses.asdict(self.config.train)
        last = self.rows[-1] if self.rows else (0, None, None)
        final = {"loss": last[1], "mse": last[2]} if self.rows else {}
        return {
            "model": dataclasses.asdict(self.config.model),
            "target": self.trainer.target.record(),
            "train": train,
            "result": {"iterations": self.trainer.iteration, **final, **measures, "seconds": round(self.seconds, 3)},
            "environment": self._environment(),
        }

    def _environment(self) -> dict[str, Any]:
        compiled = self.trainer.device.type == "cpu" and native.available()
        return {
            **{name: version(name) for name in ("ncatool", "torch", "numpy")},
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": str(self.trainer.device),
            "threads": native.threads(),
            "engine": "compiled" if compiled else "dense",
        }

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(self.rows)
        return text.getvalue()
