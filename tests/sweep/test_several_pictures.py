"""Sweeps over targets of several pictures: their names, their summary and comparison, and every kind of worker."""

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncatool.cli import sweep_measures, sweep_summary
from ncatool.evaluation.protocol import Protocol
from ncatool.nca.model_file import load_model
from tests.cluster import start_cluster
from tests.conftest import SMALL, replace_flags, run_in_process
from tests.sweep.runs import wait_until, weights

TARGETS = ["--target", "a.png + b.png,a.png + phantom,phantom"]
SWEEP = ["sweep", *SMALL, *TARGETS, "--quiet"]


@pytest.fixture(autouse=True)
def _pictures():
    for i, name in enumerate(("a", "b")):
        pixels = np.full((12, 12, 3), 60 * i, np.uint8)
        pixels[2 + 2 * i : 6 + 2 * i, 3:8] = (200, 60 * i, 90)
        Image.fromarray(pixels).save(f"{name}.png")


@pytest.fixture
def short(monkeypatch):
    for module in (sweep_measures, sweep_summary):
        monkeypatch.setattr(module, "PROTOCOL", Protocol(rollouts=1, steps=500))


def read_summary(folder="sweep"):
    return {row["run"]: row for row in csv.DictReader(Path(folder, "summary.csv").read_text().splitlines())}


def test_a_plan_of_a_file_gives_the_runs_of_the_flags():
    flags = json.loads(run_in_process(*SWEEP, "--dry-run", "--json").stdout)
    Path("plan.toml").write_text('[grid]\ntarget = ["a.png + b.png", "a.png + phantom", "phantom"]\n')
    done = run_in_process("sweep", "plan.toml", *SMALL, "--dry-run", "--json")
    names = [row["run"] for row in json.loads(done.stdout)["plan"]]
    assert names == [row["run"] for row in flags["plan"]] == ["a-and-b", "a-and-phantom", "phantom"]
    assert [row.get("pictures") for row in flags["plan"]] == [2, 2, None]
    Path("runs.toml").write_text('[base]\ntarget = "a.png + b.png"\n[[runs]]\ntarget = "a.png + b.png + phantom"\n')
    done = run_in_process("sweep", "runs.toml", *SMALL, "--dry-run", "--json")
    assert [row["run"] for row in json.loads(done.stdout)["plan"]] == ["a-and-2-more"]


def test_the_summary_has_a_row_a_run_and_the_comparison_one_a_picture(short):
    done = run_in_process(*SWEEP, "--vectorise", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {row["model"] for row in result["models"]} == {
        "a-and-b:a", "a-and-b:b", "a-and-phantom:a", "a-and-phantom:phantom", "phantom",
    }  # fmt: skip
    rows = read_summary()
    assert [*rows] == ["a-and-b", "a-and-phantom", "phantom"]
    own = {row["model"]: row for row in result["models"]}
    worst = max("ab", key=lambda name: own[f"a-and-b:{name}"]["mse_later"]["median"])
    assert rows["a-and-b"]["worst_picture"] == worst
    assert float(rows["a-and-b"]["worst_mse_later"]) == own[f"a-and-b:{worst}"]["mse_later"]["median"]
    assert (rows["a-and-b"]["pictures"], rows["phantom"]["pictures"]) == ("2", "")
    assert [one["model"] for one in result["several"]] == ["a-and-b", "a-and-phantom"]
    assert np.array(result["several"][0]["healed_into"]).sum(axis=1).tolist() == [6, 6]
    assert "a-and-phantom, a model of several pictures" in Path("sweep/report.html").read_text()
    kept = {path: path.stat().st_mtime_ns for path in Path("sweep").glob(".*.measures")}
    assert len(kept) == 5
    before = Path("sweep/summary.csv").read_bytes()
    assert run_in_process(*SWEEP, "--vectorise").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing is measured again"
    assert Path("sweep/summary.csv").read_bytes() == before


def test_all_workers_give_the_bytes_of_a_training(tmp_path):
    assert run_in_process("train", *SMALL, "a.png", "b.png", "-q", "--out", "alone.safetensors").returncode == 0
    words = [*SWEEP, "--no-compare"]
    for kind in (["--vectorise"], ["--jobs", 2]):
        done = run_in_process(*words, *kind, "--out", kind[0].strip("-"))
        assert done.returncode == 0, done.stderr
    with start_cluster(tmp_path, workers=1) as cluster:
        wait_until(lambda: cluster.count_workers() == 1)
        done = run_in_process(*words, "--scheduler", cluster.address, "--out", "cluster")
        assert done.returncode == 0, done.stderr
    one = Path("alone.csv").read_bytes()
    for folder in ("vectorise", "jobs", "cluster"):
        assert Path(folder, "a-and-b.csv").read_bytes() == one
        assert Path(folder, "a-and-b.safetensors").read_bytes() == Path("alone.safetensors").read_bytes()
        assert weights(Path(folder)) == weights(Path("jobs"))


def test_runs_from_a_model_keep_the_seeds_of_its_pictures():
    assert run_in_process("train", *SMALL, "b.png", "a.png", "-q", "--out", "m.safetensors").returncode == 0
    done = run_in_process(*SWEEP, "--from", "m", "--no-compare", "--vectorise")
    assert done.returncode == 0, done.stderr
    known = {one.target.name: one.seed for one in load_model(Path("m.safetensors")).pictures}
    found = {one.target.name: one.seed for one in load_model(Path("sweep/a-and-b.safetensors")).pictures}
    assert all((found[name] == known[name]).all() for name in "ab")


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"pool_size": "3"}, "run a-and-b: 2 pictures and a batch of 3 need a pool of 4 states"),
        ({"channels": "4"}, "run a-and-b: 2 pictures need as many codes, but 0 hidden channels have 1"),
    ],
)
def test_what_has_no_room_is_refused_before_anything_is_trained(flags, what):
    words = replace_flags(SWEEP, batch_size="3" if "pool_size" in flags else "2", **flags)
    done = run_in_process(*words, "--vectorise")
    assert done.returncode == 2
    assert what in done.stderr
    assert not list(Path("sweep").glob("*.safetensors"))


def test_the_folders_plan_runs_again():
    words = [*SWEEP, "--no-compare", "--vectorise"]
    assert run_in_process(*words).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in Path("sweep").glob("*.safetensors")}
    assert run_in_process("sweep", "sweep/sweep.toml", "--no-compare", "-q").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    tables = tomllib.loads(Path("sweep/sweep.toml").read_text())
    assert [run["target"] for run in tables["runs"]] == ["a.png + b.png", "a.png + phantom", "phantom"]
