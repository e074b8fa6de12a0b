"""Commands in processes of their own that start in milliseconds.

A server imports ncatool once and forks a child for each command. A child is a process like any other: it can be
killed, and it can be made to die or to fail at a chosen file operation (see tests/files/faults.py).
"""

import contextlib
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

import typer

ROOT = Path(__file__).parents[1]
WARM_UP = [
    *("train", "--target", "phantom", "--size", "10", "--channels", "6", "--hidden", "10", "--iterations", "2"),
    *("--batch-size", "2", "--pool-size", "4", "--steps", "4-8", "--damaged", "1", "--threads", "1", "--quiet"),
]


class Finished(NamedTuple):
    returncode: int
    """Exit code; a negative number is the signal that ended the process."""
    output: str
    """What it wrote to stdout and stderr."""


class Child:
    """A command that runs in a forked process."""

    def __init__(self, server):
        self._server = server
        self.pid = server.read()
        self.finished = None

    def send_signal(self, number):
        os.kill(self.pid, number)

    def is_running(self):
        with contextlib.suppress(FileNotFoundError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    def wait(self):
        if self.finished is None:
            self.finished = Finished(*self._server.read())
        return self.finished


class ForkServer:
    """Runs one command at a time; use it as a context manager."""

    _child = None

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            # Threads of OpenMP do not survive a fork.
            env={**os.environ, "OMP_NUM_THREADS": "1", "NCATOOL_TRAIN_DEVICE": "cpu"},
        )
        return self

    def __exit__(self, *error):
        self._end_child()
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _end_child(self):
        """Kill the child that a failed test has left."""
        if self._child is not None and self._child.finished is None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()

    def read(self):
        line = self._process.stdout.readline()
        assert line, "the fork server has ended"
        return json.loads(line)

    def start(self, *arguments, fault=None):
        """Start a command in the current folder; `fault` holds the arguments of `faults.install`."""
        self._end_child()
        job = {"arguments": [*map(str, arguments)], "cwd": os.getcwd(), "env": dict(os.environ), "fault": fault}  # noqa: PTH109
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self._child = Child(self)
        return self._child

    def run(self, *arguments, fault=None):
        """Run a command to its end."""
        return self.start(*arguments, fault=fault).wait()


def run_command(arguments):
    """Run ncatool in this process and return its exit code."""
    from ncatool.cli.main import main

    sys.argv = ["ncatool", *arguments]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_child(job, output):
    """Do one job in a forked process, which ends here."""
    from tests.files import faults

    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    if job["fault"]:
        faults.install(**job["fault"])
    code = run_command(job["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve():
    """Fork a child for each line of stdin; answer with its number, and at its end with exit code and output."""
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    # Building the commands takes half of the time of a small run.
    typer.main.get_command = functools.cache(typer.main.get_command)
    with tempfile.TemporaryDirectory() as folder:  # one small run loads every module that a run needs
        run_command([*WARM_UP, "--out", f"{folder}/m.safetensors"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.collect()
    gc.freeze()  # or the collector of each child would copy the pages that it shares with this process
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as output:
            pid = os.fork()
            if pid == 0:
                os.dup2(null, 0)
                run_child(json.loads(line), output.fileno())
            answer(pid)
            _, status = os.waitpid(pid, 0)
            output.seek(0)
            answer([os.waitstatus_to_exitcode(status), output.read()])


if __name__ == "__main__":
    serve()
