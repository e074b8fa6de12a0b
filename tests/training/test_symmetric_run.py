"""Runs with a symmetric filter: seed and basis in their checkpoints, and what starts from their models."""

import dataclasses
import itertools
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ncatool.config.names import Filter, Optimiser, SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data import targets
from ncatool.data.target import Target
from ncatool.files.toml import read_toml
from ncatool.nca.model_file import load_model
from ncatool.nca.seed import make_seed
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from ncatool.training.seeds import prepare_seeds
from tests.conftest import SMALL, replace_flags, run_in_process, small_run
from tests.resealed import MISSING, WRONG_VALUES, list_wrong_tensors, read_parts, replace, write_parts
from tests.training.test_resealed import succeeds_or_is_refused
from tests.training.test_run import complete, never, read_bytes, train_until

GOLDEN = Path(__file__).parents[1] / "golden"


def make_config(filter_, **train):
    cells = SeedCells.THREE if "seed_cells" not in train else train.pop("seed_cells")
    return dataclasses.replace(
        small_run(seed_cells=cells, **train), model=ModelConfig(channels=6, hidden=10, filter=filter_)
    )


def start(config, name="m", **more):
    return Run(config, targets.load_target(config.target), RunFiles(Path(f"{name}.safetensors")), **more)


def finish(run):
    list(run.train(never))
    run.write_results()
    return read_bytes(run)


@cache
def train_uninterrupted(filter_, optimiser):
    return finish(start(make_config(filter_, optimiser=optimiser), "uninterrupted"))


def test_three_cells_lie_where_cells_live_in_all_pictures():
    """At a threshold of 0.1, cells of an alpha of 25 of 255 do not live."""
    pixels = np.full((2, 12, 12, 4), 255, np.uint8)
    pixels[1, 2, 6, 3] = 25
    pixels[0, 3, 6, 3] = 0
    first, second = (Target(one, 3, {}, name) for one, name in zip(pixels, "ab", strict=True))
    config = make_config(Filter.MEAN)
    radii = [
        prepare_seeds(config, target, None, torch.Generator()).shape[1] // 2
        for target in (second, first, dataclasses.replace(first, others=(second,)))
    ]
    assert radii == [3, 4, 2]


@pytest.mark.parametrize("stops", [[1], [3, 5]])
@pytest.mark.parametrize("optimiser", Optimiser)
@pytest.mark.parametrize("filter_", [Filter.GAUSSIAN, Filter.LAPLACIAN])
def test_any_number_of_stops_gives_the_same_bytes(filter_, optimiser, stops):
    run = start(make_config(filter_, optimiser=optimiser))
    for iteration in stops:
        train_until(run, iteration)
        run = Run.resume(run.files)
        assert run.trainer.in_basis
        assert run.trainer.trained.hidden_weight.shape == (10, 12)
    assert finish(run) == train_uninterrupted(filter_, optimiser)


def test_a_checkpoint_holds_seed_and_basis():
    run = train_until(start(make_config(Filter.MEAN, seed_radius=3.0)), 2)
    tensors, tables = read_parts("m.checkpoint")
    assert tables["facts"]["trainer"]["basis"] is True
    assert tables["facts"]["trainer"]["seed"] == [7, 7]
    assert tensors["weights.hidden.weight"].shape == tensors["guard.0.weights.0"].shape == (10, 12)
    assert torch.equal(tensors["seed"], make_seed(6, SeedCells.THREE, 3))
    model = load_model(run.files.model)
    assert model.weights.hidden_weight.shape == (10, 18), "that of the rule"
    assert torch.equal(model.own_seed, tensors["seed"])


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """The files of a symmetric run that was stopped."""
    folder = tmp_path_factory.mktemp("run")
    command = ["train", *SMALL, "--filter", "gaussian", "--target", "phantom", "--out", folder / "m.safetensors", "-q"]
    assert run_in_process(*command).returncode == 0
    return folder


def resume(folder, tensors, tables):
    for path in folder.iterdir():
        shutil.copy(path, path.name)
    write_parts("m.checkpoint", tensors, tables)
    return succeeds_or_is_refused("resume", "m.safetensors", "--iterations", 7, "-q")


