"""Shared fixtures; every shape in a signature is checked while tests run."""

import contextlib
import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 - named below

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be there before Triton is loaded
with contextlib.suppress(ImportError):
    import ncatool.engine.gpu_kernels  # Triton reads the sources of its functions, which the hook below would wrap

CHECKED = ("data", "nca", "engine", "training", "evaluation", "rendering", "formats", "sweep", "library")
install_import_hook([f"ncatool.{package}" for package in CHECKED], "tests.typecheck.check")

torch.set_num_threads(1)  # one a worker of xdist: more would wait for each other

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from ncatool.config.names import Device
from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig
from ncatool.data.catalogue import load_catalogue
from tests.site import FLAGS, make_small_set, serve_folder, stack_volumes, write_set

DATA = Path(__file__).parent / "data"
GOLDEN = Path(__file__).parent / "golden" / "phantom.safetensors"
PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "reference"
"""The seed project's published models, which have no licence to be copied."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
"""The real one: the engine is not built anew for every test."""


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as after `nohup pytest &`; children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "published: reads the seed project's models, which lie beside the project")


def pytest_report_header():
    return None if PUBLISHED.is_dir() else f"left out: tests of the seed project's published models, not in {PUBLISHED}"


def pytest_collection_modifyitems(config, items):
    """Leave out what reads the seed project's models where they are missing; other tests cover the same code."""
    missing = [item for item in items if item.get_closest_marker("published") and not PUBLISHED.is_dir()]
    if missing:
        config.hook.pytest_deselected(items=missing)
        items[:] = [item for item in items if item not in missing]


@pytest.fixture(scope="session")
def tiles():
    """400 samples of each of the twelve 2D sets, by flag: the real ones of tests/data, and these shifted."""
    with np.load(DATA / "tiles.npz") as real:
        few = {flag: real[flag if flag in real else "pathmnist"] for flag in FLAGS}
    return {flag: np.concatenate([np.roll(some, i, axis=(1, 2)) for i in range(50)]) for flag, some in few.items()}


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """No test reads or writes the user's data, settings or current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    monkeypatch.setenv("NCATOOL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the commands, too
    for command in ("TRAIN", "SWEEP", "RENDER", "COMPARE"):  # what the tests expect; those of other devices name them
        monkeypatch.setenv(f"NCATOOL_{command}_DEVICE", "cpu")
    for name in ("NO_COLOR", "NCATOOL_NO_PROGRESS", "CC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def files(tiles, tmp_path_factory):
    """All twelve 2D sets and a 3D one, of real tiles."""
    folder = tmp_path_factory.mktemp("files")
    for flag in FLAGS:
        write_set(folder / f"{flag}.npz", flag, tiles[flag])
    write_set(folder / "organmnist3d.npz", "organmnist3d", stack_volumes(tiles["organamnist"]))
    larger = tiles["bloodmnist"].repeat(2, axis=1).repeat(2, axis=2)
    np.savez(folder / "bloodmnist_64.npz", **make_small_set(np.pad(larger, ((0, 0), (4, 4), (4, 4), (0, 0)))))
    return folder


@pytest.fixture
def site(files, tmp_path, monkeypatch):
    """The files behind a server, and a catalogue that points to it, for this process and for those it starts."""
    with serve_folder(files) as site:
        site.write_catalogue(tmp_path / "catalogue")
        monkeypatch.syspath_prepend(tmp_path / "catalogue")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'catalogue'}{os.pathsep}{Path(__file__).parents[1]}")
        load_catalogue.cache_clear()
        yield site
    load_catalogue.cache_clear()


@pytest.fixture(scope="session")
def browser():
    """A real Chromium; only its own download of one would be another."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def small_run(**train):
    """Settings of a run that takes a second, on the processor unless told."""
    short = {
        "device": Device.CPU,
        "iterations": 6,
        "batch_size": 2,
        "pool_size": 4,
        "min_steps": 4,
        "max_steps": 8,
        "checkpoint_every": 2,
    }
    return RunConfig(
        model=ModelConfig(channels=6, hidden=10),
        target=TargetConfig(size=10, padding=1),
        train=TrainConfig(**(short | {"damaged": 1} | train)),
    )


SMALL = [
    *("--size", "10", "--padding", "1", "--channels", "6", "--hidden", "10", "--batch-size", "2"),
    *("--pool-size", "4", "--steps", "4-8", "--damaged", "1", "--iterations", "6"),
]
"""The same as flags."""


def replace_flags(words, **values):
    """Return the words of a command with other values of some flags: none may be given twice."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in values.items()}
    kept = [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & set(flags)]
    return [*kept, *(word for pair in flags.items() for word in pair)]


class Result(NamedTuple):
    """What a command left: as `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


def run_in_process(*arguments):
    """Run the command in this process, which spares the second that a new one takes to import torch."""
    from ncatool.cli import terminal
    from ncatool.cli.main import main

    settings, argv, handlers = dataclasses.replace(terminal.settings), sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["ncatool", *map(str, arguments)]
    code = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.argv = argv
            signal.signal(signal.SIGTERM, handlers)
            for field in dataclasses.fields(settings):
                setattr(terminal.settings, field.name, getattr(settings, field.name))
    return Result(code, out.getvalue(), errors.getvalue())


def ncatool(*arguments, **options):
    """Run the command in a process of its own, as a shell would."""
    environment = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", "ncatool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, **options)
