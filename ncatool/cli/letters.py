"""Text of any origin as a terminal may show it."""

from __future__ import annotations


def escape(text: object) -> str:
    """Return text of any origin as one line that a terminal only shows: letters that act on it become escapes.

    These are control characters, line breaks, marks that change the direction of writing, and bytes of a file's name
    that are no text.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def clean_line(text: str, most: int) -> str:
    """Return text of any origin for use within a line: escaped, at most `most` characters."""
    plain = escape(text[: most + 1])
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
