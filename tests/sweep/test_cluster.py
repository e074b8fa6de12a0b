"""Sweeps on a real Dask scheduler with real workers, each a process of its own on the loopback address."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from ncatool.cli import sweep_measures, sweep_summary
from ncatool.errors import UsageError
from ncatool.evaluation.protocol import Protocol
from ncatool.sweep.scheduler import find_scheduler
from tests.cluster import ROOT, start_cluster
from tests.conftest import CACHE, ncatool, run_in_process
from tests.sweep.runs import (
    BASE,
    DISTURBED,
    ENDLESS,
    IN_PROCESS,
    QUICK,
    TWELVE,
    begin,
    count_checkpoints,
    count_finished,
    history,
    wait_until,
    weights,
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers for all tests that leave them as they are."""
    with start_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        wait_until(lambda: cluster.count_workers() == 2)
        yield cluster


def test_two_workers_give_the_same_bytes(undisturbed, cluster):
    """Four of the twelve runs; what does not vary is not in their names."""
    one_filter = ["sobel" if word == "sobel,scharr,mean" else word for word in DISTURBED]
    done = run_in_process(*one_filter, "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    expected = {name: content for name, content in weights(undisturbed).items() if name.startswith("sobel-")}
    assert {f"sobel-{name}": content for name, content in weights().items()} == expected
    assert len(expected) == 4
    assert not list(Path("sweep").glob(".*")), "no temporary file is left"


def test_a_signal_stops_all_in_order(cluster):
    process = begin(*ENDLESS, "--scheduler", cluster.address)
    wait_until(lambda: count_checkpoints() == 2, process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert [events[-1] for events in history().values()] == ["stopped"] * 2
    assert count_checkpoints() == 2, "runs that wait do not start"


def test_a_dry_run_asks_the_cluster(cluster):
    done = run_in_process("sweep", *TWELVE, "--dry-run", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert "12 runs, 12 of them to do: about" in done.stderr
    assert "2 at a time" in done.stderr


@pytest.mark.parametrize(
    ("kind", "what", "hint"),
    [
        ("another version", "has ncatool 9.9.9, torch", "install the same on all workers"),
        ("broken", "has no working ncatool", "install ncatool on all workers"),
    ],
)
def test_a_worker_that_would_compute_something_else_is_refused_before_anything_starts(
    kind, what, hint, cluster, tmp_path
):
    process = cluster.start_worker(PYTHONPATH=str(write_package(tmp_path, kind)))
    wait_until(lambda: cluster.count_workers() == 3)
    done = run_in_process(
        "sweep", *BASE, *QUICK, "--target", "phantom", "--seed", "0,1", "--scheduler", cluster.address
    )
    cluster.kill(process)
    wait_until(lambda: cluster.count_workers() == 2)
    assert done.returncode == 2, done.stderr
    assert len([line for line in done.stderr.splitlines() if " → " not in line]) == 2, done.stderr
    assert what in done.stderr
    assert hint in done.stderr
    assert not Path("sweep").exists()


def test_a_job_that_cannot_be_sent_is_given_up(cluster, monkeypatch):
    from distributed import Client

    def refuse(*arguments, **options):
        raise TypeError("cannot pickle this")

    monkeypatch.setattr(Client, "submit", refuse)
    done = run_in_process(
        "sweep", *BASE, *QUICK, "--target", "phantom", "--seed", "0,1", "--scheduler", cluster.address, "--json"
    )
    assert done.returncode == 1
    assert "seed0: it could not be sent to the scheduler: cannot pickle this (given up)" in done.stderr
    assert "2 of 2 runs failed" in done.stderr
    rows = json.loads(done.stdout)["runs"]
    assert {(row["state"], row["error"]) for row in rows} == {
        ("failed", "it could not be sent to the scheduler: cannot pickle this")
    }


def test_the_address_of_a_worker_is_not_that_of_a_scheduler(cluster):
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        worker = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
    with pytest.raises(UsageError, match=f"what answers at {worker} is no scheduler but 'Worker'"):
        find_scheduler(worker, 30)


def test_the_workers_measure_as_compare_does_and_nobody_is_asked_for_what_is_kept(cluster, monkeypatch):
    for module in (sweep_measures, sweep_summary):
        monkeypatch.setattr(module, "PROTOCOL", Protocol(rollouts=2, steps=200))
    command = ["sweep", *BASE, "--iterations", 4, "--target", "phantom", "--filter", "sobel,mean", "--json"]
    done = run_in_process(*command, "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    compared = ncatool("compare", "sweep", "--rollouts", 2, "--steps", 200, "--json")
    models = json.loads(compared.stdout)["models"]
    assert json.loads(done.stdout)["models"] == models
    again = run_in_process(*command, "--scheduler", "tcp://127.0.0.1:9")
    assert again.stdout == done.stdout


def write_package(folder, kind):
    """Write a package `ncatool` that fails, or this one under another version number; return the folder it is in."""
    if kind == "broken":
        (folder / "ncatool").mkdir()
        (folder / "ncatool" / "__init__.py").write_text("raise ImportError('this is no ncatool')")
        return folder
    facts = folder / "ncatool-9.9.9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: ncatool\nVersion: 9.9.9\n")
    (folder / "ncatool").symlink_to(ROOT / "ncatool")
    return folder


def test_workers_that_see_neither_the_folder_nor_the_target(tmp_path):
    """The target travels with the job, and the files come back; here the token is hidden from the worker."""
    Image.radial_gradient("L").save("mine.png")
    flags = ["sweep", *BASE, "--target", "mine.png", "--filter", "sobel,mean"]
    assert run_in_process(*flags, *IN_PROCESS, "--out", "here").returncode == 0
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib\nreal = pathlib.Path.exists\n"
        "pathlib.Path.exists = lambda self: '.sweep-' not in self.name and real(self)\n"
    )
    cache = tmp_path / "cache"
    if (CACHE / "ncatool" / "engine").is_dir():  # spares the worker building it
        shutil.copytree(CACHE / "ncatool" / "engine", cache / "ncatool" / "engine")
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(cache)}
    with start_cluster(tmp_path, workers=1, **environment) as cluster:
        done = run_in_process(*flags, *QUICK, "--out", "there", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert weights("there") == weights("here")
    assert {path.name for path in Path("there").iterdir()} == {path.name for path in Path("here").iterdir()}
    assert (cache / "ncatool" / "sweeps").is_dir(), "the worker wrote into its own cache"
    assert not list((cache / "ncatool" / "sweeps").iterdir()), "and has removed what it wrote"


def test_a_killed_worker_scheduler_and_command_lose_nothing(undisturbed, tmp_path):
    command = [*DISTURBED, "--checkpoint-every", 20]
    with start_cluster(tmp_path) as cluster:
        process = begin(*command, "--scheduler", cluster.address)
        wait_until(lambda: count_checkpoints() >= 2, process)
        cluster.kill(cluster.processes[1])
        wait_until(lambda: count_finished() >= 2, process)
        cluster.kill(cluster.scheduler)
        time.sleep(1)
        cluster.start_scheduler()
        cluster.start_worker()
        count = count_finished()
        assert count < 12
        wait_until(lambda: count_finished() > count, process)
        process.kill()
        _, errors = process.communicate()
        assert "does not answer any more; waiting for it" in errors
        assert "answers again" in errors
        done = run_in_process(*command, "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert weights() == weights(undisturbed)
    for events in history().values():
        assert events.count("started") == 1, "no run is trained twice"
        assert events[-1] == "finished"


def test_without_dask_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "distributed"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run_in_process("sweep", "--target", "phantom", "--seed", "0,1", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert "pip install 'ncatool[cluster]'" in done.stderr
