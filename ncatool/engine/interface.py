"""TODO."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from ncatool.engine.compiled import State
from ncatool.nca.types import Fire, Parameters


@runtime_checkable
class Engine(Protocol):
    """One model, its weights, and one size of grid."""

    def step_bytes(self, batch: int) -> int: ...
    def run(self, state: State, fire: Fire) -> State: ...
    def record(self, state: State, fire: Fire) -> Any: ...
    def reverse(self, tape: Any, gradient: State) -> tuple[State, Parameters]: ...
