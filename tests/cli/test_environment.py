"""Environment variables of all flags, and flags that are given twice."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import typer

from ncatool.cli import options, terminal
from ncatool.cli.command import Command, get_flag
from ncatool.cli.main import app
from tests.conftest import GOLDEN, SMALL, replace_flags, run_in_process

COMMANDS = typer.main.get_command(app).commands
ARGUMENTS = {
    "demo": [],
    "fetch": ["chestmnist"],
    "train": [],
    "resume": ["m.safetensors"],
    "sweep": [],
    "render": ["m.safetensors", "a.gif"],
    "compare": ["m.safetensors"],
    "info": ["m.safetensors"],
    "export": ["m.safetensors", "m.h"],
    "import": ["m.pt", "n.safetensors"],
}
OPTIONS = [
    (name, get_flag(option), option)
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, typer.core.TyperOption)
]
NAMED = [pytest.param(*one, id=f"{one[0]} {one[1]}") for one in OPTIONS]


def name_variable(command, flag):
    return f"NCATOOL_{command}_{flag[2:]}".upper().replace("-", "_")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch):
    """Some flags set what this process prints."""
    monkeypatch.setattr(terminal, "settings", terminal.OutputSettings())
    monkeypatch.setattr(options, "settings", terminal.settings)


def parse(command, *arguments):
    """The values of a command's parameters, by name."""
    with COMMANDS[command].make_context(command, [*ARGUMENTS[command], *arguments]) as context:
        return context.params


def choose_values(command, option):
    """A value for a flag, what is made of it, and a value that is none (None: every text is one)."""
    kind = option.type_descriptor
    if option.is_flag:
        return "yes", True, "maybe"
    if option.name == "config":
        Path("c.toml").write_text("")
        return "c.toml", Path("c.toml"), "nowhere.toml"
    if option.nargs == 2:
        return "train:1 my own.png", ("train:1", Path("my own.png")), "train:1"
    if option.multiple:
        return "1 , 2 3,4", ["1,2", "3,4"], None
    if kind.is_choice:
        return kind.choices[-1].value, kind.choices[-1], "no-such-name"
    if int in (kind.annotation, *getattr(kind.annotation, "__args__", ())):
        number = max(8, option.min or 0)
        return str(number), number, "2.5"
    if float in (kind.annotation, *getattr(kind.annotation, "__args__", ())):
        return "0.5", 0.5, "half"
    return "x", Path("x") if kind.is_path else "x", None


def test_all_commands_and_flags_are_covered():
    assert set(COMMANDS) == set(ARGUMENTS)
    assert all(isinstance(command, Command) for command in COMMANDS.values())
    assert len(OPTIONS) > 120


@pytest.mark.parametrize(("command", "flag", "option"), NAMED)
def test_every_flag_has_a_variable(command, flag, option, monkeypatch):
    variable = name_variable(command, flag)
    assert variable in option.envvar
    good, value, bad = choose_values(command, option)
    monkeypatch.delenv(variable, raising=False)
    unset = parse(command)[option.name]
    monkeypatch.setenv(variable, "")
    assert parse(command)[option.name] == unset, "an empty variable is none"
    monkeypatch.setenv(variable, good)
    assert parse(command)[option.name] == value
    if bad is not None:
        monkeypatch.setenv(variable, bad)
        done = run_in_process(command, *ARGUMENTS[command])
        assert done.returncode == 2
        error = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert variable in error
        assert repr(bad) in error


