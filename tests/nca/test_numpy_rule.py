"""The rule in NumPy against the dense one."""

import numpy as np
import pytest
import torch

from ncatool.config.names import Boundary, Filter, SeedCells
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data.targets import load_target
from ncatool.nca.model_file import ModelData, save_model
from ncatool.nca.numpy_rule import make_seed_array, read_arrays, step_array
from ncatool.nca.rule import step
from ncatool.nca.seed import make_seed, place_seed
from ncatool.nca.weights import Weights


@pytest.mark.parametrize("name", Filter)
@pytest.mark.parametrize("boundary", Boundary)
def test_the_same_states(name, boundary, generator, tmp_path):
    """One step, from each of six states at random."""
    config = ModelConfig(channels=6, hidden=9, filter=name, boundary=boundary, threshold=0.2)
    weights = Weights(*(0.3 * torch.randn(shape, generator=generator) for shape in ((9, 18), (9,), (6, 9), (6,))))
    target = load_target(TargetConfig(size=7, padding=2))
    save_model(tmp_path / "m.safetensors", ModelData(weights, config, target))
    model = read_arrays(tmp_path / "m.safetensors")
    assert model.config == config
    assert np.array_equal(model.target.premultiply(), target.premultiply())
    state, expected = make_seed_array(model), place_seed(make_seed(6), 1, *target.shape)
    assert np.array_equal(state, expected[0].numpy())
    for _ in range(6):
        before = torch.rand(1, *target.shape, 6, generator=generator) - 0.5
        fire = torch.rand(1, *target.shape, generator=generator) < 0.5
        expected = step(before, weights, config, fire)[0]
        np.testing.assert_allclose(
            step_array(before[0].numpy(), model, fire[0].numpy()), expected, rtol=1e-5, atol=1e-5
        )
        assert expected.any()


@pytest.mark.parametrize(("size", "padding"), [(7, 2), (3, 0)])
def test_a_seed_of_three_cells(size, padding, generator, tmp_path):
    """The cells are those of the dense rule, on a grid that is smaller than the seed, too."""
    config = ModelConfig(channels=6, hidden=9, filter=Filter.MEAN)
    weights = Weights(*(torch.randn(shape, generator=generator) for shape in ((9, 18), (9,), (6, 9))))
    seed = make_seed(6, SeedCells.THREE)
    dense = ModelData(weights, config, load_target(TargetConfig(size=size, padding=padding)), own_seed=seed)
    save_model(tmp_path / "m.safetensors", dense)
    model = read_arrays(tmp_path / "m.safetensors")
    assert np.array_equal(make_seed_array(model), dense.place_seeds(1)[0].numpy())
    assert (make_seed_array(model)[..., 3] == 1).sum() == 3
    assert "seed" not in model.weights
