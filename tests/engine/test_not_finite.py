"""States that hold values that are no numbers: what each engine makes of them."""

import pytest
import torch

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.compiled import CompiledEngine
from ncatool.engine.dense import DenseEngine
from ncatool.engine.rollout import fill_parameters
from ncatool.nca.state import ALPHA
from ncatool.nca.weights import Weights
from ncatool.training.guard import check_batch

MODEL = ModelConfig(channels=5, hidden=7)
SIDE = 9
ENGINES = {"dense": DenseEngine, "compiled": CompiledEngine}
try:
    from ncatool.engine.gpu import GpuEngine
except ImportError:
    pass
else:
    if not torch.cuda.is_available():  # the interpreter's, as the states are on the CPU
        ENGINES["triton"] = GpuEngine
FAST = [name for name in ENGINES if name != "dense"]


def run(engine, state, steps=2, fire=True):
    generator = torch.Generator().manual_seed(2)
    shapes = ((7, 15), (7,), (5, 7), (5,))
    weights = Weights(*(0.1 * torch.randn(shape, generator=generator) for shape in shapes))
    masks = torch.full((steps, 1, SIDE, SIDE), fire)
    return ENGINES[engine](MODEL, fill_parameters(weights), SIDE, SIDE, Precision.FLOAT32).run(state, masks)


def make_state(value, channel, living):
    """Return a state with a living square of 5x5 cells, or an empty one, and the value in its middle."""
    state = torch.zeros(1, SIDE, SIDE, MODEL.channels)
    state[:, 2:7, 2:7] = 1.0 if living else 0.0
    state[:, 4, 4, channel] = value
    return state


def count_broken(state):
    return int((~torch.isfinite(state)).any(-1).sum())


@pytest.mark.parametrize("fire", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_dense_rule_spreads_them_by_a_cell_a_step(value, fire):
    """NaN · 0 is NaN: neither the fire mask nor the life mask stops it."""
    for channel in (0, ALPHA):
        for steps in (1, 2):
            end = run("dense", make_state(value, channel, True), steps, fire)
            assert count_broken(end) == (2 * steps + 1) ** 2
            assert check_batch(end, torch.zeros(1), MODEL.threshold).problem == "1 of 1 states exploded"


@pytest.mark.parametrize("engine", FAST)
def test_the_fast_engines_count_nan_as_not_alive_and_erase_dead_cells(engine):
    end = run(engine, make_state(float("nan"), ALPHA, living=False))
    assert torch.equal(end, torch.zeros_like(end)), "it has no living neighbour"
    end = run(engine, make_state(float("nan"), ALPHA, living=True), fire=False)
    assert count_broken(end) == 1, "only cells that live and fire are computed"
    end = run(engine, make_state(float("nan"), 0, living=True))
    assert count_broken(end) >= 1
    assert check_batch(end, torch.zeros(1), MODEL.threshold).rejected.all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("engine", FAST)
def test_what_is_far_away_is_computed_as_ever(engine, value):
    """Two steps reach two cells: the corners of the square do not know of its middle."""
    whole, broken = (run(engine, make_state(x, 0, living=True)) for x in (1.0, value))
    far = torch.ones(SIDE, SIDE, dtype=torch.bool)
    far[2:7, 2:7] = False
    assert torch.equal(whole[:, far], broken[:, far])
