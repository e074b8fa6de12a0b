"""The name that is probably meant by one that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_FEWEST_LETTERS = 3
"""Letters that a name needs to be found within a longer one."""


def suggest_names(text: str, names: Iterable[str]) -> list[str]:
    """Return the name that some text is probably meant for, or nothing.

    It is the most similar one, whatever the case and marks between the letters, or one that the text is a part of.
    """
    plain = {_simplify(name): name for name in names}
    simple = _simplify(text)
    close = difflib.get_close_matches(simple, plain, 1)
    if not close and len(simple) >= _FEWEST_LETTERS:
        close = [name for name in plain if simple in name][:1]
    return [plain[name] for name in close]


def _simplify(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower()) or name
