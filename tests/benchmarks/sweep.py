"""What a sweep costs: twelve runs of 28x28 by numbers of processes and threads, and the overhead of many tiny runs.

Run: python -m tests.benchmarks.sweep [--runs 1000] [--no-speed-up]

On a GPU: forty models, one after another, in several processes, and as one batch.
Run: python -m tests.benchmarks.sweep --forty [--iterations 200] [--device cuda]
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster import start_cluster
from tests.conftest import SMALL

TWELVE = [*("--target", "phantom", "--filter", "sobel,scharr,mean", "--loss", "l1,l2", "--damage", "both")]
ITERATIONS = 40
REPEATS = 3


def sweep(*arguments):
    """Seconds that the command takes, and the weights that it leaves."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "ncatool",
            "sweep",
            *map(str, arguments),
            "--no-compare",
            "-q",
            "--out",
            folder,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        models = sorted(Path(folder).glob("*.safetensors"))
        return seconds, [path.read_bytes() for path in models]


def speed_up():
    """One process with all threads, and one a processor with one thread each, in turn."""
    cores = len(os.sched_getaffinity(0))
    ways = {f"1 job, {cores} threads": (1, cores), f"{cores} jobs, 1 thread": (cores, 1)}
    seconds = {way: [] for way in ways}
    made = []
    for _ in range(REPEATS):
        for way, (jobs, threads) in ways.items():
            took, models = sweep(*TWELVE, "--iterations", ITERATIONS, "--jobs", jobs, "--threads", threads)
            seconds[way].append(took)
            made.append(models)
    assert all(models == made[0] for models in made), "the bytes differ"
    first = statistics.median(next(iter(seconds.values())))
    for way, values in seconds.items():
        median = statistics.median(values)
        spread = f"({min(values):.1f}-{max(values):.1f})"
        print(f"12 runs, {ITERATIONS} iterations, {way}: {median:.1f} s {spread}, {first / median:.2f}x", flush=True)


def forty(iterations, device):
    """All filters, losses, with and without damage, 28x28: one after another, in eight processes, and as one batch."""
    every = ["--filter", "sobel,scharr,gaussian,laplacian,mean", "--loss", "l1,l2,manhattan,hinge", "--damage", "both"]
    flags = [*every, "--target", "phantom", "--batch-size", 8, "--device", device, "--iterations", iterations]
    ways = {"one after another": ["--jobs", 1], "8 processes": ["--jobs", 8], "as one batch": ["--vectorise"]}
    seconds, made = {way: [] for way in ways}, []
    for _ in range(REPEATS):
        for way, how in ways.items():
            took, models = sweep(*flags, *how)
            seconds[way].append(took)
            made.append(models)
    first = statistics.median(seconds["one after another"])
    for way, values in seconds.items():
        told = f"{statistics.median(values):.1f} s ({min(values):.1f}-{max(values):.1f})"
        print(f"40 runs, {iterations} iterations, {way}: {told}, {first / statistics.median(values):.2f}x", flush=True)
    print("the bytes of all are the same" if all(models == made[0] for models in made) else "the bytes differ")


def overhead(runs, *where):
    """Seconds a run beside what the same number of iterations takes in the least time, which is next to nothing."""
    flags = list(itertools.chain(SMALL, ["--target", "phantom", "--seed", ",".join(map(str, range(runs)))]))
    took, models = sweep(*flags, "--most", runs, *where)
    assert len(models) == runs
    place = " ".join(map(str, where)) or "local"
    print(f"{runs} runs of 6 iterations, {place}: {took:.1f} s, {1000 * took / runs:.0f} ms a run", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--no-speed-up", action="store_true", help="leave out the twelve runs")
    parser.add_argument("--forty", action="store_true", help="only the forty models")
    parser.add_argument("--iterations", type=int, default=200, help="of the forty")
    parser.add_argument("--device", default="auto", help="of the forty")
    wish = parser.parse_args()
    if wish.forty:
        return forty(wish.iterations, wish.device)
    if not wish.no_speed_up:
        speed_up()
    overhead(wish.runs)
    with tempfile.TemporaryDirectory() as folder, start_cluster(Path(folder)) as cluster:
        overhead(wish.runs, "--scheduler", cluster.address)
    return None


if __name__ == "__main__":
    main()
