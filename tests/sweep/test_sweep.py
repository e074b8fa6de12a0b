"""Sweeps as a shell starts them, on this machine: many runs, what dies on the way, what is left to do."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from ncatool.data import readers as targets
from ncatool.sweep.dispatch import Failure, run_jobs
from ncatool.sweep.job import Ending, Job, Outcome, WorkerLost
from tests.conftest import SMALL, ncatool, small_run

BASE = [word for i, word in enumerate(SMALL) if "--iterations" not in (word, SMALL[i - 1])]
TWELVE = [*BASE, "--target", "phantom", "--filter", "sobel,scharr,mean", "--loss", "l1,l2", "--damage", "both"]
ONE = ["--jobs", 1]
QUICK = ["--iterations", 4, "--no-compare"]


def begin(*arguments, **options):
    command = [sys.executable, "-m", "ncatool", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def weights(folder="sweep"):
    found = Path(folder).glob("*.safetensors")
    return {path.name: path.read_bytes() for path in found if ".checkpoint" not in path.name}


def history(folder="sweep"):
    """Which events the record of each run tells of."""
    records = {path.stem: tomllib.loads(path.read_text()) for path in Path(folder).glob("*.toml")}
    return {name: [one["event"] for one in record["history"]] for name, record in records.items() if name != "sweep"}


def times(folder="sweep"):
    return {path: path.stat().st_mtime_ns for path in Path(folder).iterdir() if path.suffix != ".csv"}


def wait_until(condition, process=None, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        if process is not None and process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """The weights of a sweep of twelve that nothing disturbed, done by one process."""
    folder = tmp_path_factory.mktemp("twelve") / "sweep"
    done = ncatool("sweep", *TWELVE, "--iterations", 400, "--no-compare", "--jobs", 1, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert len(weights(folder)) == 12
    return weights(folder)


def test_two_jobs_give_the_same_bytes(twelve):
    done = ncatool("sweep", *TWELVE, "--iterations", 400, "--no-compare", "--jobs", 2, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert (told["finished"], told["failed"]) == (12, 0)
    assert {row["state"] for row in told["runs"]} == {"finished"}
    assert weights() == twelve


def test_a_killed_process_and_a_killed_command_lose_nothing(twelve):
    """As many kills as it takes: of a process that trains, then of the command."""
    command = ["sweep", *TWELVE, "--iterations", 400, "--no-compare", "--jobs", 2, "--checkpoint-every", 20]
    process = begin(*command)
    wait_until(lambda: len(list(Path("sweep").glob("*.checkpoint.safetensors"))) == 2, process)
    (child, *_) = [int(pid) for pid in children(process.pid)]
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: len(list(Path("sweep").glob("*.png"))) >= 3, process)
    process.kill()
    _, errors = process.communicate()
    assert "ended by signal 9" in errors
    begun = {name for name, events in history().items() if "finished" in events}
    before = {name: Path(f"sweep/{name}.safetensors").stat().st_mtime_ns for name in begun}
    done = ncatool(*command)
    assert done.returncode == 0, done.stderr
    assert weights() == twelve
    for events in history().values():
        assert events.count("started") == 1, "none twice"
        assert events.count("finished") == 1
    whole = [name for name in begun if Path(f"sweep/{name}.safetensors").stat().st_mtime_ns == before[name]]
    assert len(whole) >= 3, "what was finished stays as it is"


def children(pid):
    """Processes that train for a command: not multiprocessing's own that watches over shared memory."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            yield child


def test_no_process_outlives_the_command():
    process = begin("sweep", *TWELVE, "--iterations", 10**5, "--no-compare", "--jobs", 2)
    wait_until(lambda: len(list(Path("sweep").glob("*.checkpoint.safetensors"))) == 2, process)
    alive = list(children(process.pid))
    assert len(alive) == 2
    process.kill()
    process.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in alive), seconds=20)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_in_order(number, code):
    long = ["sweep", *TWELVE, "--iterations", 10**5, "--no-compare", "--jobs", 2]
    process = begin(*long, start_new_session=True)
    wait_until(lambda: len(list(Path("sweep").glob("*.checkpoint.safetensors"))) == 2, process)
    time.sleep(0.3)
    # As Ctrl-C on a terminal: to the whole group.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert out == ""
    assert errors.splitlines()[-1] == "stopped, everything saved; 12 of 12 runs are left: the same command goes on"
    assert [events[-1] for events in history().values()] == ["stopped"] * 2
    assert not list(Path("sweep").glob(".*"))


