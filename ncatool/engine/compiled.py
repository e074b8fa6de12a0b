"""Rollouts by the compiled `rollout.c`: one sample of the batch a task, tasks on all threads.

Each sample has its own log and its own gradient, summed in the order of the batch: the result does
not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from functools import cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ncatool.config.names import Boundary, Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import build
from ncatool.engine.agreement import DEFAULT_MODEL, agrees_with_dense
from ncatool.engine.interface import Tape
from ncatool.engine.structures import Gradient, Grid, Log, Net, declare_functions
from ncatool.engine.workers import BufferPool, ThreadWorkers
from ncatool.nca.filters import filter_pair
from ncatool.nca.types import Fire, Parameters, State

_CHECKED_MODELS = (DEFAULT_MODEL, ModelConfig(channels=5, hidden=7, boundary=Boundary.WRAP))
"""Models that a new library is compared with the dense rule for: whole vectors, and padded ones on a wrapping grid."""

_logs, _scratch, _workers = BufferPool(), BufferPool(), ThreadWorkers()
_threads: int | None = None


@cache
def _load_library() -> ctypes.CDLL | str:
    """Return the compiled rollout, ready for calls, or a sentence that says why there is none."""
    library = build.load_library(_passes_check)
    if not isinstance(library, str):
        declare_functions(library)
    return library


def _passes_check(library: ctypes.CDLL) -> bool:
    """Return whether a library has the functions of rollout.c and agrees with the dense rule."""
    try:
        declare_functions(library)
    except AttributeError:
        return False
    engine = partial(CompiledEngine, library=library)
    return all(agrees_with_dense(engine, torch.device("cpu"), model) for model in _CHECKED_MODELS)


def is_available() -> bool:
    """Return whether this machine can build and load the compiled rollout."""
    return not explain_absence()


def explain_absence() -> str:
    """Return why there is no compiled rollout, as a sentence; empty where there is one."""
    library = _load_library()
    return library if isinstance(library, str) else ""


def thread_count() -> int:
    """Return the number of threads that rollouts run on; where none was set, as many as torch would take."""
    return _threads or torch.get_num_threads()


def set_thread_count(count: int) -> None:
    """Set the number of threads of all later rollouts.

    Torch's own operations get one thread: its others would spin for a while after each small
    operation, on the cores that the rollout needs. That cost a quarter of the speed.
    """
    global _threads
    _threads = count
    torch.set_num_threads(1)


def configure_process(threads: int) -> bool:
    """Set up this process, and this thread, for rollouts; return whether the compiled rollout is available.

    0 threads: as many as were set before, else as many as torch takes.
    """
    count = threads or thread_count()
    if is_available():
        set_thread_count(count)
    else:
        torch.set_num_threads(count)
    # Values that decay become denormal, which slows a CPU down many times over.
    torch.set_flush_denormal(True)
    return is_available()


class CompiledRecord(NamedTuple):
    """The record of a rollout's tape."""

    logs: list[tuple[Tensor, Log, int]]
    """For each sample a buffer, the log in it, and the number of its entries."""
    steps: int


