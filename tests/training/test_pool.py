"""The pool of states."""

import torch

from ncatool.training.pool import Pool


def test_pool_draws_without_replacement_and_writes_back(generator):
    pool = Pool(torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 2, 4).contiguous())
    drawn = set()
    for _ in range(20):
        index, states = pool.draw(torch.zeros(4, dtype=torch.int64), 1, generator)
        assert len(set(index.tolist())) == 4
        assert states[:, 0, 0, 0].tolist() == [float(i) for i in index]
        states += 100
        assert pool.states.max() < 100, "a draw is a copy"
        drawn |= set(index.tolist())
    assert drawn == set(range(6))
    pool.write_back(index, states)
    assert (pool.states[index] >= 100).all()


def test_of_several_pictures_the_pool_gives_entries_of_those_that_are_asked_for(generator):
    pool = Pool(torch.arange(7.0).view(7, 1, 1, 1).expand(7, 2, 2, 4).contiguous())
    drawn = set()
    for _ in range(20):
        index, states = pool.draw(torch.tensor([2, 0, 1, 2]), 3, generator)
        assert (index % 3).tolist() == [2, 0, 1, 2]
        assert len(set(index.tolist())) == 4
        assert states[:, 0, 0, 0].tolist() == [float(i) for i in index]
        drawn |= set(index.tolist())
    assert drawn == {0, 1, 2, 3, 4, 5, 6}