def test_the_same_command_again_does_only_what_is_missing():
    command = ["sweep", *TWELVE, *QUICK, *ONE]
    assert ncatool(*command).returncode == 0
    before = times()
    assert ncatool(*command).returncode == 0
    assert {path: time for path, time in times().items() if path.stem != "sweep"} == {
        path: time for path, time in before.items() if path.stem != "sweep"
    }
    Path("sweep/sobel-l1-damage.png").unlink()
    Path("sweep/mean-l2-damage.safetensors").write_bytes(b"broken")
    for path in Path("sweep").glob("scharr-l2-no-damage.*"):
        path.unlink()
    done = json.loads(ncatool(*command, "--dry-run", "--json").stdout)
    states = {row["run"]: row["state"] for row in done["plan"] if row["state"] != "finished"}
    assert states == {
        "sobel-l1-damage": "unfinished at 4", "mean-l2-damage": "unfinished at 4", "scharr-l2-no-damage": "new",
    }  # fmt: skip
    assert ncatool(*command).returncode == 0
    changed = {path.name.split(".")[0] for path, at in times().items() if before.get(path) != at}
    assert changed == {*states, "sweep"}


def test_a_changed_plan_says_what_it_makes_stale():
    assert ncatool("sweep", *BASE, *QUICK, *ONE, "--target", "phantom", "--filter", "sobel,mean").returncode == 0
    before = weights()
    other = ["sweep", *BASE, "--iterations", 5, "--no-compare", *ONE, "--target", "phantom", "--filter", "sobel,scharr"]
    done = ncatool(*other)
    assert done.returncode == 2
    assert "no longer planned, and left alone: mean" in done.stderr
    assert "stale: sobel (iterations 4, now 5)" in done.stderr
    assert "error: 1 of 2 runs are there with other settings than planned: sobel" in done.stderr
    assert "--force" in done.stderr
    assert weights() == before
    told = json.loads(ncatool(*other, "--dry-run", "--json").stdout)
    assert {row["run"]: row["state"] for row in told["plan"]} == {"sobel": "stale", "scharr": "new"}
    assert ncatool(*other, "--force").returncode == 0
    assert weights()["mean.safetensors"] == before["mean.safetensors"]
    assert weights()["sobel.safetensors"] != before["sobel.safetensors"]
    assert tomllib.loads(Path("sweep/sobel.toml").read_text())["result"]["iterations"] == 5


def test_somebodys_own_file_is_not_overwritten():
    Path("sweep").mkdir()
    Path("sweep/sobel.csv").write_text("mine")
    done = ncatool("sweep", *BASE, *QUICK, *ONE, "--target", "phantom", "--filter", "sobel,mean")
    assert done.returncode == 2
    assert "sobel" in done.stderr
    assert [path.name for path in Path("sweep").iterdir()] == ["sobel.csv"]


def test_table_summary_and_report(browser):
    done = ncatool("sweep", *BASE, "--iterations", 4, *ONE, "--target", "phantom", "--filter", "sobel,mean")
    assert done.returncode == 0, done.stderr
    assert "MSE 200+" in done.stdout
    rows = list(csv.DictReader(Path("sweep/summary.csv").read_text().splitlines()))
    assert [(row["run"], row["state"], row["filter"]) for row in rows] == [
        ("sobel", "finished", "sobel"), ("mean", "finished", "mean"),
    ]  # fmt: skip
    assert float(rows[0]["mse_later"]) >= 0
    assert float(rows[0]["mse_at_96_q25"]) <= float(rows[0]["mse_at_96"]) <= float(rows[0]["mse_at_96_q75"])
    assert float(rows[0]["mse_at_500"]) >= 0
    page = browser.new_page()
    page.goto((Path.cwd() / "sweep/report.html").as_uri())
    assert page.locator("table tr", has_text="sobel").count() >= 1
    page.close()


def test_a_sweep_repeats_from_its_own_plan():
    assert ncatool("sweep", *BASE, *QUICK, *ONE, "--target", "phantom", "--filter", "sobel,mean").returncode == 0
    assert ncatool("sweep", "sweep/sweep.toml", "--no-compare", "--out", "again").returncode == 0
    assert weights("again") == weights("sweep")


