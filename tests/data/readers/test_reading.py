"""What part of a file is read, and how it is cut, windowed and made transparent; what is refused, and how."""

import shutil
import struct
import sys
import tomllib
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

from ncatool.config.schema import TargetConfig
from ncatool.data.default_name import name_model
from ncatool.data.file_spec import FileSpec, Part, locate_file, parse_part
from ncatool.data.readers.registry import FileKind, recognise
from ncatool.data.targets import convert_picture, describe_reading, load_target
from ncatool.errors import ExitCode, NcatoolError, UsageError
from tests.conftest import SMALL, ncatool, run_in_process

STACK = np.arange(5 * 12 * 12, dtype=np.int16).reshape(5, 12, 12) % 700


def load(text, **settings):
    return load_target(TargetConfig(source=str(text), **{"size": 12, **settings}))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", Part()),
        ("17", Part(index=17)),
        ("axial", Part(plane="axial")),
        ("Coronal:4", Part(plane="coronal", index=4)),
        (":coronal", Part(plane="coronal")),
        ("axial:4:2", Part(plane="axial", index=4, volume=2)),
        ("4:2", Part(index=4, volume=2)),
        ("axial::2", Part(plane="axial", volume=2)),
        ("train_images", Part(array="train_images")),
        ("train_images:sagittal:3", Part(array="train_images", plane="sagittal", index=3)),
        ("train_images:3", Part(array="train_images", index=3)),
    ],
)
def test_parts(text, part):
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["axial:x", "1:2:3", "axial:-1", "a:b", "axial:1:2:3", "axial:9999999999"])
def test_parts_that_mean_nothing(text):
    with pytest.raises(UsageError, match="names no part") as caught:
        parse_part(text)
    assert "scan.nii.gz:axial:42" in caught.value.hint


def test_a_files_name_may_hold_colons():
    np.save("a:b.npy", STACK)
    assert locate_file("a:b.npy") == FileSpec(Path("a:b.npy"))
    assert locate_file("a:b.npy:axial:3") == FileSpec(Path("a:b.npy"), "axial:3")
    assert locate_file("nowhere.npy:axial:3") is None
    assert load("a:b.npy:2").origin["source"] == "a:b.npy:axial:2"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("scan.nii.gz", "scan"),
        ("scan.nii.gz:axial:3", "scan-axial-3"),
        ("in/a.tif:7", "a-7"),
        ("series:coronal", "series-coronal"),
    ],
)
def test_names_of_models(text, name):
    Path("in").mkdir()
    Path("series").mkdir()
    for file in ("scan.nii.gz", "in/a.tif"):
        Path(file).touch()
    assert name_model(text) == Path(f"{name}.safetensors")


def save_film(path):
    frames = [Image.new("RGB", (12, 12), (40 * i, 0, 255 - 40 * i)) for i in range(6)]
    if path.suffix == ".gif":
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif path.suffix in (".webp", ".png"):
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    else:
        import imageio.v3 as imageio

        imageio.imwrite(path, np.stack([np.asarray(frame) for frame in frames]), plugin="pyav", codec="libx264")


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png", ".mp4", ".mkv"])
def test_frames_of_films(ending):
    path = Path(f"film{ending}")
    save_film(path)
    for text, frame in (("", 3), (":0", 0), (":5", 5)):
        target = load(f"{path}{text}")
        assert np.abs(target.pixels[6, 6, 0].astype(int) - 40 * frame) <= 6
        assert target.origin["source"] == f"{path}:{frame}"
        assert describe_reading(target) == f"film{ending}:{frame}: frame {frame} of 6"
    with pytest.raises(UsageError, match="no frame 6") as caught:
        load(f"{path}:6")
    assert caught.value.hint == "give one from 0 to 5"
    with pytest.raises(UsageError, match="has no plane 'axial'"):
        load(f"{path}:axial:2")


def test_the_middle_is_read_and_said():
    np.save("scan.npy", STACK)
    target = load("scan.npy")
    assert describe_reading(target) == f"scan.npy:axial:2: axial slice 2 of 5, window {STACK[2].min()}:{STACK[2].max()}"
    assert (load("scan.npy:axial:2").pixels == target.pixels).all()
    assert not (load("scan.npy:coronal").pixels[..., 0] == target.pixels[..., 0][:5]).all()
    assert describe_reading(load("phantom")) == ""


