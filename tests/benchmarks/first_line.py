"""Seconds from Enter until each command has printed its first line on a terminal: cold and warm, and to its end.

Run: python -m tests.benchmarks.first_line [TIMES]

Cold: the files of Python and its packages are dropped from the page cache before (Linux); warm: the median of a few.
"""

import contextlib
import os
import pty
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "phantom.safetensors"
SMALL = "--target phantom --size 10 --iterations 5 --device cpu"
COMMANDS = (
    "--help",
    "train --help",
    f"train {SMALL} --out t.safetensors --force",
    "resume t.safetensors --iterations 6",
    "render m.safetensors a.gif --steps 20 --force",
    "render m.safetensors --steps 20 --hold 0",
    "compare m.safetensors --rollouts 1 --steps 200",
    f"sweep {SMALL} --seed 1,2 --no-compare --jobs 1 --force",
    f"sweep {SMALL} --seed 1,2 --dry-run --jobs 1",
    "export m.safetensors m.npz --force",
    "export m.safetensors m.html --force",
    "fetch --list",
    "train --target nowhere.png",
)
HEADING = """\
| command | first line, warm | least | to the end | first line, cold | what it says |
|---|---|---|---|---|---|"""


def run(command, folder):
    """Seconds to the first printed character and to the end, and the first line."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    start = time.perf_counter()
    words = [sys.executable, "-m", "ncatool", *command.split()]
    with subprocess.Popen(words, stdout=slave, stderr=slave, stdin=slave, cwd=folder, env=environment) as process:
        os.close(slave)
        drawn, first = b"", None
        with contextlib.suppress(OSError):  # the terminal is closed at the end
            while part := os.read(master, 65536):
                first = first or time.perf_counter() - start
                drawn += part
    os.close(master)
    text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", drawn.decode(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return first, time.perf_counter() - start, process.returncode, lines[0] if lines else ""


def drop_caches():
    """Have the system forget the files of Python and its packages, and those of ncatool."""
    for folder in {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), ROOT / "ncatool"}:
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".pyc", ".so") or ".so." in path.name or path.name.startswith("python3"):
                with contextlib.suppress(OSError), path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(GOLDEN, Path(name) / "m.safetensors")
        print(HEADING)
        for command in COMMANDS:
            run(command, name)
            done = [run(command, name) for _ in range(times)]
            first, end = (statistics.median(one[i] for one in done) for i in (0, 1))
            drop_caches()
            cold = run(command, name)
            least = min(one[0] for one in done)
            print(
                f"| `{command}` | {first:.2f} s | {least:.2f} | {end:.1f} s | {cold[0]:.2f} s | {done[0][3][:90]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
