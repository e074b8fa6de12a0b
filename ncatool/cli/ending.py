"""The end of a command: which files there are, how good the model is, and what to type next."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncatool.cli import terminal

if TYPE_CHECKING:
    from ncatool.config.schema import RunConfig
    from ncatool.evaluation.models import Evaluation
    from ncatool.evaluation.quality import Quality
    from ncatool.training.run_files import RunFiles


MOST_NAMED = 4
"""Rendered models that are named one by one."""


@dataclass(frozen=True)
class Ending:
    """What is said at the end of a command."""

    files: Sequence[Path | str]
    """What was written."""
    quality: Quality | str = ""
    """How good the model is, or the models are."""
    command: Sequence[str] = ()
    """What to type next, without `ncatool`."""

    def print(self) -> None:
        """Print a note of each part that there is."""
        if self.files:
            terminal.print_note(f"files: {', '.join(map(str, self.files))}")
        if self.quality:
            terminal.print_note(f"quality: {self.quality}")
        if self.command:
            terminal.print_note(f"next: {format_command(self.command)}", wrap=False)

    def describe(self) -> dict[str, Any]:
        """Return the same as values for `--json`."""
        command = format_command(self.command) if self.command else None
        return {"files": [str(path) for path in self.files], "quality": self._describe_quality(), "next": command}

    def _describe_quality(self) -> Any:
        return self.quality if isinstance(self.quality, str) else dataclasses.asdict(self.quality)


def format_command(words: Sequence[str]) -> str:
    """Return a command line of ncatool that a shell reads as these words."""
    return shlex.join(["ncatool", *words])


def describe_end(errors: Mapping[str, Mapping[str, Any]], blanks: Sequence[float]) -> str:
    """Return how rendered models end, by their errors and the MSE that cells would have which show nothing."""
    from ncatool.evaluation.quality import BLURRED_MSE

    words = [
        _describe_state(one["mse"], one["psnr"], blank) for one, blank in zip(errors.values(), blanks, strict=True)
    ]
    if len(set(words)) == 1:
        return words[0]
    named = [f"{terminal.clean_line(name, 40)} {text}" for name, text in zip(errors, words, strict=True)]
    if len(named) <= MOST_NAMED:
        return "; ".join(named)
    good = sorted(one["psnr"] for one in errors.values() if one["mse"] <= BLURRED_MSE)
    some = f"{len(good)} of {len(named)} end at {good[0]:.0f} to {good[-1]:.0f} dB" if good else "none is its picture"
    bad = [name for name, one in zip(named, errors.values(), strict=True) if not one["mse"] <= BLURRED_MSE]
    return "; ".join([some, *(bad if len(bad) <= MOST_NAMED else [])])


def _describe_state(mse: float, psnr: float, blank: float) -> str:
    from ncatool.evaluation.quality import BLURRED_MSE, MAX_PICTURE_MSE

    if not mse <= MAX_PICTURE_MSE:
        return "has exploded: train it longer (ncatool resume), or with a lower --learning-rate"
    if mse > BLURRED_MSE and 0.9 * blank < mse < 1.1 * blank:
        return "ends blank: train it longer (ncatool resume), or with another --seed"
    return f"ends at {psnr:.0f} dB{'' if mse <= BLURRED_MSE else ': not the picture'}"


def describe_models(evaluations: Sequence[Evaluation]) -> tuple[str, Evaluation | None]:
    """Return how many models have grown and hold, which fail, and the best of those that have grown, if any."""
    from ncatool.evaluation.protocol import GROWN_MSE
    from ncatool.evaluation.table import find_fault

    failing = {name: [one for one in evaluations if one.median(name) >= 0.5] for name in ("exploded", "dead")}
    failed = {one.candidate.name for some in failing.values() for one in some}
    sound = [one for one in evaluations if one.candidate.name not in failed]
    grown = [one for one in sound if one.median("mse_later") <= GROWN_MSE]
    kind = "pictures" if len({one.candidate.path for one in evaluations}) < len(evaluations) else "models"
    who = f"{len(evaluations)} {kind} have" if len(evaluations) > 1 else "1 has"
    parts = [f"{len(grown)} of {who} grown and held"]
    for name, some in failing.items():
        if some:
            names = ", ".join(one.candidate.name for one in some)
            parts.append(f"{len(some)} {name} ({terminal.clean_line(names, 60)})")
    best = min((one for one in grown if not find_fault(one)), key=lambda one: one.median("mse_later"), default=None)
    if best is not None:
        parts.append(f"best: {best.candidate.name}, {best.median('psnr_later'):.0f} dB")
    else:
        parts.append("train longer" if not failed else "train longer, or with a lower --learning-rate")
    return "; ".join(parts), best


def suggest_after_training(quality: Quality, files: RunFiles, config: RunConfig) -> list[str]:
    """Return the command to type after a training: to watch a model that has grown, to go on with another."""
    from ncatool.evaluation.quality import Outcome

    model, train = str(files.model), config.train
    if quality.outcome is Outcome.GROWN or not train.checkpoint:
        return suggest_watching([files.model])
    slower = ["--learning-rate", f"{train.learning_rate / 2:g}"]
    more = ["resume", protect_name(model), "--iterations", str(2 * train.iterations)]
    return [*more, *(slower if quality.outcome in (Outcome.EXPLODED, Outcome.BLANK) else [])]


def suggest_watching(models: Sequence[Path], rendered: bool = False) -> list[str]:
    """Return the command that renders a model, or where that is done, makes a page of it; several are compared."""
    for command, ending in (("render", ".gif"), ("export", ".html"))[rendered:] if len(models) == 1 else ():
        out = models[0].with_suffix(ending)
        if not os.path.lexists(out):
            return [command, protect_name(str(models[0])), protect_name(str(out))]
    return ["compare", *(protect_name(str(model)) for model in models)]


def protect_name(name: str) -> str:
    """Return a file's name in a form that no command takes for a flag."""
    return f"./{name}" if name.startswith("-") else name