class CompiledEngine:
    """The compiled rollout for one model, its weights and one size of grid."""

    def __init__(
        self,
        model: ModelConfig,
        parameters: Parameters,
        height: int,
        width: int,
        precision: Precision = Precision.FLOAT32,
        library: ctypes.CDLL | None = None,
    ) -> None:
        """Prepare for float32 alone; `library` is by default the one that has passed the check."""
        loaded = library or _load_library()
        if isinstance(loaded, str):
            raise RuntimeError(loaded)
        if precision is not Precision.FLOAT32:
            raise ValueError(f"the compiled rollout computes in float32, not {precision}")
        self._library, self._model = loaded, model
        lanes = loaded.lanes()
        self._cp, self._hp = (-(-n // lanes) * lanes for n in (model.channels, model.hidden))
        self._tensors = self._pack(parameters)
        pointers = [tensor.data_ptr() for tensor in self._tensors]
        self._net = Net(self._cp, self._hp, model.threshold, *pointers)
        self._grid = Grid(height, width, model.channels, model.boundary is Boundary.WRAP)
        self._frame = (height + 2) * (width + 2)
        self._scratch_bytes: int = loaded.scratch_bytes(self._net, self._grid)

    def _pack(self, parameters: Parameters) -> list[Tensor]:
        """Return filters and weights, padded to whole vectors, in the order of `Net`."""
        w1, b1, w2, b2 = (parameter.detach() for parameter in parameters)
        spare, spare_hidden = self._cp - self._model.channels, self._hp - self._model.hidden
        w1 = F.pad(w1.reshape(len(w1), 3, -1), (0, spare, 0, 0, 0, spare_hidden)).flatten(1)
        w2 = F.pad(w2, (0, spare_hidden, 0, spare))
        b1, b2 = F.pad(b1, (0, spare_hidden)), F.pad(b2, (0, spare))
        return [t.contiguous() for t in (filter_pair(self._model.filter), w1, w1.T, b1, w2, w2.T, b2)]

    def step_bytes(self, batch: int) -> int:
        """Return the most memory that the log of one step can take."""
        return batch * self._frame * (4 * self._cp + 4 + 1)

    def run(self, state: State, fire: Fire) -> State:
        """Return the state after all steps of `fire`."""
        final, fire = state.detach().clone(memory_format=torch.contiguous_format), fire.contiguous()
        _workers.run_each(thread_count(), len(final), lambda i: self._forward(final, fire, i, None))
        return final

    def record(self, state: State, fire: Fire) -> Tape[CompiledRecord]:
        """Run all steps of `fire`, and keep what `reverse` needs."""
        final, fire = state.detach().clone(memory_format=torch.contiguous_format), fire.contiguous()
        # A cell enters the log when it fires, and once more when it is erased.
        entries = (2 * fire.sum(dim=(0, 2, 3)) + final[0, ..., 0].numel()).tolist()
        logs: list[tuple[Tensor, Log, int] | None] = [None] * len(final)

        def record_sample(i: int) -> None:
            buffer, log = self._make_log(entries[i], len(fire))
            logs[i] = buffer, log, self._forward(final, fire, i, log)

        _workers.run_each(thread_count(), len(final), record_sample)
        return Tape(final, CompiledRecord([log for log in logs if log is not None], len(fire)))

    def reverse(self, tape: Tape[CompiledRecord], gradient: State) -> tuple[State, Parameters]:
        """Return the gradients by the first state and by the parameters, from the gradient by the final state.

        Raises RuntimeError for a tape that has been reversed already: its buffers may hold another rollout's log.
        """
        record = tape.release()
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        sizes = [3 * self._cp * self._hp, self._hp, self._cp * self._hp, self._cp]
        sums = torch.zeros(len(gradient), sum(sizes), dtype=torch.float32)

        def reverse_sample(i: int) -> None:
            parts = Gradient(*(part.data_ptr() for part in sums[i].split(sizes)))
            buffer, log, entries = record.logs[i]
            scratch = _scratch.take(self._scratch_bytes)
            self._library.backward(
                self._net, self._grid, record.steps, tape.final[i].data_ptr(), gradient[i].data_ptr(),
                scratch.data_ptr(), log, entries, parts,
            )  # fmt: skip
            _scratch.give_back(scratch)
            _logs.give_back(buffer)

        _workers.run_each(thread_count(), len(gradient), reverse_sample)
        return gradient, self._unpack(*sums.sum(0).split(sizes))

    def _forward(self, final: State, fire: Fire, i: int, log: Log | None) -> int:
        """Advance sample `i` in place; return the number of entries in the log."""
        scratch = _scratch.take(self._scratch_bytes)
        entries: int = self._library.forward(
            self._net, self._grid, len(fire), fire[0, i].data_ptr(), fire[0].numel(), final[i].data_ptr(),
            scratch.data_ptr(), log,
        )  # fmt: skip
        _scratch.give_back(scratch)
        return entries

    def _make_log(self, entries: int, steps: int) -> tuple[Tensor, Log]:
        """Return a buffer, and an empty log that lies in it."""
        sizes = (4 * entries * self._cp, 4 * entries, 8 * steps, self._frame * steps)
        buffer = _logs.take(sum(sizes))
        pointer, pointers = buffer.data_ptr(), []
        for size in sizes:
            pointers.append(pointer)
            pointer += size
        return buffer, Log(*pointers)

    def _unpack(self, w1_t: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Parameters:
        """Return gradients without the padding, in the shapes of the parameters."""
        channels, hidden = self._model.channels, self._model.hidden
        w1 = w1_t.view(3, self._cp, self._hp)[:, :channels, :hidden].permute(2, 0, 1).flatten(1)
        return w1, b1[:hidden], w2.view(self._cp, self._hp)[:channels, :hidden], b2[:channels]
