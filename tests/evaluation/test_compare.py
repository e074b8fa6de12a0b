"""The command `compare`: what is found, measured, printed and refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.cli.compare import ComparisonOutputs
from ncatool.config.names import Metric
from ncatool.config.schema import PLACE_SETTINGS
from ncatool.data.target import Target
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation.models import load_candidates
from ncatool.evaluation.report import split_settings
from ncatool.nca.model_file import save_model
from ncatool.nca.model_name import find_models
from tests.conftest import SMALL, ncatool, run_in_process
from tests.evaluation.saved_models import SHORT, save_with_record
from tests.rendering.test_playback import lively, three_celled

CPU = torch.device("cpu")


def test_models_are_found_in_folders_and_by_patterns(runs):
    everything = ["runs/a.safetensors", "runs/broken.safetensors", "runs/c.safetensors", "runs/deep/b.safetensors"]
    assert [str(path) for path in find_models(["runs"])] == everything
    assert [str(path) for path in find_models(["runs/c*", "runs/c.safetensors"])] == ["runs/c.safetensors"]
    assert [str(path) for path in find_models(["runs/**/b.safetensors"])] == ["runs/deep/b.safetensors"]
    assert find_models(["nowhere.safetensors"]) == [Path("nowhere.safetensors")]
    Path("empty").mkdir()
    for name in ("empty", "runs/z*"):
        with pytest.raises(UsageError, match="there is no model in"):
            find_models([name])


def test_what_cannot_be_loaded_is_told_and_the_rest_is_grouped(runs):
    contenders, failed = load_candidates(find_models(["runs", "nowhere.safetensors"]), CPU)
    assert [contender.name for contender in contenders] == ["c", "a", "b"]
    assert {path.name for path in failed} == {"broken.safetensors", "nowhere.safetensors"}
    about = {contender.name: contender.grouping for contender in contenders}
    assert about["a"] == {"filter": "sobel", "loss": "l1", "damage": "no", "target": "phantom 13x13"}
    assert about["b"]["damage"] == "yes"
    assert contenders[1].notes == []
    assert "mean is symmetric" in contenders[0].notes[0]
    assert contenders[0].notes[0].endswith("cells have no sense of direction")


def test_a_seed_of_three_cells_gives_the_direction():
    save_model(Path("three.safetensors"), three_celled())
    (found,), _ = load_candidates([Path("three.safetensors")], CPU)
    assert found.notes[0].endswith("a seed of 3 cells gives the sense of direction")


def test_models_of_one_name_are_told_apart():
    for folder in ("x", "y"):
        save_with_record(f"{folder}/model.safetensors")
    contenders, _ = load_candidates([Path("x/model.safetensors"), Path("y/model.safetensors")], CPU)
    assert [contender.name for contender in contenders] == ["x/model", "y/model"]


def test_a_lone_model_of_an_earlier_version_is_compared():
    Path(save_with_record("a.safetensors")).with_suffix(".toml").unlink()
    (contender,), _ = load_candidates([Path("a.safetensors")], CPU)
    assert contender.grouping == {"filter": "sobel", "loss": "?", "damage": "?", "target": "phantom 13x13"}


def test_a_lone_model_says_how_it_was_trained():
    options = ["--target", "phantom", "--loss", "l1", "--damage", "--quiet", "--out", "a.safetensors"]
    assert run_in_process("train", *SMALL, *options).returncode == 0
    (whole,), _ = load_candidates([Path("a.safetensors")], CPU)
    Path("a.toml").unlink()
    (alone,), _ = load_candidates([Path("a.safetensors")], CPU)
    expected = {"filter": "sobel", "loss": "l1", "damage": "yes", "target": "phantom 12x12"}
    assert alone.grouping == whole.grouping == expected
    own = {name: value for name, value in whole.record["train"].items() if name not in PLACE_SETTINGS}
    assert alone.record == {"model": whole.record["model"], "target": whole.record["target"], "train": own}


def test_differences_between_records_come_first(runs):
    contenders, _ = load_candidates(find_models(["runs"]), CPU)
    differing, common = split_settings(contenders)
    assert differing["train.loss"] == ["l2", "l1", "l2"]
    assert differing["train.regime"] == ["persistent", "persistent", "regenerating"]
    assert common == {"target.source": "phantom", "train.seed": "3"}


def test_the_command(runs):
    outputs = ["--csv", "c.csv", "--picture", "p.png", "--animation", "a.gif", "--report", "r.html"]
    done = ncatool("compare", "runs", *SHORT, *outputs)
    assert done.returncode == 1, "one could not be loaded"
    assert "not compared: runs/broken.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["model", "c†", "a", "b"]
    assert lines[0].split()[:5] == ["model", "filter", "loss", "damage", "target"]
    assert "† mean is symmetric" in done.stderr
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["c", "a", "b"]
    assert float(rows[1]["mse_later_q25"]) <= float(rows[1]["mse_later"]) <= float(rows[1]["mse_later_q75"])
    with Image.open("p.png") as image:
        assert image.width > 8 * 78
    with Image.open("a.gif") as image:
        assert image.n_frames == 102


def test_json_is_the_same_every_time_and_has_everything(runs):
    first, again = (run_in_process("compare", "runs", "--json", "-q", *SHORT) for _ in range(2))
    assert first.stdout == again.stdout
    found = json.loads(first.stdout)
    halves = [found["models"][0][f"mse_healed_{half}"]["median"] for half in ("left", "right", "top", "bottom")]
    assert found["models"][0]["mse_healed_halves"] == max(halves)
    assert found["trial"] == {"rollouts": 2, "steps": 200, "seed": 0}
    assert [model["model"] for model in found["models"]] == ["c", "a", "b"]
    assert found["failed"][0]["path"] == "runs/broken.safetensors"
    measures = found["models"][0]
    for name in ("mse_at_96", "step_under_0.001", "regeneration_left", "healing_steps_square", "settling_step"):
        assert set(measures[name]) == {"median", "q25", "q75"}
    assert measures["step_under_0.001"]["median"] is None, "never, for a random model"
    assert 0 <= measures["dead"] <= 1


def test_targets_that_differ_are_told(tmp_path):
    save_with_record("a.safetensors")
    model = lively()
    other = Target(np.full((11, 8, 4), 255, np.uint8), 0)
    save_model(Path("b.safetensors"), type(model)(model.weights, model.config, other))
    done = run_in_process(
        "compare", "a.safetensors", "b.safetensors", *SHORT, "--sort", "mse_later", "--metric", "psnr"
    )
    assert done.returncode == 0, done.stderr
    assert "the targets differ" in done.stderr
    assert "11x8" in done.stdout
    assert "PSNR 96" in done.stdout


@pytest.mark.parametrize(
    ("outputs", "what"),
    [
        ({"sort": "speed"}, "no column 'speed'"),
        ({"csv": Path("a.txt")}, "a.txt does not end in .csv"),
        ({"picture": Path("a.gif")}, "a.gif does not end in .png"),
        ({"report": Path("a.pdf")}, "a.pdf does not end in .html"),
        ({"curves": Path("a.txt")}, "a.txt does not end in .csv"),
        ({"table": Path("a.csv")}, "a.csv is no table of a paper"),
        ({"table": Path("a")}, "a is no table of a paper"),
        ({"csv": Path("a.csv"), "curves": Path("./a.csv")}, "a.csv is another file of this command"),
        ({"animation": Path("a.png")}, "a.png is no animation"),
        ({"animation": Path("a.avi")}, "a.avi ends in .avi"),
        ({"csv": Path("nowhere/a.csv")}, "nowhere cannot be written"),
    ],
)
def test_outputs_that_cannot_be_written(outputs, what):
    names = ("sort", "csv", "picture", "animation", "report")
    nothing = {"metric": Metric.MSE, **dict.fromkeys(names), "force": False}
    with pytest.raises(NcatoolError) as caught:
        ComparisonOutputs(**(nothing | outputs)).check([])
    assert what in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("compare empty --steps 100", "--steps"),
        ("compare nowhere.safetensors --report r.html", "no such model: nowhere.safetensors"),
    ],
)
def test_bad_usage(arguments, what):
    done = run_in_process(*arguments.split())
    assert done.returncode in (1, 2)
    assert what in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(Path().iterdir())


def test_a_model_that_explodes_has_its_row(runs):
    model = lively()
    weights = model.weights._replace(output_bias=torch.full((6,), 1e30))
    save_model(Path("wild.safetensors"), type(model)(weights, model.config, model.target))
    done = run_in_process("compare", "wild.safetensors", *SHORT, "--json", "-q", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["models"][0]
    assert found["exploded"] == 1
    assert found["mse_at_96"]["median"] is None
    assert done.stderr == ""
    assert found["regeneration_circle"]["median"] is None
