"""Comparisons: what is found, what is best, and what the files and the page show."""

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.cli.compare import ComparisonOutputs
from ncatool.config.names import Filter, Metric
from ncatool.config.schema import PLACE_SETTINGS
from ncatool.data.target import Target
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation import models, svg_plot, table
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.models import Candidate, Evaluation, load_candidates
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.report import render_report, split_settings
from ncatool.evaluation.table import Column, find_best, find_fault, format_number, sort_evaluations
from ncatool.files.toml import write_toml
from ncatool.nca.model_file import save_model
from ncatool.nca.model_name import find_models
from tests.conftest import SMALL, ncatool, run_in_process
from tests.rendering.test_playback import lively, three_celled

HOSTILE = "<script>window.hacked=1</script>"
CPU = torch.device("cpu")
SHORT = ["--rollouts", "2", "--steps", "200"]


def saved(path, loss="l2", regime="persistent", weights=1.0, **config):
    """A model and its record, as a run leaves them."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    model = lively(**config)
    changed = model.weights._replace(output_weight=model.weights.output_weight * weights)
    model = type(model)(changed, model.config, model.target)
    save_model(path, model)
    record = {"train": {"loss": loss, "regime": regime, "seed": 3}, "target": {"source": "phantom"}}
    write_toml(path.with_suffix(".toml"), record)
    rows = "".join(f"{i},0.1,{0.1 / i},0.001,\n" for i in range(1, 30))
    path.with_suffix(".csv").write_text(f"iteration,loss,mse,learning_rate,events\n{rows}")
    return path


@pytest.fixture
def runs():
    """Three models and a broken one."""
    saved("runs/a.safetensors", loss="l1")
    saved("runs/deep/b.safetensors", regime="regenerating", weights=0.5)
    saved("runs/c.safetensors", filter=Filter.MEAN)
    saved("runs/a.checkpoint.safetensors")
    Path("runs/broken.safetensors").write_bytes(b"not a model")
    return Path("runs")


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
        saved(f"{folder}/model.safetensors")
    contenders, _ = load_candidates([Path("x/model.safetensors"), Path("y/model.safetensors")], CPU)
    assert [contender.name for contender in contenders] == ["x/model", "y/model"]


def test_a_lone_model_of_an_earlier_version_is_compared():
    Path(saved("a.safetensors")).with_suffix(".toml").unlink()
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


SOUND = {"dead": 0.0, "exploded": 0.0, "step_under_0.001": 90.0, "mse_before_damage": 1e-4}
"""Measures of a model that may be the best."""


def fixed(name, value, target=None, **measures):
    """An entry whose numbers are given."""
    model = lively()
    if target is not None:
        model = type(model)(model.weights, model.config, target)
    numbers = {"mse_later": value, "psnr_later": -value, "regeneration_halves": value, **SOUND, **measures}
    return Evaluation(Candidate(name, Path(name), model), numbers, some_measures())


@cache
def some_measures():
    return measure_model(lively(), Protocol(rollouts=1, steps=200))


LOW, HIGH = Column("mse_later", "", ""), Column("psnr_later", "", "")


def test_the_best_by_hand():
    entries = [fixed("a", 3.0), fixed("b", 1.0), fixed("c", 2.0)]
    assert find_best(entries, LOW) == find_best(entries, HIGH) == {"b"}
    assert find_best([fixed("a", 0.0), fixed("b", 0.0), fixed("c", 1.0)], LOW) == set(), "most of them are"
    assert find_best([fixed("a", float("inf")), fixed("b", float("inf"))], LOW) == set()
    assert find_best([fixed("a", 0.0)], LOW) == set()
    other = Target(np.full((9, 9, 4), 255, np.uint8), 2)
    mixed = [*entries, fixed("d", 9.0, other), fixed("e", 8.0, other)]
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
    good, bad = [fixed("a", 0.9), fixed("b", 0.8)], fixed("c", 0.999, **measures)
    assert find_fault(bad) == fault
    assert find_fault(good[0]) == ""
    assert find_best([*good, bad], RECOVERY) == {"a"}, "a blur has an R of 0.999"
    assert find_best([*good, fixed("c", 0.0, **measures)], LOW) == {"b"}
    assert find_best([bad, fixed("d", 0.5, **measures)], RECOVERY) == set()


def test_who_has_faded_before_the_damage_heals_nothing():
    faded = fixed("c", 0.999, mse_before_damage=0.03)
    assert find_best([fixed("a", 0.9), faded], RECOVERY) == {"a"}
    assert find_best([fixed("a", 1.0), faded], LOW) == {"c"}, "it had grown"


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
    entries = [fixed("a", 3.0), fixed("c", 1.0), fixed("b", 2.0)]
    assert [entry.candidate.name for entry in sort_evaluations(entries, "mse_later")] == ["c", "b", "a"]
    assert [entry.candidate.name for entry in sort_evaluations(entries, "psnr_later")] == ["c", "b", "a"]
    assert [entry.candidate.name for entry in sort_evaluations(entries, "name")] == ["a", "b", "c"]
    never = [fixed("a", float("inf")), *entries]
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
    saved("a.safetensors")
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


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    names = [HOSTILE.replace("/", ""), "x" * 240, "two\nlines [red]", "🧠$\\frac{", "'\"&{{7*7}}"]
    for name in names:
        saved(folder / "runs" / f"{name}.safetensors", loss=HOSTILE, weights=len(name) / 100)
    outputs = ["--report", "r.html", "--picture", "p.png", "--animation", "a.webp"]
    done = ncatool("compare", "runs", *SHORT, *outputs, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 260 for line in done.stdout.splitlines())
    assert done.stdout.count("\n") == 1 + len(names), "a line a model"
    return folder / "r.html", names


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_in_a_browser(browser, hostile_report, width, scheme):
    path, names = hostile_report
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "wide tables scroll within themselves"
    if width == 1280:
        wide = page.locator(".wide, .chart").evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
        assert max(wide) <= 0, "nothing is off-screen"
    assert page.evaluate("window.hacked") is None
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    shown_names = [row.strip() for row in page.locator("#numbers tbody td:first-child").all_inner_texts()]
    assert {re.sub(r"\s+", " ", name) for name in shown_names} == {re.sub(r"\s+", " ", name) for name in names}
    assert page.locator("#numbers td:nth-child(3)").first.inner_text() == HOSTILE
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 26)"
    assert dark == (scheme == "dark")
    assert page.locator("figure svg").count() == 3, "error, regeneration, training"
    assert page.locator("figure img").count() == len(names)
    assert all(page.locator("figure img").evaluate_all("images => images.map(i => i.naturalWidth > 500)"))

    def column():
        cells = page.locator("#numbers td:nth-child(7)")
        return [float(value) for value in cells.evaluate_all("cells => cells.map(cell => cell.dataset.sort)")]

    head = page.locator("#numbers th").nth(6)
    head.locator("button").click()
    assert column() == sorted(column())
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert column() == sorted(column(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
    assert said == []
    page.close()


NAME_AND_NUMBERS = """table => {
  const view = table.parentElement, box = view.getBoundingClientRect();
  view.scrollLeft = 0.4 * (view.scrollWidth - view.clientWidth);
  const row = table.tBodies[0].rows[0];
  const name = row.cells[0].getBoundingClientRect();
  const whole = [...row.cells].slice(1).map(cell => cell.getBoundingClientRect())
    .filter(one => one.width && one.left >= name.right - 1 && one.right <= box.right + 1);
  return [view.scrollLeft, name.left - box.left, name.width, whole.length];
}"""


def test_on_a_phone_the_names_stay_beside_a_measure(browser, hostile_report):
    path, _ = hostile_report
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(path.as_uri())
    for name in ("numbers", "healing"):
        first = page.locator(f"#{name} tbody tr").first.locator("td.number").first.bounding_box()
        assert first["x"] + first["width"] <= 390, "a measure is there before anybody scrolls"
        scrolled, left, width, whole = page.locator(f"#{name}").evaluate(NAME_AND_NUMBERS)
        assert scrolled > 100
        assert abs(left) < 1
        assert width < 200
        assert whole >= 1
    page.close()


def test_the_report_begins_with_pictures_and_folds_away_where_it_was_made(browser, hostile_report):
    path, names = hostile_report
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.locator("h2").all_inner_texts() == ["Pictures", "Numbers", "Curves", "Settings that differ"]
    assert page.locator("td.best").count() == 0, "none has grown"
    assert page.locator("#numbers .name[data-fault='not grown']").count() == len(names) - 1, "one explodes"
    assert page.locator("#healing th").all_inner_texts()[:3] == ["model", "R circle", "MSE circle"]
    assert not page.locator("text=Python").is_visible()
    assert page.locator("details[open]").count() == 0
    page.click("nav >> text=How this was made")
    page.wait_for_selector("#making[open] pre")
    page.close()


def test_settings_are_grouped_by_value(runs):
    candidates, _ = load_candidates(find_models(["runs"]), CPU)
    evaluations = [Evaluation(one, fixed("", 1.0).values, some_measures()) for one in candidates]
    for evaluation in evaluations:
        evaluation.values.update({name: 1.0 for name in models.MEASURES if name not in evaluation.values})
    for one in candidates:
        one.record["environment"] = {"python": one.name}
        one.record["target"]["sha256"] = one.name
    candidates[0].record["train"]["margin"] = 0.1
    strips = [Image.new("RGB", (4, 4))] * 3
    text = render_report(evaluations, table.select_columns(Metric.MSE), Protocol(), {}, {}, strips)
    shown, folded = text.split('id="settings"')[1].split("<details>", 1)
    assert re.findall(r'rowspan="2">([a-z ]+)<', shown) == ["loss", "regime"], "the table's name is left out"
    assert re.search(r"<td>l2</td><td>c, b</td>", shown)
    for heading in ("margin", "environment python", "target sha256"):
        assert f">{heading}</th>" in folded
        assert f">{heading}</th>" not in shown


def test_charts_thin_out_long_curves_and_survive_explosions():
    values = np.full((3, 5001), np.inf)
    values[:, :10] = [[0.1], [0.2], [0.4]]
    line = svg_plot.compute_band(values)
    assert len(line.x) < 400
    assert line.x[-1] == 5000
    assert (line.lower[0], line.median[0], line.upper[0]) == pytest.approx((0.15, 0.2, 0.3))
    assert line.upper[-1] == 1000
    drawn = svg_plot.draw_svg([line, None], "step", "MSE")
    cut = svg_plot.draw_svg([line, None], "step", "MSE", most=10)
    assert "{2}" in drawn
    assert "{2}" not in cut, "no tick at 100"
    assert drawn.startswith("<svg")
    assert drawn == svg_plot.draw_svg([line, None], "step", "MSE")
    assert len({(svg_plot.get_curve_colour(i), svg_plot.get_line_style(i)) for i in range(40)}) == 40


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
