"""Grow images from a seed: neural cellular automata, trained, shown and measured.

The library's face; all that a notebook needs, and stable:

    import ncatool

    model = ncatool.train("phantom", "phantom.safetensors", iterations=2800)
    model = ncatool.load("phantom.safetensors")
    state = model.grow(200, damage="circle@100")     # [height, width, channel]: RGBA premultiplied, then hidden
    model.save("healing.gif", damage="circle@200")
    model.evaluate()["mse_at_96"]["median"]

`Model`, `load` and `train` are loaded when they are first used, as they take the second that torch needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncatool.library import Model, load, train

__all__ = ["Model", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ncatool import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
