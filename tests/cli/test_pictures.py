import json
from pathlib import Path

import pytest
from PIL import Image

from ncatool.nca.model_file import save_model
from tests.conftest import run_in_process
from tests.several import make_several


@pytest.fixture(autouse=True)
def _models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(Path("several.safetensors"), make_several())
    save_model(Path("one.safetensors"), make_several().pictures[0])


def render(*arguments):
    done = run_in_process("render", *arguments, "--steps", "20", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_picture_is_a_tile_and_some_can_be_chosen():
    assert [one["model"] for one in render("several", "all.png")["models"]] == ["red", "green", "blue"]
    assert [one["model"] for one in render("several", "two.png", "--grow", "blue,red")["models"]] == ["blue", "red"]
    assert "models" not in render("several", "one.png", "--grow", "green")
    both = render("several", "one.safetensors", "both.png")["models"]
    assert [one["model"] for one in both] == ["several:red", "several:green", "several:blue", "one"]


def test_several_pictures_grow_on_one_grid():
    found = render("several", "a.gif", "--grid", "13x30", "--at", "6,6=red", "--at", "6,22=blue", "--every", "20")
    assert "models" not in found
    with Image.open("a.gif") as image:
        assert image.size[0] > 2 * image.size[1]


def test_a_larger_grid_is_remarked_on_where_the_picture_has_never_grown_beyond_its_edges():
    save_model(Path("edged.safetensors"), make_several(padding=0))
    note = "trained without --padding, so on a larger grid pictures may grow over their edges"
    for name, grid, expected in (("edged", "20x20", True), ("edged", "9x9", False), ("several", "20x20", False)):
        done = run_in_process("render", name, f"{name}-{grid}.png", "--grid", grid, "--steps", "5")
        assert done.returncode == 0, done.stderr
        assert (f"{note}: {name}" in done.stderr) == expected


def test_a_picture_is_sown_into_others():
    found = render("several", "frames/", "--morph", "green@10", "--every", "10")["models"]
    assert [one["model"] for one in found] == ["red", "green", "blue"]
    assert [path.name for path in sorted(Path("frames").iterdir())] == [
        "step-0000000.png", "step-0000010.png", "step-0000010.then-sown.png", "step-0000020.png"
    ]  # fmt: skip


def test_seeds_between_two_pictures_are_tiles():
    found = render("several", "a.png", "--blend", "red:green")["models"]
    assert [one["model"] for one in found] == ["0%", "12%", "25%", "38%", "50%", "62%", "75%", "88%", "100%"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("several --at 6,6=rde", "the model grows no picture 'rde'"),
        ("several --at 6,6=red,blue", "the model grows no picture 'red,blue'"),
        ("several --at 6,6=all", "the model grows no picture 'all'"),
        ("several --blend all:red", "the model grows no picture 'all'"),
        ("several --morph all@10", "the model grows no picture 'all'"),
        ("several --at 6,6=", "--at '6,6=' names no picture"),
        ("several --at 6,6=red --at 6,9", "--at 6,9 names no picture, but others do"),
        ("several --at 6,6=red --grow blue", "--at Y,X=NAME and --grow both choose pictures"),
        ("several --blend red:blue --grow blue", "--grow and --blend both choose pictures"),
        ("several --grow red,rde", "the model grows no picture 'rde'"),
        ("several --grow red,,blue", "the model grows no picture ''"),
        ("several one.safetensors --morph red@10", "--morph is for one model, but 2 are given"),
        ("several --morph red", "--morph 'red' is no picture and step"),
        ("several --morph red@99", "the last step is 20"),
        ("several --blend red", "--blend is 'red'"),
        ("one --grow red", "one grows one picture"),
        ("one --morph red@10", "this is a model of one picture"),
        ("one --blend red:blue", "this is a model of one picture"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(arguments, what):
    done = run_in_process("render", *arguments.split(), "out.gif", "--steps", "20")
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert what in error
    assert hint.startswith("hint: ")
    assert not Path("out.gif").exists()