def test_dry_run_does_nothing():
    done = ncatool("sweep", *TWELVE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 13
    assert "12 runs, 12 of them to do: about" in done.stderr
    assert not Path("sweep").exists()


def test_a_run_that_fails_three_times_leaves_the_others_alone():
    """A folder stands where the model of one of them should be written."""
    Path("sweep/mean.safetensors").mkdir(parents=True)
    done = ncatool("sweep", *BASE, *QUICK, *ONE, "--target", "phantom", "--filter", "sobel,mean,scharr", "--force")
    assert done.returncode == 1
    assert "it is tried again" in done.stderr
    assert "(given up)" in done.stderr
    assert "1 of 3 runs failed" in done.stderr
    rows = {row["run"]: row for row in csv.DictReader(Path("sweep/summary.csv").read_text().splitlines())}
    assert {name: row["state"] for name, row in rows.items()} == {
        "sobel": "finished", "mean": "failed", "scharr": "finished",
    }  # fmt: skip
    assert rows["mean"]["error"]


def test_it_starts_from_another_model():
    assert ncatool("train", *SMALL, "--target", "phantom", "--filter", "mean", "-q").returncode == 0
    done = ncatool("sweep", *BASE, *QUICK, *ONE, "--target", "phantom", "--from", "model.safetensors", "--seed", "0,1")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(Path("sweep/seed0.toml").read_text())["model"]["filter"] == "mean"
    done = ncatool(
        "sweep", *BASE, *QUICK, *ONE, "--target", "phantom", "--from", "model.safetensors", "--filter", "scharr,mean"
    )
    assert "filter is scharr, but model.safetensors has mean" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ("sweep nowhere.toml", "no such file: nowhere.toml", "TOML"),
        ("sweep --filter sobel,mean --target phantom --seed 0,1 --most 3", "asks for 4 runs, more than 3", "--most 4"),
        ("sweep --filter sobel,mean --target nowhere.png", "no such target: nowhere.png", "phantom"),
        (
            "sweep --filter sobel,mean --target chestmnist",
            "chestmnist at 28 pixels has not been fetched",
            "ncatool fetch",
        ),
        ("sweep --filter sobel,mean --from nowhere.safetensors", "no such model", ".safetensors"),
        (
            "sweep --filter sobel,mean --scheduler tcp://127.0.0.1:9 --jobs 2",
            "--jobs is for this machine",
            "one of them",
        ),
        (
            "sweep --filter sobel,mean --scheduler tcp://127.0.0.1:9",
            "no scheduler answers at tcp://127.0.0.1:9",
            "dask",
        ),
        (
            "sweep --filter sobel,mean --scheduler nonsense://x",
            "no scheduler answers at nonsense://x",
            "dask scheduler",
        ),
        ("sweep --filter sobel,mean --out /proc/nowhere", "/proc/nowhere cannot be written", "folder"),
    ],
)
def test_bad_usage(arguments, what, hint):
    done = ncatool(*arguments.split())
    assert done.returncode in (1, 2), done.stderr
    assert done.stdout == ""
    first, blank, last = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert what in first
    assert blank == ""
    assert hint in last
    assert not list(Path().rglob("*.safetensors"))
    assert not list(Path().rglob("sweep.toml"))


class _Scripted:
    """Workers that do what a script says."""

    def __init__(self, *script):
        self.script = list(script)
        self.names = []

    def slots(self):
        return 1

    def room(self):
        return 1 - len(self.names)

    def submit(self, job):
        self.names.append(job.name)

    def messages(self, timeout):
        return [self.script.pop(0)(self.names.pop())] if self.names else []

    def stop(self):
        self.script = [lambda name: Outcome(name, Ending.STOPPED)]

    def close(self):
        pass


def some_job():
    config = small_run()
    return Job("x", config, targets.load_target(config.target), None, Path("sweep"), "token", threads=1)


def finished(name):
    return Outcome(name, Ending.FINISHED)


def lost(blamed):
    return lambda name: WorkerLost(name, "gone", blamed)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([lost(1), lost(1), finished], [1, 2, "finished"]),
        ([lost(1), lost(1), lost(1)], [1, 2, 3]),
        ([lost(0)] * 5 + [finished], [0, 0, 0, 0, 0, "finished"]),
        ([lost(3)], [3]),
    ],
)
def test_what_counts_as_a_failure(script, told):
    events = list(run_jobs([some_job()], _Scripted(*script), lambda: False))
    assert [event.failures if isinstance(event, Failure) else event.ending for event in events] == told
