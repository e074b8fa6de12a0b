"""Variants of the recipe of training, side by side over targets and seeds: how its parts were chosen.

A variant is a list of settings as `train` has them (`filter=mean learning_rate=0.01`) and of parts that have no flag
(`momentum=0.9`, see `CONSTANTS`; `basis=no`; `seed_hidden=ones`). Each is trained for each target and seed, one thread
a run, and measured from the seed over 16 rollouts. What was found is in recipe.md beside this file.
Run: python -m tests.benchmarks.recipe chest.png phantom lizard.png:40:16 --seeds 0,1 --variant "filter=mean" \
--variant "filter=mean basis=no" [--jobs 2] [--log recipe.jsonl]
"""

import argparse
import json
import multiprocessing
import statistics
import time
from pathlib import Path

import torch

from ncatool.config.flat import build_config, check_setting
from ncatool.config.names import Damage, Regime
from ncatool.data.targets import load_target
from ncatool.engine import compiled
from ncatool.engine.advance import advance
from ncatool.errors import NcatoolError
from ncatool.evaluation.trajectory import measure_damage
from ncatool.nca import damage
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.state import ALPHA
from ncatool.training import basis, batch, muon, objective, trainer

CONSTANTS = {
    "momentum": (muon, "MOMENTUM"),
    "middle_weight": (basis, "_MIDDLE_WEIGHT"),
    "replacement": (batch, "REPLACEMENT_INTERVAL"),
    "early_replacement": (batch, "EARLY_REPLACEMENT_INTERVAL"),
    "overflow": (trainer, "OVERFLOW_WEIGHT"),
    "limit": (objective, "OVERFLOW_LIMIT"),
    "half_share": (damage, "HALF_SHARE"),
    "warm_up": (trainer, "WARM_UP"),
}
"""Parts of the recipe that have no flag, and the constants that they are."""
OTHER_PARTS = ("basis", "seed_hidden", "power", "early_share")
STEPS = (96, 200, 500, 2000)
ROLLOUTS = 16


def parse(text):
    """Settings of the command, and parts that have no flag."""
    words = dict(word.split("=", 1) for word in text.split())
    parts = {name: words.pop(name) for name in [*words] if name in {*CONSTANTS, *OTHER_PARTS}}
    return {name: convert(name, value) for name, value in words.items()}, parts


def convert(name, value):
    for kind in (str, int, float):
        try:
            return check_setting(name, kind(value), "a variant")[1]
        except (NcatoolError, ValueError) as error:
            last = error
    if value in ("yes", "no"):
        return check_setting(name, value == "yes", "a variant")[1]
    raise last


def prepare(settings, parts, target, seed):
    source, size, padding = (*target.split(":"), "28", "0")[:3] if ":" in target else (target, "28", "0")
    place = {"target": source, "size": int(size), "padding": int(padding), "seed": seed, "threads": 1}
    config = build_config({**place, **settings})
    for name, (module, constant) in CONSTANTS.items():
        if name in parts:
            setattr(module, constant, type(getattr(module, constant))(parts[name]))
    if "early_share" in parts:
        trainer.EARLY_SHARE = dict.fromkeys(Regime, float(parts["early_share"]))
    if "power" in parts:
        trainer.choose_final_power = lambda *_: float(parts["power"])
    cells, picture = None, load_target(config.target)
    if parts.get("seed_hidden") == "ones":
        cells = trainer.Trainer(config, picture).seeds[0].clone()
        cells[..., ALPHA + 1 :] = cells[..., ALPHA : ALPHA + 1]
    in_basis = False if parts.get("basis") == "no" else None
    return trainer.Trainer(config, picture, None, cells, in_basis)


def count_shifted(state, wanted):
    """How many pictures lie nearer to their target when it is moved by a cell."""
    places = [(0, 0), *((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))]
    errors = torch.stack([compute_mse(state[..., :4] - torch.roll(wanted, place, (0, 1))) for place in places])
    return int((errors.argmin(dim=0) > 0).sum())


def run(task):
    variant, target, seed = task
    compiled.configure_process(1)
    one = prepare(*parse(variant), target, seed)
    start, restored, failed = time.process_time(), 0, ""
    try:
        restored = sum(report.restored for report in one.train())
    except NcatoolError as error:
        failed = error.what
    found = {"variant": variant, "target": Path(target).name, "seed": seed, "seconds": time.process_time() - start}
    found |= {"iterations": one.config.train.iterations, "restored": restored, "failed": failed}
    model, wanted = one.copy_model(), one.target_values[0]
    state, done, generator = model.place_seeds(ROLLOUTS), 0, torch.Generator().manual_seed(seed + 100)
    for step in STEPS:
        state, done = advance(model, state, step - done, generator), step
        errors = compute_mse(compute_error(state, wanted)).sort().values
        found |= {f"mse_{step}": errors[(ROLLOUTS - 1) // 2].item(), f"worst_{step}": errors[-1].item()}
        intact = state if step == 200 else intact if step > 200 else None
    found["shifted"] = count_shifted(state, wanted)
    if one.config.train.regime is Regime.REGENERATING:
        found |= {f"recovery_{one}": measure_damage(model, intact, one, seed).regeneration.median for one in Damage}
        found["recovery"] = min(found[f"recovery_{shape}"] for shape in Damage)
    return found


def print_row(variant, target, rows):
    middle = {name: statistics.median(row[name] for row in rows) for name in ("seconds", "mse_500", "mse_2000")}
    recovery = min((row["recovery"] for row in rows if "recovery" in row), default=float("nan"))
    print(
        f"{variant:50s} {target:12s} {middle['seconds']:7.1f}  {middle['mse_500']:.1e} "
        f"({max(row['mse_500'] for row in rows):.1e})  {middle['mse_2000']:.1e} "
        f"({max(row['mse_2000'] for row in rows):.1e})  {recovery:5.2f}  {sum(row['restored'] for row in rows):4d}  "
        f"{sum(row['shifted'] for row in rows)}/{ROLLOUTS * len(rows)}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", help="as for train, or FILE:SIZE:PADDING")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variant", action="append", required=True, dest="variants")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", type=Path, help="file to which a line of JSON is added for each run")
    wish = parser.parse_args()
    seeds = [int(seed) for seed in wish.seeds.split(",")]
    tasks = [(variant, target, seed) for variant in wish.variants for target in wish.targets for seed in seeds]
    print(f"{'variant':50s} target       seconds  MSE at 500 (worst)  at 2000 (worst)   min R  restored  shifted")
    with multiprocessing.get_context("spawn").Pool(wish.jobs, maxtasksperchild=1) as pool:
        rows = []
        for (variant, target, _), row in zip(tasks, pool.imap(run, tasks), strict=True):
            rows.append(row)
            if wish.log:
                with wish.log.open("a") as log:
                    log.write(json.dumps(row) + "\n")
            if len(rows) == len(seeds):
                print_row(variant, Path(target).name, rows)
                rows = []


if __name__ == "__main__":
    main()
