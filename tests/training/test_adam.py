"""`Adam` against `torch.optim.Adam`."""

import torch

from ncatool.training.adam import Adam

SHAPES = [(7, 12), (7,), (4, 7)]


def draw_gradients(steps):
    generator = torch.Generator().manual_seed(3)
    return [[torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(steps)]


def make_parameters():
    return [torch.ones(shape, requires_grad=True) for shape in SHAPES]


def take_steps(parameters, step, gradients):
    for number, batch in enumerate(gradients):
        for parameter, gradient in zip(parameters, batch, strict=True):
            parameter.grad = gradient.clone()
        step(0.01 / (1 + number))


def test_gives_the_same_bits_as_torchs_class():
    expected, parameters = make_parameters(), make_parameters()
    optimiser = torch.optim.Adam(expected, lr=1.0)

    def step(rate):
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()

    adam = Adam(parameters)
    take_steps(expected, step, draw_gradients(9))
    take_steps(parameters, adam.step, draw_gradients(9))
    assert all(torch.equal(a, b) for a, b in zip(expected, parameters, strict=True))
    state = optimiser.state_dict()["state"]
    assert adam.state_tensors().keys() == {f"{i}.{name}" for i in state for name in state[i]}
    assert all(torch.equal(adam.state_tensors()[f"{i}.{name}"], state[i][name]) for i in state for name in state[i])


def test_state_is_saved_and_restored():
    uninterrupted, interrupted = make_parameters(), make_parameters()
    take_steps(uninterrupted, Adam(uninterrupted).step, draw_gradients(6))
    first = Adam(interrupted)
    assert first.state_tensors() == {}
    take_steps(interrupted, first.step, draw_gradients(3))
    saved = first.state_tensors()
    other = Adam(interrupted)
    other.load_state(saved)
    for tensor in saved.values():
        tensor.fill_(torch.nan)  # the restored state is a copy
    rest = draw_gradients(6)[3:]
    for number, batch in enumerate(rest, 3):
        for parameter, gradient in zip(interrupted, batch, strict=True):
            parameter.grad = gradient.clone()
        other.step(0.01 / (1 + number))
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, interrupted, strict=True))
    other.load_state({})
    assert other.state_tensors() == {}
    other.zero_grad()
    assert all(parameter.grad is None for parameter in interrupted)
