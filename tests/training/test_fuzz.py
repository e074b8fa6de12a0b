"""A short share of `tests.fuzz`."""

import pytest

from tests.fuzz import LOADERS, fuzz, make


@pytest.mark.parametrize("loader", LOADERS)
def test_mutated_files_are_refused_or_mean_the_same(loader, tmp_path):
    make(tmp_path)
    outcomes = fuzz(loader, tmp_path, 400, seed=1)
    assert outcomes["refused"] > 50
