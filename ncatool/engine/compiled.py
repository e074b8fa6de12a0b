"""Rollouts of a batch by the compiled `rollout.c`: one sample a task, tasks on all threads.

Each sample has its own log and its own gradient, summed in the order of the batch: the result does
not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, Structure, c_float, c_int32, c_ssize_t, c_void_p
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ncatool.config.names import Boundary
from ncatool.config.schema import ModelConfig
from ncatool.engine import build
from ncatool.nca.filters import filter_pair
from ncatool.nca.types import Fire, Parameters

State = Float[Tensor, "batch height width channel"]


class _Net(Structure):
    _fields_ = (
        ("channels", c_int32),
        ("hidden", c_int32),
        ("threshold", c_float),
        *((name, c_void_p) for name in ("kernel", "w1", "w1_t", "b1", "w2", "w2_t", "b2")),
    )


class _Grid(Structure):
    _fields_ = tuple((name, c_int32) for name in ("height", "width", "channels", "wrap"))


class _Log(Structure):
    _fields_ = tuple((name, c_void_p) for name in ("values", "cells", "counts", "life"))


class _Gradient(Structure):
    _fields_ = tuple((name, c_void_p) for name in ("w1_t", "b1", "w2", "b2"))


@cache
def _load_functions() -> ctypes.CDLL | None:
    library = build.load_library()
    if library is not None:
        net, grid, log = POINTER(_Net), POINTER(_Grid), POINTER(_Log)
        library.scratch_bytes.argtypes = [net, grid]
        library.scratch_bytes.restype = c_ssize_t
        library.forward.argtypes = [net, grid, c_int32, c_void_p, c_ssize_t, c_void_p, c_void_p, log]
        library.forward.restype = c_ssize_t
        library.backward.argtypes = [
            net, grid, c_int32, c_void_p, c_void_p, c_void_p, log, c_ssize_t, POINTER(_Gradient)
        ]  # fmt: skip
        library.backward.restype = None
    return library


def is_available() -> bool:
    """Whether this machine can build and load the compiled rollout."""
    return _load_functions() is not None


class _BufferPool:
    """Memory lent and given back: fresh pages each iteration would cost as much as the arithmetic."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        with self._lock:
            found = self._free.pop() if self._free else None
        if found is not None and found.numel() >= size:
            return found
        return torch.empty(size + size // 4, dtype=torch.uint8)

    def give(self, buffer: Tensor) -> None:
        with self._lock:
            self._free.append(buffer)


_logs, _scratch = _BufferPool(), _BufferPool()


_threads: int | None = None


def thread_count() -> int:
    """Threads that rollouts run on; as many as torch would take where nothing was set."""
    return _threads or torch.get_num_threads()


def set_thread_count(count: int) -> None:
    """Sets the threads of all coming rollouts.

    Torch's own operations get one thread: its others would spin for a while after each small
    operation, on the cores that the rollout needs. That cost a quarter of the speed.
    """
    global _threads
    _threads = count
    torch.set_num_threads(1)


def configure_process(threads: int) -> bool:
    """Settings of this process, and of this thread; 0 threads: all there are. False without the compiled rollout."""
    count = threads or torch.get_num_threads()
    (set_thread_count if is_available() else torch.set_num_threads)(count)
    # Decaying states go denormal, which slows a CPU down many times over.
    torch.set_flush_denormal(True)
    return is_available()


@cache
def _thread_pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rollout")


def _run_each(count: int, work: Callable[[int], object]) -> None:
    workers = min(thread_count(), count)
    results = map(work, range(count)) if workers == 1 else _thread_pool(workers).map(work, range(count))
    for _ in results:
        pass


class CompiledTape(NamedTuple):
    """What `Engine.record` leaves for `Engine.reverse`; good for one use."""

    final: State
    logs: list[tuple[Tensor, _Log, int]]
    """A sample's memory, the log in it, and the number of its entries."""
    steps: int


class CompiledEngine:
    """The compiled rollout for one model, its weights and one size of grid."""

    def __init__(self, model: ModelConfig, parameters: Parameters, height: int, width: int) -> None:
        library = _load_functions()
        if library is None:
            raise RuntimeError("the compiled rollout is not available")
        self._library, self._model = library, model
        lanes = library.lanes()
        self._cp, self._hp = (-(-n // lanes) * lanes for n in (model.channels, model.hidden))
        self._tensors = self._pack(parameters)
        pointers = [tensor.data_ptr() for tensor in self._tensors]
        self._net = _Net(self._cp, self._hp, model.threshold, *pointers)
        self._grid = _Grid(height, width, model.channels, model.boundary is Boundary.WRAP)
        self._frame = (height + 2) * (width + 2)
        self._scratch_bytes: int = library.scratch_bytes(self._net, self._grid)

    def _pack(self, parameters: Parameters) -> list[Tensor]:
        """Kernels and weights, padded to whole vectors, in the order of `Net` in rollout.c."""
        w1, b1, w2, b2 = (parameter.detach() for parameter in parameters)
        spare, spare_hidden = self._cp - self._model.channels, self._hp - self._model.hidden
        w1 = F.pad(w1.reshape(len(w1), 3, -1), (0, spare, 0, 0, 0, spare_hidden)).flatten(1)
        w2 = F.pad(w2, (0, spare_hidden, 0, spare))
        b1, b2 = F.pad(b1, (0, spare_hidden)), F.pad(b2, (0, spare))
        return [t.contiguous() for t in (filter_pair(self._model.filter), w1, w1.T, b1, w2, w2.T, b2)]

    def step_bytes(self, batch: int) -> int:
        """Most memory that the log of one step can take."""
        return batch * self._frame * (4 * self._cp + 4 + 1)

    def run(self, state: State, fire: Fire) -> State:
        """The state after all steps of `fire`."""
        final, fire = state.detach().clone(memory_format=torch.contiguous_format), fire.contiguous()
        _run_each(len(final), lambda i: self._forward(final, fire, i, None))
        return final

    def record(self, state: State, fire: Fire) -> CompiledTape:
        """As `run`, with what the backward pass needs."""
        final, fire = state.detach().clone(memory_format=torch.contiguous_format), fire.contiguous()
        # A cell enters the log when it fires, and once more when it is erased.
        most = (2 * fire.sum(dim=(0, 2, 3)) + final[0, ..., 0].numel()).tolist()
        logs: list[tuple[Tensor, _Log, int] | None] = [None] * len(final)

        def one(i: int) -> None:
            memory, log = self._new_log(most[i], len(fire))
            logs[i] = memory, log, self._forward(final, fire, i, log)

        _run_each(len(final), one)
        return CompiledTape(final, [log for log in logs if log is not None], len(fire))

    def reverse(self, tape: CompiledTape, gradient: State) -> tuple[State, Parameters]:
        """The gradients by the first state and by the parameters, from the one by the final state."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        sizes = [3 * self._cp * self._hp, self._hp, self._cp * self._hp, self._cp]
        sums = torch.zeros(len(gradient), sum(sizes))

        def one(i: int) -> None:
            parts = _Gradient(*(part.data_ptr() for part in sums[i].split(sizes)))
            memory, log, entries = tape.logs[i]
            scratch = _scratch.take(self._scratch_bytes)
            self._library.backward(
                self._net, self._grid, tape.steps, tape.final[i].data_ptr(), gradient[i].data_ptr(),
                scratch.data_ptr(), log, entries, parts,
            )  # fmt: skip
            _scratch.give(scratch)
            _logs.give(memory)

        _run_each(len(gradient), one)
        return gradient, self._unpack(*sums.sum(0).split(sizes))

    def _forward(self, final: State, fire: Fire, i: int, log: _Log | None) -> int:
        scratch = _scratch.take(self._scratch_bytes)
        entries: int = self._library.forward(
            self._net, self._grid, len(fire), fire[0, i].data_ptr(), fire[0].numel(), final[i].data_ptr(),
            scratch.data_ptr(), log,
        )  # fmt: skip
        _scratch.give(scratch)
        return entries

    def _new_log(self, entries: int, steps: int) -> tuple[Tensor, _Log]:
        sizes = (4 * entries * self._cp, 4 * entries, 8 * steps, self._frame * steps)
        memory = _logs.take(sum(sizes))
        pointer, pointers = memory.data_ptr(), []
        for size in sizes:
            pointers.append(pointer)
            pointer += size
        return memory, _Log(*pointers)

    def _unpack(self, w1_t: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Parameters:
        channels, hidden = self._model.channels, self._model.hidden
        w1 = w1_t.view(3, self._cp, self._hp)[:, :channels, :hidden].permute(2, 0, 1).flatten(1)
        return w1, b1[:hidden], w2.view(self._cp, self._hp)[:channels, :hidden], b2[:channels]
