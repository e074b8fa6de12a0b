"""A model of several pictures as one: median, worst, and what wounded pictures heal into."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.several import SeveralEvaluation, describe_several, group_evaluations, measure_confusion
from ncatool.nca.model_file import save_model
from tests.conftest import run_in_process
from tests.several import make_several


@cache
def measure_once():
    return measure_model(make_several().pictures[0], Protocol(rollouts=1, steps=200))


def evaluate(errors, counts=None):
    evaluations = [
        Evaluation(
            Candidate(f"m:{one.target.name}", Path("m"), one),
            {"mse_later": error, "psnr_later": -error},
            measure_once(),
        )
        for one, error in zip(make_several().pictures, errors, strict=True)
    ]
    return SeveralEvaluation("m", evaluations, np.eye(3, dtype=np.int64) * 24 if counts is None else np.array(counts))


def test_the_worst_is_the_highest_error_the_lowest_quality_or_what_is_not_finite():
    one = evaluate([1e-4, 3e-4, 2e-4])
    assert one.find_worst("mse_later") == ("green", 3e-4)
    assert one.find_worst("psnr_later") == ("green", -3e-4)
    assert one.compute_median("mse_later") == 2e-4
    assert evaluate([1e-4, 3e-4, math.nan]).find_worst("mse_later")[0] == "blue"
    assert evaluate([1e-4, math.inf, 5.0]).to_json()["worst"]["mse_later"] == {"picture": "green", "value": None}


def test_pictures_that_become_others_are_named_the_most_first():
    one = evaluate([1e-4] * 3, [[20, 4, 0], [0, 24, 0], [9, 0, 15]])
    assert one.list_confusions() == [("blue", "red", 9), ("red", "green", 4)]
    assert describe_several(one).endswith("wounded, 13 of 72 become another: blue → red 9, red → green 4")
    assert describe_several(evaluate([1e-4] * 3)).endswith("wounded, all stay nearest to themselves")


def test_a_healed_state_counts_for_the_picture_that_it_is_nearest_to():
    """Weights of zero leave a state as it is: what is left of each picture's seed is nearest to the darkest one."""
    model = make_several()
    still = model.weights._replace(output_weight=torch.zeros_like(model.weights.output_weight))
    counts = measure_confusion(type(model)(still, model.config, model.target, {}, model.own_seed), 0)
    assert counts.shape == (3, 3)
    assert counts.sum(axis=1).tolist() == [24, 24, 24], "four rollouts, six shapes"
    darkest = int(np.argmin([np.square(one.premultiply()).sum() for one in model.target.pictures]))
    assert counts[:, darkest].tolist() == [24, 24, 24]


def test_only_models_of_several_pictures_are_grouped():
    several = evaluate([1e-4] * 3).evaluations
    single = Evaluation(Candidate("one", Path("one"), make_several().pictures[0]), {}, measure_once())
    assert group_evaluations([single, *several]) == [several]


@pytest.fixture
def compared():
    save_model(Path("m.safetensors"), make_several())
    save_model(Path("one.safetensors"), make_several().pictures[0])
    return ["compare", "m", "one", "--rollouts", "1", "--steps", "200"]


def test_compare_shows_each_picture_and_the_model_as_one(compared):
    done = run_in_process(*compared, "--json", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["model"] for one in found["models"]] == ["m:blue", "m:green", "m:red", "one"]
    (several,) = found["several"]
    assert several["model"] == "m"
    assert np.array(several["healed_into"]).sum(axis=1).tolist() == [24] * 3
    assert several["worst"]["mse_later"]["picture"] in several["pictures"]
    text = Path("r.html").read_text()
    assert "m, a model of several pictures" in text
    assert "MSE 200+ of 3 pictures" in text


def test_a_line_says_what_the_table_does_not(compared):
    done = run_in_process(*compared)
    assert done.returncode == 0
    assert "m: MSE 200+ of 3 pictures" in done.stderr
    assert "0 of 4 pictures have grown and held" in done.stderr


def test_without_several_pictures_nothing_is_added(compared):
    done = run_in_process("compare", "one", *compared[3:], "--json")
    assert "several" not in json.loads(done.stdout)
