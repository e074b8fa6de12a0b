"""The grammar of MedMNIST specs, and samples of sets that lie on this machine."""

import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ncatool.config.names import Alpha, Colormap
from ncatool.config.schema import TargetConfig
from ncatool.data import npz, targets
from ncatool.data.catalogue import DataSet, describe_label, load_catalogue
from ncatool.data.medmnist import choose_default_source
from ncatool.data.sample_spec import SampleSpec, parse_spec
from ncatool.errors import ExitCode, NcatoolError
from tests.site import make_small_set, stack_volumes, write_set


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chestmnist", SampleSpec(DataSet("chestmnist"))),
        ("bloodmnist@64", SampleSpec(DataSet("bloodmnist", 64))),
        ("bloodmnist@224:test", SampleSpec(DataSet("bloodmnist", 224), "test")),
        ("chestmnist:val:42", SampleSpec(DataSet("chestmnist"), "val", 42)),
        ("organmnist3d@64:train:7", SampleSpec(DataSet("organmnist3d", 64), "train", 7, "axial", 32)),
        ("organmnist3d:test:3:sagittal", SampleSpec(DataSet("organmnist3d"), "test", 3, "sagittal", 14)),
        ("vesselmnist3d:train:0:coronal:27", SampleSpec(DataSet("vesselmnist3d"), "train", 0, "coronal", 27)),
        ("chest.png", None),
        ("mnist", None),
        ("", None),
        ("folder/chestmnist", None),
    ],
)
def test_grammar(text, expected):
    assert parse_spec(text) == expected
    if expected is not None:
        assert parse_spec(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("chestmnist@29", "no size 29", "28, 64, 128, 224"),
        ("organmnist3d@128", "no size 128", "28, 64"),
        ("chestmnist@" + "9" * 5000, "no size 9", "28, 64, 128, 224"),
        ("chestmnist:training", "no split 'training'", "train, val, test"),
        ("chestmnist:test:-1", "no sample -1", "0 to 22432"),
        ("chestmnist:test:22433", "no sample 22433", "0 to 22432"),
        ("chestmnist:test:٣", "no sample", "0 to"),
        ("chestmnist:test:" + "9" * 5000, "no sample 9", "0 to"),
        ("chestmnist:test:1:axial", "names no slice", "SPLIT:INDEX"),
        ("organmnist3d:test:1:front", "no plane 'front'", "axial, coronal, sagittal"),
        ("organmnist3d:test:1:axial:28", "no slice 28", "0 to 27"),
    ],
)
def test_grammar_refuses(text, what, hint):
    with pytest.raises(NcatoolError, match=what) as caught:
        parse_spec(text)
    assert hint in caught.value.hint
    assert caught.value.code == ExitCode.USAGE


def test_catalogue_is_medmnists_own():
    assert len(load_catalogue()) == 18
    assert load_catalogue()["chestmnist"]["MD5"] == "02c8a6516a18b556561a56cbdd36c4a8"


def test_not_fetched_says_how_to_fetch(root):
    with pytest.raises(NcatoolError, match="has not been fetched") as caught:
        targets.load_target(TargetConfig(source="bloodmnist@64:test:1"), root)
    assert caught.value.hint == "run: ncatool fetch bloodmnist --size 64"
    assert choose_default_source(root) == "phantom"


def write_tiles(folder, flag, tiles):
    folder.mkdir(parents=True, exist_ok=True)
    write_set(folder / f"{flag}.npz", flag, tiles)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def test_a_set_on_this_machine_is_the_default_target(tiles, root):
    write_tiles(root, "chestmnist", tiles["chestmnist"])
    assert choose_default_source(root) == "chestmnist"
    target = targets.load_target(TargetConfig(source="chestmnist:val:3"), root)
    assert np.array_equal(target.pixels[..., 0], tiles["chestmnist"][303])
    assert (target.pixels[..., 3] == 255).all()
    record = target.describe()
    assert (record["flag"], record["split"], record["index"]) == ("chestmnist", "val", 3)
    assert record["label"] == [1, 0] * 7
    assert record["meaning"] == "atelectasis, effusion, mass, pneumonia, consolidation, emphysema, pleural"
    assert record["licence"] == "CC BY 4.0"
    assert (record["colormap"], record["alpha"]) == ("grey", "opaque")


def test_meanings():
    assert describe_label(DataSet("chestmnist"), [0] * 14) == "no finding"
    assert describe_label(DataSet("organmnist3d"), [6]) == "heart"


def test_medmnists_own_folder_is_read_too(tiles, tmp_path):
    write_tiles(tmp_path / "home" / ".medmnist", "bloodmnist", tiles["bloodmnist"])
    target = targets.load_target(TargetConfig(source="bloodmnist:train:5"))
    assert np.array_equal(target.pixels[..., :3], tiles["bloodmnist"][5])


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_slices_of_volumes(tiles, root, plane, axis):
    stack = stack_volumes(tiles["organamnist"])
    write_tiles(root, "organmnist3d", stack)
    target = targets.load_target(TargetConfig(source=f"organmnist3d:train:2:{plane}:9"), root)
    assert np.array_equal(target.pixels[..., 0], stack[2].take(9, axis=axis))
    assert (target.describe()["plane"], target.describe()["slice"]) == (plane, 9)


