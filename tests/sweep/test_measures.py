"""The comparison at a sweep's end: taken by the workers, kept model by model, and gone on with after a signal."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ncatool.cli import sweep_measures, sweep_summary
from ncatool.evaluation.protocol import Protocol
from ncatool.sweep import measure_job
from tests.conftest import ncatool, run_in_process
from tests.sweep.runs import BASE, wait_until
from tests.sweep.test_sweep import children

SHORT = ["--rollouts", 2, "--steps", 500]
SHORT_SWEEP = """
from ncatool.cli import sweep_measures, sweep_summary
from ncatool.cli.main import main
from ncatool.evaluation.protocol import Protocol
sweep_measures.PROTOCOL = sweep_summary.PROTOCOL = Protocol(rollouts=2, steps=500)
main()
"""
"""A sweep whose comparison takes a second a model; jobs carry the protocol to other processes."""
COMMAND = ["sweep", *BASE, "--iterations", 4, "--target", "phantom", "--seed", "0,1,2,3"]


def begin_short(*arguments):
    command = [sys.executable, "-c", SHORT_SWEEP, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_summary():
    return {row["run"]: row for row in csv.DictReader(Path("sweep/summary.csv").read_text().splitlines())}


def list_kept():
    return {path.name: path.stat().st_mtime_ns for path in Path("sweep").glob(".*.measures")}


def stop_after(process, count, number):
    """Send a signal once so many models are measured; return the exit code and the lines on stderr."""
    wait_until(lambda: len(list_kept()) >= count, process)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, errors.splitlines()


def test_a_signal_keeps_the_summary_and_the_same_command_measures_what_is_missing(monkeypatch):
    """First a process that measures is killed, then the sweep stopped; then the same in one process."""
    process = begin_short(*COMMAND, "--jobs", 1)
    wait_until(Path("sweep/summary.csv").exists, process)
    assert {name: row["state"] for name, row in read_summary().items()} == dict.fromkeys(
        ("seed0", "seed1", "seed2", "seed3"), "finished"
    )
    os.kill(next(children(process.pid)), signal.SIGKILL)
    code, lines = stop_after(process, 1, signal.SIGINT)
    assert code == 130, lines
    assert "seed0: its process was ended by signal 9 (failure 1; it is tried again)" in lines
    first = list_kept()
    expected = f"stopped with {len(first)} of 4 models measured; sweep/summary.csv has what there is"
    assert lines[-1] == f"{expected}: the same command goes on"
    assert {f".{name}.measures" for name, row in read_summary().items() if row["exploded"]} == first.keys()

    code, lines = stop_after(begin_short(*COMMAND, "--vectorise"), len(first) + 1, signal.SIGTERM)
    assert code == 143, lines
    second = list_kept()
    assert first.items() < second.items()

    for module in (sweep_measures, sweep_summary):
        monkeypatch.setattr(module, "PROTOCOL", Protocol(rollouts=2, steps=500))
    out = run_in_process(*COMMAND, "--jobs", 2, "--json").stdout
    assert second.items() < list_kept().items()
    assert len(list_kept()) == 4
    models = json.loads(ncatool("compare", "sweep", *SHORT, "--json", "--csv", "all.csv").stdout)["models"]
    assert json.loads(out)["models"] == models
    for row in csv.DictReader(Path("all.csv").read_text().splitlines()):
        own = read_summary()[row["model"]]
        assert {name: own[name] for name in row if name in own} == {name: row[name] for name in row if name in own}
        assert len(set(row) & set(own)) > 20
    assert not [path for path in Path("sweep").glob(".*") if path.suffix != ".measures"]


def test_models_that_cannot_be_measured_are_said_beside_their_results(monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(measure_job, "measure_model", fail)
    command = ["sweep", *BASE, "--iterations", 4, "--target", "phantom", "--filter", "sobel,mean", "--vectorise"]
    done = run_in_process(*command, "--json")
    assert done.returncode == 1
    what = "OutOfMemoryError: CUDA out of memory"
    assert f"failed: mean: {what}" in done.stderr
    rows = json.loads(done.stdout)["runs"]
    assert [(row["state"], row["error"]) for row in rows] == [("finished", f"not measured: {what}")] * 2
    assert all(float(row["mse_at_96"]) >= 0 for row in read_summary().values())
    assert list_kept() == {}


FOR_PAPERS = ["--seed", "0,1", "--table", "t.tex", "--curves", "c.csv"]


def test_a_sweep_writes_table_and_curves():
    process = begin_short(*COMMAND[:-2], *FOR_PAPERS, "--jobs", 1, "--json")
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert {"t.tex", "c.csv", "sweep/report.html"} <= set(json.loads(out)["wrote"])
    assert Path("t.tex").read_text().count("phantom") == 0, "what all share is left out"
    assert Path("t.tex").read_text().count("seed") >= 2
    assert {row["model"] for row in csv.DictReader(Path("c.csv").read_text().splitlines())} == {"seed0", "seed1"}


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--table", "t.pdf"], "t.pdf is no table of a paper"),
        (["--curves", "c.tex"], "c.tex does not end in .csv"),
        (["--table", "t.tex", "--no-compare"], "t.tex is of the comparison, which --no-compare leaves out"),
        (["--curves", "c.csv", "--dry-run"], "c.csv is of the comparison, which --dry-run leaves out"),
        (["--curves", "sweep/summary.csv", "--force"], "sweep/summary.csv is another file of this command"),
        (["--curves", "sweep/seed0.csv", "--force"], "sweep/seed0.csv is another file of this command"),
        (["--table", "there.md"], "there.md exists already"),
        (["--table", "nowhere/t.md"], "nowhere cannot be written"),
    ],
)
def test_outputs_are_checked_before_anything_is_trained(more, what):
    Path("there.md").touch()
    done = run_in_process(*COMMAND, *more)
    assert done.returncode in (1, 2)
    assert what in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path().glob("sweep/*.safetensors"))
