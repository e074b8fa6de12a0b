"""The seed of imported models, which their files do not say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ncatool.config.names import SeedCells
from ncatool.files.toml import read_toml
from ncatool.nca.model_file import load_model
from ncatool.nca.seed import make_seed
from tests.conftest import SMALL, replace_flags, run_in_process
from tests.formats.test_importing import network


def save_motionless_network():
    """Write a network under plain names whose cells stay what they are: what grows is the seed."""
    tensors = network().state_dict()
    torch.save({**tensors, "2.weight": torch.zeros_like(tensors["2.weight"])}, "m.pt")


THREE = ("import", "m.pt", "m.safetensors", "--filter", "mean", "--size", 9, "--seed-cells", "three", "--force")


def test_three_seed_cells_are_the_models_own():
    save_motionless_network()
    done = run_in_process(*THREE, "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["seed_cells"], json.loads(done.stdout)["seed_radius"]) == ("three", 2.0)
    model = load_model(Path("m.safetensors"))
    assert torch.equal(model.own_seed, make_seed(8, SeedCells.THREE, 2))
    assert model.train == {"seed_cells": "three", "seed_radius": 2.0} == read_toml(Path("m.toml"))["train"]
    assert [[*place] for place in np.argwhere(model.target.pixels[..., 3])] == [[2, 4], [5, 2], [5, 6]]
    assert model.target.pixels[2, 4].tolist() == [255, 0, 0, 255], "the target is what grows from all three"
    done = run_in_process("info", "m.safetensors", "--json")
    assert json.loads(done.stdout)["training"] == {}, "nobody knows more"
    Image.fromarray(model.target.pixels).save("three.png")
    done = run_in_process(*THREE, "--target", "three.png")
    assert "--order blocked grows the target (MSE of blocked 0, " in done.stderr
    done = run_in_process(*THREE, "--target", "three.png", "--seed-radius", 3)
    assert "no order grows the target" in done.stderr
    assert read_toml(Path("m.toml"))["train"] == {"seed_cells": "three", "seed_radius": 3.0}


def test_training_goes_on_from_an_imported_seed():
    save_motionless_network()
    assert run_in_process(*THREE, "--seed-radius", 3).returncode == 0
    same = replace_flags(SMALL, channels=8, hidden=12)
    done = run_in_process("train", *same, "--target", "phantom", "--from", "m.safetensors", "--out", "n.safetensors")
    assert done.returncode == 0, done.stderr
    assert torch.equal(load_model(Path("n.safetensors")).own_seed, make_seed(8, SeedCells.THREE, 3))
    train = read_toml(Path("n.toml"))["train"]
    assert (train["seed_cells"], train["seed_radius"]) == ("three", 3.0)


def test_one_plain_cell_is_imported_as_ever():
    save_motionless_network()
    files = []
    for more in ([], ["--seed-cells", "one"]):
        assert run_in_process(*THREE[:-3], *more, "--force").returncode == 0
        files.append([Path("m.safetensors").read_bytes(), Path("m.toml").read_bytes()])
    assert files[0] == files[1]
    assert set(load_file("m.safetensors")) == {"hidden.weight", "hidden.bias", "output.weight", "target"}
    assert list(read_toml(Path("m.toml"))) == ["format", "model", "target", "origin"]


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        ("--seed-cells auto", "--seed-cells is 'auto'", "choose from one, three"),
        ("--seed-radius 3", "seed-radius is 3.0, but one seed cell has none", "give --seed-cells three, too"),
        ("--seed-cells one --seed-radius 2", "seed-radius is 2.0, but one seed cell has none", "give --seed-cells"),
        ("--seed-cells three --seed-radius 0.5", "seed-radius is 0.5, but goes from 1 to 64", "give --seed-radius a"),
        ("--seed-cells three --seed-radius 0", "seed-radius is 0.0, but goes from 1 to 64", "give --seed-radius a"),
        ("--seed-cells three --seed-radius nan", "seed-radius is nan, but goes from 1 to 64", "give --seed-radius a"),
        (
            "--seed-cells three --size 3",
            "the seed's cells do not fit a grid of 3x3 cells",
            "give a smaller --seed-radius",
        ),
        (
            "--seed-cells three --seed-radius 9 --target phantom --size 8 --padding 2",
            "the seed's cells do not fit a grid of 12x12 cells",
            "give a smaller --seed-radius, or a larger --size or --padding",
        ),
    ],
)
def test_a_seed_that_cannot_be(options, what, hint):
    save_motionless_network()
    done = run_in_process("import", "m.pt", "m.safetensors", "--filter", "mean", *options.split(), "--quiet")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == f"error: {what}"
    assert second.startswith(f"hint: {hint}")
    assert [path.name for path in Path().iterdir() if path.is_file()] == ["m.pt"]
