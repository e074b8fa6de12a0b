"""One training iteration, forward and backward of 80 steps at batch 8: the rollout beside the dense rule.

Both run in turn in one process, so that a noisy machine slows both; medians and quartiles are printed.
Run: python -m tests.benchmarks.step_speed [--rounds 9] [--threads 2]
"""

import argparse
import statistics
import time

import torch

from ncatool.config.schema import ModelConfig
from ncatool.engine import compiled
from ncatool.engine.rollout import draw_fire_masks, rollout
from ncatool.nca.rule import step
from ncatool.nca.weights import Weights, draw_weights

STEPS, BATCH = 80, 8
CASES = {"28x28, all alive": (28, 28), "72x72, 40x40 alive": (72, 40)}


def dense(state, weights, model, fire):
    for mask in fire:
        state = step(state, weights, model, mask)
    return state


def square(side, living, channels, generator):
    """Opaque states in a living square; the border cells around it come alive in the first step."""
    state = torch.zeros(BATCH, side, side, channels)
    first = (side - living) // 2
    inside = slice(first, first + living)
    state[:, inside, inside] = 0.5 + torch.rand(BATCH, living, living, channels, generator=generator)
    return state


def seconds(function, state, weights, model, fire):
    leaves = Weights(*(tensor.clone().requires_grad_() for tensor in weights if tensor is not None))
    start = time.perf_counter()
    (function(state, leaves, model, fire)[..., :4] ** 2).mean().backward()
    leaves.hidden_bias.grad.sum().item()  # waits for a GPU
    return time.perf_counter() - start


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} s ({low:.3f} to {high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    model, generator = ModelConfig(), torch.Generator().manual_seed(0)
    weights = draw_weights(model, generator)
    weights = weights._replace(output_weight=0.001 * torch.randn(16, 128, generator=generator))
    for name, (side, living) in CASES.items():
        state = square(side, living, model.channels, generator)
        times = {dense: [], rollout: []}
        for _ in range(arguments.rounds + 1):
            fire = draw_fire_masks(STEPS, state, model.fire_rate, generator)
            for function, found in times.items():
                compiled.set_thread_count(arguments.threads)
                # The dense rule gets all threads of torch; the rollout runs as the command runs it.
                torch.set_num_threads(arguments.threads if function is dense else 1)
                found.append(seconds(function, state, weights, model, fire))
        slow, fast = (found[1:] for found in times.values())
        ratio = statistics.median(a / b for a, b in zip(slow, fast, strict=True))
        print(f"{name}: dense {quartiles(slow)}, rollout {quartiles(fast)}, ratio {ratio:.1f}", flush=True)


if __name__ == "__main__":
    main()