def test_arrays_of_npz_have_names():
    np.savez("one.npz", picture=STACK[0])
    np.savez_compressed("two.npz", a=STACK, b=STACK[..., None].astype(np.uint8))
    assert load("one.npz").origin["source"] == "one.npz:picture"
    assert load("two.npz:b:3").origin["source"] == "two.npz:b:3"
    with pytest.raises(UsageError, match="several arrays") as caught:
        load("two.npz")
    assert caught.value.hint == "name one as two.npz:ARRAY; its arrays: a, b"
    with pytest.raises(UsageError, match="no array 'c'"):
        load("two.npz:c:1")


def test_python_objects_are_never_unpickled():
    np.save("bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez("bad.npz", a=np.array([{"a": 1}], dtype=object))
    for name in ("bad.npy", "bad.npz"):
        with pytest.raises(NcatoolError, match=f"{name}"):
            load(name)


@pytest.mark.parametrize(
    ("shape", "kind"), [((3, 4), np.complex64), ((2, 2, 2, 2, 2), np.float32), ((7,), np.uint8), ((0, 4), np.uint8)]
)
def test_arrays_that_are_no_pictures(shape, kind):
    np.save("bad.npy", np.zeros(shape, kind))
    with pytest.raises(NcatoolError, match=r"bad\.npy"):
        load("bad.npy")


def test_windows():
    values = np.linspace(-1500, 1500, 144).reshape(12, 12).astype(np.float32)
    np.save("ct.npy", values)
    for name, low, high in (("lung", -1350, 150), ("bone", -500, 1300), ("brain", 0, 80), ("soft", -150, 250)):
        target = load("ct.npy", window=name)
        expected = 255 * np.clip((values - low) / (high - low), 0, 1)
        assert np.abs(target.pixels[..., 0] - expected).max() <= 1
        assert target.origin["window"] == f"{low}:{high}"
        again = load("ct.npy", window=target.origin["window"])
        assert (again.pixels == target.pixels).all()
    assert load("ct.npy", window="FULL").origin["window"] == "-1500:1500"


def test_8_bits_stay_as_they_are_unless_a_window_is_named():
    grey = np.linspace(100, 200, 144).reshape(12, 12).astype(np.uint8)
    Image.fromarray(grey).save("grey.png")
    assert (load("grey.png").pixels[..., 0] == grey).all()
    assert "window" not in load("grey.png").origin
    assert load("grey.png", window="full").pixels[..., 0].min() == 0
    assert load("grey.png", window="100:150").pixels[..., 0].max() == 255
    with pytest.raises(UsageError, match="computed tomography"):
        load("grey.png", window="lung")


def test_windows_are_for_greys():
    Image.new("RGB", (12, 12), "red").save("red.png")
    with pytest.raises(UsageError, match="in colour"):
        load("red.png", window="0:10")
    with pytest.raises(UsageError, match="the phantom"):
        load("phantom", window="full")


@pytest.mark.parametrize("window", ["wide", "10:5", "1:1", "nan:3", "1:2:3", ""])
def test_windows_that_mean_nothing(window):
    with pytest.raises(UsageError, match="window is") as caught:
        TargetConfig(window=window)
    assert "-160:240" in caught.value.hint


def test_a_window_of_mr_is_not_one_of_ct():
    with pytest.raises(UsageError, match="computed tomography"):
        load(get_testdata_file("MR_small.dcm"), window="brain")


def test_one_grey_only_is_refused():
    np.save("flat.npy", np.full((12, 12), 7, np.int16))
    with pytest.raises(NcatoolError, match="every pixel of the picture is 7") as caught:
        load("flat.npy")
    assert "--window LOW:HIGH" in caught.value.hint
    assert (load("flat.npy", window="0:14").pixels[..., 0] == 128).all()


def test_crop():
    np.save("scan.npy", STACK)
    whole, part = load("scan.npy:1", window="0:700"), load("scan.npy:1", crop="2,4,6,6", size=6, window="0:700")
    assert (part.pixels == whole.pixels[2:8, 4:10]).all()
    assert part.origin["crop"] == "2,4,6,6"
    with pytest.raises(UsageError, match="ends at row 13, column 8") as caught:
        load("scan.npy:1", crop="5,0,8,8")
    assert "12 rows and 12 columns" in caught.value.what
    for text in ("1,2,3", "0,0,0,4", "a", "-1,0,4,4"):
        with pytest.raises(UsageError, match="crop is"):
            TargetConfig(crop=text)


def test_a_mask_makes_dead_cells():
    inside = np.zeros((5, 12, 12), np.uint8)
    inside[2, 3:9, 3:9] = 2
    nibabel.save(nibabel.Nifti1Image(STACK, np.eye(4)), "scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), "labels.nii.gz")
    target = load("scan.nii.gz:sagittal:2", alpha="labels.nii.gz")
    assert target.origin["alpha"] == "labels.nii.gz"
    assert (target.pixels[..., 3] > 0).sum() == 36
    assert (target.pixels[3:9, 3:9, 3] == 255).all()
    Image.fromarray(inside[2] * 100).save("mask.png")
    assert (load("scan.nii.gz:sagittal:2", alpha="mask.png").pixels[..., 3] == target.pixels[..., 3]).all()
    cropped = load("scan.nii.gz:sagittal:2", alpha="mask.png", crop="3,3,6,6", size=6)
    assert (cropped.pixels[..., 3] == 255).all()
    with pytest.raises(NcatoolError, match="transparent everywhere"):
        load("scan.nii.gz:sagittal:0", alpha="labels.nii.gz")


def test_a_mask_that_does_not_fit():
    np.save("scan.npy", STACK)
    Image.new("L", (7, 9), 255).save("small.png")
    with pytest.raises(UsageError, match="7 × 9 pixels, but the picture has 12 × 12"):
        load("scan.npy", alpha="small.png")
    with pytest.raises(UsageError, match="alpha is 'luminense', which is no file") as caught:
        load("phantom", alpha="luminense")
    assert caught.value.hint.startswith("did you mean luminance?")


def test_masks_of_other_slices_are_refused():
    """A mask of another number of slices is not cut where the picture is; one of one slice fits any."""
    np.save("scan.npy", STACK)
    np.save("short.npy", np.ones((3, 12, 12), bool))
    np.savez("several.npz", other=np.zeros((5, 12, 12), int), labels=(STACK > 300).astype(int))
    with pytest.raises(UsageError, match="has 3 axial slices, but its picture has 5") as caught:
        load("scan.npy:1", alpha="short.npy")
    assert caught.value.hint == "name the one that is meant: short.npy:INDEX"
    assert (load("scan.npy:1", alpha="short.npy:axial:1").pixels[..., 3] == 255).all()
    inside = load("scan.npy:3", alpha="several.npz:labels").pixels[..., 3] > 0
    assert (inside == (STACK[3] > 300)).all()


def test_volumes_over_time_have_masks_of_one_volume():
    film = np.stack([STACK, STACK // 2], axis=-1)
    nibabel.save(nibabel.Nifti1Image(film, np.eye(4)), "film.nii")
    nibabel.save(nibabel.Nifti1Image((STACK > 300).astype(np.uint8), np.eye(4)), "labels.nii")
    target = load("film.nii:sagittal:2:1", alpha="labels.nii")
    assert (target.pixels[..., 3] > 0).sum() == (STACK[2] > 300).sum()


def test_coloured_labels_are_masks():
    """As in PASCAL VOC: the first label is a dark red in a palette."""
    labels = np.zeros((12, 12), np.uint8)
    labels[2:5, 3:9] = 1
    image = Image.fromarray(labels).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save("voc.png")
    Image.fromarray(labels * 60).save("grey.png")
    np.save("shares.npy", labels * np.float32(0.2))
    for name in ("voc.png", "grey.png"):
        assert (load("phantom", alpha=name).pixels[2:5, 4:8, 3] == 255).all()
        assert not load("phantom", alpha=name).pixels[6:, :, 3].any()
    with pytest.raises(NcatoolError, match="transparent everywhere"):
        load("phantom", alpha="shares.npy")


def test_what_a_file_has_none_of_is_refused():
    np.save("scan.npy", STACK)
    Image.new("L", (12, 12), 9).save("one.png")
    for text, what in (
        ("scan.npy:axial:1:2", "no volume '2'"),
        ("one.png:0:1", "no volume"),
        ("one.png:a", "no array 'a'"),
    ):
        with pytest.raises(UsageError, match=what):
            load(text)


def test_huge_arrays_and_animations_take_no_memory():
    """A sparse file of 3.6 thousand million values, and a GIF that says that it is as large."""
    head = np.lib.format.header_data_from_array_1_0(np.empty((0, 0), np.uint8)) | {"shape": (60_000, 60_000)}
    with Path("huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 3_600_000_000)
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 99)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    content = bytearray(Path("film.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    Path("film.gif").write_bytes(content)
    for name in ("huge.npy", "film.gif"):
        with pytest.raises(NcatoolError, match="60000 × 60000 pixels"):
            load(name)


def test_links_in_a_series_are_not_followed_around():
    Path("series").mkdir()
    shutil.copy(get_testdata_file("CT_small.dcm"), "series/a.dcm")
    for name in ("one", "two"):
        Path(f"series/{name}").symlink_to(".")
    assert load("series").pixels.shape[:2] == (12, 12)


def test_a_folder_is_named_by_its_own_name(monkeypatch):
    Path("case").mkdir()
    shutil.copy(get_testdata_file("CT_small.dcm"), "case/a.dcm")
    monkeypatch.chdir("case")
    assert load(".").origin["source"] == "case"


def test_a_bad_tag_of_exif_does_not_hide_the_orientation():
    """The tag 0x829A is said to be a fraction, but its value lies outside the file."""
    entries = [struct.pack("<HHII", 0x0112, 3, 1, 6), struct.pack("<HHII", 0x829A, 5, 1, 0xFFFFFF)]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + b"".join(entries) + bytes(4)
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    image.save("turned.jpg", exif=exif, quality=95)
    pixels = load("turned.jpg", size=40).pixels
    assert pixels.shape[:2] == (40, 20)
    assert pixels[5, 10, 0] > 200
    assert pixels[35, 10, 2] > 200


def test_a_gigapixel_is_refused_and_a_large_jpeg_reduced():
    Image.new("L", (64, 64), 9).save("small.png")
    content = bytearray(Path("small.png").read_bytes())
    content[16:24] = struct.pack(">II", 40_000, 40_000)
    import zlib

    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    Path("giga.png").write_bytes(content)
    with pytest.raises(NcatoolError, match="40000 × 40000 pixels"):
        load("giga.png")
    large = Image.new("L", (9000, 8000), 50)
    large.paste(200, (0, 0, 4500, 8000))
    large.save("large.jpg")
    pixels = load("large.jpg", size=18).pixels
    assert pixels.shape[:2] == (16, 18)
    assert abs(int(pixels[8, 2, 0]) - 200) <= 2
    assert abs(int(pixels[8, 15, 0]) - 50) <= 2


def test_kinds_are_recognised_by_content():
    np.save("a.npy", STACK)
    tifffile.imwrite("b.tif", STACK)
    nibabel.save(nibabel.Nifti1Image(STACK, np.eye(4)), "c.nii.gz")
    nibabel.save(nibabel.Nifti2Image(STACK, np.eye(4)), "d.nii")
    shutil.copy(get_testdata_file("CT_small.dcm"), "e.dcm")
    shutil.copy(get_testdata_file("rtdose_expb_1frame.dcm"), "f.dcm")
    bare = pydicom.dcmread("e.dcm")
    bare.preamble = None
    pydicom.dcmwrite("g.dcm", bare, implicit_vr=False, little_endian=True, enforce_file_format=False)
    kinds = {"a.npy": FileKind.NPY, "b.tif": FileKind.TIFF, "c.nii.gz": FileKind.NIFTI, "d.nii": FileKind.NIFTI}
    kinds |= {"e.dcm": FileKind.DICOM, "f.dcm": FileKind.DICOM, "g.dcm": FileKind.DICOM}
    for name, kind in kinds.items():
        Path(name).rename("picture")
        assert recognise(Path("picture")) is kind
        assert max(load("picture").pixels.shape) == 12
        Path("picture").rename(name)


@pytest.mark.parametrize("name", ["brain.nrrd", "head.mha", "t1.mgz"])
def test_volumes_of_other_tools_are_named(name):
    Path(name).write_bytes(b"any")
    with pytest.raises(NcatoolError, match="a kind of volume that is not read") as caught:
        load(name)
    assert "NIfTI" in caught.value.hint


def test_dicom_without_its_first_part():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for explicit in (False, True):
        del dataset.file_meta
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.preamble = None
        pydicom.dcmwrite("bare", dataset, implicit_vr=not explicit, little_endian=True, enforce_file_format=False)
        content = Path("bare").read_bytes()
        assert content[128:132] != b"DICM"
        assert (load("bare").pixels == load(get_testdata_file("CT_small.dcm")).pixels).all()


def test_a_file_without_pixels():
    for name in ("rtplan.dcm", "test-SR.dcm"):
        with pytest.raises(NcatoolError, match="holds no DICOM picture"):
            load(get_testdata_file(name))
    Path("empty").mkdir()
    with pytest.raises(UsageError, match="folder without files"):
        load("empty")
    Path("empty/a.txt").write_text("a")
    with pytest.raises(NcatoolError, match="holds no DICOM picture"):
        load("empty")
    with zipfile.ZipFile("a.zip", "w") as packed:
        packed.writestr("a.txt", "a")
    with pytest.raises(NcatoolError, match="holds no DICOM picture"):
        load("a.zip")


@pytest.mark.parametrize(
    ("name", "package", "hint"),
    [
        ("scan.nii", "nibabel", "pip install 'ncatool[medical]'"),
        ("slice.dcm", "pydicom", "pip install 'ncatool[medical]'"),
        ("film.mp4", "av", "pip install 'ncatool[video]'"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, name, package, hint):
    nibabel.save(nibabel.Nifti1Image(STACK, np.eye(4)), "scan.nii")
    shutil.copy(get_testdata_file("CT_small.dcm"), "slice.dcm")
    save_film(Path("film.mp4"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NcatoolError, match=f"the package {package}, which is not installed") as caught:
        load(name)
    assert caught.value.hint == hint


def test_whatever_a_reader_raises_is_one_line(monkeypatch):
    from ncatool.data.readers import registry

    def fail(path, part):
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setitem(registry.READERS, FileKind.NPY, fail)
    np.save("a.npy", STACK)
    with pytest.raises(NcatoolError) as caught:
        load("a.npy")
    assert caught.value.what == "a.npy cannot be read: one two"
    assert caught.value.code == ExitCode.FAILED


def test_decoders_that_write_to_stderr_are_not_heard(capfd):
    with pytest.raises(NcatoolError, match="no installed decoder"):
        load(get_testdata_file("JPEG2000-embedded-sequence-delimiter.dcm"))
    assert capfd.readouterr() == ("", "")


def test_a_run_says_what_it_reads_and_its_record_repeats_it():
    """The record names files without their folders; in the folder of the files, it trains the same model."""
    Path("data").mkdir()
    nibabel.save(nibabel.Nifti1Image(STACK, np.eye(4)), "data/scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image((STACK > 200).astype(np.uint8), np.eye(4)), "data/labels.nii.gz")
    done = ncatool("train", "data/scan.nii.gz:sagittal", "--alpha", "data/labels.nii.gz", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "scan.nii.gz:sagittal:2: sagittal slice 2 of 5, window" in done.stderr
    record = tomllib.loads(Path("scan-sagittal.toml").read_text())["target"]
    assert record["source"] == "scan.nii.gz:sagittal:2"
    assert record["alpha"] == "labels.nii.gz"
    for name in ("scan-sagittal.toml", "scan-sagittal.safetensors", "scan-sagittal.checkpoint", "scan-sagittal.csv"):
        assert b"data/" not in Path(name).read_bytes()
    done = ncatool("train", "--config", "../scan-sagittal.toml", "--out", "../again.safetensors", cwd="data")
    assert done.returncode == 0, done.stderr
    assert Path("again.safetensors").read_bytes() == Path("scan-sagittal.safetensors").read_bytes()


def test_nothing_of_a_patient_is_copied():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientName, dataset.InstitutionName, dataset.StudyDescription = "Xylander^Jane", "Mercywood", "Secretstudy"
    dataset.PatientID = "ID4711"
    Path("case").mkdir()
    dataset.save_as("case/slice.dcm")
    assert run_in_process("train", "case/slice.dcm", *SMALL).returncode == 0
    assert run_in_process("export", "slice.safetensors", "slice.html").returncode == 0
    for path in (path for path in Path.cwd().glob("slice*") if path.is_file()):
        content = path.read_bytes()
        assert not any(
            word in content for word in (b"Xylander", b"Mercywood", b"Secretstudy", b"ID4711", b"case/slice")
        )


def test_pictures_in_memory_may_be_deep():
    target = convert_picture(STACK[1], TargetConfig(source="array", size=12))
    assert target.origin["window"] == f"{STACK[1].min()}:{STACK[1].max()}"
    assert target.pixels[..., 0].max() == 255
