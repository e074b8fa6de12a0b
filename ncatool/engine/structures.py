"""The structures and functions of `rollout.c`, as ctypes sees them."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_ssize_t, c_void_p


class Net(Structure):
    """A model: sizes padded to whole vectors, threshold, filter, weights."""

    _fields_ = (
        ("channels", c_int32),
        ("hidden", c_int32),
        ("threshold", c_float),
        *((name, c_void_p) for name in ("filter", "w1", "w1_t", "b1", "w2", "w2_t", "b2")),
    )


class Grid(Structure):
    """The size of the grid, the channels without padding, and whether the grid wraps."""

    _fields_ = tuple((name, c_int32) for name in ("height", "width", "channels", "wrap"))


class Log(Structure):
    """What one sample's backward pass needs."""

    _fields_ = tuple((name, c_void_p) for name in ("values", "cells", "counts", "life"))


class Gradient(Structure):
    """Sums of the gradients by the weights."""

    _fields_ = tuple((name, c_void_p) for name in ("w1_t", "b1", "w2", "b2"))


def declare_functions(library: ctypes.CDLL) -> None:
    """Declare the types of the library's functions; AttributeError where one is missing."""
    net, grid, log = POINTER(Net), POINTER(Grid), POINTER(Log)
    library.lanes.argtypes = []
    library.lanes.restype = c_int32
    library.scratch_bytes.argtypes = [net, grid]
    library.scratch_bytes.restype = c_ssize_t
    library.forward.argtypes = [net, grid, c_int32, c_void_p, c_ssize_t, c_void_p, c_void_p, log]
    library.forward.restype = c_ssize_t
    library.backward.argtypes = [
        net, grid, c_int32, c_void_p, c_void_p, c_void_p, log, c_ssize_t, POINTER(Gradient)
    ]  # fmt: skip
    library.backward.restype = None
