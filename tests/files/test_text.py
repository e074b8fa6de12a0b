import csv
import io
import json
import math

import pytest

from ncatool.files.text import format_csv, format_json


def test_json_has_no_number_that_is_none():
    values = {"a": math.nan, "rows": [{"b": math.inf, "c": (1, -math.inf, {"d": [math.nan, 2.5]})}], "text": "NaN"}
    text = format_json(values)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None, "rows": [{"b": None, "c": [1, None, {"d": [None, 2.5]}]}], "text": "NaN",
    }  # fmt: skip


def test_json_is_ascii_whatever_the_text():
    text = format_json({"m\udce9.png": "é\x1b[31m\u202e\n"})
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"m\udce9.png": "é\x1b[31m\u202e\n"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_text_in_csv_is_no_formula(start):
    text = f'{start}HYPERLINK("http://x")'
    rows = list(csv.reader(io.StringIO(format_csv(["name", text], [[text, -1.5], ["a=b", 3]]).decode(), newline="")))
    assert rows == [["name", f"'{text}"], [f"'{text}", "-1.5"], ["a=b", "3"]]


def test_csv_takes_names_that_are_not_utf8():
    assert format_csv(["name"], [["m\udce9"]]) == b"name\nm\\udce9\n"
