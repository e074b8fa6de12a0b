"""The text of several pictures: lists, ranges, folders, one of each label, and what is refused in one line."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncatool.config.schema import split_sources
from ncatool.data.default_name import name_targets
from ncatool.data.expansion import expand_sources, shorten_sources
from ncatool.data.sources import resolve_source
from ncatool.errors import NcatoolError, UsageError
from tests.conftest import SMALL, replace_flags, run_in_process
from tests.site import write_set


def draw(name, value=90):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(name)


def test_a_list_is_its_parts_and_a_name_that_exists_is_one():
    assert split_sources("a.png +  b.png") == ["a.png", "b.png"]
    draw("a + b.png")
    assert split_sources("a + b.png") == ["a + b.png"]
    assert split_sources("c.png + a + b.png + d.png") == ["c.png", "a + b.png", "d.png"]
    assert split_sources("a + b.png:0 + phantom") == ["a + b.png:0", "phantom"]


def test_many_sources_are_told_apart_at_once():
    text = " + ".join(f"bloodmnist:train:{i}" for i in range(256))
    start = time.monotonic()
    assert len(split_sources(text)) == 256
    assert time.monotonic() - start < 1


def test_ranges_of_samples_and_of_slices():
    assert expand_sources("bloodmnist:train:2-4") == [f"bloodmnist:train:{i}" for i in (2, 3, 4)]
    assert expand_sources("scan.nii:axial:8-9 + phantom") == ["scan.nii:axial:8", "scan.nii:axial:9", "phantom"]
    assert resolve_source("BloodMNIST:train:0-1 + PHANTOM") == "bloodmnist:train:0 + bloodmnist:train:1 + phantom"


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("bloodmnist:train:7-0", "runs backwards", "0-7"),
        ("bloodmnist:train:0-256", "names 257 pictures, but 256 are the most", "0-255"),
        ("bloodmnist:train:0-200 + bloodmnist:val:0-200", "names 402 pictures", "fewer"),
        ("bloodmnist:train:11950-11999", "no sample 11959", "0 to 11958"),
        ("phantom + ", "nothing on one side", "A + B"),
        ("empty", "a folder without files", "name a picture"),
    ],
)
def test_what_names_no_pictures_is_refused(text, what, hint):
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=what) as caught:
        resolve_source(text)
    assert hint in caught.value.hint


def test_a_folder_is_its_pictures_by_name():
    for name in ("cells/b.png", "cells/a.jpg", "cells/a.curve.png", "cells/.hidden.png", "cells/deeper/c.png"):
        draw(name)
    Path("cells/notes.txt").write_text("")
    assert expand_sources("cells") == ["cells/a.jpg", "cells/b.png"]


@pytest.mark.parametrize("name", ["1.dcm", "IM0001"])
def test_a_folder_with_a_dicom_series_stays_one_picture(name):
    draw("series/preview.png")
    Path("series", name).write_bytes(bytes(128) + b"DICM")
    assert expand_sources("series") == ["series"]


def test_one_sample_of_each_label(tiles):
    Path("sets").mkdir()
    write_set(Path("sets/bloodmnist.npz"), "bloodmnist", tiles["bloodmnist"])
    expected = [f"bloodmnist:train:{i}" for i in range(8)]
    assert expand_sources("bloodmnist:train:each", Path("sets")) == expected
    with pytest.raises(NcatoolError, match="has not been fetched") as caught:
        expand_sources("bloodmnist:train:each")
    assert "ncatool fetch bloodmnist" in caught.value.hint
    words = ["train", *replace_flags(SMALL, size=28, pool_size=9, channels=9), "-q", "--out", "m.safetensors"]
    done = run_in_process(*words, "phantom", "bloodmnist:train:each", "--root", "sets")
    assert done.returncode == 0, done.stderr
    done = run_in_process("sweep", "--target", "bloodmnist:train:each,phantom", "--size", 28, "--root", "sets",
                          "--dry-run", "--iterations", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bloodmnist-train-0-and-7-more" in done.stdout


def test_names_of_targets_differ():
    for folder in ("x", "y"):
        draw(f"{folder}/1.png")
        draw(f"{folder}/2.png")
    names = name_targets(["a.png + b.png + c.png", "a.png + b.png", "a.png + d.png", "phantom"])
    assert [*names.values()] == ["a-and-2-more", "a-and-b", "a-and-d"]
    alike = name_targets(["x/1.png + x/2.png", "y/1.png + y/2.png"])
    assert len({*alike.values()}) == 2
    assert all(name.startswith("1-and-2-") for name in alike.values())


def test_few_words_for_many():
    assert shorten_sources("a + b") == "a + b"
    assert shorten_sources("a + b + c") == "a and 2 more"
