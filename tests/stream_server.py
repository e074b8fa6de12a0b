"""Commands as processes of their own whose stdin, stdout and stderr are what a shell can make of them.

A server imports ncatool once and forks a child for each command. The child gets its descriptors as from a shell, makes
Python's streams of them as the interpreter does when it starts, and flushes them as the interpreter does at its end.
"""

import contextlib
import functools
import gc
import json
import os
import selectors
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

import typer

ROOT = Path(__file__).parents[1]
ENCODINGS = ("utf-8", "latin-1", "cp437", "ascii")
STATES = (
    "pipe", "terminal", "closed stdin", "closed stdout", "closed stderr", "all closed", "full stdout", "full stderr",
    "broken stdout", "broken stderr",
)  # fmt: skip
"""What the streams are; those that a state does not name are pipes that are read."""
SMALL = (
    "--target phantom --size 10 --channels 8 --hidden 12 --batch-size 2 --pool-size 4 --steps 4-8 --damaged 1 "
    "--iterations 4 --threads 1"
)
TRAIN = f"train {SMALL} --force"
COMMANDS = {
    "fetch": ("fetch --list", ()),
    "train": (f"{TRAIN} --out t.safetensors", ("t.safetensors", "t.toml", "t.csv")),
    "train --json": (f"{TRAIN} --out j.safetensors --json", ("j.safetensors",)),
    "resume": ("resume base.safetensors --threads 1", ("base.toml",)),
    "sweep": (f"sweep {SMALL} --force --seed 1,2 --vectorise --no-compare", ("sweep/summary.csv",)),
    "render": ("render base.safetensors r.gif --steps 10 --force --threads 1", ("r.gif",)),
    "render -": ("render base.safetensors - --steps 10 --force --threads 1", ()),
    "compare": ("compare base.safetensors --rollouts 1 --steps 200 --threads 1 --csv c.csv --force", ("c.csv",)),
    "export": ("export base.safetensors e.npz --force", ("e.npz", "e.npz.toml")),
    "import": ("import base.json i.safetensors --size 8 --force", ("i.safetensors",)),
}
"""Every command: what is given, and the files that it leaves."""
SHORT_COMMANDS = {
    **{f"{name} --help".strip(): (f"{name} --help", ()) for name in (
        "", "fetch", "train", "resume", "sweep", "render", "compare", "export", "import",
    )},
    "--version": ("--version", ()),
    "(nothing)": ("", ()),
    "a wrong value": ("train --size 0", ()),
    "completion": ("_NCATOOL_COMPLETE=source_bash", ()),
}  # fmt: skip
"""What needs no torch."""


class Finished(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


class StreamServer:
    """Runs one command at a time; use it as a context manager."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stream_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def run(self, arguments, encoding, state, cwd):
        """Run a command, given as one line, to its end; words such as NAME=value go into its environment."""
        words = arguments.split()
        variables = dict(word.split("=") for word in words if word.startswith("_"))
        job = {
            "arguments": [word for word in words if not word.startswith("_")],
            "encoding": encoding,
            "state": state,
            "cwd": str(cwd),
            "env": {**os.environ, **variables},
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        code, *outputs = json.loads(line)
        return Finished(code, *(text.encode("latin-1") for text in outputs))

    def prepare(self, folder):
        """Write the files that the commands read."""
        for arguments in (f"{TRAIN} --out base.safetensors", "export base.safetensors base.json"):
            done = self.run(arguments, "utf-8", "pipe", folder)
            assert done.returncode == 0, done


def open_descriptors(state):
    """Return descriptors for stdin, stdout and stderr (None: closed), and those of their other ends to read from."""
    null = os.open(os.devnull, os.O_RDONLY)
    if state == "terminal":
        master, slave = os.openpty()
        return [slave, slave, slave], [master, None]
    own, others = [null], []
    for name in ("stdout", "stderr"):
        kind = state.split()[0] if name in state else "closed" if state == "all closed" else ""
        reading, writing = os.pipe()
        if kind in ("full", "closed"):
            os.close(writing)
            writing = os.open("/dev/full", os.O_WRONLY) if kind == "full" else None
        if kind:
            os.close(reading)
            reading = None
        own.append(writing)
        others.append(reading)
    if state in ("closed stdin", "all closed"):
        own[0] = None
    return own, others


def read_all(descriptors):
    """Return what is read from each descriptor until the other end is closed."""
    texts = {descriptor: b"" for descriptor in descriptors if descriptor is not None}
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    piece = os.read(key.fd, 65536)
                except OSError:  # so a terminal says that it ends
                    piece = b""
                texts[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [texts.get(descriptor, b"") for descriptor in descriptors]


def take_streams(descriptors, unused, encoding):
    """Make the descriptors 0 to 2 of this process and the streams of `sys` of them, as the interpreter does."""
    sys.stdin = sys.stdout = sys.stderr = sys.__stdin__ = sys.__stdout__ = sys.__stderr__ = None
    for number, descriptor in enumerate(descriptors):
        if descriptor is None:
            os.close(number)
        else:
            os.dup2(descriptor, number)
    for descriptor in {*descriptors, *unused} - {None}:
        os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if descriptors[number] is not None:
            errors = "backslashreplace" if name == "stderr" else "strict"
            stream = open(number, mode, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def warm_up():
    """Load every module that the commands need, by small ones."""
    import ncatool.evaluation.report
    import ncatool.formats.exporting
    import ncatool.formats.importing
    import ncatool.rendering.render
    import ncatool.sweep.vectorised  # noqa: F401
    from ncatool.cli.main import main

    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["ncatool", *TRAIN.split(), "--quiet", "--out", f"{folder}/m.safetensors"]
        with contextlib.suppress(SystemExit):
            main()


def run_command():
    """Run ncatool and return its exit code, or 120, as the interpreter does, where it could not flush its streams."""
    from ncatool.cli.main import main

    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        code = 1
        with contextlib.suppress(OSError, AttributeError):
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            code = 120
            if sys.stderr is not None:
                os.write(2, b"Exception ignored")
    return code


def serve():
    """Fork a child for each line of stdin, and answer with its exit code and its output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    typer.main.get_command = functools.cache(typer.main.get_command)  # it takes half of the time of a short command
    warm_up()
    gc.collect()
    gc.freeze()  # or the collector of each child would copy the pages that it shares with this process
    for line in sys.stdin:
        job = json.loads(line)
        own, others = open_descriptors(job["state"])
        pid = os.fork()
        if pid == 0:
            os.chdir(job["cwd"])
            os.environ.clear()
            os.environ.update(job["env"])
            sys.argv = ["ncatool", *job["arguments"]]
            take_streams(own, others, job["encoding"])
            os._exit(run_command())
        for descriptor in set(own) - {None}:
            os.close(descriptor)
        texts = [text.decode("latin-1") for text in read_all(others)]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.write(json.dumps([code, *texts]) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
