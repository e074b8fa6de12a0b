"""The house in order: who may import whom, what the command line loads, what is documented."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ncatool.cli.main import app
from tests.conftest import SMALL

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ncatool"
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    "errors", "config", "files", "data", "nca", "engine", "training", "evaluation", "rendering", "formats", "sweep",
    "library", "cli", "__main__",
)  # fmt: skip
"""Packages; each imports only from those before it."""

HEAVY = ("torch", "numpy", "medmnist", "PIL", "matplotlib")


def imported(path):
    """Dotted names of what a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_of(path) for path in MODULES}


def imported_modules(path):
    """Modules of ours that a module imports: the longest part of each dotted name that is one."""
    for name in imported(path):
        while name and name not in NAMES:
            name = name.rpartition(".")[0]
        if name and name != "ncatool":
            yield name


IMPORTS = {module_of(path): set(imported_modules(path)) for path in MODULES}


def package_of(module):
    return module.split(".")[1]


def find_upward_imports(imports):
    """Pairs of modules of which the first imports the second, which belongs to a later package."""
    return [
        (module, other)
        for module, others in imports.items()
        for other in others
        if module != "ncatool" and ORDER.index(package_of(other)) > ORDER.index(package_of(module))
    ]


def find_circle(imports):
    """A chain of modules that ends where it begins; None if there is none."""
    done = set()

    def visit(module, chain):
        if module in chain:
            return [*chain[chain.index(module) :], module]
        if module not in done:
            for other in imports.get(module, ()):
                if circle := visit(other, [*chain, module]):
                    return circle
            done.add(module)
        return None

    return next(filter(None, (visit(module, []) for module in imports)), None)


def test_packages_import_only_downwards():
    assert find_upward_imports(IMPORTS) == []
    wrong = {"ncatool.nca.rule": {"ncatool.engine.rollout"}}
    assert find_upward_imports(wrong) == [("ncatool.nca.rule", "ncatool.engine.rollout")]


def test_no_module_imports_itself_by_others():
    assert find_circle(IMPORTS) is None
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def find_private_imports(names):
    """Names of other packages that are private, or public in name only: the next version may move them."""
    moved = ("torch.optim.adam", "torch.optim._functional", "PIL.GifImagePlugin", "PIL.ImageFile")
    return [
        name for name in names
        if not name.startswith(("ncatool", "__future__"))
        and (name.startswith(moved) or any(part.startswith("_") for part in name.split(".")))
    ]  # fmt: skip


def test_nothing_private_of_other_packages_is_imported():
    assert {str(path): found for path in MODULES if (found := find_private_imports(imported(path)))} == {}
    assert find_private_imports(["torch.optim.adam.adam", "os.path", "PIL._imaging", "numpy.lib.format"]) == [
        "torch.optim.adam.adam", "PIL._imaging"
    ]  # fmt: skip


def test_every_package_has_its_place_in_the_order():
    assert {package_of(module) for module in NAMES if module != "ncatool"} <= set(ORDER)


def loaded_by(statement):
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name for name in HEAVY if name in done.stdout.split()}


def test_the_command_line_starts_light_and_the_check_bites():
    assert loaded_by("import ncatool.cli.main") == set()
    assert loaded_by("import ncatool.cli.main, numpy, PIL") == {"numpy", "PIL"}


TRAINING = """
import sys
from ncatool.cli.main import main
try:
    main()
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
def test_every_command_and_option_has_help(name):
    command = commands()[name]
    assert command.help
    assert "Example" in command.epilog
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} has no help"


def test_functions_stay_short():
    """The median function has few lines, nine in ten under 30."""
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 6
    assert lengths[len(lengths) * 9 // 10] < 30
