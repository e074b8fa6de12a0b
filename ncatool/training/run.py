"""A training run: it trains, and keeps the files of the run up to date."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.schema import RunConfig, TargetConfig
from ncatool.data.target import Target
from ncatool.engine import choose, compiled
from ncatool.engine.advance import measure_mse
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import replace_atomically, write_bytes
from ncatool.files.text import format_csv
from ncatool.nca.loss import compute_psnr
from ncatool.nca.model_file import hash_weights, save_model, tensors_to_weights
from ncatool.nca.tensor_file import select_prefix
from ncatool.nca.types import Seed, Seeds
from ncatool.nca.weights import Weights
from ncatool.training import loss_plot
from ncatool.training.basis import fold_basis
from ncatool.training.checkpoint import ExpectedTensors, load_checkpoint, save_checkpoint
from ncatool.training.checkpoint_schema import CheckpointFacts, check_target, read_facts
from ncatool.training.checkpoint_tensors import check_tensors, list_tensors
from ncatool.training.memory import check_memory
from ncatool.training.run_files import RunFiles, write_record
from ncatool.training.several import check_pictures
from ncatool.training.trainer import Report, Trainer

CSV_COLUMNS = ("iteration", "loss", "mse", "learning_rate", "events")

CHECKPOINT_INTERVAL = 200
"""Iterations between two checkpoints by default."""

CHECKPOINT_SHARE = 0.02
"""Share of the time that checkpoints may take, where their interval is the default one."""

MEASURED_STEPS = (96, 500)
"""Steps from the seed at which a finished model is measured."""

MEASURED_ROLLOUTS = 8


class Run:
    """A trainer, the rows of its CSV, its history, and the files of the run."""

    def __init__(
        self,
        config: RunConfig,
        target: Target,
        files: RunFiles,
        initial: Weights | None = None,
        seed: Seed | Seeds | None = None,
        in_basis: bool | None = None,
    ) -> None:
        """Prepare a run that starts from these weights and grows from this seed; see `Trainer`."""
        check_pictures(config, len(target.pictures))
        check_memory(config, target.shape, pictures=len(target.pictures))
        config = dataclasses.replace(config, target=_name_target(config.target, target))
        self.config, self.files = config, files
        self.trainer = Trainer(config, target, initial, seed, in_basis)
        self.origin = {} if initial is None else {"weights_sha256": hash_weights(initial)}
        """The record's table `[origin]`; empty where a run starts from new weights."""
        self.rows: list[tuple[Any, ...]] = []
        self.history: list[dict[str, Any]] = []
        self.checkpoint_share = CHECKPOINT_SHARE
        """See `CHECKPOINT_SHARE`; runs that train in lockstep divide it among them."""
        self._earlier_seconds = 0.0
        self._started = self._next_save = time.monotonic()

    @classmethod
    def resume(cls, files: RunFiles, **changed: Any) -> Run:
        """Return the run as its checkpoint left it; `changed` are settings of TrainConfig that differ from now on.

        Raises NcatoolError where the checkpoint is missing, damaged, or further than the iterations asked for.
        """
        path = files.find_checkpoint()
        if not path.exists():
            raise UsageError(f"there is no checkpoint {path}", "give the model file of a run that has left one")

        def expected(facts: Mapping[str, Any], target: Target) -> ExpectedTensors:
            checked = read_facts(facts, str(path))
            check_target(checked.config, target, str(path))
            return list_tensors(checked.config, target, checked.numbers)

        tensors, target, tables = load_checkpoint(path, expected)
        facts = read_facts(tables, str(path))
        check_tensors(tensors, facts.iteration, str(path))
        config = facts.config
        if facts.iteration > changed.get("iterations", config.train.iterations):
            raise UsageError(
                f"{files.model} has done {facts.iteration} iterations, more than {changed['iterations']}",
                f"give --iterations {facts.iteration} or more",
            )
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, **changed))
        initial, in_basis = tensors_to_weights(select_prefix(tensors, "weights.")), facts.numbers["basis"]
        if in_basis:
            initial = initial._replace(hidden_weight=fold_basis(initial.hidden_weight, config.model.filter))
        return cls(config, target, files, initial, tensors.get("seed"), in_basis)._restore(tensors, facts)

    def _restore(self, tensors: dict[str, Any], facts: CheckpointFacts) -> Run:
        self.trainer.restore(tensors, facts.numbers)
        self.origin = facts.origin
        for iteration, *values in tensors["rows"].tolist():
            self.rows.append((int(iteration), *values, facts.events.get(int(iteration), "")))
        self._earlier_seconds = facts.seconds
        self.history = facts.history
        return self

    def find_differences(self) -> list[str]:
        """Return what has changed since the run was last active and may change its numbers, a line for each."""
        before, now = self.history[-1] if self.history else {}, self._describe_environment()
        names = ["ncatool", "torch", "platform", "device", "engine", "triton"]
        if now["engine"] == "dense":  # other engines give the same numbers for any number of threads
            names.append("threads")
        return [
            f"{name} {before.get(name)} then, {now.get(name)} now"
            for name in names
            if before.get(name) != now.get(name)
        ]

    def _log_event(self, event: str) -> None:
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        self.history.append(
            {"event": event, "iteration": self.trainer.iteration, "at": moment, **self._describe_environment()}
        )

    @property
    def seconds(self) -> float:
        """Training time so far in seconds, over all sessions."""
        return self._earlier_seconds + time.monotonic() - self._started

    def train(self, stopped: Callable[[], bool]) -> Iterator[Report]:
        """Train to the end or until `stopped` returns true, yield a report after each iteration, then save everything.

        Raises NcatoolError where training has failed; the last good model is then saved, too.
        """
        self.start_session()
        try:
            for report in self.trainer.train():
                self.add_report(report)
                yield report
                if stopped():
                    break
                self.save_if_due()
        except NcatoolError:
            self.end_session(failed=True)
            raise
        self.end_session()

    def start_session(self) -> None:
        """Write the first checkpoint; call it before the first iteration."""
        self._log_event("resumed" if self.history else "started")
        self._save_checkpoint()
        if self.files.earlier_checkpoint in self.files.list_existing():
            self.files.earlier_checkpoint.unlink()  # the new one replaces it

    def add_report(self, report: Report) -> None:
        """Add a row for an iteration to the CSV."""
        self.rows.append((*dataclasses.astuple(report)[:4], "; ".join(report.events)))

    def save_if_due(self) -> None:
        """Save everything if a checkpoint is due; call it after an iteration."""
        if self._is_due(self.trainer.iteration):
            self.save()

    def end_session(self, failed: bool = False) -> None:
        """Record how the session ended, and save everything."""
        finished = self.trainer.iteration >= self.config.train.iterations
        self._log_event("failed" if failed else "finished" if finished else "stopped")
        self.save()

    def _is_due(self, iteration: int) -> bool:
        """Return whether to save now; the run's numbers do not depend on it."""
        interval = self.config.train.checkpoint_every
        if interval > 0:
            return iteration % interval == 0
        return iteration % CHECKPOINT_INTERVAL == 0 and time.monotonic() >= self._next_save

    def save(self) -> None:
        """Write checkpoint, model, CSV and record, each whole or not at all."""
        start = time.monotonic()
        self._save_checkpoint()
        save_model(self.files.model, self.trainer.copy_model())
        write_bytes(self.files.csv, format_csv(CSV_COLUMNS, self.rows))
        write_record(self.files.record, self.make_record({}))
        now = time.monotonic()
        self._next_save = now + (now - start) / self.checkpoint_share

    def _save_checkpoint(self) -> None:
        if not self.config.train.checkpoint:
            self.files.remove_checkpoints()  # of an earlier run, which this one replaces
            return
        rows = torch.tensor([row[:4] for row in self.rows], dtype=torch.float64).reshape(-1, 4)
        facts = {
            **dataclasses.asdict(self.config),
            **self._describe_origin(),
            "trainer": self.trainer.state_numbers(),
            "events": [(row[0], row[4]) for row in self.rows if row[4]],
            "seconds": self.seconds,
            "history": self.history,
        }
        tensors = {**self.trainer.state_tensors(), "rows": rows}
        save_checkpoint(self.files.checkpoint, tensors, self.trainer.target, facts)

    def write_results(self) -> dict[str, Any]:
        """Measure the model, write the final record and the plot, and return the `[result]` table."""
        model = self.trainer.copy_model().move_to(self.trainer.device)
        generator = torch.Generator().manual_seed(self.config.train.seed + 2)
        errors = [measure_mse(one, MEASURED_STEPS, MEASURED_ROLLOUTS, generator) for one in model.pictures]
        medians = torch.stack([error.median(dim=1).values for error in errors])  # [pictures, steps]
        record = self.make_record(_name_measures(medians, [one.name for one in model.target.pictures]))
        write_record(self.files.record, record)
        with replace_atomically(self.files.plot) as partial:
            loss_plot.draw_loss_plot(partial, model, self.rows, generator)
        result: dict[str, Any] = record["result"]
        return result

    def make_record(self, measures: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tables of the run's TOML: settings, result, environment, history."""
        last = self.rows[-1] if self.rows else (0, None, None)
        final = {"loss": last[1], "mse": last[2]} if self.rows else {}
        return {
            "model": dataclasses.asdict(self.config.model),
            "target": self.trainer.target.describe(),
            "train": dataclasses.asdict(self.config.train),
            **self._describe_origin(),
            "result": {"iterations": self.trainer.iteration, **final, **measures, "seconds": round(self.seconds, 3)},
            "environment": self._describe_environment(),
            "history": self.history,
        }

    def _describe_origin(self) -> dict[str, Any]:
        return {"origin": self.origin} if self.origin else {}

    def _describe_environment(self) -> dict[str, Any]:
        device = self.trainer.device
        engine = choose.engine_name(device, self.config.model, self.config.train.precision)
        return {
            **{name: version(name) for name in ("ncatool", "torch", "numpy")},
            **({"triton": version("triton")} if engine == "triton" else {}),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": device.type if device.type != "cuda" else f"cuda, {torch.cuda.get_device_name(device)}",
            "threads": compiled.thread_count(),
            "engine": engine,
        }


def _name_measures(medians: Float[Tensor, "pictures steps"], names: Sequence[str]) -> dict[str, Any]:
    """Return the measures of a finished model, from the median errors of its pictures, and these by name.

    Of several, each is the median over the pictures, the higher of two; beside it stand the worst, and the last error
    of each.
    """
    middle, last = medians.sort(dim=0).values[len(medians) // 2].tolist(), f"mse_at_{MEASURED_STEPS[-1]}"
    measures: dict[str, Any] = {f"mse_at_{step}": one for step, one in zip(MEASURED_STEPS, middle, strict=True)}
    measures[f"psnr_at_{MEASURED_STEPS[-1]}"] = round(compute_psnr(middle[-1]), 3)
    if len(medians) > 1:
        worst = int(medians[:, -1].argmax())
        measures |= {f"worst_{last}": medians[worst, -1].item(), "worst_picture": names[worst]}
        measures[f"each_{last}"] = medians[:, -1].tolist()
    return measures


def _name_target(config: TargetConfig, target: Target) -> TargetConfig:
    """Return the settings of a target as its record has them: files by their own names, the window in numbers.

    Of several pictures, a window that is not the same for all stays as it was given.
    """
    described = target.describe()
    found = {name: described.get(name) for name in ("source", "alpha", "window")}
    named: dict[str, Any] = {name: text for name, text in found.items() if isinstance(text, str)}
    return dataclasses.replace(config, **named)
