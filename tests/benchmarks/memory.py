"""Peak memory of training, each size in a process of its own: 28x28, 72x72 and 224x224 at batch 8.

Run: python -m tests.benchmarks.memory
"""

import subprocess
import sys

SCRIPT = """
import resource, sys, time
from ncatool.data.targets import load_target
from ncatool.config.names import Regime
from ncatool.config.schema import RunConfig, TargetConfig, TrainConfig
from ncatool.config.flat import choose_steps
from ncatool.training.trainer import Trainer
import torch
size, padding, iterations = map(int, sys.argv[1:])
low, high = choose_steps(size, 0.5, Regime.PERSISTENT)
train = TrainConfig(batch_size=8, min_steps=low, max_steps=high, iterations=iterations)
config = RunConfig(target=TargetConfig(size=size, padding=padding), train=train)
trainer = Trainer(config, load_target(config.target))
# The worst case: states that are alive everywhere, from the first iteration on.
trainer.pool.states[..., 3] = 1
start = time.monotonic()
list(trainer.train())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
seconds = (time.monotonic() - start) / iterations
print(f"{size}+2x{padding}: {peak:.2f} GiB at most, {high} steps, {seconds:.2f} s an iteration")
"""


def main():
    for size, padding, iterations in ((28, 0, 10), (40, 16, 10), (224, 0, 2)):
        subprocess.run([sys.executable, "-c", SCRIPT, *map(str, (size, padding, iterations))], check=True)


if __name__ == "__main__":
    main()
