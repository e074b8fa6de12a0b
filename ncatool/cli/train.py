"""`ncatool train`."""

from __future__ import annotations

from typing import Any

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.settings import collect_settings, take_settings
from ncatool.cli.training import complete_run, prepare_device
from ncatool.config.flat import build_config


@app.command(epilog="Example:  ncatool train --target photo.png --size 40 --padding 16 --damage")
@take_settings
def train(
    root: o.Root = None,
    out: o.Out = None,
    force: o.Force = False,
    preview: o.Preview = False,
    tensorboard: o.Tensorboard = None,
    config: o.Config = None,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
    **settings: Any,
) -> None:
    """Train a model that grows a picture from one cell.

    Writes NAME.safetensors (the model), NAME.toml (the record), NAME.csv and NAME.curve.png (the curve)
    and NAME.checkpoint. Ctrl-C saves all of them; `ncatool resume` goes on.
    """
    given = collect_settings(settings)
    build_config(given)  # refuses what has no meaning before torch is imported

    from ncatool.cli.announce import announce_training
    from ncatool.data.medmnist import choose_default_source
    from ncatool.data.model_name import name_model

    if "target" not in given:
        given["target"] = choose_default_source(root)
        if given["target"] == "phantom":
            terminal.print_note("no --target and chestmnist is not fetched: growing the built-in phantom")
    out = out or name_model(given["target"])
    announce_training(build_config(given), given, out, root, force)
    from ncatool.library import prepare_run  # imports torch, which takes seconds

    run = prepare_run(given, out, root=root, force=force, inputs=[config] if config else [])
    prepare_device(run.config.train.threads, run.config.train.device, run.config)
    with run.files.lock(terminal.print_note):
        run.files.check(force)  # another process may have written them meanwhile
        complete_run(run, preview, tensorboard)
