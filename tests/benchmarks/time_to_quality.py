"""Seconds to the seed project's published quality (MSE 2.5e-4 at step 500), beside its 1000 iterations, dense.

Trains with a schedule made for that quality, measures the model, and times dense iterations of the seed
project's recipe (80 steps, batch 8) before, between and after.
Run: python -m tests.benchmarks.time_to_quality chest.png [--iterations 300] [--learning-rate 0.02] [--device cuda]
[--precision bfloat16]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import torch

from ncatool.config.names import Device
from ncatool.config.schema import ModelConfig
from ncatool.engine.advance import measure_mse
from ncatool.engine.device import resolve_device
from ncatool.engine.rollout import draw_fire_masks
from ncatool.nca.model_file import load_model
from ncatool.nca.weights import draw_weights
from tests.benchmarks.step_speed import STEPS, dense, seconds, square

SEEDS = (0, 1, 2)


def dense_seconds(device, rounds=5):
    model, generator = ModelConfig(), torch.Generator().manual_seed(0)
    weights = draw_weights(model, generator)
    weights = weights._replace(output_weight=0.001 * torch.randn(16, 128, generator=generator))
    weights = weights._replace(**{name: getattr(weights, name).to(device) for name in weights._fields[:3]})
    state = square(28, 28, model.channels, generator).to(device)
    fire = draw_fire_masks(STEPS, state, model.fire_rate, generator)
    return [seconds(dense, state, weights, model, fire) for _ in range(rounds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--iterations", default="300")
    parser.add_argument("--learning-rate", default="0.02")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    device = resolve_device(Device(arguments.device))
    slow = dense_seconds(device)[1:]
    fast = []
    for number in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "m.safetensors"
            flags = ["--iterations", arguments.iterations, "--learning-rate", arguments.learning_rate, "--seed", number]
            flags += ["--device", arguments.device, "--precision", arguments.precision]
            command = [
                sys.executable,
                "-m",
                "ncatool",
                "train",
                "-q",
                "--target",
                arguments.target,
                "--out",
                out,
                *flags,
            ]
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            took = tomllib.loads(out.with_suffix(".toml").read_text())["result"]["seconds"]
            values = measure_mse(load_model(out), [500], 8, torch.Generator().manual_seed(1))
        fast.append(took)
        slow += dense_seconds(device, 3)[1:]
        print(f"seed {number}: MSE at step 500 {values.median():.2e} after {took:.1f} s", flush=True)
    per_iteration = statistics.median(slow)
    print(f"dense: {per_iteration:.3f} s an iteration ({min(slow):.3f} to {max(slow):.3f})")
    ours = statistics.median(fast)
    print(f"ours: {ours:.1f} s, {1000 * per_iteration / ours:.1f} times faster than 1000 dense iterations")


if __name__ == "__main__":
    main()
