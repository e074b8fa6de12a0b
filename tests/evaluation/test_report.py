"""The report of a comparison, in a browser, and its curves."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import Metric
from ncatool.evaluation import models, svg_plot, table
from ncatool.evaluation.models import Evaluation, load_candidates
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.report import render_report
from ncatool.nca.model_name import find_models
from tests.conftest import ncatool
from tests.evaluation.saved_models import HOSTILE, SHORT, make_evaluation, measure_any, save_with_record


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    names = [HOSTILE.replace("/", ""), "x" * 240, "two\nlines [red]", "🧠$\\frac{", "'\"&{{7*7}}"]
    for name in names:
        save_with_record(folder / "runs" / f"{name}.safetensors", loss=HOSTILE, weights=len(name) / 100)
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
    candidates, _ = load_candidates(find_models(["runs"]), torch.device("cpu"))
    evaluations = [Evaluation(one, make_evaluation("", 1.0).values, measure_any()) for one in candidates]
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
