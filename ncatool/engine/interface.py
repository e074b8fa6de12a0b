"""What every engine offers, so that rollouts need not know which one runs them."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from ncatool.nca.types import Fire, Parameters, State

Record = TypeVar("Record")


class Tape(Generic[Record]):
    """The final state of a rollout, and what its engine recorded for one backward pass."""

    def __init__(self, final: State, record: Record) -> None:
        self.final = final
        self._record: Record | None = record

    def release(self) -> Record:
        """Return the record and forget it, so that its memory can be reused.

        Raises RuntimeError the second time.
        """
        record, self._record = self._record, None
        if record is None:
            raise RuntimeError("this rollout has been reversed already: record it again to reverse it once more")
        return record


@runtime_checkable  # the type checker of the tests needs it
class Engine(Protocol):
    """One model, its weights, and one size of grid.

    Engines agree on states of finite numbers. Of NaN and infinity they make different things, and every measure counts
    a state that holds them as exploded: under the dense rule they spread by a cell a step, whatever lives and fires;
    the compiled rollout, the GPU kernels, the page and the C header compute only cells that live and fire, take NaN
    for an alpha that is not above the threshold, and set cells that are not alive to 0.
    """

    def step_bytes(self, batch: int) -> int:
        """Return the most memory that the tape of one step takes."""
        ...

    def run(self, state: State, fire: Fire) -> State:
        """Return the state after all steps of `fire`, without gradients."""
        ...

    def record(self, state: State, fire: Fire) -> Tape[Any]:
        """Run all steps of `fire`, and keep what `reverse` needs."""
        ...

    def reverse(self, tape: Tape[Any], gradient: State) -> tuple[State, Parameters]:
        """Return the gradients by the first state and by the parameters, from the gradient by the final state.

        Raises RuntimeError for a tape that has been reversed already.
        """
        ...
