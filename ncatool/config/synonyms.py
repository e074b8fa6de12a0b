"""What users of other tools type in place of our options: PyTorch Lightning, Hugging Face, ultralytics, ImageMagick.

Each option is followed by the names that others have for it, without hyphens before and with hyphens within. A name
may stand for several options: a command takes the first that it has.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_OTHER_NAMES = {
    # train, sweep, resume
    "--target": "input image img data dataset data-path source picture file i train-data train-file emoji task",
    "--size": "image-size img-size imgsz target-size resolution res resize grid-size width height s pixels",
    "--padding": "pad target-padding border",
    "--iterations": "epochs epoch num-epochs n-epochs max-epochs num-train-epochs train-epochs iters iter n-iter "
    "n-iters num-iters max-iter max-iters max-iterations num-iterations total-steps max-steps num-steps train-steps "
    "training-steps updates e ep",
    "--learning-rate": "lr lr0 max-lr base-lr initial-lr eta step-size",
    "--schedule": "scheduler lr-scheduler lr-scheduler-type lr-schedule cos-lr",
    "--batch-size": "batch bs b train-batch-size per-device-train-batch-size per-gpu-batch-size minibatch mini-batch",
    "--pool-size": "pool buffer-size replay-size",
    "--optimiser": "optimizer optim opt",
    "--seed-cells": "seeds n-seeds initial-cells init-cells num-seeds",
    "--seed-radius": "radius seed-distance",
    "--loss": "criterion loss-fn loss-function loss-type objective",
    "--regime": "experiment-type experiment mode training-mode",
    "--damage": "use-damage damage-n regenerate regenerating regeneration heal erase corrupt",
    "--damaged": "damage-count n-damaged",
    "--from": "init init-from pretrained weights load load-from load-model finetune fine-tune warm-start initial "
    "start-from base-model model pretrained-model model-name-or-path",
    "--precision": "fp16 bf16 amp half dtype mixed-precision torch-dtype",
    "--filter": "kernel stencil perception",
    "--channels": "n-channels num-channels channel-n",
    "--hidden": "hidden-size hidden-dim hidden-units n-hidden hidden-channels hidden-n units",
    "--fire-rate": "cell-fire-rate update-prob update-rate dropout",
    "--threshold": "alive-threshold living-threshold alpha-threshold",
    "--boundary": "padding-mode wrap circular torus periodic",
    "--out": "output output-dir out-dir outdir output-path output-file outfile save save-path save-dir save-as dest "
    "destination model-dir project name run-name exp-name default-root-dir checkpoint-dir ckpt-dir to o",
    "--checkpoint-every": "save-every save-steps save-freq save-interval save-period ckpt-every checkpoint-interval "
    "checkpoint-freq checkpoint-steps save-strategy",
    "--no-checkpoint": "no-save nosave no-ckpt",
    "--force": "overwrite overwrite-output-dir exist-ok replace clobber yes y",
    "--preview": "show display visualize visualise plot live watch",
    "--tensorboard": "logdir log-dir tb logging-dir logger report-to wandb",
    "--device cuda": "gpu gpus cuda use-cuda use-gpu n-gpu num-gpus gpu-id g",
    "--device cpu": "cpu no-cuda no-gpu use-cpu",
    "--device mps": "mps metal",
    "--device": "devices accelerator backend",
    "--jobs": "workers num-workers n-workers n-jobs njobs parallel processes max-workers cores cpus nproc",
    "--threads": "workers num-workers n-workers num-threads nthreads cores cpus n-jobs njobs num-cpus jobs j nproc",
    "--seed": "random-state random-seed rng-seed manual-seed seeds",
    "--config": "cfg config-file settings yaml params hparams",
    "--quiet": "silent no-progress disable-tqdm no-verbose",
    "--json": "as-json output-format",
    "--traceback": "debug stacktrace trace",
    "--root": "data-root data-dir cache cache-dir dataset-dir download-dir dir folder out output output-dir dest",
    # render
    "--steps": "frames n-frames num-frames length duration n-steps num-steps timesteps until iterations iters "
    "max-steps epochs n",
    "--every": "stride skip frame-skip interval step-every",
    "--fps": "framerate frame-rate speed rate",
    "--hold": "pause last-frame delay",
    "--scale": "zoom pixel-size upscale magnify resize cell-size size",
    "--background": "bg background-color background-colour bgcolor",
    "--view": "channel mode show what",
    "--overlay": "counter caption text label plot",
    "--trim": "crop",
    "--crop": "roi bbox box region crop-box area",
    "--window": "windowing window-level window-width level wl ww contrast intensity-range vmin vmax clip hu-window",
    "--grid": "shape canvas world grid-size height width",
    "--at": "position pos seed-position location start-at",
    "--rotate": "angle rotation orientation",
    # compare
    "--rollouts": "runs samples n-samples num-samples repeats trials n-runs num-runs num-rollouts n batch-size",
    "--metric": "metrics measure score",
    "--sort": "sort-by order-by by order",
    "--csv": "table out output save o",
    "--report": "html page report-html",
    "--picture": "figure png image sheet plot",
    "--animation": "gif video movie anim",
    # fetch
    "--mirror": "url base-url host flip hflip fliplr flop reflect reflection",
    "--retries": "retry max-retries tries attempts",
    "--show": "samples preview grid n",
    "--pick": "sample index",
    "--list": "ls available datasets",
    "--split": "subset partition",
    # sweep, export
    "--scheduler": "cluster dask address",
    "--vectorise": "vectorize vmap",
    "--most": "max-runs limit",
    "--dry-run": "dryrun dry estimate n",
    "--compare": "evaluate eval measure",
    "--no-compare": "no-eval skip-eval",
    "--format": "type export-format",
    "--rollout": "steps n-steps num-steps unroll",
}


OTHER_VALUES = {
    "mse": "l2", "mae": "l1", "squared": "l2", "absolute": "l1", "sad": "manhattan", "gpu": "cuda", "nvidia": "cuda",
    "metal": "mps", "bf16": "bfloat16", "fp32": "float32", "gray": "grey", "gaussian-blur": "gaussian",
    "periodic": "wrap", "circular": "wrap", "torus": "wrap", "zeros": "zero", "constant": "zero", "onecycle": "cosine",
    "linear": "step", "none": "constant", "persistence": "persistent", "regeneration": "regenerating",
    "growth": "growing", "htm": "html", "web": "html", "page": "html", "numpy": "npz", "header": "h", "c": "h",
}  # fmt: skip
"""What other tools call the values of our options."""


def simplify_flag(flag: str) -> str:
    """Return the name of an option as the table has it: lower case, with hyphens between words only."""
    return re.sub(r"[_\W]+", "-", flag).strip("-").lower()


_BY_NAME: dict[str, list[str]] = {}
for _option, _names in _OTHER_NAMES.items():
    for _name in _names.split():
        _BY_NAME.setdefault(_name, []).append(_option)


def translate_flag(flag: str, known: Collection[str]) -> str | None:
    """Return the option that a name from elsewhere stands for, of those that a command knows; None for no such name.

    The same name with underscores or capitals is one, too. With `--gpu`, the answer holds a value: `--device cuda`.
    """
    name = simplify_flag(flag)
    same = [one for one in known if simplify_flag(one) == name and one.startswith("--")]
    others = [option for option in _BY_NAME.get(name, []) if option.split()[0] in known]
    return next(iter([*same, *others]), None)


def translate_setting(name: str, known: Iterable[str]) -> str | None:
    """Return the setting of a file, or of the library, that a name which is none stands for, or the most similar."""
    flags = {f"--{one.replace('_', '-')}": one for one in known}
    meant = translate_flag(name, flags)
    close = [flags[meant.split()[0]]] if meant is not None else difflib.get_close_matches(name, flags.values(), 1)
    return close[0] if close else None
