"""Runs of several pictures: resumed, from another model, their limits, and what they leave."""

import dataclasses
import json
import re
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import Regime
from ncatool.data.targets import load_target
from ncatool.errors import UsageError
from ncatool.evaluation.quality import SeveralQuality, measure_quality
from ncatool.nca.model_file import load_model
from ncatool.nca.picture import arrange_tiles
from ncatool.training.memory import estimate_memory
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from ncatool.training.several import check_pictures
from tests.conftest import SMALL, replace_flags, run_in_process, small_run
from tests.sweep.runs import begin, wait_until

TRAIN = ["train", *SMALL, "--quiet"]


@pytest.fixture(autouse=True)
def _pictures():
    for i, name in enumerate(("a", "b", "c")):
        pixels = np.full((12, 12, 3), 40 * i, np.uint8)
        pixels[2 + 2 * i : 6 + 2 * i, 3:8] = (200, 60 * i, 90)
        Image.fromarray(pixels).save(f"{name}.png")


def start(source="a.png + b.png", name="m", **train):
    config = small_run(**train)
    target = dataclasses.replace(config.target, source=source)
    return Run(dataclasses.replace(config, target=target), load_target(target), RunFiles(Path(f"{name}.safetensors")))


def read_bytes(name):
    return [Path(f"{name}{ending}").read_bytes() for ending in (".safetensors", ".csv", ".curve.png")]


@pytest.mark.parametrize("regime", [*Regime])
def test_a_stopped_run_goes_on_to_the_same_bytes(regime):
    whole = start(name="whole", regime=regime)
    list(whole.train(lambda: False))
    whole.write_results()
    stopped = start(regime=regime)
    list(stopped.train(lambda: stopped.trainer.iteration >= 3))
    resumed = Run.resume(stopped.files)
    list(resumed.train(lambda: False))
    resumed.write_results()
    assert read_bytes("m") == read_bytes("whole")


