"""matplotlib, loaded and used so that no setting of the user's changes what this package draws, or is printed."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ncatool.errors import NcatoolError, shorten

FIGURE_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""What matplotlib must not write into a file of each format, so that the same figure gives the same bytes."""


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress what matplotlib logs of a matplotlibrc, of its caches and of fonts, and its warnings."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def load_matplotlib() -> ModuleType:
    """Import matplotlib, whatever MPLBACKEND says.

    Raises NcatoolError where it cannot be loaded, as with a matplotlibrc that is no text.
    """
    with _silence():
        try:
            import matplotlib
        except Exception as error:
            backend = os.environ.pop("MPLBACKEND", None)  # of which nothing here makes use
            if backend is None:
                raise _explain(error) from None
            for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
                del sys.modules[name]  # what the failed import has left is incomplete
            try:
                import matplotlib
            except Exception as other:
                raise _explain(other) from None
            finally:
                os.environ["MPLBACKEND"] = backend
    return matplotlib


def _explain(error: Exception) -> NcatoolError:
    return NcatoolError(
        f"matplotlib cannot be loaded: {shorten(f'{type(error).__name__}: {error}')}",
        "if there is a file matplotlibrc in this folder or in ~/.config/matplotlib, fix or remove it",
    )


@contextmanager
def use_matplotlib_defaults() -> Iterator[ModuleType]:
    """Draw with matplotlib's own defaults while the block runs, whatever a matplotlibrc or a style has set."""
    matplotlib = load_matplotlib()
    with _silence(), matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield matplotlib
