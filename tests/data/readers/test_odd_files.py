"""Odd files: pipes and devices, turned and reduced pages, spacings, places and windows out of the ordinary."""

import os
import struct
from fractions import Fraction
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ncatool.config.schema import TargetConfig, parse_window
from ncatool.data.file_spec import locate_file
from ncatool.data.masks import read_mask
from ncatool.data.readers import dicom_series
from ncatool.data.readers.dicom_series import Frame, Source, choose_stack
from ncatool.data.readers.registry import read_raster
from ncatool.data.targets import load_target
from ncatool.errors import NcatoolError, UsageError

STACK = np.arange(5 * 12 * 12, dtype=np.int16).reshape(5, 12, 12) % 700


def load(text, **settings):
    return load_target(TargetConfig(source=str(text), **{"size": 12, **settings}))


def test_what_is_neither_file_nor_folder_is_refused():
    os.mkfifo("pipe.png")
    Path("device.dcm").symlink_to("/dev/zero")
    for name in ("pipe.png", "device.dcm"):
        with pytest.raises(NcatoolError, match="is neither a file nor a folder"):
            load(name)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pages_keep_pixels_and_aspect(kind, orientation):
    values = np.arange(6, dtype=kind).reshape(2, 3) * 40
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite("turned.tif", values, extratags=tags, resolution=(100, 200))
    raster = read_raster(locate_file("turned.tif"))
    shown = raster.values if raster.is_grey else raster.values[..., 0]
    expected = values.T if orientation >= 5 else values
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    assert np.array_equal(shown, expected[:: -1 if down else 1, :: -1 if across else 1])
    assert raster.spacing[0] / raster.spacing[1] == (2 if orientation >= 5 else 0.5)


def test_reduced_pages_are_passed_over():
    with tifffile.TiffWriter("pyramid.tif") as file:
        file.write(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16))
        for side in (32, 16):
            file.write(np.zeros((side, side), np.uint16), subfiletype=1)
    target = load("pyramid.tif", crop="40,40,20,20")
    assert (target.origin["page"], target.origin["window"]) == (0, "80:118")
    assert load("pyramid.tif:1", window="0:5").origin["page"] == 1


def test_spacing_without_sense_is_ignored():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for number, spacing in enumerate((["1e-200", "1e200"], ["inf", "inf"], ["1", "5000"])):
        dataset.PixelSpacing = spacing
        dataset.save_as(f"{number}.dcm")
        assert load(f"{number}.dcm").pixels.shape == (12, 12, 4)


def test_many_series_are_sorted_in_linear_time():
    frames = [Frame(Source(Path("x")), 0, Dataset(), None) for _ in range(3000)]
    for number, frame in enumerate(frames):
        frame.header.SeriesInstanceUID, frame.header.Rows, frame.header.Columns = f"1.{number}", 2, 2
    with mock.patch.object(dicom_series, "_describe_series", side_effect=dicom_series._describe_series) as described:
        assert len(choose_stack(frames).volumes[0]) == 1
    assert described.call_count <= 3 * len(frames)


def test_arrays_may_have_numbers_for_names():
    np.savez("two.npz", **{"0": STACK, "1": STACK[..., None].astype(np.uint8)})
    assert load("two.npz:0").origin["source"].startswith("two.npz:0:axial:")
    assert load("two.npz:0:coronal:3").origin["source"] == "two.npz:0:coronal:3"
    np.savez("none.npz", **{"None": STACK, "other": STACK})
    with pytest.raises(UsageError, match="several arrays"):
        load("none.npz")
    assert load("two.npz:1").origin["source"].startswith("two.npz:1:")


def test_inverted_and_infinite_masks(recwarn):
    inside = np.zeros((12, 12), np.uint16)
    inside[3:9] = 60000
    tifffile.imwrite("inverted.tif", 65535 - inside, photometric="miniswhite")
    floats = np.where(inside > 0, np.inf, np.nan)
    floats[3:9, 2:] = 1.0
    np.save("floats.npy", floats)
    assert np.array_equal(read_mask(locate_file("inverted.tif")), inside > 0)
    assert np.array_equal(read_mask(locate_file("floats.npy")), floats == 1)
    assert not recwarn.list


def test_a_picture_may_have_another_ending():
    Image.new("RGB", (8, 8), "red").save("red.png")
    Path("red.png").rename("red.dcm")
    assert load("red.dcm").pixels[0, 0].tolist() == [255, 0, 0, 255]


def test_videos_are_turned_and_widened():
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:12] = 255
    with av.open("turned.mp4", "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    assert load("turned.mp4", size=32).pixels.shape == (12, 32, 4)
    # The track's matrix says that the picture is to be turned by 90 degrees clockwise, as phones write it.
    content = Path("turned.mp4").read_bytes()
    start = content.index(b"tkhd") + 44
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    Path("turned.mp4").write_bytes(content[:start] + matrix + content[start + 36 :])
    pixels = load("turned.mp4", size=32).pixels
    assert pixels.shape == (32, 12, 4)
    assert pixels[:, -1, 0].min() > 200, "the top is now on the right"
    assert pixels[:, 0, 0].max() < 50


def change_ct(name, **tags):
    """Write pydicom's CT slice with other tags; return its header."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.save_as(name)
    return dataset


def test_narrow_and_distant_windows_repeat():
    """Of fractions, and of values so large that a small width is lost in rounding."""
    for centre, width, expected in ((0.3, 0.6, "0:0.6"), (1e12, 1, "999999999999.5:999999999999.5005")):
        change_ct("narrow.dcm", WindowCenter=centre, WindowWidth=width)
        used = load("narrow.dcm").origin["window"]
        assert np.allclose(parse_window(used)[:2], parse_window(expected)[:2], rtol=1e-15)
        assert np.array_equal(load("narrow.dcm", window=used).pixels, load("narrow.dcm").pixels)


def test_padding_reaches_to_a_limit_of_0():
    values = pydicom.dcmread(get_testdata_file("CT_small.dcm")).pixel_array
    values[0], values[1] = -2000, -5
    dataset = change_ct("limit.dcm", PixelData=values.tobytes(), RescaleIntercept=0)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.add_new("PixelPaddingRangeLimit", "SS", 0)
    dataset.save_as("limit.dcm")
    assert load("limit.dcm").origin["window"] == f"{values[2:].min()}:{values.max()}"


def test_padding_goes_through_the_modality_table():
    dataset = change_ct("table.dcm")
    values = dataset.pixel_array
    del dataset.RescaleSlope, dataset.RescaleIntercept
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [2192, 0, 16])
    table.add_new("LUTData", "US", [3 * value for value in range(2192)])
    dataset.ModalityLUTSequence = Sequence([table])
    dataset.add_new("PixelPaddingValue", "SS", int(values.min()))
    dataset.save_as("table.dcm")
    low = np.unique(values)[1]
    assert load("table.dcm").origin["window"] == f"{3 * low}:{3 * values.max()}"


def test_slices_of_micrometres_are_all_there():
    Path("micro").mkdir()
    for number in range(8):
        change_ct(
            f"micro/{number}.dcm", PixelSpacing=["0.004", "0.004"], SliceLocation=None, SOPInstanceUID=f"1.2.{number}",
            ImagePositionPatient=["0", "0", str(0.004 * number)],
        )  # fmt: skip
    assert load("micro").origin["slices"] == 8
