"""How the numbers of a column are written: all in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

MISSING = "–"
"""What stands for a number that is not finite."""


def choose_notation(numbers: Sequence[float]) -> Callable[[float], str]:
    """Return the one way in which all numbers of a column are written: whole, with so many decimals, or as 1.2e-3."""
    finite = [abs(number) for number in numbers if math.isfinite(number)]
    low, high = min((size for size in finite if size), default=0.0), max(finite, default=0.0)
    if high < 1e7 and all(size == round(size) for size in finite):
        return fix_decimals(0)
    if high < 1e4 and low >= 0.01:
        return fix_decimals(1 if low >= 10 else 2 if high >= 10 else 3)
    return _format_scientific


def fix_decimals(count: int) -> Callable[[float], str]:
    """Return the notation with so many decimals."""
    return lambda number: f"{number:,.{count}f}" if math.isfinite(number) else MISSING


def _format_scientific(number: float) -> str:
    if not number or not math.isfinite(number):
        return MISSING if number else "0"
    digits, _, exponent = f"{number:.1e}".partition("e")
    return f"{digits}e{int(exponent)}"
