"""Sweeps on a real Dask scheduler with real workers, each a process of its own on the loopback address."""

import os
import signal
import time
from pathlib import Path

from PIL import Image

from tests.cluster import ROOT, running
from tests.conftest import ncatool
from tests.sweep.test_sweep import BASE, QUICK, TWELVE, begin, history, twelve, wait_until, weights  # noqa: F401 - a fixture


def checkpoints(folder="sweep"):
    return len(list(Path(folder).glob("*.checkpoint.safetensors")))


def test_twelve_runs_by_two_workers_give_the_same_bytes(twelve, tmp_path):  # noqa: F811
    with running(tmp_path) as cluster:
        done = ncatool("sweep", *TWELVE, "--iterations", 400, "--no-compare", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert weights() == twelve
    assert not list(Path("sweep").glob(".*")), "nothing of the work is left"


def test_workers_that_do_not_see_the_folder_nor_the_target(tmp_path):
    """The picture travels with the run, the files come back; here the folder's mark is hidden from the workers."""
    Image.radial_gradient("L").save("mine.png")
    flags = [*BASE, *QUICK, "--target", "mine.png", "--filter", "sobel,mean"]
    assert ncatool("sweep", *flags, "--out", "here").returncode == 0
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import pathlib\nreal = pathlib.Path.exists\n"
        "pathlib.Path.exists = lambda self: '.sweep-' not in self.name and real(self)\n"
    )
    cache = tmp_path / "afar"
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(cache)}
    with running(tmp_path, **environment) as cluster:
        done = ncatool("sweep", *flags, "--out", "there", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert weights("there") == weights("here")
    assert {path.name for path in Path("there").iterdir()} == {path.name for path in Path("here").iterdir()}
    assert list(cache.glob("ncatool/rollout-*.so")), "they were other places"
    assert not list(cache.glob("ncatool/sweeps/*")), "nothing is left there"


def test_everything_dies_and_nothing_is_lost(twelve, tmp_path):  # noqa: F811
    """A worker is killed, then the scheduler, then the command; it is all started again."""
    command = ["sweep", *TWELVE, "--iterations", 400, "--no-compare", "--checkpoint-every", 20]
    with running(tmp_path) as cluster:
        process = begin(*command, "--scheduler", cluster.address)
        wait_until(lambda: checkpoints() >= 2, process)
        cluster.kill(cluster.processes[1])
        cluster.start_worker()
        wait_until(lambda: len(list(Path("sweep").glob("*.png"))) >= 2, process)
        cluster.kill(cluster.scheduler)
        time.sleep(1)
        cluster.start_scheduler()
        cluster.start_worker()
        cluster.start_worker()
        count = len(list(Path("sweep").glob("*.png")))
        wait_until(lambda: len(list(Path("sweep").glob("*.png"))) > count, process)
        process.kill()
        _, errors = process.communicate()
        assert "has gone; waiting for it" in errors
        assert "is there again" in errors
        done = ncatool(*command, "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert weights() == twelve
    for events in history().values():
        assert events.count("started") == 1, "none twice"
        assert events[-1] == "finished"


def test_a_signal_stops_all_in_order(tmp_path):
    command = ["sweep", *TWELVE, "--iterations", 10**5, "--no-compare"]
    with running(tmp_path) as cluster:
        process = begin(*command, "--scheduler", cluster.address)
        wait_until(lambda: checkpoints() == 2, process)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert [events[-1] for events in history().values()] == ["stopped"] * 2
        assert checkpoints() == 2, "what waits does not begin"


def test_a_worker_that_would_do_it_another_way_is_refused_before_anything_starts(tmp_path):
    with running(tmp_path, workers=1, PYTHONPATH=str(another_version(tmp_path))) as cluster:
        wait_until_workers(cluster)
        command = ["sweep", *BASE, *QUICK, "--target", "phantom", "--seed", "0,1", "--scheduler", cluster.address]
        other = ncatool(*command)
        cluster.kill(cluster.processes[1])
        cluster.start_worker(PYTHONPATH=str(broken(tmp_path)))
        time.sleep(3)
        wait_until_workers(cluster)
        lacking = ncatool(*command)
    for done in (other, lacking):
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 3, done.stderr
    assert "has ncatool 9.9.9, torch" in other.stderr
    assert "install the same on all workers" in other.stderr
    assert "has no ncatool that works" in lacking.stderr
    assert not Path("sweep").exists()


def broken(tmp_path):
    folder = tmp_path / "broken"
    (folder / "ncatool").mkdir(parents=True)
    (folder / "ncatool" / "__init__.py").write_text("raise ImportError('this is no ncatool')")
    return folder


def another_version(tmp_path):
    folder = tmp_path / "other"
    (folder / "ncatool-9.9.9.dist-info").mkdir(parents=True)
    (folder / "ncatool-9.9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ncatool\nVersion: 9.9.9\n"
    )
    (folder / "ncatool").symlink_to(ROOT / "ncatool")
    return folder


def wait_until_workers(cluster):
    from distributed import Client

    with Client(cluster.address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)


def test_a_dry_run_asks_the_cluster(tmp_path):
    with running(tmp_path, workers=1) as cluster:
        done = ncatool("sweep", *TWELVE, "--dry-run", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert "12 runs, 12 of them to do: about" in done.stderr


def test_without_dask_it_says_what_to_install(tmp_path):
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError('no distributed')")
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = ncatool("sweep", "--target", "phantom", "--seed", "0,1", "--scheduler", "tcp://127.0.0.1:9", env=paths)
    assert done.returncode == 1
    assert "pip install 'ncatool[cluster]'" in done.stderr
