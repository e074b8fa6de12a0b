"""How good the default recipe's models are: MSE at steps 500 and 2000, and after damage.

For each target, with and without --damage, trains with the command's defaults and measures medians
over 32 rollouts, and counts those that died and those whose MSE is over 1e-3 at step 500. Damage is a circle
of radius 0.3 of the picture, erased at step 500 and judged 200 steps later.
Run: python -m tests.benchmarks.quality chest.png phantom lizard.png --size 28 28 40 --padding 0 0 16
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from ncatool.config.names import Damage
from ncatool.engine.advance import advance
from ncatool.nca.damage import DAMAGE_SHAPES, pad_mask
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import load_model
from ncatool.nca.state import ALPHA

ROLLOUTS = 32
ASTRAY = 1e-3


def measure(model):
    wanted = torch.from_numpy(model.target.premultiply())
    generator = torch.Generator().manual_seed(1)

    def median(state):
        return compute_mse(compute_error(state, wanted)).median().item()

    start = model.place_seeds(ROLLOUTS)
    grown = advance(model, start, 500, generator)
    late = advance(model, grown, 1500, generator)
    hurt = grown.clone()
    mask = DAMAGE_SHAPES[Damage.CIRCLE](*model.target.pixels.shape[:2], 0.3)
    hurt[:, pad_mask(mask, model.target.padding)] = 0
    healed = advance(model, hurt, 200, generator)
    dead = (grown[..., ALPHA] <= model.config.threshold).flatten(1).all(dim=1).sum().item()
    astray = (compute_mse(compute_error(grown, wanted)) > ASTRAY).sum().item()
    return median(grown), median(late), median(hurt), median(healed), dead, astray


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--size", type=int, nargs="+", required=True)
    parser.add_argument("--padding", type=int, nargs="+", required=True)
    parser.add_argument("--keep", type=Path, help="folder that the models go to")
    parser.add_argument("--extra", default="", help="more flags for train")
    arguments = parser.parse_args()
    print(
        "target           damage  seconds  step 500  step 2000  erased    healed    healed/before  dead  astray",
        flush=True,
    )
    for target, size, padding in zip(arguments.targets, arguments.size, arguments.padding, strict=True):
        for damage in ([], ["--damage"]):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "m.safetensors"
                flags = ["--target", target, "--size", size, "--padding", padding, "--out", out, *damage]
                command = [sys.executable, "-m", "ncatool", "train", "-q", *map(str, flags), *arguments.extra.split()]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds = float(done.stdout.split()[-1])
                grown, late, hurt, healed, dead, astray = measure(load_model(out))
                if arguments.keep:
                    arguments.keep.mkdir(exist_ok=True)
                    out.rename(arguments.keep / f"{Path(target).stem}{'-damage' * bool(damage)}.safetensors")
            print(
                f"{Path(target).stem:<16} {'yes' if damage else 'no':<7} {seconds:7.0f}  {grown:.2e}  {late:.2e}   "
                f"{hurt:.2e}  {healed:.2e}  {healed / grown:<13.2f}  {dead:<4}  {astray}",
                flush=True,
            )


if __name__ == "__main__":
    main()
