"""Seconds until `ncatool --help` has printed: median of ten, and the heaviest of what it imports.

Run: python -m tests.benchmarks.startup
"""

import statistics
import subprocess
import sys
import time


def main():
    times = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ncatool", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    print(f"--help: {statistics.median(times[1:]):.3f} s ({min(times[1:]):.3f} to {max(times[1:]):.3f})")
    command = [sys.executable, "-X", "importtime", "-c", "import ncatool.cli.main"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()[1:]
    rows = sorted((int(line.split("|")[1]), line.split("|")[2].strip()) for line in lines)
    names = {name.split(".")[0] for _, name in rows}
    print(f"imports {len(rows)} modules; the longest with all below them, in ms:")
    for microseconds, name in rows[:-13:-1]:
        print(f"  {microseconds / 1000:6.1f}  {name}")
    print("heavy ones loaded:", sorted(names & {"torch", "numpy", "medmnist", "PIL", "matplotlib"}) or "none")


if __name__ == "__main__":
    main()
