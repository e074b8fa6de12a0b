"""Which models are the best, in which order they come, and how their numbers are written."""

import numpy as np
import pytest

from ncatool.config.names import Metric
from ncatool.data.target import Target
from ncatool.evaluation import models, table
from ncatool.evaluation.table import Column, find_best, find_fault, format_number, sort_evaluations
from tests.evaluation.saved_models import make_evaluation

LOW, HIGH = Column("mse_later", "", ""), Column("psnr_later", "", "")


def test_the_best_by_hand():
    entries = [make_evaluation("a", 3.0), make_evaluation("b", 1.0), make_evaluation("c", 2.0)]
    assert find_best(entries, LOW) == find_best(entries, HIGH) == {"b"}
    alike = [make_evaluation("a", 0.0), make_evaluation("b", 0.0), make_evaluation("c", 1.0)]
    assert find_best(alike, LOW) == set(), "most of them are"
    assert find_best([make_evaluation("a", float("inf")), make_evaluation("b", float("inf"))], LOW) == set()
    assert find_best([make_evaluation("a", 0.0)], LOW) == set()
    other = Target(np.full((9, 9, 4), 255, np.uint8), 2)
    mixed = [*entries, make_evaluation("d", 9.0, other), make_evaluation("e", 8.0, other)]
    assert find_best(mixed, LOW) == {"b", "e"}, "of each target one"
    assert mixed[0].candidate.target_key != mixed[-1].candidate.target_key


NEVER = float("inf")


RECOVERY = Column("regeneration_halves", "", "")


@pytest.mark.parametrize(
    ("measures", "fault"),
    [
        ({"step_under_0.001": NEVER}, "not grown"),
        ({"exploded": 1 / 16}, "exploded"),
        ({"dead": 1 / 16}, "dead"),
        ({"dead": 1.0, "step_under_0.001": NEVER}, "dead"),
    ],
)
def test_only_healthy_models_that_have_grown_are_the_best(measures, fault):
    good, bad = [make_evaluation("a", 0.9), make_evaluation("b", 0.8)], make_evaluation("c", 0.999, **measures)
    assert find_fault(bad) == fault
    assert find_fault(good[0]) == ""
    assert find_best([*good, bad], RECOVERY) == {"a"}, "a blur has an R of 0.999"
    assert find_best([*good, make_evaluation("c", 0.0, **measures)], LOW) == {"b"}
    assert find_best([bad, make_evaluation("d", 0.5, **measures)], RECOVERY) == set()


def test_who_has_faded_before_the_damage_heals_nothing():
    faded = make_evaluation("c", 0.999, mse_before_damage=0.03)
    assert find_best([make_evaluation("a", 0.9), faded], RECOVERY) == {"a"}
    assert find_best([make_evaluation("a", 1.0), faded], LOW) == {"c"}, "it had grown"


def test_shares_of_failed_rollouts_rank_nobody():
    columns = {column.name: column for column in table.select_columns(Metric.MSE)}
    assert not any(columns[name].ranked for name in ("dead", "exploded", "settling_step"))


@pytest.mark.parametrize("metric", Metric)
def test_the_error_after_healing_stands_beside_r(metric):
    names = [column.name for column in table.select_columns(metric)]
    error = "psnr" if metric is Metric.PSNR else "mse"
    for shape in ("circle", "halves", "square"):
        assert names[names.index(f"regeneration_{shape}") + 1] == f"{error}_healed_{shape}"


def test_order_by_hand():
    entries = [make_evaluation("a", 3.0), make_evaluation("c", 1.0), make_evaluation("b", 2.0)]
    assert [entry.candidate.name for entry in sort_evaluations(entries, "mse_later")] == ["c", "b", "a"]
    assert [entry.candidate.name for entry in sort_evaluations(entries, "psnr_later")] == ["c", "b", "a"]
    assert [entry.candidate.name for entry in sort_evaluations(entries, "name")] == ["a", "b", "c"]
    never = [make_evaluation("a", float("inf")), *entries]
    for by in ("mse_later", "psnr_later"):
        assert [entry.candidate.name for entry in sort_evaluations(never, by)] == ["c", "b", "a", "a"], (
            "never comes last"
        )


def test_numbers_are_short():
    values = {
        0.0: "0",
        3.0: "3",
        174.5: "174",
        0.5: "0.5",
        81.5: "81.5",
        1.0004: "1",
        0.00012: "1.2e-04",
        float("inf"): "–",
        -0.2: "-0.2",
    }
    assert {value: format_number(value) for value in values} == values


def test_every_column_of_every_metric_is_a_measure():
    for metric in Metric:
        assert {column.name for column in table.select_columns(metric)} <= set(models.MEASURES)
