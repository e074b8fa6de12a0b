"""What larger pictures cost, and how well they grow: time, error and healing by the number of cells.

Each picture is trained at each size with the defaults of `train` and the settings of `--train`, on one thread. Printed
are iterations, processor seconds (in all, and as a multiple of the first size's), the median MSE of 4 rollouts at step
500, at three times the steps that growth takes, and at step `--last`, with damage the smallest R of all shapes, and for
each picture the exponent by which the time grows with the cells. With `--earlier` each row is followed by the
time, estimated from a few iterations, of the defaults before regions widened: iterations and steps that grow with the
side, and all of the grid from the start.
Run: python -m tests.benchmarks.large_pictures astronaut.png retina.png phantom --sizes 28,64,128,224 [--seed 0]
     [--damage] [--earlier] [--last 10000] [--train "iterations=4000"] [--out models/]
"""

import argparse
import math
import time
from pathlib import Path

import torch

from ncatool.config.flat import build_config
from ncatool.config.names import Damage
from ncatool.config.schema import TrainConfig
from ncatool.data.targets import load_target
from ncatool.engine import compiled
from ncatool.engine.advance import advance
from ncatool.evaluation.trajectory import measure_damage
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import save_model
from ncatool.training.timing import time_iteration
from ncatool.training.trainer import Trainer
from tests.benchmarks.recipe import convert

ROLLOUTS = 4


def train(config):
    """Return the model, and the processor seconds that it took."""
    trainer, start = Trainer(config, load_target(config.target)), time.process_time()
    for _ in trainer.train():
        pass
    return trainer.copy_model(), time.process_time() - start


def measure(model, last):
    """Return the median errors at the steps, and with damage the smallest R of all shapes."""
    grown = 3 * max(model.target.shape)  # growth takes a step for each cell of the side, at a fire rate of a half
    wanted, generator = torch.from_numpy(model.target.premultiply()), torch.Generator().manual_seed(100)
    state, done, found, recovery = model.place_seeds(ROLLOUTS), 0, {}, None
    for step in sorted({grown, 500, last}):
        state, done = advance(model, state, step - done, generator), step
        found[step] = compute_mse(compute_error(state, wanted)).median().item()
        if step == grown and model.train["regime"] == "regenerating":
            recovery = min(measure_damage(model, state, shape, 0).regeneration.median for shape in Damage)
    return [found[500], found[grown], found[last]], recovery


def estimate_earlier(settings):
    """Return the seconds that the defaults took before regions widened."""
    side, rate = settings["size"], 1.0 if settings["damage"] else 0.8
    low = round(2 * rate * side)
    config = build_config(
        {
            **settings,
            "iterations": round((87.5 if settings["damage"] else 50) * side),
            "steps": f"{low}-{low + 31}",
            "batch_size": TrainConfig.batch_size,
            "pool_size": TrainConfig.pool_size,
            "widening": 0.0,
        }
    )
    return config.train.iterations * time_iteration(config, load_target(config.target))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--sizes", default="28,64,128,224")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damage", action="store_true")
    parser.add_argument("--earlier", action="store_true")
    parser.add_argument("--last", type=int, default=10_000)
    parser.add_argument("--train", default="", help="more settings, as name=value")
    parser.add_argument("--out", type=Path, help="folder for the models")
    given = parser.parse_args()
    compiled.configure_process(1)
    more = {name: convert(name, value) for name, value in (word.split("=", 1) for word in given.train.split())}
    columns = ["picture", "side", "iterations", "seconds", "times the first", "MSE at 500", "at 3 times growth"]
    columns += [f"at {given.last}", *(["R"] if given.damage else []), *(["seconds before"] if given.earlier else [])]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for picture in given.pictures:
        points = []
        for size in map(int, given.sizes.split(",")):
            settings = {"target": picture, "size": size, "damage": given.damage, "seed": given.seed, "threads": 1}
            model, seconds = train(build_config({**settings, **more}))
            points.append((math.prod(model.target.shape), seconds))
            if given.out is not None:
                save_model(given.out / f"{Path(picture).stem}-{size}-{given.seed}.safetensors", model)
            errors, recovery = measure(model, given.last)
            row = [Path(picture).name, size, model.train["iterations"], f"{seconds:.0f}"]
            row += [f"{seconds / points[0][1]:.1f}", *(f"{error:.1e}" for error in errors)]
            row += [f"{recovery:.2f}"] if given.damage else []
            row += [f"{estimate_earlier(settings):.0f}"] if given.earlier else []
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
        (cells, low), (more_cells, high) = points[0], points[-1]
        if more_cells > cells:
            print(f"{Path(picture).name}: the time grows as the cells to the power of "
                  f"{math.log(high / low) / math.log(more_cells / cells):.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
