"""The fast rollout against the dense rule: states and every gradient."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ncatool.config.names import Boundary, Filter, Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import compiled, rollout
from ncatool.engine.dense import DenseEngine
from ncatool.nca.rule import find_alive, perceive, step, update
from ncatool.nca.state import ALPHA
from ncatool.nca.weights import Weights, draw_weights


def make_case(model, shape, steps, live, scale, number, dtype=torch.float32):
    """Return a random state, weights, fire masks and gradient; each cell holds values with probability `live`."""
    generator = torch.Generator().manual_seed(number)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=dtype)

    weights = draw_weights(model, generator)
    weights = Weights(weights.hidden_weight.to(dtype), weights.hidden_bias.to(dtype),
                      normal(model.channels, model.hidden) * scale, normal(model.channels) * scale)  # fmt: skip
    kept = torch.rand(*shape, 1, generator=generator) < live
    state = 0.4 * normal(*shape, model.channels) * kept
    fire = torch.rand(steps, *shape, generator=generator) < model.fire_rate
    return state, weights, fire, normal(*shape, model.channels)


def run_dense(state, weights, model, fire):
    for mask in fire:
        state = step(state, weights, model, mask)
    return state


def outcome(function, state, weights, model, fire, direction):
    """Return the final state, and the gradients of its product with `direction`."""
    inputs = [tensor.clone().requires_grad_() for tensor in (state, *weights)]
    final = function(inputs[0], Weights(*inputs[1:]), model, fire)
    return [final.detach(), *torch.autograd.grad((final * direction).sum(), inputs)]


def assert_close(found, expected, tolerance=1e-5):
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1e-3, b.abs().max())


def is_undecided(state, weights, model, fire):
    """Return whether some alpha comes so near the threshold that rounding decides which cells live."""
    for mask in fire:
        updated = state + update(perceive(state, model), weights) * mask.unsqueeze(-1)
        for alpha in (state[..., ALPHA], updated[..., ALPHA]):
            if ((alpha - model.threshold).abs() < 1e-6).any():
                return True
        state = updated * (find_alive(state, model) & find_alive(updated, model))
    return False


cases = st.fixed_dictionaries(
    {
        "model": st.builds(
            ModelConfig,
            channels=st.integers(4, 20),
            hidden=st.integers(1, 40),
            filter=st.sampled_from(Filter),
            boundary=st.sampled_from(Boundary),
            fire_rate=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
        ),
        "shape": st.tuples(st.integers(1, 3), st.integers(1, 11), st.integers(1, 11)),
        "steps": st.integers(1, 9),
        "live": st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
        "scale": st.sampled_from([0.0, 0.02, 0.2]),
        "number": st.integers(0, 10**6),
    }
)


@pytest.fixture(params=["compiled", "dense"])
def engine(request, monkeypatch):
    if request.param == "dense":
        monkeypatch.setattr(compiled, "is_available", lambda: False)
    else:
        assert compiled.is_available(), "the tests need a C compiler"
    return request.param


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases)
def test_agrees_with_the_dense_rule(case):
    model = case["model"]
    state, weights, fire, direction = make_case(**case)
    assume(not is_undecided(state, weights, model, fire))
    expected = outcome(run_dense, state, weights, model, fire, direction)
    assume(all(torch.isfinite(tensor).all() for tensor in expected))
    assert compiled.is_available()
    assert_close(outcome(rollout.rollout, state, weights, model, fire, direction), expected)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cases, st.integers(1, 4))
def test_bounded_memory_changes_nothing(case, limit):
    """A rollout whose steps do not fit into memory repeats some of them, to the same end."""
    model = case["model"]
    state, weights, fire, direction = make_case(**case)
    free = outcome(rollout.rollout, state, weights, model, fire, direction)
    before, rollout.MAX_TAPE_BYTES = rollout.MAX_TAPE_BYTES, limit
    try:
        bounded = outcome(rollout.rollout, state, weights, model, fire, direction)
    finally:
        rollout.MAX_TAPE_BYTES = before
    assert torch.equal(free[0], bounded[0])
    assert_close(bounded, free)


def test_a_dead_cell_that_turns_opaque_keeps_its_neighbour_alive(engine):
    """The rare case in which the discarded update of a dead cell decides about a living one, worked by hand.

    Cells in a row: A opaque, B alive beside it, C dead. A fades and C turns opaque in one step (both
    fire): B stays, because C's new alpha counts; C itself was dead before and stays empty.
    """
    model = ModelConfig(channels=4, hidden=1, filter=Filter.MEAN)
    state = torch.zeros(1, 1, 3, 4)
    state[0, 0, :, 0] = torch.tensor([0.0, 0.5, 0.0])  # red where B is
    state[0, 0, 0, ALPHA] = 0.5
    hidden = torch.zeros(1, 12)
    hidden[0, ALPHA] = -2.0  # hidden = relu(1 - 2 alpha): 0 for A, 1 for the others
    output = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    bias = torch.tensor([0.0, 0.0, 0.0, -0.5])  # alpha changes by -0.5 at A, by +0.5 at B and C
    weights = Weights(hidden, torch.ones(1), output, bias)
    fire = torch.tensor([True, False, True]).view(1, 1, 1, 3)
    final = rollout.rollout(state, weights, model, fire)
    assert final[0, 0].tolist() == [[0, 0, 0, 0], [0.5, 0, 0, 0], [0, 0, 0, 0]]
    without = rollout.rollout(state, weights, model, torch.tensor([True, False, False]).view(1, 1, 1, 3))
    assert not without.any()


def test_values_in_dead_cells_are_cleared(engine):
    """A state may come in with values where nothing lives; one step clears them, as the dense rule does."""
    model = ModelConfig(channels=5, hidden=3)
    state, weights, fire, _ = make_case(model, (1, 6, 6), 3, 0.0, 0.1, 3)
    state[..., 0] = 1
    assert not rollout.rollout(state, weights, model, fire[:1]).any()
    assert torch.equal(rollout.rollout(state, weights, model, fire), run_dense(state, weights, model, fire))


def test_gradients_against_finite_differences():
    """In float64, where the dense rule is differentiated numerically, for the weights and the state."""
    model = ModelConfig(channels=4, hidden=3)
    state, weights, fire, direction = make_case(model, (1, 4, 4), 3, 1.0, 0.2, 5, torch.float64)
    exact = outcome(
        rollout.rollout, state.float(), Weights(*(w.float() for w in weights)), model, fire, direction.float()
    )
    inputs = [state, *weights]

    def objective():
        return (run_dense(inputs[0], Weights(*inputs[1:]), model, fire) * direction).sum().item()

    for tensor, gradient in zip(inputs, exact[1:], strict=True):
        flat = tensor.view(-1)
        numeric = torch.zeros_like(flat)
        for i in range(len(flat)):
            value = flat[i].item()
            flat[i] = value + 1e-6
            above = objective()
            flat[i] = value - 1e-6
            numeric[i] = (above - objective()) / 2e-6
            flat[i] = value
        assert_close([gradient.double().view(-1)], [numeric], 1e-4)


def test_float64_and_double_backward():
    """float64 takes the dense path; a second derivative is refused rather than wrong."""
    model = ModelConfig(channels=4, hidden=3)
    state, weights, fire, direction = make_case(model, (1, 4, 4), 3, 1.0, 0.2, 5, torch.float64)
    assert_close(
        outcome(rollout.rollout, state, weights, model, fire, direction),
        outcome(run_dense, state, weights, model, fire, direction),
        1e-12,
    )
    leaf = state.requires_grad_()
    (gradient,) = torch.autograd.grad(
        rollout.rollout(leaf, weights, model, fire).square().sum(), leaf, create_graph=True
    )
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


def test_same_bytes_whatever_the_threads():
    model = ModelConfig()
    case = make_case(model, (5, 16, 16), 12, 0.5, 0.05, 11)
    results = []
    for threads in (1, 2, 3):
        compiled.set_thread_count(threads)
        assert compiled.thread_count() == threads
        results.append(outcome(rollout.rollout, case[0], case[1], model, *case[2:]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_two_rollouts_before_their_backward_passes():
    """A buffer of one rollout is not given to another before the backward pass of the first."""
    model = ModelConfig(channels=6, hidden=9)
    first = make_case(model, (2, 9, 9), 7, 0.6, 0.1, 1)
    second = make_case(model, (2, 9, 9), 7, 0.6, 0.1, 2)
    alone = [outcome(rollout.rollout, c[0], c[1], model, *c[2:]) for c in (first, second)]
    inputs = [[t.clone().requires_grad_() for t in (c[0], *c[1])] for c in (first, second)]
    finals = [rollout.rollout(i[0], Weights(*i[1:]), model, c[2]) for i, c in zip(inputs, (first, second), strict=True)]
    for final, leaves, case, expected in zip(finals, inputs, (first, second), alone, strict=True):
        gradients = torch.autograd.grad((final * case[3]).sum(), leaves)
        assert all(torch.equal(a, b) for a, b in zip(gradients, expected[1:], strict=True))


def test_a_tape_is_reversed_once(engine):
    """Its buffers may hold another rollout's log by then."""
    model = ModelConfig(channels=4, hidden=2)
    state, weights, fire, direction = make_case(model, (2, 5, 5), 4, 0.5, 0.1, 4)
    one = (compiled.CompiledEngine if engine == "compiled" else DenseEngine)(model, tuple(weights), 5, 5)
    tape = one.record(state, fire)
    first = one.reverse(tape, direction)
    with pytest.raises(RuntimeError, match="reversed already"):
        one.reverse(tape, direction)
    again = one.reverse(one.record(state, fire), direction)
    assert torch.equal(first[0], again[0])
    leaf = state.clone().requires_grad_()
    total = rollout.rollout(leaf, weights, model, fire).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="reversed already"):
        total.backward()


def test_the_compiled_engine_is_for_float32():
    model = ModelConfig(channels=4, hidden=2)
    weights = make_case(model, (1, 5, 5), 1, 0.5, 0.1, 4)[1]
    with pytest.raises(ValueError, match="bfloat16"):
        compiled.CompiledEngine(model, tuple(weights), 5, 5, Precision.BFLOAT16)


def test_no_steps_and_no_gradient(engine):
    model = ModelConfig(channels=4, hidden=2)
    state, weights, fire, _ = make_case(model, (1, 5, 5), 4, 0.5, 0.1, 4)
    assert torch.equal(rollout.rollout(state, weights, model, fire[:0]), state)
    before = state.clone()
    final = rollout.rollout(state, weights, model, fire)
    assert not final.requires_grad
    assert torch.equal(state, before), "the caller's state must not change"


def test_masks_come_from_the_generator(generator):
    state = torch.zeros(2, 30, 30, 4)
    fire = rollout.draw_fire_masks(50, state, 0.3, generator)
    assert fire.shape == (50, 2, 30, 30)
    assert abs(fire.float().mean() - 0.3) < 0.01
    again = rollout.draw_fire_masks(50, state, 0.3, torch.Generator().manual_seed(7))
    assert torch.equal(fire, again)