@pytest.mark.parametrize(
    "place", [("trainer", "basis"), ("trainer", "seed"), ("train", "seed_cells"), ("train", "seed_radius")]
)
def test_every_fact_of_seed_and_basis(stopped_run, place):
    """They are refused in one line; a setting that is missing has its default, as the tensors say what counts."""
    tensors, tables = read_parts(stopped_run / "m.checkpoint")
    values = [*WRONG_VALUES, False, [5, 4], [5, 5, 6], [0, 5], [True, 5], "two", 0.5]
    values = [value for value in values if value is not tables["facts"][place[0]][place[1]]]
    accepted = [value for value in values if resume(stopped_run, tensors, replace(tables, ("facts", *place), value))]
    assert accepted == ([MISSING] if place[0] == "train" else [])


def test_a_basis_is_only_for_symmetric_filters(stopped_run):
    """The tensors would fit: the columns of such a filter have none."""
    tensors, tables = read_parts(stopped_run / "m.checkpoint")
    for path in stopped_run.iterdir():
        shutil.copy(path, path.name)
    write_parts("m.checkpoint", tensors, replace(tables, ("facts", "model", "filter"), "sobel"))
    done = run_in_process("resume", "m.safetensors", "--iterations", 7, "-q")
    assert "m.checkpoint: basis is true, but sobel is not symmetric" in done.stderr


def test_every_seed_and_weight(stopped_run):
    tensors, tables = read_parts(stopped_run / "m.checkpoint")
    empty, wide = torch.zeros(5, 5, 6), torch.zeros(15, 5, 6)
    wide[0, 0, 3] = 1
    for name, more in (("seed", {"empty": empty}), ("weights.hidden.weight", {"wide": torch.zeros(10, 18)})):
        for what, other in {**list_wrong_tensors(tensors[name]), **more}.items():
            changed = {key: value for key, value in (tensors | {name: other}).items() if value is not None}
            worked = resume(stopped_run, changed, tables)
            assert not worked or what in ("-1.0", "0.5", "1e+30", "-3e+38"), (name, what)
    resized = replace(tables, ("facts", "trainer", "seed"), [15, 5])
    assert not resume(stopped_run, tensors | {"seed": wide}, resized), "a cell beyond the edge"
    done = run_in_process("resume", "m.safetensors", "--iterations", 7, "-q")
    assert done.returncode == 1
    assert "m.checkpoint: seed lies beyond the edge of a grid of 12x12 cells" in done.stderr


def test_a_run_of_an_earlier_version_goes_on_as_it_was():
    """Half of a gaussian run that commit aacb3a9 left, before there were seeds of three cells, the basis and Muon.

    Its end was computed by that commit on another processor, so rounding may differ: by 7e-9 with the dense rule. The
    steps of the optimiser from half to end come to 6e-4.
    """
    shutil.copy(GOLDEN / "earlier.checkpoint", "earlier.checkpoint")
    run = Run.resume(RunFiles(Path("earlier.safetensors")))
    train = run.config.train
    assert (run.trainer.iteration, train.iterations, train.optimiser, train.seed_cells) == (74, 80, "adam", "one")
    assert not run.trainer.in_basis
    assert torch.equal(run.trainer.seeds[0], make_seed(6))
    finish(run)
    found, expected = load_file("earlier.safetensors"), load_file(GOLDEN / "earlier.safetensors")
    assert found.keys() == expected.keys(), "no seed"
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=2e-6)
    assert not Run.resume(run.files).trainer.in_basis, "nor is it from now on"


def forget_new_facts(path):
    """Leave a checkpoint of Adam, one cell and no basis as earlier versions wrote it."""
    tensors, tables = read_parts(path)
    del tensors["seed"]
    for table, names in {"train": ("optimiser", "seed_cells", "seed_radius"), "trainer": ("basis", "seed")}.items():
        for name in names:
            del tables["facts"][table][name]
    write_parts(path, tensors, tables)


def test_what_earlier_checkpoints_lack_is_what_they_did():
    config = make_config(Filter.GAUSSIAN, optimiser=Optimiser.ADAM, seed_cells=SeedCells.ONE)
    expected = finish(start(config, "uninterrupted", in_basis=False))
    run = train_until(start(config, in_basis=False), 3)
    forget_new_facts(run.files.checkpoint)
    assert finish(Run.resume(run.files)) == expected


