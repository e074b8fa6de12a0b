"""Sweeps on this machine: many runs, killed processes, stale and missing files, the summary."""

import csv
import json
import os
import shutil
import signal
import time
import tomllib
from pathlib import Path

import pytest

from ncatool.data import targets
from ncatool.sweep.dispatch import Failure, run_jobs
from ncatool.sweep.job import Ending, Job, Outcome, WorkerLost
from tests.conftest import SMALL, ncatool, run_in_process, small_run
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


def modification_times(folder="sweep"):
    return {path: path.stat().st_mtime_ns for path in Path(folder).iterdir() if path.suffix != ".csv"}


def children(pid):
    """Processes that train for a command, without multiprocessing's own that watches over shared memory."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            yield int(child)


def test_two_jobs_train_twelve_runs_and_print_one_object(undisturbed):
    """The tests below, and those of other workers, compare their bytes with these."""
    assert (undisturbed.parent / "stderr.txt").read_text() == ""
    result = json.loads((undisturbed.parent / "stdout.json").read_text())
    assert (result["finished"], result["failed"]) == (12, 0)
    assert {row["state"] for row in result["runs"]} == {"finished"}
    assert all(events == ["started", "finished"] for events in history(undisturbed).values())


def test_a_killed_process_and_a_killed_command_lose_nothing(undisturbed):
    """A process that trains is killed, then the command; its processes end, and the same command goes on."""
    process = begin(*DISTURBED, "--jobs", 2, "--checkpoint-every", 20)
    wait_until(lambda: count_checkpoints() >= 2, process)
    os.kill(next(children(process.pid)), signal.SIGKILL)
    wait_until(lambda: count_finished() >= 3, process)
    alive = list(children(process.pid))
    assert len(alive) == 2
    process.kill()
    _, errors = process.communicate()
    assert "ended by signal 9" in errors
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in alive), seconds=20)
    ended = {name: Path(f"sweep/{name}.safetensors") for name in history() if Path(f"sweep/{name}.curve.png").exists()}
    before = {name: path.stat().st_mtime_ns for name, path in ended.items()}
    assert len(before) >= 3
    done = run_in_process(*DISTURBED, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert weights() == weights(undisturbed)
    for events in history().values():
        assert events.count("started") == 1, "no run is trained twice"
        assert events[-1] == "finished"
    assert {name: path.stat().st_mtime_ns for name, path in ended.items()} == before, "finished runs stay as they are"


@pytest.mark.parametrize(("number", "code", "jobs"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_a_signal_stops_all_in_order(number, code, jobs):
    process = begin(*ENDLESS, "--jobs", jobs, start_new_session=True)
    wait_until(lambda: count_checkpoints() == jobs, process)
    time.sleep(0.3)
    # Ctrl-C on a terminal reaches the whole group.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert out == ""
    assert errors.splitlines()[-1] == "stopped, everything saved; 12 of 12 runs are left: the same command goes on"
    assert [events[-1] for events in history().values()] == ["stopped"] * jobs
    assert not list(Path("sweep").glob(".*"))


def test_the_same_command_again_does_only_what_is_missing(undisturbed):
    shutil.copytree(undisturbed, "sweep")
    before = modification_times()
    assert run_in_process(*DISTURBED, "--jobs", 1).returncode == 0
    assert {path: time for path, time in modification_times().items() if path.stem != "sweep"} == {
        path: time for path, time in before.items() if path.stem != "sweep"
    }
    Path("sweep/sobel-l1-damage.curve.png").unlink()
    Path("sweep/mean-l2-damage.safetensors").write_bytes(b"broken")
    for path in Path("sweep").glob("scharr-l2-no-damage.*"):
        path.unlink()
    done = json.loads(run_in_process(*DISTURBED, "--jobs", 1, "--dry-run", "--json").stdout)
    states = {row["run"]: row["state"] for row in done["plan"] if row["state"] != "finished"}
    assert states == {
        "sobel-l1-damage": "unfinished at 120", "mean-l2-damage": "unfinished at 120", "scharr-l2-no-damage": "new",
    }  # fmt: skip
    assert run_in_process(*DISTURBED, "--vectorise").returncode == 0
    changed = {path.name.split(".")[0] for path, time in modification_times().items() if before.get(path) != time}
    assert changed == {*states}, "the plan, which is the same, is not written again"
    assert weights() == weights(undisturbed)


def test_a_changed_plan_says_what_it_makes_stale():
    assert run_in_process("sweep", *BASE, *IN_PROCESS, "--target", "phantom", "--filter", "sobel,mean").returncode == 0
    before = weights()
    other = [
        "sweep",
        *BASE,
        "--no-compare",
        "--vectorise",
        "--iterations",
        5,
        "--target",
        "phantom",
        "--filter",
        "sobel,scharr",
    ]
    done = run_in_process(*other)
    assert done.returncode == 2
    assert "no longer planned, and left alone: mean" in done.stderr
    assert "stale: sobel (iterations 4, now 5)" in done.stderr
    assert "error: 1 of 2 runs exist with other settings than planned: sobel" in done.stderr
    assert "--force" in done.stderr
    assert weights() == before
    result = json.loads(run_in_process(*other, "--jobs", 1, "--dry-run", "--json").stdout)
    assert {row["run"]: row["state"] for row in result["plan"]} == {"sobel": "stale", "scharr": "new"}
    assert run_in_process(*other, "--force").returncode == 0
    assert weights()["mean.safetensors"] == before["mean.safetensors"]
    assert weights()["sobel.safetensors"] != before["sobel.safetensors"]
    assert tomllib.loads(Path("sweep/sobel.toml").read_text())["result"]["iterations"] == 5


def test_somebodys_own_file_is_not_overwritten():
    Path("sweep").mkdir()
    Path("sweep/sobel.csv").write_text("mine")
    done = run_in_process("sweep", *BASE, *QUICK, "--target", "phantom", "--filter", "sobel,mean")
    assert done.returncode == 2
    assert "sobel" in done.stderr
    assert [path.name for path in Path("sweep").iterdir()] == ["sobel.csv"]


def test_table_summary_and_report(browser):
    flags = ["--iterations", 4, "--vectorise", "--target", "phantom", "--filter", "sobel,mean"]
    done = ncatool("sweep", *BASE, *flags)  # the measures take long where every shape is checked
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
    assert run_in_process("sweep", *BASE, *IN_PROCESS, "--target", "phantom", "--filter", "sobel,mean").returncode == 0
    assert run_in_process("sweep", "sweep/sweep.toml", "--vectorise", "--no-compare", "--out", "again").returncode == 0
    assert weights("again") == weights("sweep")


def test_dry_run_does_nothing():
    done = run_in_process("sweep", *TWELVE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 13
    assert "12 runs, 12 of them to do: about" in done.stderr
    assert not Path("sweep").exists()


def test_a_dry_run_times_runs_that_are_shorter_than_the_timing():
    flags = ["--iterations", "1,3", "--target", "phantom", "--regime", "growing", "--jobs", 1]
    done = run_in_process("sweep", *BASE, *flags, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in json.loads(done.stdout)["plan"]] == ["new", "new"]


def test_a_run_that_fails_three_times_leaves_the_others_alone():
    """A folder stands where the lock of one of them should be written."""
    Path("sweep/.mean.safetensors.lock").mkdir(parents=True)
    flags = ["--jobs", 1, "--target", "phantom", "--filter", "sobel,mean,scharr", "--force"]
    done = run_in_process("sweep", *BASE, *QUICK, *flags)
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
    assert run_in_process("train", *SMALL, "--target", "phantom", "--filter", "mean", "-q").returncode == 0
    flags = ["sweep", *BASE, *IN_PROCESS, "--target", "phantom", "--from", "phantom.safetensors"]
    done = run_in_process(*flags, "--seed", "0,1")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(Path("sweep/seed0.toml").read_text())["model"]["filter"] == "mean"
    done = run_in_process(*flags, "--filter", "scharr,mean")
    assert "filter is scharr, but phantom.safetensors has mean" in done.stderr
    before = weights()
    done = run_in_process(*flags, "--filter", "sobel,mean")
    assert done.returncode == 2
    assert done.stderr.startswith("error: run sobel: filter is sobel, but phantom.safetensors has mean\n")
    assert weights() == before, "nothing runs"


def test_a_sweep_from_a_model_repeats_from_its_own_plan_and_from_one_of_an_earlier_version():
    """Earlier ones wrote the default filter into the plan of runs that took that of the model."""
    model = ["--target", "phantom", "--filter", "mean", "--fire-rate", 0.75]
    assert run_in_process("train", *SMALL, *model, "-q").returncode == 0
    tiny = [word for i, word in enumerate(BASE) if not {"--channels", "--hidden"} & {word, BASE[i - 1]}]
    flags = ["sweep", *tiny, *IN_PROCESS, "--target", "phantom", "--from", "phantom.safetensors", "--seed", "0,1"]
    assert run_in_process(*flags).returncode == 0
    own = tomllib.loads(Path("sweep/sweep.toml").read_text())
    assert (own["base"]["filter"], own["base"]["fire_rate"]) == ("mean", 0.75)
    old = Path("sweep/sweep.toml").read_text()
    for now, then in (('format = "ncatool-1"', ""), ('"mean"', '"sobel"'), ("fire_rate = 0.75", "fire_rate = 0.5")):
        assert now in old
        old = old.replace(now, then)
    Path("old.toml").write_text(old)
    for plan, out in (("sweep/sweep.toml", "own"), ("old.toml", "old")):
        done = run_in_process("sweep", plan, "--vectorise", "--no-compare", "--out", out)
        assert done.returncode == 0, done.stderr
        assert weights(out) == weights("sweep")


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ("sweep nowhere.toml", "no such plan: nowhere.toml", "TOML"),
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
            "sweep --filter sobel,mean --scheduler tcp://127.0.0.1:9 --vectorise",
            "--vectorise is for one GPU, --scheduler for a cluster",
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
def test_bad_usage(arguments, what, hint, monkeypatch):
    monkeypatch.setattr("ncatool.sweep.cluster.CONNECT_TIMEOUT", 0.5)
    done = run_in_process(*arguments.split())
    assert done.returncode in (1, 2), done.stderr
    assert done.stdout == ""
    first, last = (line for line in done.stderr.splitlines() if " → " not in line)
    assert first.startswith("error: ")
    assert what in first
    assert hint in last
    assert not list(Path().rglob("*.safetensors"))
    assert not list(Path().rglob("sweep.toml"))


class ScriptedWorkers:
    """Workers whose answer to each job is given in advance."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.names = []

    def count_slots(self):
        return 1

    def count_free(self):
        return 1 - len(self.names)

    def submit(self, job):
        self.names.append(job.name)

    def receive(self, timeout):
        return [self.answers.pop(0)(self.names.pop())] if self.names else []

    def stop(self):
        self.answers = [lambda name: Outcome(name, Ending.STOPPED)]

    def close(self):
        pass


def some_job():
    config = small_run()
    return Job("x", config, targets.load_target(config.target), None, Path("sweep"), "token", threads=1)


def finished(name):
    return Outcome(name, Ending.FINISHED)


def lost(failures):
    return lambda name: WorkerLost(name, "gone", failures)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([lost(1), lost(1), finished], [1, 2, "finished"]),
        ([lost(1), lost(1), lost(1)], [1, 2, 3]),
        ([lost(0)] * 5 + [finished], [0, 0, 0, 0, 0, "finished"]),
        ([lost(3)], [3]),
        ([lost(0)] * 21, [0] * 20 + [3]),
    ],
)
def test_what_counts_as_a_failure(answers, expected):
    events = list(run_jobs([some_job()], ScriptedWorkers(*answers), lambda: False))
    assert [event.failures if isinstance(event, Failure) else event.ending for event in events] == expected
