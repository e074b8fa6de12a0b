"""What is printed of names and texts that come from outside, and who may print."""

import ast
import contextlib
import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from ncatool.cli import terminal
from ncatool.cli.table_layout import lay_out_table
from ncatool.errors import NcatoolError
from tests.conftest import SMALL, ncatool, run_in_process
from tests.test_structure import MODULES, PACKAGE

HOSTILE = "a\x1b[31m\nerror: fake\r\u202e\x07\udce9\x9b2J"
SHOWN = r"a\x1b[31m\nerror: fake\r\u202e\x07\udce9\x9b2J"


def is_harmless(text):
    """Whether text has only printable characters and ends of lines."""
    return all(letter.isprintable() for letter in text.replace("\n", ""))


def test_escape():
    assert terminal.escape(HOSTILE) == SHOWN
    assert terminal.escape("Größe 日本 – [b]x[/b] :smile:") == "Größe 日本 – [b]x[/b] :smile:"
    assert terminal.clean_line("a\n" * 50, 9) == r"a\na\na\n…"[:8] + "…"


@pytest.fixture
def _no_settings(monkeypatch):
    monkeypatch.setattr(terminal, "settings", terminal.OutputSettings())


@pytest.mark.usefixtures("_no_settings")
def test_every_way_to_print(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "PLAIN_INTERVAL", 0)
    terminal.print_line(HOSTILE)
    terminal.print_result({"name": HOSTILE, "names": [HOSTILE], "more": {"a": HOSTILE}})
    terminal.print_results({}, {HOSTILE: {"b": HOSTILE}, "x": {"b": 1.0}})
    terminal.print_table(["name"], [[HOSTILE], [[HOSTILE, "second part"]]])
    for width in (20, 200):
        for line in lay_out_table(["name", HOSTILE], [[HOSTILE, HOSTILE], ["x", [HOSTILE]]], width):
            terminal.print_line(line.plain)
            assert is_harmless(line.plain)
    terminal.print_note(HOSTILE)
    terminal.print_failure(HOSTILE)
    terminal.print_error(NcatoolError(HOSTILE, HOSTILE))
    with terminal.show_progress(3, "steps") as update:
        update(1, HOSTILE)
    with terminal.show_transfer(HOSTILE) as watch:
        watch(1, None, HOSTILE)
        watch(1, 2, HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        terminal.print_traceback(error)
    out, errors = capsys.readouterr()
    assert is_harmless(out)
    assert is_harmless(errors)
    assert out.count(r"\x1b[31m") >= 8
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [f"error: {SHOWN}"]


def draw_on_a_terminal(body):
    """What a script draws on a terminal, without rich's own sequences."""
    import pty
    import subprocess
    import sys

    master, slave = pty.openpty()
    script = f"from ncatool.cli import terminal\nHOSTILE = {HOSTILE!a}\n{body}"
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    with subprocess.Popen([sys.executable, "-c", script], stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        drawn = b""
        while True:
            try:
                drawn += os.read(master, 65536)
            except OSError:
                break
    os.close(master)
    assert process.returncode == 0, drawn
    return re.sub(r"\x1b\[[?\d;]*[A-Zhlm]", "", drawn.decode()).replace("\r", "")


def test_progress_on_a_terminal():
    drawn = draw_on_a_terminal(
        "with terminal.show_progress(3, 'steps') as update: update(3, HOSTILE + '[/b]')\n"
        "with terminal.show_transfer(HOSTILE + '[/b]') as watch:\n"
        "    watch(1, None, HOSTILE + ':smile:')\n"
        "    watch(1, 2, HOSTILE + '[red]')\n"
        "terminal.print_table(['a'], [[HOSTILE]])\n"
    )
    assert is_harmless(drawn)
    for end in ("[/b]", ":smile:", "[red]"):
        assert f"{SHOWN}{end}" in drawn
    assert "\nerror: fake" not in drawn


def test_notes_on_a_terminal_are_broken_between_words(monkeypatch):
    text = "quality: it grows to 37 dB by step 96, holds to 500, and heals a circle " * 5
    drawn = draw_on_a_terminal(
        "import os; os.environ['COLUMNS'] = '60'\n"
        f"terminal.print_note({text!r})\n"
        f"terminal.print_note({text!r}, wrap=False)\n"
    )
    *wrapped, whole = drawn.splitlines()
    assert max(map(len, wrapped)) <= 60
    assert " ".join(wrapped).split() == text.split()
    assert whole == text, "what is to be copied is one line"


def test_a_files_name_is_one_line():
    for done in (
        run_in_process("train", "--target", HOSTILE),
        run_in_process("render", HOSTILE, "a.gif"),
        run_in_process("compare", HOSTILE),
        run_in_process("export", HOSTILE, "a.h"),
        run_in_process("import", HOSTILE, "a.safetensors"),
        run_in_process("resume", HOSTILE),
        run_in_process("fetch", HOSTILE),
        run_in_process("sweep", HOSTILE),
        run_in_process("train", "--config", HOSTILE),
        run_in_process("train", "--config", HOSTILE, "--traceback"),
        run_in_process("train", f"--{HOSTILE}"),
        run_in_process(HOSTILE),
    ):
        assert done.returncode != 0
        assert is_harmless(done.stderr)
        assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
        assert "error: fake" not in done.stderr.splitlines()


def read_rows(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_names_of_models_in_tables_and_files():
    assert run_in_process("train", *SMALL, "--target", "phantom", "-q").returncode == 0
    name = "=1+2\x1b[31m\nerror: fake"
    for ending in (".safetensors", ".toml"):
        shutil.copy(f"phantom{ending}", f"{name}{ending}")
    table = ncatool("compare", ".", "--rollouts", 1, "--steps", 200, "--csv", "c.csv", "--report", "r.html")
    assert table.returncode == 0, table.stderr
    assert is_harmless(table.stdout)
    assert {row["model"] for row in read_rows("c.csv")} == {f"'{name}", "phantom"}
    done = ncatool("compare", ".", "--rollouts", 1, "--steps", 200, "--json")
    assert done.stdout.isascii()
    assert {model["model"] for model in json.loads(done.stdout)["models"]} == {name, "phantom"}


def test_a_name_beyond_ascii_in_the_locale_of_c():
    """Python takes its letters for UTF-8, unless it was told not to."""
    train = ("train", *SMALL, "--target", "phantom", "--out", "zé.safetensors")
    for arguments in (train, ("export", "zé.safetensors", "z.npz"), ("render", "zé.safetensors", "z.png")):
        done = ncatool(*arguments, env={"LC_ALL": "C"})
        assert done.returncode == 0, done.stderr
        assert is_harmless(done.stdout + done.stderr)
    assert tomllib.loads(Path("z.npz.toml").read_text())["export"]["model"] == "zé.safetensors"
    done = ncatool(*train, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "hint: set PYTHONUTF8=1" in done.stderr


def test_what_a_record_says():
    """A resumed run tells what has changed since; a record can say anything."""
    assert run_in_process("train", *SMALL, "--target", "phantom", "-q").returncode == 0
    record = tomllib.loads(Path("phantom.toml").read_text())
    record["train"]["loss"] = "=HYPERLINK(1)\x1b[2J"
    Path("phantom.toml").write_text(tomli_w.dumps(record))
    done = run_in_process("compare", "phantom.safetensors", "--rollouts", 1, "--steps", 200, "--csv", "c.csv")
    assert is_harmless(done.stdout + done.stderr)
    if done.returncode == 0:
        (row,) = read_rows("c.csv")
        assert not row["loss"].startswith("=")


def find_prints(tree):
    """The lines of a module that write to a stream by themselves."""
    for node in ast.walk(tree):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name in ("print", "typer.echo", "typer.secho", "Console", "os.write") or name.endswith(
            ("stdout.write", "stderr.write", "buffer.write", "console.print", "print_exc")
        ):
            yield node.lineno, name


ALLOWED = {"cli/terminal.py", "rendering/player.py", "rendering/demo.py"}
"""The one place where the command line prints; and what draws numbers and pictures of ours on a terminal."""


def test_only_one_module_prints():
    found = {str(path.relative_to(PACKAGE)): [*find_prints(ast.parse(path.read_text()))] for path in MODULES}
    assert {name for name, prints in found.items() if prints} == ALLOWED
    assert list(find_prints(ast.parse("import sys\nsys.stderr.write('x')\nprint(1)"))) != []


def test_quiet_leaves_errors():
    Path("broken.safetensors").write_bytes(b"broken")
    assert run_in_process("train", *SMALL, "--target", "phantom", "-q").returncode == 0
    done = run_in_process("compare", ".", "--rollouts", 1, "--steps", 200, "--quiet")
    assert done.returncode == 1
    assert "not compared: " in done.stderr


def test_a_failed_run_of_a_sweep_is_said_under_quiet():
    """A folder stands where the lock of one of them should be written."""
    Path("sweep/.seed1.safetensors.lock").mkdir(parents=True)
    flags = ["--jobs", "1", "--no-compare", "--force", "--quiet"]
    done = run_in_process("sweep", *SMALL, "--target", "phantom", "--seed", "1,2", *flags)
    assert done.returncode == 1
    assert "failed: seed1: " in done.stderr
    assert "1 of 2 runs failed" in done.stderr
    assert "tried again" not in done.stderr
    assert "None" not in done.stdout


def test_json_of_runs_that_have_exploded():
    """A record with an infinite error, as that of a run whose cells grow beyond float32."""
    command = ["sweep", *SMALL, "--target", "phantom", "--seed", "1,2", "--vectorise", "--no-compare", "--json"]
    assert run_in_process(*command).returncode == 0
    for name, value in (("seed1", "inf"), ("seed2", "nan")):
        record = Path(f"sweep/{name}.toml")
        record.write_text(re.sub(r"mse_at_500 = \S+", f"mse_at_500 = {value}", record.read_text()))
    done = run_in_process(*command)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout, parse_constant=pytest.fail)["runs"]
    assert [row["mse_at_500"] for row in rows] == [None, None]


def read_terminal(*words, **environment):
    """What a command that fails writes to a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "ncatool", *words]
    process = subprocess.Popen(command, stderr=slave, env={**os.environ, "TERM": "xterm", **environment})
    os.close(slave)
    text = b""
    with contextlib.suppress(OSError):
        while piece := os.read(master, 4096):
            text += piece
    os.close(master)
    assert process.wait(timeout=60) == 2
    return text.decode().replace("\r\n", "\n")


PLAIN_ERROR = "error: size is 0, but goes from 1 to 1024\nhint: give --size a value in that range\n"


def test_errors_are_red_on_a_terminal_only():
    words = ("train", "phantom", "--size", "0")
    assert read_terminal(*words) == PLAIN_ERROR.replace("error:", "\x1b[1;31merror:\x1b[0m")
    assert read_terminal(*words, NO_COLOR="1") == PLAIN_ERROR
    assert read_terminal(*words, TERM="dumb") == PLAIN_ERROR
    assert ncatool(*words).stderr == PLAIN_ERROR
