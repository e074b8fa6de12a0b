"""What checkpoints cost: seconds for one, and the share of training time at the default interval.

Run: python -m tests.benchmarks.checkpoint
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from ncatool.config.schema import RunConfig, TargetConfig, TrainConfig
from ncatool.data import targets
from ncatool.engine import compiled
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles

ITERATIONS = 600


def measure(size, padding, pool, folder):
    config = RunConfig(
        target=TargetConfig(size=size, padding=padding), train=TrainConfig(pool_size=pool, iterations=ITERATIONS)
    )
    run = Run(config, targets.load_target(config.target), RunFiles(folder / "m.safetensors"))
    real, spent = run.save, []

    def save():
        start = time.monotonic()
        real()
        spent.append(time.monotonic() - start)

    run.save = save
    start = time.monotonic()
    for _ in run.train(lambda: False):
        pass
    total = time.monotonic() - start
    megabytes = run.files.checkpoint.stat().st_size / 1e6
    return megabytes, statistics.median(spent), max(spent), len(spent), sum(spent) / total, total


def main():
    compiled.set_thread_count(os.cpu_count() or 1)
    print(f"grid    pool  MB      median    longest   written in {ITERATIONS} iterations   share of the time")
    for size, padding in ((28, 0), (40, 16)):
        for pool in (256, 1024):
            with tempfile.TemporaryDirectory() as folder:
                megabytes, median, longest, count, share, total = measure(size, padding, pool, Path(folder))
            side = size + 2 * padding
            print(
                f"{side}×{side}  {pool:>5}  {megabytes:5.1f}  {median:7.3f} s  {longest:7.3f} s  "
                f"{count:>4} in {total:.0f} s                   {100 * share:.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
