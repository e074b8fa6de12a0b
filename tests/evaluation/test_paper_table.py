"""The table for a paper, and the curves: whole, escaped, and the same numbers as everywhere."""

import csv
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ncatool.evaluation.paper_table import escape_latex, escape_markdown
from tests.conftest import ncatool, run_in_process
from tests.evaluation.saved_models import SHORT, save_with_record

NAMES = ["a_b & 100% |x|", "#1 ~ $5^{2}$ \\alpha", "[bold] *x* `y`", "<b>--fine</b>", '"two\nlines"']
SAID = {" ".join(name.split()) for name in NAMES}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All forms of a comparison, and its JSON."""
    folder = tmp_path_factory.mktemp("written")
    for i, name in enumerate(NAMES):
        save_with_record(
            folder / f"runs/{name.replace('/', '')}.safetensors", loss="l1" if i else "l2", weights=0.2 + 0.1 * i
        )
    found = [
        ncatool("compare", "runs", *SHORT, "--json", "-q", "--force", "--curves", "c.csv", "--table", name, cwd=folder)
        for name in ("t.md", "t.TEX")
    ]
    assert [done.returncode for done in found] == [0, 0], found[0].stderr
    return folder, json.loads(found[0].stdout)["models"]


def read_markdown(text):
    """The cells of a table, as a real parser reads them."""
    rows, tokens = [], MarkdownIt("commonmark").enable("table").parse(text)
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.map and token.level > 3:
            rows[-1].append(token)
    return rows


def test_markdown_is_read_as_it_is_meant(written):
    text = (written[0] / "t.md").read_text()
    head, *rows = read_markdown(text)
    assert [cell.content for cell in head][:3] == ["model", "loss", "MSE 96"], "the same filter is not repeated"
    assert len(rows) == len(NAMES)
    names = {"".join(child.content for child in row[0].children) for row in rows}
    assert names == {name.replace("/", "") for name in SAID}
    assert all(child.type == "text" for row in rows for child in row[0].children), "nothing is set in bold or as code"
    assert {len(row) for row in [head, *rows]} == {len(head)}
    assert "Medians over 2 rollouts of 200 steps" in text


PLAIN = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<"}
PLAIN |= {r"\textgreater{}": ">", r"\textbar{}": "|", r"\char34{}": '"'}


def read_latex(cell):
    """What LaTeX prints: commands of the set above, escaped characters, and groups of one."""
    pattern = "|".join(map(re.escape, PLAIN)) + r"|\\[{}$&#_%]|\{[^\\{}]\}|[^\\{}$&#_%~^\[\]*]"
    assert re.fullmatch(f"(?:{pattern})*", cell), cell
    return re.sub(pattern, lambda found: PLAIN.get(found[0], found[0].strip("\\{}") or found[0][1:]), cell)


def test_latex_is_read_as_it_is_meant(written):
    lines = (written[0] / "t.TEX").read_text().splitlines()
    assert lines[0].startswith("% Medians over 2 rollouts")
    columns = re.fullmatch(r"\\begin{tabular}{(l+r+)}", lines[1])[1]
    assert lines[-1] == r"\end{tabular}"
    cells = [re.split(r" (?<!\\)& ", line.removesuffix(r" \\")) for line in lines if line.endswith(r"\\")]
    assert [len(row) for row in cells] == [len(columns)] * (1 + len(NAMES))
    assert {read_latex(row[0]) for row in cells[1:]} == {name.replace("/", "") for name in SAID}
    assert all(re.fullmatch(r"--|\$.*\$", cell) for row in cells[1:] for cell in row[2:])


def test_every_special_character():
    everything = "".join(map(chr, range(32, 127)))
    assert read_latex(escape_latex(everything)) == everything
    (paragraph,) = [token for token in MarkdownIt().parse(escape_markdown(everything)) if token.type == "inline"]
    assert "".join(child.content for child in paragraph.children) == everything.strip()


def test_a_best_number_is_bold():
    golden = Path(__file__).parents[1] / "golden" / "phantom.safetensors"
    Path("good.safetensors").write_bytes(golden.read_bytes())
    Path("again.safetensors").write_bytes(golden.read_bytes())
    done = run_in_process("compare", "good.safetensors", "again.safetensors", *SHORT, "--table", "t.md")
    assert done.returncode == 0, done.stderr
    assert "**" not in Path("t.md").read_text(), "both are as good"


def test_curves_are_the_measures_step_by_step(written):
    folder, found = written
    with (folder / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["model", "curve", "step", "median", "q25", "q75"]
    assert len({row["model"] for row in rows}) == len(NAMES)
    one = found[-1]
    own = rows[-(len(rows) // len(NAMES)) :]
    curves = {name: [row for row in own if row["curve"] == name] for name in {row["curve"] for row in own}}
    assert len(curves) == 1 + 2 * 6
    assert [int(row["step"]) for row in curves["mse"]] == list(range(201))
    grown = {name.removeprefix("q"): float(curves["mse"][96][name]) for name in ("median", "q25", "q75")}
    assert list(grown.values()) == list(one["mse_at_96"].values())
    for name, measure in (("mse_circle", "mse_healed_circle"), ("recovery_left", "regeneration_left")):
        assert [int(row["step"]) for row in curves[name]] == list(range(201))
        last = curves[name][-1]
        assert {key: float(last[key]) if last[key] else None for key in one[measure]} == one[measure]
    assert float(curves["recovery_left"][0]["median"]) == 0


def test_files_are_the_same_every_time_and_nothing_is_overwritten():
    save_with_record("runs/plain.safetensors")
    words = ["compare", "runs", *SHORT, "--curves", "c.csv", "--table", "t.tex"]
    assert run_in_process(*words).returncode == 0
    first = [Path(name).read_bytes() for name in ("c.csv", "t.tex")]
    refused = run_in_process(*words)
    assert refused.returncode == 2
    assert "t.tex exists already" in refused.stderr
    assert run_in_process(*words, "--force").returncode == 0
    assert first == [Path(name).read_bytes() for name in ("c.csv", "t.tex")]
    curve = Path("runs/plain.csv").read_bytes()
    done = run_in_process("compare", "runs", *SHORT, "--csv", "runs/plain.csv", "--force")
    assert done.returncode == 2
    assert "runs/plain.csv is read by this command" in done.stderr
    assert Path("runs/plain.csv").read_bytes() == curve, "the report shows it"
