"""The house in order: who may import whom, what the command line loads, what is documented."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ncatool.cli import app
from tests.conftest import SMALL

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ncatool"
MODULES = sorted(PACKAGE.rglob("*.py"))
README = (ROOT / "README.md").read_text()

ROWS = [
    *("errors", "config", "settings", "files", "npz", "download", "dataset", "fetch", "target", "state"),
    *("device", "model", "compiler", "native", "kernels", "gpu", "engine", "rollout", "loss", "checkpoint"),
    *("adam", "guard"),
    *("train", "together", "evaluate", "view", "curve", "restore", "run", "script", "film", "canvas"),
    *("animation", "video", "render", "trial", "chart", "compare", "report", "export.common", "export.arrays"),
    *("export.article", "export.html", "export.pt2", "export.onnx"),
    *("sweep.plan", "sweep.job", "sweep.folder", "sweep.local"),
    *("sweep.item", "sweep.cluster", "sweep.vectorised", "sweep", "export.header", "export", "convert"),
    *("board", "console", "gallery", "player", "compare_cli", "export_cli", "fetch_cli", "live", "rehearsal"),
    *("sweep_cli", "options", "cli", "__main__"),
]
"""A module imports only from those before it; data flows one way."""

HEAVY = ("torch", "numpy", "medmnist", "PIL", "matplotlib")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                (f"{node.module}.{alias.name}" for alias in node.names)
                if node.module.startswith("ncatool")
                else [node.module]
            )


def row_of(name):
    """The module that a dotted name lies in."""
    return name if name in ROWS else row_of(name.rpartition(".")[0])


def path_of(module):
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def against_the_flow(module, names):
    ours = [row_of(name.removeprefix("ncatool.")) for name in names if name.startswith("ncatool.")]
    return [name for name in ours if ROWS.index(name) >= ROWS.index(module)]


@pytest.mark.parametrize("module", ROWS)
def test_imports_flow_one_way(module):
    assert against_the_flow(module, imported(path_of(module))) == []


def test_every_module_has_its_row_and_the_check_bites():
    assert set(MODULES) == {PACKAGE / "__init__.py", *map(path_of, ROWS)}
    assert against_the_flow("model", ["ncatool.rollout"]) == ["rollout"]


def loaded_by(statement):
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name for name in HEAVY if name in done.stdout.split()}


def test_the_command_line_starts_light_and_the_check_bites():
    assert loaded_by("import ncatool.cli") == set()
    assert loaded_by("import ncatool.cli, numpy, PIL") == {"numpy", "PIL"}


TRAINING = """
import sys
from ncatool import cli
try:
    cli.main()
except SystemExit:
    print(*(name for name in ("torch._dynamo", "triton", "sympy") if name in sys.modules))
"""


def test_training_loads_neither_compiler_nor_kernels(tmp_path):
    """They take a second of every start; and none of them is needed on the processor."""
    words = ["train", *SMALL, "--target", "phantom", "--json", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    result, loaded = done.stdout.splitlines()
    assert '"iterations": 6' in result
    assert loaded == ""


@pytest.mark.parametrize("forbidden", ["click", "torchvision", "pickle"])
def test_never_imported(forbidden):
    for path in MODULES:
        assert forbidden not in [name.split(".")[0] for name in imported(path)]


def commands():
    return typer.main.get_command(app).commands


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_option_is_documented(name):
    command = commands()[name]
    assert command.help
    assert "Example:" in command.epilog
    assert f"ncatool {name}" in README
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} has no help"
        for flag in parameter.opts:
            if flag.startswith("--") and flag != "--help":
                assert f"`{flag}" in README, f"README.md does not mention {flag}"


def test_readme_mentions_no_flag_that_does_not_exist():
    import re

    known = {
        flag
        for command in commands().values()
        for parameter in command.params
        for flag in parameter.opts + parameter.secondary_opts
    }
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    known |= {"--nworkers", "--nthreads", "--scheduler-file", "--ntasks"}  # of Dask and Slurm
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", README):
        assert flag in known, flag


def test_functions_stay_short():
    """The median function has few lines, nine in ten under 30."""
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 9
    assert lengths[len(lengths) * 9 // 10] < 30