def test_a_killed_run_and_a_longer_one_give_the_same_bytes():
    words = replace_flags(TRAIN, iterations="400")
    assert run_in_process(*words, "a.png", "b.png", "phantom", "--out", "whole.safetensors").returncode == 0
    process = begin(*words, "a.png", "b.png", "phantom", "--out", "m.safetensors", "--checkpoint-every", 10)
    wait_until(lambda: Path("m.toml").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run_in_process("resume", "m", "-q").returncode == 0
    assert read_bytes("m") == read_bytes("whole")
    results = [run_in_process("resume", name, "--iterations", 410, "-q").returncode for name in ("m", "whole")]
    assert results == [0, 0]
    assert read_bytes("m") == read_bytes("whole")


def test_a_run_is_repeated_from_its_record():
    assert run_in_process(*TRAIN, "a.png", "b.png", "--out", "m.safetensors").returncode == 0
    done = run_in_process("train", "--config", "m.toml", "--out", "again.safetensors", "-q")
    assert done.returncode == 0, done.stderr
    assert read_bytes("again") == read_bytes("m")


def find_seeds(name):
    return {one.target.name: one.seed for one in load_model(Path(f"{name}.safetensors")).pictures}


def train_from(model, *pictures, out):
    done = run_in_process(*TRAIN, *pictures, "--from", model, "--out", f"{out}.safetensors")
    assert done.returncode == 0, done.stderr
    return find_seeds(out)


def test_pictures_that_a_model_grows_keep_their_seeds_and_others_get_new_ones():
    assert run_in_process(*TRAIN, "a.png", "b.png", "--out", "two.safetensors").returncode == 0
    two = find_seeds("two")
    turned = train_from("two", "b.png", "a.png", out="turned")
    assert all(torch.equal(turned[name], two[name]) for name in "ab")
    three = train_from("two", "c.png", "b.png", "phantom", out="three")
    assert torch.equal(three["b"], two["b"])
    assert len({tuple(seed.flatten().tolist()) for seed in three.values()}) == 3


def test_from_several_pictures_to_one_and_back():
    assert run_in_process(*TRAIN, "a.png", "b.png", "--out", "two.safetensors").returncode == 0
    two = find_seeds("two")
    assert torch.equal(train_from("two", "b.png", out="one")[""], two["b"])
    assert torch.equal(train_from("two", "c.png", out="other")[""], two["a"])
    back = train_from("one", "b.png", "a.png", out="back")
    assert torch.equal(back["b"], two["b"])
    assert not torch.equal(back["a"], back["b"])


@pytest.mark.parametrize(
    ("settings", "count", "what", "hint"),
    [
        ({"pool_size": 4, "batch_size": 4}, 3, "need a pool of 6 states, but pool-size is 4", "--pool-size 6"),
        ({"pool_size": 3, "batch_size": 2}, 4, "need a pool of 4 states", "--pool-size 4"),
        ({}, 9, "9 pictures need as many codes, but 2 hidden channels have 4", "--channels"),
    ],
)
def test_too_little_room_is_refused(settings, count, what, hint):
    with pytest.raises(UsageError, match=what) as caught:
        check_pictures(small_run(**settings), count)
    assert hint in caught.value.hint


def test_what_fits_is_trained_whatever_the_batch():
    check_pictures(small_run(pool_size=2, batch_size=1, damaged=0), 2)
    for size in (1, 2, 3, 4):
        run = start("a.png + b.png + c.png", f"m{size}", batch_size=size, pool_size=6, damaged=1)
        list(run.train(lambda: False))
    run = start("a.png + b.png + c.png", "growing", regime=Regime.GROWING, pool_size=2)
    list(run.train(lambda: False))


def test_what_many_pictures_take_in_memory_is_counted():
    config = small_run()
    one, many = (estimate_memory(config, (100, 100), count) for count in (1, 256))
    assert many - one == 255 * 4 * 100 * 100 * (config.model.channels + 4)


def test_the_end_tells_median_and_worst():
    done = run_in_process(*TRAIN, "a.png", "b.png", "c.png", "--out", "m.safetensors", "--json")
    result = json.loads(done.stdout)
    errors = dict(zip("abc", result["each_mse_at_500"], strict=True))
    assert result["mse_at_500"] == sorted(errors.values())[1]
    assert result["worst_mse_at_500"] == max(errors.values()) == errors[result["worst_picture"]]
    assert result["quality"]["worst"] in errors
    assert tomllib.loads(Path("m.toml").read_text())["result"]["worst_picture"] == result["worst_picture"]
    shown = run_in_process(*TRAIN, "a.png", "b.png", "--out", "n.safetensors")
    assert re.search(
        r"a \d.*, b \d", next(line for line in shown.stdout.splitlines() if line.startswith("each_mse_at_500"))
    )


def test_the_quality_is_that_of_the_worst_and_of_the_median():
    run = start("a.png + b.png + c.png")
    quality = measure_quality(run.trainer.copy_model(), run.config.train)
    assert isinstance(quality, SeveralQuality)
    assert quality.words.startswith("3 pictures, median: ")
    assert f"worst, {quality.worst}: " in quality.words


def test_the_announcement_names_the_number_of_pictures():
    done = run_in_process("train", *SMALL, "a.png", "b.png", "c.png", "--out", "m.safetensors")
    assert done.stderr.splitlines()[0].startswith("3 pictures (a.png and 2 more) 10 cells + 1 around")
    assert "3 pictures 12×12" in run_in_process("resume", "m", "--iterations", 8).stderr.splitlines()[0]


@pytest.mark.parametrize("count", [1, 2, 3, 32, 256])
def test_tiles_hold_every_picture_and_stay_readable(count):
    pictures = [np.full((5, 7, 3), i % 200, np.uint8) for i in range(count)]
    tiled = arrange_tiles(pictures)
    assert {*range(min(count, 200))} <= {*tiled[..., 0].flatten().tolist()}
    assert count == 1 or tiled.shape[1] / tiled.shape[0] <= 1.8
    if count == 1:
        assert np.array_equal(tiled, pictures[0])


def test_a_changed_picture_makes_a_run_of_a_sweep_stale():
    words = ["sweep", *SMALL, "--target", "a.png + b.png", "--seed", "0,1", "--no-compare", "--vectorise", "-q"]
    assert run_in_process(*words).returncode == 0
    Path("b.png").write_bytes(Path("c.png").read_bytes())
    done = run_in_process(*words)
    assert done.returncode == 2
    assert "2 of 2 runs exist with other settings than planned" in done.stderr


def test_a_model_among_the_pictures_is_refused():
    assert run_in_process(*TRAIN, "a.png", "--out", "m.safetensors").returncode == 0
    done = run_in_process(*TRAIN, "a.png", "m.safetensors", "--out", "n.safetensors")
    assert done.returncode == 2
    assert "m.safetensors is a model, not a target" in done.stderr
    assert not Path("n.safetensors").exists()
