"""The matrix of the seed project: five filters, four losses, with and without damage, by one sweep for each target.

Measured over 16 rollouts from the seed: the median MSE at steps 500 and 2000, whether any is dead or has exploded by
step 10,000, and with damage the smallest median R of all shapes. Prints a Markdown table for each target, in which what
misses its bar is bold, and a last one of each filter over all losses and targets, which the README shows. The models
stay in the folder, and a matrix that was interrupted goes on where it stopped. `--filter` and `--loss` train a part.
Run: python -m tests.benchmarks.matrix chest.png phantom blood.png --out matrix [--filter mean] [--loss l1,l2]
     [--train "more flags"] [--jobs 2]
"""

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import torch

from ncatool.config.names import Damage, Filter, Loss
from ncatool.engine import compiled
from ncatool.engine.advance import advance
from ncatool.evaluation.protocol import MAX_ABS_STATE
from ncatool.evaluation.trajectory import measure_damage
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import load_model
from ncatool.nca.state import has_living_cells
from ncatool.training.run_files import RunFiles

ROLLOUTS, HEALTH_STEP = 16, 10_000
BARS = {"mse_500": 2.5e-4, "mse_2000": 5e-4, "unhealthy": 0, "recovery": 0.95}
"""The most that an error and a count may be, the least that a recovery may be."""


def measure(path):
    compiled.configure_process(1)
    model = load_model(path)
    wanted, generator = torch.from_numpy(model.target.premultiply()), torch.Generator().manual_seed(1)
    state, done, found, healthy = model.place_seeds(ROLLOUTS), 0, {}, torch.ones(ROLLOUTS, dtype=torch.bool)
    for step in (200, 500, 2000, *range(3000, HEALTH_STEP + 1, 1000)):
        state, done = advance(model, state, step - done, generator), step
        healthy &= (state.abs().amax(dim=(1, 2, 3)) <= MAX_ABS_STATE) & has_living_cells(state, model.config.threshold)
        if step == 200:
            intact = state
        if f"mse_{step}" in BARS:
            found[f"mse_{step}"] = compute_mse(compute_error(state, wanted)).median().item()
    found["unhealthy"] = int((~healthy).sum())
    if model.train["regime"] == "regenerating":
        found["recovery"] = min(measure_damage(model, intact, shape, 0).regeneration.median for shape in Damage)
    return found


def misses(name, value):
    return value < BARS[name] if name == "recovery" else not value <= BARS[name]


def read_record(path):
    return tomllib.loads(RunFiles(path).record.read_text())


def list_finished(folder):
    records = [(path, read_record(path)) for path in sorted(folder.glob("*.safetensors"))]
    return [path for path, one in records if one["result"]["iterations"] == one["train"]["iterations"]]


def list_filters(keys):
    present = {key[0] for key in keys}
    return [name for name in Filter if name in present]


def describe(found):
    """A cell of the table: MSE at 500 and 2000 in units of 1e-5, what is unhealthy, and R; empty without a model."""
    if not found:
        return ""
    parts = {
        "mse_500": f"{1e5 * found['mse_500']:.3g}",
        "mse_2000": f"{1e5 * found['mse_2000']:.3g}",
        "unhealthy": f"{found['unhealthy']} unhealthy" if found["unhealthy"] else "",
        "recovery": f"R {found['recovery']:.3f}" if "recovery" in found else "",
    }
    return " · ".join(f"**{text}**" if misses(name, found[name]) else text for name, text in parts.items() if text)


def sweep(target, folder, filters, losses, extra, jobs):
    command = [sys.executable, "-m", "ncatool", "sweep", "--target", target]
    command += ["--filter", ",".join(filters), "--loss", ",".join(losses)]
    command += ["--damage", "both", "--out", str(folder), "--jobs", str(jobs), "--threads", "1", "--no-compare"]
    subprocess.run([*command, *extra], check=True)


def print_table(target, found, seconds):
    print(f"\n{target}: MSE at steps 500 and 2000 in units of 1e-5, {seconds / 3600:.1f} hours of one thread\n")
    losses = [loss for loss in Loss if any(key[1] == loss for key in found)]
    columns = [(loss, damage) for loss in losses for damage in (False, True)]
    print("| filter | " + " | ".join(f"{loss}{' damage' * damage}" for loss, damage in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in list_filters(found):
        cells = [describe(found.get((name, loss, damage), {})) for loss, damage in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")
    missed = {name: sum(misses(name, one[name]) for one in found.values() if name in one) for name in BARS}
    print(f"\nmisses of {len(found)}: " + ", ".join(f"{name} {count}" for name, count in missed.items()), flush=True)


def print_summary(found):
    """Print a row a filter: the median and largest MSE at step 500 of all losses and targets, and the smallest R."""
    print(
        "\n| filter | MSE at 500 (largest) | over 2.5e-4 | with damage | over 2.5e-4 | smallest R |\n"
        + "|---" * 6
        + "|"
    )
    for name in list_filters(key for key, _ in found):
        cells = []
        for damage in (False, True):
            errors = [one["mse_500"] for key, one in found if key[0] == name and key[2] is damage]
            count = sum(misses("mse_500", error) for error in errors)
            cells += [f"{statistics.median(errors):.1e} ({max(errors):.1e})", f"{count} of {len(errors)}"]
        smallest = min(one["recovery"] for key, one in found if key[0] == name and key[2])
        print(f"| {name} | {' | '.join(cells)} | {smallest:.2f} |", flush=True)


def parse_names(names):
    return lambda text: [names(one) for one in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--filter", type=parse_names(Filter), default=list(Filter))
    parser.add_argument("--loss", type=parse_names(Loss), default=list(Loss))
    parser.add_argument("--train", default="", help="more flags for sweep")
    parser.add_argument("--jobs", type=int, default=2)
    wish = parser.parse_args()
    everything = []
    for target in wish.targets:
        folder = wish.out / Path(target).stem
        sweep(target, folder, wish.filter, wish.loss, wish.train.split(), wish.jobs)
        paths = list_finished(folder)
        with multiprocessing.get_context("spawn").Pool(wish.jobs) as pool:
            measures = pool.map(measure, paths, chunksize=1)
        models = [load_model(path) for path in paths]
        keys = [(one.config.filter, one.train["loss"], one.train["regime"] == "regenerating") for one in models]
        everything += zip(keys, measures, strict=True)
        print_table(
            target,
            dict(zip(keys, measures, strict=True)),
            sum(read_record(path)["result"]["seconds"] for path in paths),
        )
    print_summary(everything)


if __name__ == "__main__":
    main()
