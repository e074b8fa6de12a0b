"""Some hundreds of the mutated files of `tests.fuzz`."""

import pytest

from tests.fuzz import LOADERS, fuzz, make_run


@pytest.mark.parametrize("loader", LOADERS)
def test_mutated_files_are_refused_or_load_as_the_original(loader, tmp_path):
    make_run(tmp_path)
    outcomes = fuzz(loader, tmp_path, 400, seed=1)
    assert outcomes["refused"] > 50
