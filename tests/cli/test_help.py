"""--help is whole: every option and every choice, at every width, with examples that can be typed."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

from ncatool.cli.main import app
from tests.conftest import ncatool, run_in_process

COMMANDS = typer.main.get_command(app).commands
WIDTHS = (60, 80, 120)


def read_help(name, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    done = run_in_process(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def list_words(text):
    return set(re.split(r"[\s│|,.;:()\[\]]+", text))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_every_choice_is_there_in_one_piece(name, width, monkeypatch):
    text = read_help(name, width, monkeypatch)
    words = list_words(text)
    lines = [line for line in text.splitlines() if not line.startswith("  ncatool ")]  # they are to be copied
    assert max(map(len, lines)) <= min(width, 100)
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, typer.core.TyperOption):
            assert {*parameter.opts, *parameter.secondary_opts} <= words
        kind = parameter.type_descriptor
        if kind.is_choice:
            assert {choice.value for choice in kind.choices} <= words


@pytest.mark.parametrize("name", COMMANDS)
def test_what_most_users_need_comes_first(name, monkeypatch):
    text = read_help(name, 80, monkeypatch)
    panels = re.findall(r"^\+- (.*?) -", text, re.MULTILINE)
    assert panels[: 2 if panels[0] == "Arguments" else 1][-1] == "Common options"
    common = text.split("Common options")[1].split("\n+")[0]
    options = [option for option in COMMANDS[name].params if isinstance(option, typer.core.TyperOption)]
    assert len(re.findall(r"^\| (?:-\w, |    )--", common, re.MULTILINE)) == min(6, len(options))


@pytest.mark.parametrize("name", COMMANDS)
def test_placeholders_have_one_style(name, monkeypatch):
    text = read_help(name, 80, monkeypatch)
    assert not re.search(r"<(bool|int|float|str|path|[\w|]+\|[\w|]+)>", text)
    for placeholder in re.findall(r"^\| (?:-\w, |    )--[\w-]+(?:, --[\w-]+)? (\S+)", text, re.MULTILINE):
        plain = re.sub(r"\.(toml|csv|png|gif|html|safetensors|npz|tex|md)\b|x(?=W)|tcp://", "", placeholder)
        assert plain == plain.upper(), placeholder


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_typed(name, monkeypatch):
    text = read_help(name, 80, monkeypatch)
    examples = re.findall(r"^  ncatool (.+)$", text, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        command, *words = shlex.split(example)
        assert command == name
        (tmp := COMMANDS[name].make_context(name, [word for word in words if word != "plan.toml"])).close()
        assert tmp.params


@pytest.mark.parametrize("name", COMMANDS)
def test_the_environment_takes_one_sentence(name, monkeypatch):
    text = " ".join(read_help(name, 120, monkeypatch).split())
    assert text.count("NCATOOL_") == 2 + text.count("(or NCATOOL_DATA)")
    assert "NCATOOL_<COMMAND>_<FLAG>, such as" in text


def test_the_commands_have_their_list():
    for arguments, code in ((["--help"], 0), (["-h"], 0), ([], 2)):
        done = ncatool(*arguments)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.startswith("Usage: ncatool COMMAND")
        assert set(COMMANDS) <= list_words(done.stdout)
        assert "rror" not in done.stdout


LOADED = """
import sys
from ncatool.cli.main import main
try:
    main()
except SystemExit:
    print(*(name for name in ("rich", "pydantic", "torch", "numpy") if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["sweep", "-h"], []])
def test_help_loads_nothing_slow(words):
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_help_has_colours_on_a_terminal_only(monkeypatch):
    assert "\x1b" not in run_in_process("train", "--help").stdout
    monkeypatch.setattr("ncatool.cli.help.has_colours", lambda stream: True)
    text = run_in_process("train", "--help").stdout
    assert "\x1b[36m -n, --iterations" in text or "\x1b[36m-n, --iterations" in text
