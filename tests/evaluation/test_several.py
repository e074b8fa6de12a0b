"""A model of several pictures as one: median, worst, and what wounded pictures heal into."""

import dataclasses
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.config.names import Damage
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.several import SeveralEvaluation, describe_several, list_several
from ncatool.nca.model_file import save_model
from tests.conftest import run_in_process
from tests.several import make_several


@cache
def measure_once():
    return measure_model(make_several().pictures[0], Protocol(rollouts=2, steps=200))


def evaluate(errors, nearest=((0, 0), (1, 1), (2, 2))):
    """Return a model's evaluation with such errors, whose wounded states are nearest to the pictures of such places."""
    model, first = make_several(), measure_once()
    evaluations = []
    for one, error, places in zip(model.pictures, errors, nearest, strict=True):
        damage = {Damage.CIRCLE: dataclasses.replace(first.damage[Damage.CIRCLE], nearest=np.array(places))}
        candidate = Candidate(f"m:{one.target.name}", Path("m"), one, siblings=model.target.pictures)
        measures = dataclasses.replace(first, damage=damage)
        evaluations.append(Evaluation(candidate, {"mse_later": error, "psnr_later": -error}, measures))
    return SeveralEvaluation(evaluations)


def test_the_worst_is_the_highest_error_the_lowest_quality_or_what_is_not_finite():
    one = evaluate([1e-4, 3e-4, 2e-4])
    assert one.find_worst("mse_later") == ("green", 3e-4)
    assert one.find_worst("psnr_later") == ("green", -3e-4)
    assert one.compute_median("mse_later") == 2e-4
    assert evaluate([1e-4, 3e-4, math.nan]).find_worst("mse_later")[0] == "blue"
    assert evaluate([1e-4, math.inf, 5.0]).to_json()["worst"]["mse_later"] == {"picture": "green", "value": None}


def test_pictures_that_become_others_are_named_the_most_first():
    one = evaluate([1e-4] * 3, [(0, 1), (1, 1), (0, 0)])
    assert one.list_confusions() == [("blue", "red", 2), ("red", "green", 1)]
    assert describe_several(one).endswith("wounded, 3 of 6 become another: blue → red 2, red → green 1")
    assert describe_several(evaluate([1e-4] * 3)).endswith("wounded, all stay nearest to themselves")


def test_rows_and_columns_are_in_the_order_of_the_evaluations():
    one = evaluate([1e-4] * 3, [(0, 1), (1, 1), (0, 0)])
    turned = SeveralEvaluation(one.evaluations[::-1])
    assert turned.pictures == ["blue", "green", "red"]
    assert turned.counts.tolist() == [[0, 0, 2], [0, 2, 0], [0, 1, 1]]


def test_a_healed_state_counts_for_the_picture_that_it_is_nearest_to():
    """Weights of zero leave a state as it is: what is left of each picture's seed is nearest to the darkest one."""
    model = make_several()
    still = model.weights._replace(output_weight=torch.zeros_like(model.weights.output_weight))
    still = dataclasses.replace(model, weights=still)
    darkest = int(np.argmin([np.square(one.premultiply()).sum() for one in model.target.pictures]))
    for one in still.pictures:
        measures = measure_model(one, Protocol(rollouts=2, steps=200), siblings=model.target.pictures)
        nearest = [result.nearest.tolist() for result in measures.damage.values()]
        assert nearest == [[darkest, darkest]] * len(Damage)


def test_only_models_whose_pictures_are_all_measured_are_taken_as_one():
    several = evaluate([1e-4] * 3).evaluations
    single = Evaluation(Candidate("one", Path("one"), make_several().pictures[0]), {}, measure_once())
    (one,) = list_several([single, *several])
    assert (one.name, one.evaluations) == ("m", several)
    assert list_several([single, *several[:2]]) == []


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
    assert np.array(several["healed_into"]).sum(axis=1).tolist() == [6] * 3, "one rollout, six shapes"
    assert several["pictures"] == ["blue", "green", "red"]
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
