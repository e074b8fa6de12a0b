"""One training iteration as a share of what the processor's arithmetic alone would take, on one core.

The limit is a loop of multiply-adds on vectors as wide as the engine's, all in registers, built by the same compiler;
the iteration is 80 steps forward and backward at batch 4 on 28x28 cells, all alive. Counted are the products of the
rule: forward, backward, and the hidden units that the backward pass computes once more; the filters and all else count
as nothing. Both run in turn; medians and quartiles are printed.
Run: python -m tests.benchmarks.arithmetic [--rounds 9]
"""

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from ncatool.config.schema import ModelConfig
from ncatool.engine import build, compiled
from ncatool.engine.compiled import CompiledEngine
from ncatool.engine.rollout import draw_fire_masks
from tests.benchmarks.step_speed import square

STEPS, BATCH, SIDE = 80, 4, 28
CHAINS, REPEATS = 12, 20_000_000
SOURCE = """
#include "products.h"
float multiply_add(long repeats) {
    vec sum[CHAINS], factor, term;
    for (int j = 0; j < LANES; j++) factor[j] = 0.999f, term[j] = 0.001f;
    for (int i = 0; i < CHAINS; i++) sum[i] = factor * (float)i;
    for (long k = 0; k < repeats; k++)
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    return sum[0][0];
}
int lanes(void) { return LANES; }
"""


def build_loop(folder):
    source, library = Path(folder, "limit.c"), Path(folder, "limit.so")
    source.write_text(SOURCE)
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-funroll-loops", "-shared", "-fPIC", f"-DCHAINS={CHAINS}"]
    subprocess.run(["cc", *flags, f"-I{build.SOURCE.parent}", "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


def measure_limit(loop):
    """Return the operations a second of the loop, a multiplication and an addition counting as two."""
    start = time.perf_counter()
    loop.multiply_add(ctypes.c_long(REPEATS))
    return 2 * REPEATS * CHAINS * loop.lanes() / (time.perf_counter() - start)


def measure_iteration(engine, state, fire):
    """Return the operations a second of the products of an iteration, forward and backward."""
    start = time.perf_counter()
    engine.reverse(engine.record(state, fire), torch.ones_like(state))
    seconds = time.perf_counter() - start
    model = ModelConfig()
    hidden, output = 3 * model.channels * model.hidden, model.hidden * model.channels
    return 2 * int(fire.sum()) * (3 * (hidden + output) + hidden) / seconds


def describe(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle / 1e9:.0f} GFLOP/s ({low / 1e9:.0f} to {high / 1e9:.0f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    compiled.configure_process(1)
    model, generator = ModelConfig(), torch.Generator().manual_seed(0)
    weights = [0.05 * torch.randn(model.hidden, 3 * model.channels, generator=generator), torch.zeros(model.hidden)]
    weights += [0.002 * torch.randn(model.channels, model.hidden, generator=generator), torch.zeros(model.channels)]
    engine, state = CompiledEngine(model, weights, SIDE, SIDE), square(SIDE, SIDE, model.channels, generator)[:BATCH]
    fire = draw_fire_masks(STEPS, state, model.fire_rate, generator)
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(folder)
        found = [(measure_limit(loop), measure_iteration(engine, state, fire)) for _ in range(rounds + 1)][1:]
    limits, rates = zip(*found, strict=True)
    share = statistics.median(rate / limit for limit, rate in found)
    print(f"multiply-adds {describe(limits)}, an iteration {describe(rates)}: {share:.0%} of the limit")


if __name__ == "__main__":
    main()
