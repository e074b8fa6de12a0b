"""One model of many pictures, and for one time and error as many models of one picture each.

The pictures are the first of a folder, by name, and the settings the defaults of `train` with those of `--train`.
Printed are iterations, processor seconds, and median and worst over the pictures: of the median MSE of 8 rollouts at
steps 500 and 2000, and with damage of the smallest R of all shapes, beside how many of the wounded states are nearest
to another picture 200 steps later.
Run: python -m tests.benchmarks.many_pictures blood/ --counts 4,8,16,32 [--seeds 0,1] [--damage] [--single 4]
     [--train "hidden=256 channels=24"] [--out models/]
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from ncatool.config.flat import build_config
from ncatool.config.names import Damage
from ncatool.config.schema import SEPARATOR
from ncatool.data.targets import load_target
from ncatool.engine import compiled
from ncatool.engine.advance import advance
from ncatool.evaluation.trajectory import measure_damage
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import save_model
from ncatool.training.trainer import Trainer
from tests.benchmarks.recipe import convert

ROLLOUTS, STEPS = 8, (500, 2000)
GROWN_STEP = 200


def train(paths, settings):
    """Return the model, and the processor seconds that it took."""
    config = build_config({"target": SEPARATOR.join(map(str, paths)), "threads": 1, **settings})
    trainer, start = Trainer(config, load_target(config.target)), time.process_time()
    for _ in trainer.train():
        pass
    return trainer.copy_model(), time.process_time() - start


def measure_errors(model, generator):
    """Return the median errors of each picture at the steps."""
    found = []
    for one in model.pictures:
        wanted, state, done = torch.from_numpy(one.target.premultiply()), one.place_seeds(ROLLOUTS), 0
        for step in STEPS:
            state, done = advance(one, state, step - done, generator), step
            found.append(compute_mse(compute_error(state, wanted)).median().item())
    return [found[i :: len(STEPS)] for i in range(len(STEPS))]


def measure_healing(model, generator):
    """Return R of each picture, the smallest of all shapes, and the share of states that became another picture."""
    recoveries, changed, siblings = [], [], model.target.pictures
    for i, one in enumerate(model.pictures):
        grown = advance(one, one.place_seeds(ROLLOUTS), GROWN_STEP, generator)
        results = [measure_damage(one, grown, shape, 0, siblings=siblings) for shape in Damage]
        recoveries.append(min(result.regeneration.median for result in results))
        changed += [nearest != i for result in results for nearest in result.nearest.tolist()]
    return recoveries, f"{sum(changed)} of {len(changed)}"


def print_row(count, seed, model, seconds):
    generator = torch.Generator().manual_seed(seed + 100)
    errors = measure_errors(model, generator)
    cells = [f"{statistics.median(some):.1e} ({max(some):.1e})" for some in errors]
    if model.train["regime"] == "regenerating":
        recoveries, changed = measure_healing(model, generator)
        cells += [f"{statistics.median(recoveries):.3f} ({min(recoveries):.3f})", changed]
    rule = model.config
    facts = [count, seed, rule.hidden, rule.channels, model.train["iterations"], f"{seconds:.0f}", *cells]
    print("| " + " | ".join(map(str, facts)) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", default="4,8,16,32")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--single", type=int, default=0, help="so many models of one picture each, first")
    parser.add_argument("--damage", action="store_true")
    parser.add_argument("--train", default="", help="more settings, as name=value")
    parser.add_argument("--out", type=Path, help="folder for the models")
    given = parser.parse_args()
    compiled.configure_process(1)
    pictures = sorted(given.folder.glob("*.png"))
    settings = {name: convert(name, value) for name, value in (word.split("=", 1) for word in given.train.split())}
    columns = ["pictures", "seed", "hidden", "channels", "iterations", "seconds", "MSE at 500 (worst)", "at 2000"]
    columns += ["R (smallest)", "became another"] if given.damage else []
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for seed in map(int, given.seeds.split(",")):
        chosen = {**settings, "seed": seed, "damage": given.damage}
        for picture in pictures[: given.single]:
            print_row(1, seed, *train([picture], chosen))
        for count in filter(None, map(int, given.counts.split(","))):
            model, seconds = train(pictures[:count], chosen)
            print_row(count, seed, model, seconds)
            if given.out is not None:
                save_model(given.out / f"{given.folder.name}-{count}-{seed}.safetensors", model)


if __name__ == "__main__":
    main()
