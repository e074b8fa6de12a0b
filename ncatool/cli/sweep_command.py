"""`ncatool sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ncatool.cli import options as o
from ncatool.cli.app import app
from ncatool.cli.settings import collect_settings, take_lists_of_settings
from ncatool.errors import ExitCode


@app.command(
    epilog="Example:  ncatool sweep --target chestmnist --filter sobel,scharr --loss l1,l2 --damage both --out matrix"
)
@take_lists_of_settings
def sweep(
    plan: o.SweepFile = None,
    out: o.SweepOut = Path("sweep"),
    jobs: o.Jobs = 0,
    vectorise: o.Vectorise = False,
    scheduler: o.Scheduler = None,
    most: o.Most = 1000,
    dry_run: o.DryRun = False,
    compare: o.Compare = True,
    root: o.Root = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
    **settings: Any,
) -> None:
    """Train many models: every combination of settings, on all processors or on a cluster.

    A setting with several values, by commas, is varied. The same command again does only what is missing.
    """
    from ncatool.cli.sweep import SweepRequest, run_sweep

    request = SweepRequest(plan, out, jobs, vectorise, scheduler, most, dry_run, compare, root, force)
    code = run_sweep(request, collect_settings(settings))
    if code is not ExitCode.DONE:
        raise typer.Exit(code)