def test_a_colormap_gives_matplotlibs_pixels(tiles, root):
    """As the seed project made its picture: `imshow`, saved with one pixel for each sample pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.28, 0.28), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    axes.imshow(tiles["chestmnist"][0], cmap="viridis")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    write_tiles(root, "chestmnist", tiles["chestmnist"])
    target = targets.load_target(TargetConfig(source="chestmnist", colormap=Colormap.VIRIDIS), root)
    assert np.array_equal(target.pixels, np.asarray(canvas.buffer_rgba()))


def test_colour_has_no_colormap(tiles, root):
    write_tiles(root, "bloodmnist", tiles["bloodmnist"])
    with pytest.raises(NcatoolError, match="bloodmnist is in colour"):
        targets.load_target(TargetConfig(source="bloodmnist", colormap=Colormap.MAGMA), root)
    with pytest.raises(NcatoolError, match="--colormap is for MedMNIST"):
        targets.load_target(TargetConfig(source="phantom", colormap=Colormap.MAGMA))


def test_dark_pixels_can_be_dead_cells(tiles, root):
    write_tiles(root, "organamnist", tiles["organamnist"])
    grey = tiles["organamnist"][0]

    def load_alpha(alpha, **options):
        return targets.load_target(TargetConfig(source="organamnist", alpha=alpha, **options), root).pixels[..., 3]

    assert (load_alpha(Alpha.OPAQUE) == 255).all()
    assert np.array_equal(load_alpha(Alpha.LUMINANCE), grey)
    assert np.array_equal(load_alpha(Alpha.THRESHOLD), np.where(grey > 25, 255, 0))
    assert np.array_equal(load_alpha(Alpha.LUMINANCE, colormap=Colormap.VIRIDIS), grey), "of the sample"


def test_a_black_sample_cannot_be_transparent(root):
    write_tiles(root, "chestmnist", np.zeros((400, 28, 28), np.uint8))
    with pytest.raises(NcatoolError, match="transparent everywhere"):
        targets.load_target(TargetConfig(source="chestmnist", alpha=Alpha.LUMINANCE), root)


def test_a_subset_lacks_samples(root):
    root.mkdir()
    np.savez(root / "chestmnist.npz", **make_small_set(np.zeros((40, 28, 28), np.uint8)))
    with pytest.raises(NcatoolError, match="holds 20 train_images, so none with index 20"):
        targets.load_target(TargetConfig(source="chestmnist:train:20"), root)


def make_npy_header(shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    return len(text).to_bytes(2, "little") + text


def make_npz(train_images):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("train_images.npy", train_images)
    return buffer.getvalue()


DAMAGES = {
    "empty": lambda content: b"",
    "no zip": lambda content: b"no zip",
    "cut": lambda content: content[: len(content) // 2],
    "end only": lambda content: content[-500:],
    "huge item": lambda content: make_npz(b"\x93NUMPY\x01\x00" + make_npy_header("(2, 99999999, 99999999)")),
    "huge header": lambda content: make_npz(b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 1000),
    "other version": lambda content: make_npz(b"\x93NUMPY\x09\x00" + make_npy_header("(2, 28, 28)")),
    "code in the header": lambda content: make_npz(b"\x93NUMPY\x01\x00" + make_npy_header("__import__('os').abort()")),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_files(root, kind):
    root.mkdir()
    path = root / "chestmnist.npz"
    np.savez(path, **make_small_set(np.zeros((40, 28, 28), np.uint8)))
    path.write_bytes(DAMAGES[kind](path.read_bytes()))
    with pytest.raises(NcatoolError, match=r"chestmnist\.npz is damaged") as caught:
        targets.load_target(TargetConfig(source="chestmnist"), root)
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 500
    assert caught.value.hint == "to fetch it anew, run: ncatool fetch chestmnist"


def test_a_header_that_expands_is_never_read(root):
    """300 MB that take 300 KB in the file, and a header of Python 2, of which numpy warns."""
    root.mkdir()
    with zipfile.ZipFile(root / "chestmnist.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            "train_images.npy", b"\x93NUMPY\x02\x00" + (300 * 2**20).to_bytes(4, "little") + bytes(300 * 2**20)
        )
    tracemalloc.start()
    try:
        with pytest.raises(NcatoolError, match="train_images has a header of 314,572,800 bytes"):
            targets.load_target(TargetConfig(source="chestmnist"), root)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (20L, 28, 28)}"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(20 * 784)
    (root / "chestmnist.npz").write_bytes(make_npz(content))
    with warnings.catch_warnings(action="error"):
        headers = npz.read_headers(root / "chestmnist.npz", ["train_images"])
    assert headers["train_images"].shape == (20, 28, 28)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_give_a_picture_or_an_error(root, data):
    """Whatever happens to a file, it gives a picture of the right shape or one clear error."""
    root.mkdir(exist_ok=True)
    path = root / "chestmnist.npz"
    np.savez_compressed(path, **make_small_set(np.arange(40 * 784).astype(np.uint8).reshape(40, 28, 28)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    message = ""
    try:
        assert targets.load_target(TargetConfig(source="chestmnist:train:19"), root).pixels.shape == (28, 28, 4)
    except NcatoolError as error:
        message = error.what
    assert "\n" not in message
