"""The grammar of MedMNIST specs, and samples of sets that lie on this machine."""

import numpy as np
import pytest

from ncatool import dataset
from ncatool import target as targets
from ncatool.config import TargetConfig
from ncatool.dataset import Spec, parse
from ncatool.errors import ExitCode, NcatoolError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chestmnist", Spec("chestmnist")),
        ("bloodmnist@64", Spec("bloodmnist", 64)),
        ("bloodmnist@224:test", Spec("bloodmnist", 224, "test")),
        ("chestmnist:val:42", Spec("chestmnist", 28, "val", 42)),
        ("organmnist3d@64:train:7", Spec("organmnist3d", 64, "train", 7)),
        ("chest.png", None),
        ("mnist", None),
        ("", None),
        ("folder/chestmnist", None),
    ],
)
def test_grammar(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ("chestmnist@29", "no size 29", "28, 64, 128, 224"),
        ("organmnist3d@128", "no size 128", "28, 64"),
        ("chestmnist:training", "no split 'training'", "train, val, test"),
        ("chestmnist:test:-1", "no sample -1", "0 to 22432"),
        ("chestmnist:test:22433", "no sample 22433", "0 to 22432"),
        ("chestmnist:test:٣", "no sample", "0 to"),
    ],
)
def test_grammar_refuses(text, what, mend):
    with pytest.raises(NcatoolError, match=what) as caught:
        parse(text)
    assert mend in caught.value.mend
    assert caught.value.code == ExitCode.USAGE


def test_catalogue_is_medmnists_own():
    assert len(dataset.catalogue()) == 18
    assert dataset.catalogue()["chestmnist"]["MD5"] == "02c8a6516a18b556561a56cbdd36c4a8"


def test_not_fetched_says_how_to_fetch():
    with pytest.raises(NcatoolError, match="has not been fetched") as caught:
        targets.load(TargetConfig(source="bloodmnist@64:test:1"))
    assert caught.value.mend == "run: ncatool fetch bloodmnist --size 64"
    assert targets.default_source() == "phantom"


def put(folder, flag, images):
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.arange(len(images), dtype=np.uint8)[:, None]
    np.savez(folder / f"{flag}.npz", train_images=images, train_labels=labels)


def test_a_set_on_this_machine_is_the_default_target(data, tmp_path):
    tiles = np.load(data / "medmnist" / "tiles.npz")
    put(tmp_path / "data", "chestmnist", tiles["chestmnist"])
    assert targets.default_source() == "chestmnist"
    target = targets.load(TargetConfig(source="chestmnist:train:3"))
    assert np.array_equal(target.pixels[..., 0], tiles["chestmnist"][3])
    assert (target.pixels[..., 3] == 255).all()
    record = target.record()
    assert (record["flag"], record["split"], record["index"], record["label"]) == ("chestmnist", "train", 3, [3])
    assert record["licence"] == "CC BY 4.0"


def test_medmnists_own_folder_is_read_too(data, tmp_path):
    tiles = np.load(data / "medmnist" / "tiles.npz")
    put(tmp_path / "home" / ".medmnist", "bloodmnist", tiles["bloodmnist"])
    target = targets.load(TargetConfig(source="bloodmnist:train:5"))
    assert np.array_equal(target.pixels[..., :3], tiles["bloodmnist"][5])


@pytest.mark.parametrize(
    "content",
    [b"", b"no zip", {"train_images": np.zeros((3, 4, 4), np.uint8)}, {"train_images": np.zeros(3)}, "object"],
)
def test_damaged_files(tmp_path, content):
    path = tmp_path / "data" / "chestmnist.npz"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "object":
        np.savez(path, train_images=np.array([{}], object), train_labels=np.zeros(1))
    else:
        np.savez(path, **content)
    with pytest.raises(NcatoolError, match=r"chestmnist\.npz") as caught:
        targets.load(TargetConfig(source="chestmnist"))
    assert "\n" not in caught.value.what
