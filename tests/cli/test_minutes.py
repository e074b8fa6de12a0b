"""How long a run takes: said before it starts, and chosen by `--minutes`."""

import tomllib
from pathlib import Path

import pytest

from ncatool.training import timing
from tests.conftest import SMALL, run_in_process

RUN = ["train", *SMALL[:-2], "--target", "phantom", "--out", "t.safetensors"]


def read_iterations():
    record = tomllib.loads(Path("t.toml").read_text())
    assert record["result"]["iterations"] == record["train"]["iterations"]
    return record["train"]["iterations"]


@pytest.fixture
def steady(monkeypatch):
    """Every iteration takes half a second."""
    monkeypatch.setattr(timing, "time_iteration", lambda *_, **__: 0.5)


def test_as_many_iterations_as_fit_in_the_time_are_trained(steady):
    done = run_in_process(*RUN, "--minutes", "0.05")
    assert done.returncode == 0, done.stderr
    assert read_iterations() == 6
    assert "· 0.05 min → t.safetensors" in done.stderr
    assert "0.05 min are about 6 iterations; without --minutes there would be" in done.stderr
    assert "takes about" not in done.stderr


def test_the_real_time_of_an_iteration_decides():
    done = run_in_process(*RUN, "--minutes", "0.05", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    assert read_iterations() > 6  # an iteration of so few cells takes milliseconds


def test_minutes_and_iterations_contradict_each_other(monkeypatch):
    monkeypatch.setenv("NCATOOL_TRAIN_ITERATIONS", "5")
    for arguments in (["--minutes", "1"], ["--minutes", "1", "--iterations", "5"]):
        done = run_in_process(*RUN, *arguments)
        assert done.returncode == 2
        assert "error: --minutes decides how many iterations there are, but --iterations is given" in done.stderr
    assert not list(Path().iterdir())


def test_minutes_replace_the_iterations_of_a_file_of_settings(steady):
    Path("settings.toml").write_text("[train]\niterations = 3\n")
    done = run_in_process(*RUN, "--config", "settings.toml", "--minutes", "0.1")
    assert done.returncode == 0, done.stderr
    assert read_iterations() == 12


def test_resume_says_how_long_the_rest_takes(steady):
    assert run_in_process(*RUN, "--iterations", "4").returncode == 0
    done = run_in_process("resume", "t.safetensors", "--iterations", "10")
    assert "takes about 3 s" in done.stderr