@pytest.mark.parametrize(("command", "flag", "option"), NAMED)
def test_one_value_is_given_once(command, flag, option):
    good, _, _ = choose_values(command, option)
    words = [flag] if option.is_flag else [flag, *good.split(None, option.nargs - 1)]
    for name in option.opts:
        twice = [*words, name, *words[1:]]
        if option.is_flag or option.multiple:
            parse(command, *twice)
            continue
        done = run_in_process(command, *ARGUMENTS[command], *twice)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {flag} is given 2 times: ")
        assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ("train --target a --target b", "--target is given 2 times: 'a', 'b'", "give it once"),
        ("train --target=a -t b", "--target is given 2 times: 'a', 'b'", "give it once"),
        ("sweep --filter a --filter b", "--filter is given 2 times: 'a', 'b'", "between commas: --filter a,b"),
        ("sweep --compare --no-compare", "--compare and --no-compare contradict each other", "give one of them"),
        ("train --no-checkpoint --checkpoint", "--checkpoint and --no-checkpoint contradict each other", "one of them"),
    ],
)
def test_contradictions(arguments, what, hint):
    done = run_in_process(*arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"error: {what}"
    assert done.stderr.splitlines()[1].endswith(hint)


@pytest.mark.parametrize(
    ("command", "variables", "what"),
    [
        ("train", {"NCATOOL_TRAIN_STEPS": "x"}, "NCATOOL_TRAIN_STEPS is 'x'"),
        ("train", {"NCATOOL_TRAIN_SIZE": "5000"}, "NCATOOL_TRAIN_SIZE is 5000, but goes from 1 to 1024"),
        ("train", {"NCATOOL_TRAIN_BATCH_SIZE": "300"}, "NCATOOL_TRAIN_BATCH_SIZE is '300'"),
        ("train", {"NCATOOL_TRAIN_OUT": "m.pt"}, "NCATOOL_TRAIN_OUT is 'm.pt'"),
        ("train", {"NCATOOL_TRAIN_OUT": "nowhere/m.safetensors"}, "NCATOOL_TRAIN_OUT is 'nowhere/m.safetensors'"),
        ("train", {"NCATOOL_TRAIN_TARGET": "no.png"}, "NCATOOL_TRAIN_TARGET is 'no.png'"),
        ("render", {"NCATOOL_RENDER_AT": "5"}, "NCATOOL_RENDER_AT is '5'"),
        ("render", {"NCATOOL_RENDER_BACKGROUND": "nocolour"}, "NCATOOL_RENDER_BACKGROUND is 'nocolour'"),
        ("sweep", {"NCATOOL_SWEEP_FILTER": "sobel,sobol"}, "NCATOOL_SWEEP_FILTER is 'sobel,sobol'"),
        ("compare", {"NCATOOL_COMPARE_SORT": "zzz"}, "NCATOOL_COMPARE_SORT is 'zzz'"),
        ("fetch", {"NCATOOL_FETCH_SPLIT": "all"}, "NCATOOL_FETCH_SPLIT is 'all'"),
    ],
)
def test_errors_of_commands_name_the_variable(command, variables, what, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    shutil.copy(GOLDEN, "m.safetensors")
    done = run_in_process(command, *ARGUMENTS[command])
    assert done.returncode != 0
    error = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert what in error


def test_a_variable_is_not_blamed_for_what_a_file_says(monkeypatch):
    Path("bad.toml").write_text("[train]\niterations = 'x'\n")
    monkeypatch.setenv("NCATOOL_TRAIN_ITERATIONS", "2")
    done = run_in_process("train", "--config", "bad.toml")
    assert "NCATOOL_TRAIN_ITERATIONS is 'x'" not in done.stderr


def test_precedence(monkeypatch):
    Path("run.toml").write_text("[train]\nseed = 3\niterations = 3\nbatch_size = 3\n")
    monkeypatch.setenv("NCATOOL_TRAIN_CONFIG", "run.toml")
    monkeypatch.setenv("NCATOOL_TRAIN_SEED", "20")
    monkeypatch.setenv("NCATOOL_TRAIN_ITERATIONS", "2")
    monkeypatch.setenv("NCATOOL_TRAIN_OUT", "named.safetensors")
    monkeypatch.setenv("NCATOOL_TRAIN_JSON", "1")
    monkeypatch.setenv("NCATOOL_SEED", "77")
    monkeypatch.setenv("NCATOOL_RENDER_SEED", "78")
    flags = [word for before, word in zip(["", *SMALL], SMALL, strict=False) if not {before, word} & {"--batch-size"}]
    done = run_in_process("train", *replace_flags(flags, iterations=1))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wrote"] == "named.safetensors"
    train = tomllib.loads(Path("named.toml").read_text())["train"]
    assert {name: train[name] for name in ("iterations", "seed", "batch_size", "learning_rate")} == {
        "iterations": 1, "seed": 20, "batch_size": 3, "learning_rate": 0.006,
    }  # fmt: skip
    assert "NCATOOL_SEED is not read: for ncatool train it is NCATOOL_TRAIN_SEED" in done.stderr
    assert "RENDER" not in done.stderr


def test_variables_that_no_flag_reads_are_named(monkeypatch):
    monkeypatch.setenv("NCATOOL_TRAIN_STPES", "3")
    monkeypatch.setenv("NCATOOL_NO_PROGRESS", "1")
    lines = run_in_process("train", "--size", 0).stderr.splitlines()
    assert [line for line in lines if "not read" in line] == [
        "NCATOOL_TRAIN_STPES is not read: it names no flag of ncatool train; did you mean NCATOOL_TRAIN_STEPS?"
    ]


def test_a_sweep_reads_its_own_variables(monkeypatch):
    monkeypatch.setenv("NCATOOL_TRAIN_SEED", "5")
    monkeypatch.setenv("NCATOOL_SWEEP_SEED", "1,2")
    monkeypatch.setenv("NCATOOL_SWEEP_COMPARE", "off")
    done = run_in_process("sweep", *SMALL, "--target", "phantom", "--vectorise", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["run"] for row in json.loads(done.stdout)["runs"]] == ["seed1", "seed2"]


def test_the_data_folder_has_a_name_for_all_commands(monkeypatch):
    monkeypatch.setenv("NCATOOL_DATA", "shared")
    assert parse("train")["root"] == parse("fetch")["root"] == Path("shared")
    monkeypatch.setenv("NCATOOL_TRAIN_ROOT", "own")
    assert parse("train")["root"] == Path("own")
