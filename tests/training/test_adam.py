"""Adam is torch's own."""

import torch

from ncatool.training.adam import Adam

SHAPES = [(7, 12), (7,), (4, 7)]


def gradients(steps):
    generator = torch.Generator().manual_seed(3)
    return [[torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(steps)]


def fresh():
    return [torch.ones(shape, requires_grad=True) for shape in SHAPES]


def walk(parameters, step, gradients):
    for number, batch in enumerate(gradients):
        for parameter, gradient in zip(parameters, batch, strict=True):
            parameter.grad = gradient.clone()
        step(0.01 / (1 + number))


def test_the_same_to_the_last_bit_as_torchs_class():
    theirs, ours = fresh(), fresh()
    optimiser = torch.optim.Adam(theirs, lr=1.0)

    def step(rate):
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()

    adam = Adam(ours)
    walk(theirs, step, gradients(9))
    walk(ours, adam.step, gradients(9))
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))
    state = optimiser.state_dict()["state"]
    assert adam.state_tensors().keys() == {f"{i}.{name}" for i in state for name in state[i]}
    assert all(torch.equal(adam.state_tensors()[f"{i}.{name}"], state[i][name]) for i in state for name in state[i])


def test_what_is_remembered_can_be_put_back():
    straight, parts = fresh(), fresh()
    walk(straight, Adam(straight).step, gradients(6))
    first = Adam(parts)
    assert first.state_tensors() == {}
    walk(parts, first.step, gradients(3))
    kept = first.state_tensors()
    other = Adam(parts)
    other.load_state(kept)
    for tensor in kept.values():
        tensor.fill_(torch.nan)  # what was put back is a copy
    rest = gradients(6)[3:]
    for number, batch in enumerate(rest, 3):
        for parameter, gradient in zip(parts, batch, strict=True):
            parameter.grad = gradient.clone()
        other.step(0.01 / (1 + number))
    assert all(torch.equal(a, b) for a, b in zip(straight, parts, strict=True))
    other.load_state({})
    assert other.state_tensors() == {}
    other.zero_grad()
    assert all(parameter.grad is None for parameter in parts)
