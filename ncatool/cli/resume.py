"""`ncatool resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_models
from ncatool.cli.help import list_examples
from ncatool.cli.training import complete_run, prepare_device, print_cost
from ncatool.errors import UsageError


@app.command(
    epilog=list_examples(
        "resume phantom", "resume phantom --iterations 4000", "resume phantom --iterations 4000 --learning-rate 1e-3"
    )
)
def resume(
    model: Annotated[
        Path, typer.Argument(help="Model file of a run that left a checkpoint.", autocompletion=complete_models)
    ],
    iterations: o.MoreIterations = None,
    learning_rate: o.NewLearningRate = None,
    checkpoint_every: o.NewCheckpointEvery = None,
    device: o.NewDevice = None,
    threads: o.NewThreads = None,
    preview: o.Preview = False,
    tensorboard: o.Tensorboard = None,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Go on with a run from its checkpoint, as if it had not stopped.

    With other --iterations the learning rate goes on as it would stand there in a run of that length.
    All other settings of a run stay what they are.
    """
    from ncatool.cli.announce import announce_resumption
    from ncatool.training.run_files import RunFiles

    changes = {
        "iterations": iterations, "learning_rate": learning_rate, "checkpoint_every": checkpoint_every,
        "device": device, "threads": threads,
    }  # fmt: skip
    files = RunFiles(_find_run(str(model)))
    if not files.find_checkpoint().exists():
        anew = f"train anew from its weights: ncatool train --from {files.model}"
        hint = anew if files.model.is_file() else "give the model file of a run that has left one"
        raise UsageError(f"there is no checkpoint {files.checkpoint}", hint)
    announce_resumption(files.model, iterations)
    from ncatool.training.run import Run  # imports torch, which takes seconds

    with files.lock(terminal.print_note):
        run = Run.resume(files, **{name: value for name, value in changes.items() if value is not None})
        prepare_device(run.config.train.threads, run.config.train.device, run.config)
        for difference in run.find_differences():
            terminal.print_note(f"not what it was: {difference}; the numbers may differ from an undisturbed run's")
        if run.trainer.iteration == run.config.train.iterations:
            terminal.print_note(f"all {run.trainer.iteration} iterations are done; give --iterations more to go on")
        print_cost(run)
        complete_run(run, preview, tensorboard)


def _find_run(name: str) -> Path:
    """Return the model file of a run, which a run that was killed early may not have written yet."""
    from ncatool.nca.model_name import MODEL_SUFFIX, describe_missing, find_model
    from ncatool.training.run_files import RunFiles

    path, whole = find_model(name), Path(f"{name}{MODEL_SUFFIX}")
    if path.exists() or path.suffix:
        return path
    if RunFiles(whole).find_checkpoint().exists():
        return whole
    raise describe_missing(name)