@pytest.fixture
def three():
    """A model of another filter than the default, which grows from three cells at another radius than the default."""
    run = start(make_config(Filter.LAPLACIAN, seed_radius=3.0), "three")
    finish(run)
    return load_model(run.files.model)


SAME = [*SMALL, "--target", "phantom", "--from", "three.safetensors"]


@pytest.mark.parametrize("given", [[], ["--seed-cells", "three"], ["--seed-radius", "3", "--filter", "laplacian"]])
def test_training_adopts_the_seed_of_a_model(three, given):
    done = run_in_process("train", *SAME, *given, "--out", "m.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    model, train = load_model(Path("m.safetensors")), read_toml(Path("m.toml"))["train"]
    assert torch.equal(model.own_seed, three.own_seed)
    assert (train["seed_cells"], train["seed_radius"], model.config.filter) == ("three", 3.0, "laplacian")
    assert (model.train["seed_cells"], model.train["seed_radius"]) == ("three", 3.0)


def test_training_adopts_a_seed_that_no_setting_describes(three):
    """Such as one that somebody has put into the file."""
    tensors, tables = read_parts("three.safetensors")
    write_parts("three.safetensors", tensors | {"seed": torch.ones(2, 1, 6)}, tables)
    done = run_in_process("train", *SAME, "--out", "m.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    assert torch.equal(load_model(Path("m.safetensors")).own_seed, torch.ones(2, 1, 6))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("--seed-cells one", "seed_cells is one, but three.safetensors has three"),
        ("--seed-radius 2", "seed_radius is 2.0, but three.safetensors has 3.0"),
        ("--filter gaussian", "filter is gaussian, but three.safetensors has laplacian"),
    ],
)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_another_seed_is_refused(three, command, given, what):
    more = ["--out", "m.safetensors"] if command == "train" else ["--seed", "0,1", "--no-compare"]
    done = run_in_process(command, *SAME, *given.split(), *more, "-q")
    assert done.returncode == 2
    assert what in done.stderr
    assert "leave seed_" in done.stderr or "leave filter" in done.stderr
    assert [path.name for path in Path().rglob("*.safetensors")] == ["three.safetensors"]


def test_a_grid_that_is_too_small_for_the_seed(three):
    done = run_in_process("train", *replace_flags(SAME, size=4), "--out", "m.safetensors", "-q")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the seed's cells do not fit a grid of 6x6 cells\n")


def test_training_goes_on_from_the_weights_of_the_model(three):
    """Unfolded into the basis and folded again, they are the same but for rounding."""
    run = start(make_config(Filter.LAPLACIAN, seed_radius=3.0), initial=three.weights, seed=three.own_seed)
    torch.testing.assert_close(run.trainer.copy_model().weights, three.weights, rtol=1e-4, atol=1e-5)


def test_a_sweep_from_a_model_of_three_cells(three):
    """Trained one by one or all at once: the same as by `train`."""
    sweep = ["sweep", *SAME, "--seed", "0,1", "--no-compare", "--jobs", 1]
    for folder, more in (("apart", []), ("together", ["--vectorise"])):
        done = run_in_process(*sweep, "--out", folder, *more)
        assert done.returncode == 0, done.stderr
    done = run_in_process("train", *SAME, "--seed", 1, "--out", "seed1.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    models = [load_model(Path(folder) / "seed1.safetensors") for folder in ("apart", "together", ".")]
    for one, other in itertools.pairwise(models):
        assert torch.equal(one.own_seed, three.own_seed)
        assert torch.equal(one.weights.hidden_weight, other.weights.hidden_weight)
        assert one.train == other.train
    again = run_in_process(*sweep, "--out", "apart")
    assert again.returncode == 0, again.stderr
    assert "stale" not in again.stderr


def test_a_plain_run_is_as_it_was():
    """No seed in the model, though the checkpoint has one; a hidden weight as wide as the rule's."""
    complete("plain")
    assert "seed" not in load_file("plain.safetensors")
    tensors, tables = read_parts("plain.checkpoint")
    assert tables["facts"]["trainer"]["basis"] is False
    assert tensors["weights.hidden.weight"].shape == (10, 18)
