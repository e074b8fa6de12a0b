"""Rollouts of a trained model, many steps at once and step by step."""

from pathlib import Path

import torch

from ncatool.engine.advance import MASK_STEPS, advance, iterate_states
from ncatool.nca.model_file import load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "phantom.safetensors"


def test_states_step_by_step_are_those_of_advance():
    model, steps = load_model(GOLDEN), MASK_STEPS + 3
    seeds = model.place_seeds(2)
    states = list(iterate_states(model, seeds, steps, torch.Generator().manual_seed(5)))
    assert len(states) == steps
    assert torch.equal(states[0], advance(model, seeds, 1, torch.Generator().manual_seed(5)))
    assert torch.equal(states[-1], advance(model, seeds, steps, torch.Generator().manual_seed(5)))
    assert torch.equal(seeds, model.place_seeds(2))  # nothing is changed in place


def test_no_steps_change_nothing():
    model = load_model(GOLDEN)
    seeds = model.place_seeds(1)
    assert torch.equal(advance(model, seeds, 0, torch.Generator()), seeds)
    assert list(iterate_states(model, seeds, 0, torch.Generator())) == []
