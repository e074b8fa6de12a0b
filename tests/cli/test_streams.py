"""Every command in every encoding, with stdin, stdout and stderr closed, full or cut off."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ncatool
from tests.stream_server import COMMANDS, ENCODINGS, SHORT_COMMANDS, STATES, StreamServer

LOSSES = {"closed stdout": "it is closed", "full stdout": "No space left on device"}


@pytest.fixture(scope="module")
def server():
    with StreamServer() as server:
        yield server


@pytest.fixture(scope="module")
def folder(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    server.prepare(folder)
    return folder


def find_faults(done, name, state, usual):
    """What a process did wrong, in words; `usual` is the exit code with streams that work."""
    lost = any(word in state for word in ("closed stdout", "all closed", "full stdout", "broken stdout"))
    says_nothing = name == "a wrong value"
    expected = 1 if lost and usual == 0 and not says_nothing else usual
    expected = 2 if (name, state) == ("render -", "terminal") else expected
    text = done.stderr.decode(errors="replace") + (done.stdout.decode(errors="replace") if state == "terminal" else "")
    yield from (
        f"{word!r} is printed" for word in ("Traceback", "Exception ignored", "UnicodeEncodeError") if word in text
    )
    if done.returncode != expected:
        yield f"exit code {done.returncode} instead of {expected}"
    if state in LOSSES and not says_nothing:
        errors = [line for line in text.splitlines() if line.startswith("error:")]
        if errors != [f"error: stdout cannot be written: {LOSSES[state]}"]:
            yield f"errors are {errors}"
    if state == "broken stdout" and name not in ("render -", "a wrong value") and "error:" in text:
        yield "an error is printed"
    if not lost and state != "terminal" and not says_nothing and not done.stdout:
        yield "nothing on stdout"


def check(server, folder, name, encoding, state):
    """Run a command; return what it did wrong, and its stdout."""
    arguments, files = {**SHORT_COMMANDS, **COMMANDS}[name]
    for file in files if name != "resume" else ():
        (folder / file).unlink(missing_ok=True)
    done = server.run(arguments, encoding, state, folder)
    usual = {"(nothing)": 2, "a wrong value": 2}.get(name, 0)
    faults = [*find_faults(done, name, state, usual)]
    faults += [f"{file} is missing" for file in files if not (folder / file).exists()]
    if name != "render -":
        done.stdout.decode(encoding)
    return faults, done


ALL = {**SHORT_COMMANDS, **COMMANDS}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ALL)
def test_streams(server, folder, name, state):
    """All encodings where the streams are read, else one of them; `tests.benchmarks.streams` takes all for all."""
    turn = ([*ALL].index(name) + STATES.index(state)) % len(ENCODINGS)
    for encoding in ENCODINGS if state == "pipe" else [ENCODINGS[turn]]:
        faults, done = check(server, folder, name, encoding, state)
        assert faults == [], (encoding, done)


@pytest.mark.parametrize(
    ("redirection", "code", "what"),
    [
        (">&-", 1, "stdout cannot be written: it is closed"),
        (">/dev/full", 1, "stdout cannot be written: No space left on device"),
        ("2>&-", 0, None),
        ("| true; exit ${PIPESTATUS[0]}", 1, None),
    ],
)
def test_in_a_shell(redirection, code, what):
    """The same of the interpreter itself."""
    script = f"{sys.executable} -m ncatool train --help {redirection}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code
    errors = [line for line in done.stderr.splitlines() if not line.startswith("hint") and line]
    assert errors == ([f"error: {what}"] if what else [])


def test_no_file_takes_the_number_of_a_closed_stream():
    script = f"{sys.executable} -m ncatool {COMMANDS['train'][0]} >&- 2>&- <&-"
    assert subprocess.run(["bash", "-c", script], timeout=100, check=False).returncode == 1
    rows = Path("t.csv").read_text().splitlines()
    assert rows[0] == "iteration,loss,mse,learning_rate,events"
    assert all(re.fullmatch(r"\d,[\d.e-]+,[\d.e-]+,[\d.e-]+,.*", row) for row in rows[1:])
    assert len(rows) == 5


def test_the_locale_of_c():
    """Python then takes ASCII for the terminal and for the names of files."""
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = ncatool("train", "--help", env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "--checkpoint-every" in done.stdout


def test_letters_that_an_encoding_lacks():
    from ncatool.cli import streams

    with streams.use_safe_streams():
        assert "12 × 12 – 3".encode("ascii", "ncatool-plain") == b"12 x 12 - 3"
        assert "å\udce9".encode("ascii", "ncatool-plain") == b"\\xe5\\udce9"
        assert "å×".encode("latin-1", "ncatool-plain") == "å×".encode("latin-1")


def test_a_pipe_that_another_process_has_made_non_blocking():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen([sys.executable, "-m", "ncatool", "sweep", "--help"], stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading) as file:
            text = file.read()
    assert process.returncode == 0
    assert text.rstrip().endswith("NCATOOL_SWEEP_TARGET for --target.")
