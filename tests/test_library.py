"""The library's face: what a notebook can do, and what it is told when it cannot."""

import dataclasses
import json
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ncatool
from ncatool.errors import NcatoolError, UsageError
from ncatool.nca.model_file import save_model
from ncatool.rendering.timeline import RenderSettings
from ncatool.training.checkpoint import read_checkpoint_tables
from tests.conftest import GOLDEN, run_in_process
from tests.several import make_several

TINY = {
    "size": 10, "padding": 1, "channels": 6, "hidden": 10, "batch_size": 2, "pool_size": 4, "steps": "4-8",
    "damaged": 1, "iterations": 6, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    return ncatool.load(GOLDEN, "cpu")


def test_a_model_grows_as_a_rendering_shows_it(golden):
    state = golden.grow(100, seed=3)
    assert state.shape == (28, 28, 16)
    assert state.dtype == np.float32
    *_, last = golden.frames(100, every=100, scale=1, seed=3)
    values = np.clip(state, 0, 1)
    shown = np.clip(values[..., :3] + 1 - values[..., 3:4], 0, 1)
    assert np.abs(np.asarray(last) / 255 - shown).max() < 0.01


def test_damage_and_seed_count(golden):
    whole, other, damaged = golden.grow(60), golden.grow(60, seed=1), golden.grow(60, damage="left@60")
    assert not np.array_equal(whole, other)
    assert np.array_equal(whole, golden.grow(60))
    assert not damaged[:, :14].any()
    assert np.array_equal(damaged[:, 14:], whole[:, 14:])
    assert golden.grow(5, grid=(40, 30), at=((3, 4), (30, 20))).shape == (40, 30, 16)


def test_save_writes_what_the_command_writes(golden):
    golden.save("a.gif", "a.png", steps=40, damage="circle@20")
    done = run_in_process("render", GOLDEN, "b.gif", "b.png", "--steps", 40, "--damage", "circle@20")
    assert done.returncode == 0, done.stderr
    for ending in (".gif", ".png"):
        assert Path(f"a{ending}").read_bytes() == Path(f"b{ending}").read_bytes()
    with pytest.raises(UsageError, match=r"a\.gif exists already"):
        golden.save("a.gif", steps=5)
    golden.save("a.gif", steps=5, force=True)


def test_every_setting_of_a_rendering_is_taken(golden):
    defaults = {field.name: getattr(RenderSettings(), field.name) for field in dataclasses.fields(RenderSettings)}
    assert len(list(golden.frames(**{**defaults, "steps": 4}))) == 3
    with pytest.raises(UsageError, match="no setting speed") as caught:
        golden.grow(speed=2)
    assert "fps" in caught.value.hint
    with pytest.raises(UsageError, match="is not a colour"):
        next(golden.frames(background="nocolour"))


def test_measures_are_those_of_compare(golden):
    seen = []
    measures = golden.evaluate(rollouts=2, steps=200, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1400, 1400)
    done = run_in_process("compare", GOLDEN, "--rollouts", 2, "--steps", 200, "--json")
    assert json.loads(done.stdout)["models"] == [measures]


def test_training_reports_and_leaves_a_runs_files():
    reports = []
    model = ncatool.train("phantom", "a.safetensors", progress=reports.append, **TINY)
    assert [report.iteration for report in reports] == [1, 2, 3, 4, 5, 6]
    assert model.record["train"]["batch_size"] == 2
    for ending in (".safetensors", ".toml", ".csv", ".curve.png", ".checkpoint"):
        assert Path(f"a{ending}").exists()
    flags = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert run_in_process("train", "--target", "phantom", *flags, "--out", "c.safetensors").returncode == 0
    for ending in (".safetensors", ".csv", ".curve.png"):
        assert Path(f"a{ending}").read_bytes() == Path(f"c{ending}").read_bytes(), ending
    tuned = ncatool.train("phantom", "b.safetensors", **{**TINY, "from_": "a.safetensors", "iterations": 1})
    assert tuned.record["train"]["initial"] == "a.safetensors"


@pytest.mark.parametrize(
    "picture",
    [
        np.arange(144, dtype=np.uint8).reshape(12, 12),
        np.linspace(0, 1, 12 * 10 * 3).reshape(12, 10, 3),
        np.full((10, 12, 4), 200, np.uint8),
        Image.new("L", (12, 12), 90),
        Image.new("RGBA", (6, 12), (250, 0, 0, 128)),
    ],
    ids=["grey", "floats", "rgba", "image", "transparent"],
)
def test_a_target_may_be_an_array_or_an_image(picture):
    model = ncatool.train(picture, "m.safetensors", **{**TINY, "size": 12, "iterations": 1})
    values = np.asarray(picture)
    assert model.target.shape[:2] == values.shape[:2]
    expected = np.round(values * 255) if values.dtype.kind == "f" else values
    if expected.ndim == 2:
        expected = np.dstack([expected] * 3)
    assert np.array_equal(model.target[..., :3], expected[..., :3])
    assert model.record["target"]["source"] in ("array", "image")


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (np.zeros((4, 4), np.int64), "every pixel of the picture is 0"),
        (np.full((4, 4), 2.5), "every pixel of the picture is 2.5"),
        (np.full((4, 4), np.nan), "no value of the picture is a finite number"),
        (np.zeros((4, 4, 2), np.uint8), "the target is an array of"),
        (np.zeros(4, np.uint8), "the target is an array of"),
        (np.zeros((0, 4), np.uint8), "the target is an array of"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(picture, why):
    with pytest.raises(NcatoolError, match=why):
        ncatool.train(picture, "m.safetensors", **TINY)
    assert not list(Path().iterdir())


def test_one_model_learns_a_list_of_pictures():
    red, blue = Image.new("RGB", (8, 8), (200, 0, 0)), np.full((8, 8, 3), (0, 0, 200), np.uint8)
    model = ncatool.train(["phantom", red, blue], **{**TINY, "pool_size": 6, "iterations": 1})
    assert model.path.name == "phantom-and-2-more.safetensors"
    assert list(model.pictures) == ["phantom", "image", "array"]
    assert np.all(model.pictures["array"].target == (0, 0, 200, 255))
    for name, colour in (("red", (200, 0, 0)), ("green", (0, 200, 0))):
        Image.new("RGB", (8, 8), colour).save(f"{name}.png")
    model = ncatool.train(["red.png", Path("green.png")], "two.safetensors", **{**TINY, "iterations": 1})
    assert list(model.pictures) == ["red", "green"]
    with pytest.raises(NcatoolError, match="the pictures array and array-2 are the same"):
        ncatool.train([blue, blue], "no.safetensors", **TINY)
    with pytest.raises(UsageError, match="the list of targets is empty"):
        ncatool.train([], "no.safetensors", **TINY)


@pytest.mark.parametrize("error", [NcatoolError("what", "hint"), UsageError("what", "hint")])
def test_errors_pass_from_process_to_process(error):
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (str(found), found.what, found.hint, found.code) == ("what", "what", "hint", error.code)


def test_a_run_of_an_array_names_it_and_takes_no_colormap():
    model = ncatool.train(np.full((10, 10), 90, np.uint8), "m.safetensors", **TINY)
    facts, _ = read_checkpoint_tables(Path("m.checkpoint"))
    assert model.record["target"]["source"] == facts["target"]["source"] == "array"
    with pytest.raises(UsageError, match="--colormap is for MedMNIST samples, but the target is array"):
        ncatool.train(np.full((10, 10), 90, np.uint8), "n.safetensors", colormap="viridis", **TINY)
    assert not list(Path().glob("n.*"))


def test_a_transparent_picture_is_refused():
    with pytest.raises(NcatoolError, match="nothing can grow"):
        ncatool.train(np.zeros((4, 4, 4), np.uint8), "m.safetensors", **TINY)


def test_bad_settings_are_refused_before_anything_is_written():
    for settings, what in (
        ({"sise": 3}, "unknown setting 'sise'"),
        ({"filter": "sobol"}, "filter is 'sobol'"),
        ({"iterations": 0}, "iterations is 0"),
        ({"hidden": "many"}, "hidden is 'many'"),
    ):
        with pytest.raises(UsageError, match=what):
            ncatool.train("phantom", "m.safetensors", **{**TINY, **settings})
    with pytest.raises(UsageError, match="no such model"):
        ncatool.load("nowhere.safetensors")
    assert not list(Path().iterdir())


OTHER_RULE = {"filter": "mean", "fire_rate": 0.75, "threshold": 0.2, "boundary": "wrap", "channels": 6, "hidden": 10}


@pytest.fixture(scope="module")
def other_rule(tmp_path_factory):
    """A model of which no setting is the default one."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    ncatool.train("phantom", path, **{**TINY, **OTHER_RULE, "iterations": 1})
    return path


@pytest.mark.parametrize(
    ("name", "default"),
    [("filter", "sobel"), ("fire_rate", 0.5), ("threshold", 0.1), ("boundary", "zero"), ("channels", 16),
     ("hidden", 128)],
)  # fmt: skip
def test_a_default_that_is_asked_for_is_refused_where_the_start_has_another(name, default, other_rule, monkeypatch):
    """By the library, a flag, the environment, a file of settings; what agrees with the model may be given."""
    expected = f"{name} is {default}, but {other_rule} has {OTHER_RULE[name]}"
    rest = {key: value for key, value in TINY.items() if key not in OTHER_RULE} | {"iterations": 1}
    with pytest.raises(UsageError) as caught:
        ncatool.train("phantom", "a.safetensors", from_=other_rule.as_posix(), **rest, **{name: default})
    assert caught.value.what == expected
    flags = ["--target", "phantom", "--from", other_rule, "--out", "a.safetensors"]
    flags += [word for key, value in rest.items() for word in (f"--{key.replace('_', '-')}", value)]
    value = json.dumps(default)
    Path("settings.toml").write_text(f"[model]\n{name} = {value}\n")
    for words in ([f"--{name.replace('_', '-')}", default], ["--config", "settings.toml"]):
        done = run_in_process("train", *flags, *words)
        assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"error: {expected}")
    variable = f"NCATOOL_TRAIN_{name.upper()}"
    monkeypatch.setenv(variable, str(default))
    error = run_in_process("train", *flags).stderr.splitlines()[0]
    assert variable in error
    assert expected.removeprefix(name) in error
    assert not list(Path().glob("a.*"))


def test_settings_that_agree_with_the_start_hold_and_its_record_repeats_the_run(other_rule):
    rest = {key: value for key, value in TINY.items() if key not in OTHER_RULE}
    model = ncatool.train("phantom", "a.safetensors", from_=str(other_rule), **rest, **OTHER_RULE)
    assert model.record["model"] == OTHER_RULE
    ncatool.train("phantom", "b.safetensors", from_=str(other_rule), **rest)
    done = run_in_process("train", "--config", "b.toml", "--out", "c.safetensors")
    assert done.returncode == 0, done.stderr
    assert len({Path(f"{name}.safetensors").read_bytes() for name in "abc"}) == 1


def test_an_interruption_saves_everything_and_resume_goes_on():
    def interrupt(report):
        if report.iteration == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ncatool.train("phantom", "m.safetensors", progress=interrupt, **TINY)
    ncatool.train("phantom", "straight.safetensors", **TINY)
    assert run_in_process("resume", "m.safetensors", "-q").returncode == 0
    for ending in (".safetensors", ".csv"):
        assert Path(f"m{ending}").read_bytes() == Path(f"straight{ending}").read_bytes()


def test_torch_is_loaded_only_when_something_is_used():
    assert set(dir(ncatool)) == {"Model", "load", "train"}
    with pytest.raises(AttributeError, match="has no attribute 'grow'"):
        _ = ncatool.grow
    assert isinstance(ncatool.load(GOLDEN).data.weights.hidden_weight, torch.Tensor)


def test_each_picture_of_several_is_a_model_of_its_own(tmp_path):
    save_model(tmp_path / "several.safetensors", make_several())
    model = ncatool.load(tmp_path / "several.safetensors", "cpu")
    assert list(model.pictures) == ["red", "green", "blue"]
    assert "3 pictures" in repr(model)
    blue = model.pictures["blue"]
    assert (blue.name, model.name) == ("several:blue", "several")
    assert np.array_equal(blue.target, make_several().target.pictures[2].pixels)
    assert not np.array_equal(blue.grow(5), model.pictures["red"].grow(5))
    for call in (model.grow, model.evaluate):
        with pytest.raises(UsageError, match="grows 3 pictures"):
            call()
    model.save(tmp_path / "tiles.png", steps=10, every=10)
    with Image.open(tmp_path / "tiles.png") as image:
        assert image.width > image.height / 4
