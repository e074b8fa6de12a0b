"""The line of progress at every width: numbers are never cut."""

import re

import pytest
from rich.console import Console

from ncatool.cli.progress_line import ProgressLine, format_byte_rate, format_bytes, make_rate_format


def draw(line, width):
    console = Console(width=width, force_terminal=False, file=None)
    with console.capture() as captured:
        console.print(line, end="")
    return captured.get()


@pytest.fixture
def line():
    line = ProgressLine(6400, make_rate_format("iterations"), iter((0.0, 10.0)).__next__)
    line.update(0, "")
    line.update(4380, "loss 0.0353  PSNR 14.6 dB")
    return line


@pytest.mark.parametrize("width", [30, 44, 50, 60, 61, 70, 80, 100, 120, 200])
def test_numbers_are_whole(line, width):
    drawn = draw(line, width)
    assert len(drawn.splitlines()) == 1
    assert len(drawn.rstrip()) <= width
    assert "4,380/6,400" in drawn
    assert ("…" in drawn) == (width < 40)
    if width >= 50:
        assert "loss 0.0353  PSNR 14.6 dB" in drawn
        assert drawn.rstrip().endswith("0:00:05")
    if width >= 60:
        assert "━" in drawn
        assert "438/s" in drawn or "438.0 iterations/s" in drawn
    if width >= 100:
        assert "438.0 iterations/s" in drawn
        assert len(drawn.rstrip()) == width, "the bar takes what is left"


def test_transfers():
    line = ProgressLine(None, format_byte_rate, iter((0.0, 2.0)).__next__)
    line.format_count = format_bytes
    line.update(0, "pathmnist", 205_000_000)
    line.update(102_500_000, "pathmnist", 205_000_000)
    for width in (60, 80, 120):
        drawn = draw(line, width)
        assert "102.5/205.0 MB" in drawn
        assert re.search(r" 51(\.2)? MB/s", drawn)
        assert "0:00:02" in drawn


def test_nothing_is_known_yet():
    line = ProgressLine(None, format_byte_rate)
    line.format_count = format_bytes
    assert "0.0 B" in draw(line, 60)
