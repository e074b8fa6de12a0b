"""Tables at every width: nothing is cut, nothing broken, one notation a column."""

import contextlib
import math
import os
import pty
import re
import shutil
import subprocess
import sys

import pytest

from ncatool.cli.table_layout import Best, choose_notation, lay_out_plain, lay_out_table
from tests.conftest import GOLDEN, run_in_process

HEADINGS = ["model", "filter", "loss", "target", "MSE 96", "MSE 200+", "worst", "grown at", "circle", "dead"]
ROWS = [
    ["sobel-l1-no-damage", "sobel", "l1", "phantom 28x28", 6.1e-3, Best(1.5e-5), 2e-5, 120.0, 0.992, 0.0],
    ["laplacian-manhattan-damage", "laplacian", "manhattan", "phantom 28x28", 0.12, 3376.0, *[math.inf] * 3, 0.0],
    ["mean-hinge", "mean", "hinge", "phantom 28x28", 3.3e-2, 3.4e-2, 4e-2, 1234.0, Best(1.0), 0.0],
]  # fmt: skip


def texts(headings, rows, width):
    return [line.plain for line in lay_out_table(headings, rows, width)]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_every_cell_is_whole_at_every_width(width):
    lines = texts(HEADINGS, ROWS, width)
    assert max(map(len, lines[1:])) <= width
    assert lines[0] == "all: target phantom 28x28 · dead 0"
    shown = re.split(r"\s{2,}|\n", "\n".join(lines[1:]))
    for word in ("sobel", "laplacian", "manhattan", "hinge", "6.1e-3", "1.2e-1", "3.4e3", "1.5e-5*", "1,234", "0.992"):
        assert word in [cell.strip() for cell in shown], word
    for heading in set(HEADINGS) - {"target", "dead"}:
        assert heading in [cell.strip() for cell in shown], heading
    if width >= 60:
        assert "laplacian-manhattan-damage" in "\n".join(lines)


def test_a_wide_terminal_has_one_table_with_numbers_at_the_right():
    lines = texts(HEADINGS, ROWS, 200)
    assert len(lines) == 5
    words = ("MSE 96", "6.1e-3", "1.2e-1", "3.3e-2")
    assert len({line.index(word) + len(word) for line, word in zip(lines[1:], words, strict=True)}) == 1


def test_few_rows_are_turned_over_where_that_fits():
    lines = texts(HEADINGS, ROWS[:2], 60)
    assert lines[1].split() == ["model", "sobel-l1-no-damage", "laplacian-manhattan-damage"]
    assert lines[2].split() == ["filter", "sobel", "laplacian"]
    assert texts(HEADINGS, ROWS[:1], 60)[0].split() == ["model", "sobel-l1-no-damage"], "one row has nothing in common"


def test_the_best_is_bold_and_marked():
    (line,) = (line for line in lay_out_table(HEADINGS, ROWS, 200) if line.plain.startswith("sobel"))
    bold = [line.plain[span.start : span.end].strip() for span in line.spans if "bold" in str(span.style)]
    assert bold == ["1.5e-5*"]


def test_a_long_name_keeps_both_ends():
    name = "a" * 50 + "-seed1"
    lines = texts(["run", "state"], [[name, "finished"], ["b", "failed"]], 40)
    assert lines[1].startswith("aaa")
    assert "…" in lines[1]
    assert "-seed1" in lines[1]
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([12.0, 16800.0, math.inf], ["12", "16,800", "–"]),
        ([42.02, -6.7], ["42.02", "-6.70"]),
        ([0.992, 1.0, -0.2], ["0.992", "1.000", "-0.200"]),
        ([0.12, 1.0, -1.5e-3], ["1.2e-1", "1.0e0", "-1.5e-3"]),
        ([6.4e-5, 0.13, 3376.0, 0.0], ["6.4e-5", "1.3e-1", "3.4e3", "0"]),
        ([70.6, 109.5], ["70.6", "109.5"]),
        ([1e300, 1.0], ["1.0e300", "1.0e0"]),
        ([], []),
    ],
)
def test_a_column_has_one_notation(numbers, expected):
    notation = choose_notation(numbers)
    assert [notation(number) for number in numbers] == expected


def test_without_a_terminal_a_row_is_a_line_and_whole():
    lines = lay_out_plain(HEADINGS, [*ROWS, ["x" * 300, "a", "b", "c", None, 1.0, 2.0, 3.0, 4.0, 5.0]], str)
    assert len(lines) == 5
    assert lines[0].split() == " ".join(HEADINGS).split()
    assert "1.5e-05*" in lines[1].split()
    assert lines[4].startswith("x" * 300)
    assert "–" in lines[4]


def show(columns, *arguments):
    """The lines that a command shows on a terminal of so many columns, without bars."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "NCATOOL_NO_PROGRESS": "1"}
    command = [sys.executable, "-m", "ncatool", *arguments]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is closed at the end
            while part := os.read(master, 65536):
                shown += part
    os.close(master)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.decode()).splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_list_of_sets_on_a_terminal(columns):
    lines = show(columns, "fetch", "--list")
    assert max(map(len, lines)) <= columns
    words = " ".join(lines).split()
    assert {"pathmnist", "ordinal-regression", "165,466", "47,280", "28–224", "BY-NC"} <= set(words)
    full = run_in_process("fetch", "--list").stdout.splitlines()
    assert len(full) == 19, "elsewhere a set is a line"
    assert "165,466 + 23,640 + 47,280" in "".join(full)


@pytest.mark.parametrize("columns", [60, 80])
def test_a_comparison_on_a_terminal(columns):
    for name in ("first", "second", "third"):
        shutil.copy(GOLDEN, f"{name}.safetensors")
    lines = show(columns, "compare", ".", "--rollouts", "1", "--steps", "200")
    *table, follow = lines
    assert follow.startswith("next: ncatool compare . --report")
    assert max(map(len, table)) <= columns
    (common,) = (line for line in table if line.startswith("all: "))
    assert "filter sobel" in common
