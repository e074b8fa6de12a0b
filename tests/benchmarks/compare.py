"""Seconds to put models to the test with the defaults: 16 rollouts, 2000 steps, six wounds.

python -m tests.benchmarks.compare [--repeats 3]
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import torch

from ncatool.engine import compiled
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.protocol import Protocol
from ncatool.nca.model_file import load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "phantom.safetensors"


def timed(model, count):
    start = time.perf_counter()
    for _ in range(count):
        measure_model(model, Protocol())
    return time.perf_counter() - start


def padded(model, padding):
    """The same model on a larger grid."""
    return dataclasses.replace(model, target=dataclasses.replace(model.target, padding=padding))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    compiled.set_thread_count(torch.get_num_threads())
    torch.set_flush_denormal(True)
    model = load_model(GOLDEN)
    measure_model(model, Protocol(rollouts=2, steps=200))
    for name, shown, count in (("28x28", model, 1), ("28x28", model, 4), ("72x72", padded(model, 22), 1)):
        seconds = [timed(shown, count) for _ in range(repeats)]
        spread = f"({min(seconds):.1f}-{max(seconds):.1f})"
        print(f"{count} models of {name}: {statistics.median(seconds):.1f} s {spread}")


if __name__ == "__main__":
    main()
