"""Files of every kind beside the pixels that they should give, each computed by another way than the readers take.

Pixels may differ by one level. Files are made here, or come with pydicom's and nibabel's own packages.
"""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from ncatool.config.schema import TargetConfig
from ncatool.data.targets import load_target

RNG = np.random.default_rng(20)
SIDE = 24


def read(text, **settings):
    """The pixels of a file at its own size."""
    size = settings.pop("size", SIDE)
    return load_target(TargetConfig(source=str(text), size=size, **settings)).pixels


def check(pixels, expected):
    """Compare with greys or colours, opaque unless a fourth channel says otherwise."""
    expected = np.asarray(expected)
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=-1)
    if expected.shape[-1] == 3:
        expected = np.dstack([expected, np.full(expected.shape[:2], 255)])
    assert pixels.shape == expected.shape
    shown = expected[..., 3] > 0
    assert (pixels[..., 3] == expected[..., 3]).all()
    assert np.abs(pixels[shown].astype(float) - expected[shown]).max() <= 1


def stretch(values, low=None, high=None):
    values = np.asarray(values, float)
    low, high = (np.nanmin(values) if low is None else low), (np.nanmax(values) if high is None else high)
    return 255 * np.clip((values - low) / (high - low), 0, 1)


def ramp(low, high, kind):
    return np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind)


RAMPS = {
    "floats from 0 to 1": ramp(0, 1, np.float32),
    "int32 from -1000 to 3000": ramp(-1000, 3000, np.int32),
    "12 bits in 16": ramp(0, 4095, np.uint16),
    "floats from 0 to 255.5": ramp(0, 255.5, np.float32),
    "int16": ramp(-30000, 32000, np.int16),
    "uint32": ramp(5, 4e9, np.uint32),
    "float64": ramp(-1e-9, 1e-9, np.float64),
}


@pytest.mark.parametrize("name", RAMPS)
@pytest.mark.parametrize("ending", ["tif", "npy", "nii"])
def test_a_ramp_goes_from_black_to_white(tmp_path, name, ending):
    values, path = RAMPS[name], tmp_path / f"ramp.{ending}"
    if ending == "tif":
        tifffile.imwrite(path, values)
    elif ending == "npy":
        np.save(path, values)
    else:  # axial slices are shown with the last row and column first
        nibabel.save(nibabel.Nifti1Image(values[::-1, ::-1].T[..., None], np.eye(4)), path)
    pixels = read(path)
    check(pixels, stretch(values))
    assert len(np.unique(pixels[..., 0])) >= 250


def save_tiff(values, **options):
    return lambda path: tifffile.imwrite(path, values, **options)


DEEP = RNG.integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
FLOATS = RNG.normal(size=(SIDE, SIDE)).astype(np.float32)
GREYS = RNG.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
TABLE = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)

TIFFS = {
    "12 bits": (
        lambda path: path.write_bytes(pack_12_bits(DEEP)), stretch(DEEP),
    ),
    "16 bits": (save_tiff(DEEP), stretch(DEEP)),
    "32 bits": (save_tiff(DEEP.astype(np.uint32) * 70000), stretch(DEEP)),
    "floats": (save_tiff(FLOATS), stretch(FLOATS)),
    "signed": (save_tiff(DEEP.astype(np.int16) - 2000), stretch(DEEP)),
    "signed bytes": (save_tiff((GREYS.astype(int) - 128).astype(np.int8)), stretch(GREYS)),
    "white is zero": (save_tiff(DEEP, photometric="miniswhite"), 255 - stretch(DEEP)),
    "white is zero, 8 bits": (save_tiff(GREYS, photometric="miniswhite"), 255 - GREYS),
    "8 bits as they are": (save_tiff(GREYS // 2 + 3), GREYS // 2 + 3),
    "pages": (save_tiff(np.stack([DEEP * 0, DEEP, DEEP // 2]), photometric="minisblack"), stretch(DEEP)),
    "tiles": (save_tiff(DEEP, tile=(16, 16)), stretch(DEEP)),
    "predictor": (save_tiff(DEEP, compression="zlib", predictor=2), stretch(DEEP)),
    "big endian": (save_tiff(DEEP, byteorder=">"), stretch(DEEP)),
    "BigTIFF": (save_tiff(DEEP, bigtiff=True), stretch(DEEP)),
    "colours": (save_tiff(COLOURS, photometric="rgb"), COLOURS),
    "deep colours": (save_tiff(COLOURS.astype(np.uint16) * 257, photometric="rgb"), COLOURS),
    "colours in planes": (
        save_tiff(np.moveaxis(COLOURS, -1, 0).astype(np.uint16) * 257, photometric="rgb", planarconfig="separate"),
        COLOURS,
    ),
    "palette": (
        save_tiff(GREYS, photometric="palette", colormap=TABLE), np.moveaxis(TABLE, 0, -1)[GREYS] / 65535 * 255,
    ),
    "LZW": (lambda path: Image.fromarray(DEEP).save(path, compression="tiff_lzw"), stretch(DEEP)),
    "LZW floats": (lambda path: Image.fromarray(FLOATS).save(path, compression="tiff_lzw"), stretch(FLOATS)),
    "upside down": (
        lambda path: tifffile.imwrite(path, DEEP, extratags=[(274, 3, 1, 3, True)]), stretch(DEEP)[::-1, ::-1],
    ),
}  # fmt: skip


def pack_12_bits(values):
    """A TIFF of 12 bits a sample, which tifffile does not write."""
    rows = [((row[0::2].astype(int) << 12) | row[1::2]).tolist() for row in values]
    data = b"".join(pair.to_bytes(3, "big") for row in rows for pair in row)
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data))]
    entries = b"".join(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags)
    offset = 8 + len(data)
    return b"II*\0" + offset.to_bytes(4, "little") + data + len(tags).to_bytes(2, "little") + entries + bytes(4)


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(tmp_path, name):
    save, expected = TIFFS[name]
    save(tmp_path / "picture.tif")
    check(read(tmp_path / "picture.tif"), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_grey_png_of_every_depth(tmp_path, depth, transparent):
    """Written byte by byte: Pillow writes neither 2 bits nor a transparent grey of 16."""
    values = RNG.integers(0, 2**depth, (SIDE, SIDE))
    values[0, 0], values[0, 1], values[1, 1] = 0, 2**depth - 1, min(2, 2**depth - 2)
    key = int(values[1, 1])
    path = tmp_path / "grey.png"
    path.write_bytes(make_png(values, depth, key if transparent else None))
    shown = values != key if transparent else np.ones_like(values, bool)
    low, high = (values[shown].min(), values[shown].max()) if depth == 16 else (0, 2**depth - 1)
    grey = stretch(values, low, high)
    check(read(path), np.stack([grey, grey, grey, 255 * shown], axis=-1))


def make_png(values, depth, key):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape
    bits = ((values[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(height, -1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    trns = b"" if key is None else chunk(b"tRNS", struct.pack(">H", key))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + trns + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_what_is_not_a_number_is_transparent(tmp_path):
    values = FLOATS.copy()
    values[:3], values[3, :5], values[4, 4] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "holes.tif", values)
    finite = np.isfinite(values)
    grey = stretch(np.where(finite, values, np.nan))
    check(read(tmp_path / "holes.tif"), np.stack([grey, grey, grey, 255 * finite], axis=-1))


def linear(values, centre, width):
    """DICOM PS3.3 C.11.2.1.2.1, to 0..255."""
    shown = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.where(
        values <= centre - 0.5 - (width - 1) / 2, 0, np.where(values > centre - 0.5 + (width - 1) / 2, 255, shown)
    )


def make_dicom(path, values, **tags):
    """A file of these stored values, from one of pydicom's own."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = np.asarray(values)
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    dataset.BitsStored = tags.pop("BitsStored", dataset.BitsAllocated)
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    dataset.PixelSpacing = [1, 1]
    for name in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue"):
        if name in dataset:
            del dataset[name]
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


STORED = RNG.integers(0, 3000, (SIDE, SIDE)).astype(np.int16)

DICOMS = {
    "CT with rescale and window": (
        {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400},
        linear(STORED * 2.0 - 1024, 40, 400),
    ),
    "the first of two windows": (
        {"WindowCenter": [600, 50], "WindowWidth": [1600, 350]}, linear(STORED.astype(float), 600, 1600),
    ),
    "exact window": (
        {"WindowCenter": 1000, "WindowWidth": 500, "VOILUTFunction": "LINEAR_EXACT"},
        stretch(STORED, 750, 1250),
    ),
    "sigmoid": (
        {"WindowCenter": 1000, "WindowWidth": 500, "VOILUTFunction": "SIGMOID"},
        255 / (1 + np.exp(-4 * (STORED - 1000.0) / 500)),
    ),
    "MR without a window": ({"Modality": "MR"}, stretch(STORED)),
    "MONOCHROME1": ({"PhotometricInterpretation": "MONOCHROME1"}, 255 - stretch(STORED)),
    "MONOCHROME1 with a window": (
        {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1000, "WindowWidth": 901},
        255 - linear(STORED.astype(float), 1000, 901),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DICOMS)
def test_dicom(tmp_path, name):
    tags, expected = DICOMS[name]
    make_dicom(tmp_path / "slice.dcm", STORED, **tags)
    check(read(tmp_path / "slice.dcm"), expected)


def test_dicom_with_a_look_up_table(tmp_path):
    table = pydicom.Dataset()
    entries = RNG.integers(0, 1024, 3000).astype(np.uint16)
    table.LUTDescriptor, table.LUTData = [3000, 0, 10], entries.tobytes()
    table["LUTData"].VR = "OW"
    make_dicom(tmp_path / "slice.dcm", STORED.astype(np.uint16), VOILUTSequence=[table])
    check(read(tmp_path / "slice.dcm"), entries[STORED] / 1023 * 255)
    check(read(tmp_path / "slice.dcm", window="500:1500"), stretch(STORED, 500, 1500))


def test_8_bits_of_dicom_stay_as_they_are(tmp_path):
    make_dicom(tmp_path / "slice.dcm", GREYS // 2, Modality="US", RescaleSlope=1, RescaleIntercept=0)
    check(read(tmp_path / "slice.dcm"), GREYS // 2)
    make_dicom(tmp_path / "slice.dcm", (GREYS // 3).astype(np.uint16), Modality="US", BitsStored=8)
    check(read(tmp_path / "slice.dcm"), GREYS // 3)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "examples_rgb_color.dcm", "SC_rgb_small_odd_big_endian.dcm"])
def test_dicom_in_colour(name):
    path = get_testdata_file(name)
    expected = pydicom.dcmread(path).pixel_array
    check(read(path, size=max(expected.shape)), expected)


def test_dicom_in_luminance_and_chrominance():
    """DICOM PS3.3 C.7.6.3.1.2, from the stored bytes: two luminances, then what the pair shares."""
    dataset = pydicom.dcmread(get_testdata_file("SC_ybr_full_422_uncompressed.dcm"))
    pairs = np.frombuffer(dataset.PixelData, np.uint8).reshape(dataset.Rows, -1, 4).astype(float)
    luminance, (blue, red) = pairs[..., :2], (pairs[..., i : i + 1] - 128 for i in (2, 3))
    colours = [luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue]
    expected = np.clip(np.stack(colours, axis=-1).reshape(dataset.Rows, -1, 3), 0, 255)
    check(read(dataset.filename, size=max(expected.shape)), expected)


def test_palette_colour():
    dataset = pydicom.dcmread(get_testdata_file("examples_palette.dcm"))
    tables = [dataset[f"{name}PaletteColorLookupTableData"].value for name in ("Red", "Green", "Blue")]
    tables = np.stack([np.frombuffer(table, np.uint16) for table in tables], axis=-1)
    expected = tables[dataset.pixel_array] / 65535 * 255
    check(read(dataset.filename, size=max(expected.shape)), expected)


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm",
             "MR_small_jp2klossless.dcm", "MR_small_implicit.dcm"]
)  # fmt: skip
def test_every_transfer_syntax_gives_the_same(name):
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    expected = linear(plain.pixel_array.astype(float), plain.WindowCenter, plain.WindowWidth)
    check(read(get_testdata_file(name), size=64), expected)


def test_lossy_jpeg(tmp_path):
    """Decoded by Pillow from the bytes of the frame."""
    import io

    from pydicom.encaps import generate_frames

    dataset = pydicom.dcmread(get_testdata_file("SC_rgb_small_odd_jpeg.dcm"))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    image = Image.open(io.BytesIO(frame))
    check(read(dataset.filename, size=max(image.size)), np.asarray(image.convert("RGB")))


def test_frames_of_dicom():
    path = get_testdata_file("SC_rgb_rle_2frame.dcm")
    frames = pydicom.dcmread(path).pixel_array
    for text, expected in (("", frames[1]), (":0", frames[0]), (":1", frames[1])):
        check(read(f"{path}{text}", size=100), expected)


BODY = RNG.integers(0, 1000, (SIDE, SIDE - 4, 7)).astype(np.int16)
"""Along right, front and up."""
EXPECTED = {
    "axial:2": BODY[::-1, ::-1, 2].T,
    "coronal:5": BODY[::-1, 5, ::-1].T,
    "sagittal:3": BODY[3, ::-1, ::-1].T,
}
"""Slices as radiologists see them: right on the left, front on top or on the left, head on top."""


def lay(volume, codes):
    """The volume with its axes in the order and direction of codes such as LAS, and the affine that says so."""
    to = nibabel.orientations.axcodes2ornt(tuple(codes))
    image = nibabel.Nifti1Image(volume, np.eye(4))
    change = nibabel.orientations.ornt_transform(nibabel.io_orientation(np.eye(4)), to)
    return image.as_reoriented(change)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "LPI", "PIR", "ASL", "SAR"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ""])
def test_nifti_in_every_orientation(tmp_path, codes, ending):
    path = tmp_path / f"scan{ending}"
    path.write_bytes(lay(BODY, codes).to_bytes())
    if ending == ".nii.gz":
        nibabel.save(lay(BODY, codes), path)
    for part, expected in EXPECTED.items():
        check(read(f"{path}:{part}", size=max(expected.shape)), stretch(expected))


def test_nifti_that_is_oblique_and_big_endian_and_scaled(tmp_path):
    angle = np.deg2rad(20)
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag([-1, 1, 1])
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(BODY[::-1].astype(np.float32) * 0.5 - 100, affine, header)
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "scan.nii")
    assert nibabel.load(tmp_path / "scan.nii").header.endianness == ">"
    check(read(f"{tmp_path}/scan.nii:axial:2"), stretch(EXPECTED["axial:2"]))


def test_nifti_window_of_its_own(tmp_path):
    image = nibabel.Nifti1Image(BODY, np.eye(4))
    image.header["cal_min"], image.header["cal_max"] = 200, 700
    nibabel.save(image, tmp_path / "scan.nii")
    check(read(f"{tmp_path}/scan.nii:axial:2"), stretch(EXPECTED["axial:2"], 200, 700))
    check(read(f"{tmp_path}/scan.nii:axial:2", window="full"), stretch(EXPECTED["axial:2"]))


def test_anisotropic_spacing_gives_square_pixels(tmp_path):
    """Pixels 3 mm high and 1 mm wide: a slice of 7 rows becomes 21 rows of the same width."""
    image = nibabel.Nifti1Image(BODY, np.diag([1, 1, 3, 1]))
    nibabel.save(image, tmp_path / "scan.nii")
    assert read(f"{tmp_path}/scan.nii:coronal", size=SIDE).shape[:2] == (21, SIDE)
    make_dicom(tmp_path / "slice.dcm", STORED[:, :12], PixelSpacing=[1, 2])
    assert read(tmp_path / "slice.dcm").shape[:2] == (SIDE, SIDE)
    make_dicom(tmp_path / "slice.dcm", STORED[:, :12], PixelSpacing=[2, 1])
    assert read(tmp_path / "slice.dcm").shape[:2] == (SIDE, SIDE // 4)


SERIES = {
    "axial": ([1, 0, 0, 0, 1, 0], lambda place: [0, 0, place], BODY[::-1, ::-1].transpose(2, 1, 0)),
    "coronal": ([1, 0, 0, 0, 0, -1], lambda place: [0, -place, 0], BODY[::-1, :, ::-1].transpose(1, 2, 0)),
    "sagittal": ([0, 1, 0, 0, 0, -1], lambda place: [-place, 0, 0], BODY[:, ::-1, ::-1].transpose(0, 2, 1)),
}
"""Orientation, position by place along the body's axis, and the slices in that order, as [slices, rows, columns]."""


def write_series(folder, plane, names=None):
    """A series whose file names say nothing of its order, with a localizer, a copy of a slice and other files."""
    orientation, place, slices = SERIES[plane]
    folder.mkdir()
    order = RNG.permutation(len(slices))
    for number, index in enumerate(order):
        make_dicom(
            folder / f"{number:03d}.dcm", slices[index].copy(), ImageOrientationPatient=orientation,
            ImagePositionPatient=place(2.0 * index), SeriesInstanceUID="1.2.3", SliceThickness=2,
        )  # fmt: skip
    make_dicom(folder / "00copy", slices[3].copy(), ImageOrientationPatient=orientation,
               ImagePositionPatient=place(6.0), SeriesInstanceUID="1.2.3")  # fmt: skip
    make_dicom(
        folder / "0first.dcm",
        STORED,
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ImagePositionPatient=[5, 0, 0],
        SeriesInstanceUID="1.2.3",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    make_dicom(folder / "other.dcm", slices[0].copy(), ImageOrientationPatient=orientation,
               ImagePositionPatient=place(0.0), SeriesInstanceUID="9.9.9")  # fmt: skip
    (folder / "README.txt").write_text("no picture")
    (folder / "empty.dcm").touch()


@pytest.mark.parametrize("plane", SERIES)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_series_out_of_order(tmp_path, plane, form):
    """Its own plane is the default; across the others, slices are 2 mm apart and pixels 1 mm wide."""
    import shutil

    write_series(tmp_path / "series", plane)
    path = tmp_path / "series"
    if form == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", path))
    count = len(SERIES[plane][2])
    for index in (0, count // 2, count - 1):
        cut = SERIES[plane][2][index]
        check(read(f"{path}:{index}", size=max(cut.shape)), stretch(cut))
    check(read(path, size=max(cut.shape)), stretch(SERIES[plane][2][count // 2]))
    for part, expected in EXPECTED.items():
        if part.startswith(plane):
            check(read(f"{path}:{part}", size=max(expected.shape)), stretch(expected))


def test_a_series_is_cut_across(tmp_path):
    write_series(tmp_path / "series", "axial")
    pixels = read(f"{tmp_path}/series:coronal:5", size=SIDE)
    assert pixels.shape[:2] == (14, SIDE)  # 7 slices, 2 mm apart
    wide = np.asarray(
        Image.fromarray(np.round(stretch(EXPECTED["coronal:5"])).astype(np.uint8)).resize((SIDE, 14), 1), float
    )
    assert np.abs(pixels[..., 0] - wide).max() <= 1


def write_enhanced(path, places, values, orientation=(1, 0, 0, 0, 1, 0)):
    """A file of several frames, each with its place, its slope and its window in functional groups."""
    from pydicom.sequence import Sequence

    def nest(name, **tags):
        inner, outer = pydicom.Dataset(), pydicom.Dataset()
        for key, value in tags.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
        return outer

    own = []
    for number, place in enumerate(places):
        group = nest("PlanePositionSequence", ImagePositionPatient=[0, 0, place])
        group.update(nest("PixelValueTransformationSequence", RescaleSlope=number + 1, RescaleIntercept=-number))
        group.update(nest("FrameVOILUTSequence", WindowCenter=500 * (number + 1), WindowWidth=801))
        own.append(group)
    shared = nest("PlaneOrientationSequence", ImageOrientationPatient=list(orientation))
    shared.update(nest("PixelMeasuresSequence", PixelSpacing=[1, 1]))
    make_dicom(
        path, values, NumberOfFrames=len(places), SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(own),
    )  # fmt: skip
    dataset = pydicom.dcmread(path)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if name in dataset:
            del dataset[name]
    dataset.save_as(path)


def test_frames_with_functional_groups(tmp_path):
    """Frames are sorted by their places, and each has its own slope and window."""
    slices = RNG.integers(0, 1000, (4, SIDE, SIDE)).astype(np.int16)
    write_enhanced(tmp_path / "enhanced.dcm", [9, 3, 6, 0], slices)
    for index, number in enumerate([3, 1, 2, 0]):
        values = slices[number] * (number + 1.0) - number
        check(read(f"{tmp_path}/enhanced.dcm:{index}"), linear(values, 500 * (number + 1), 801))
    assert read(f"{tmp_path}/enhanced.dcm:coronal").shape[:2] == (12, SIDE)


def test_several_images_of_one_place_are_volumes(tmp_path):
    (tmp_path / "echo").mkdir()
    for volume in (0, 1):
        for place in range(5):
            make_dicom(
                tmp_path / f"echo/{place}{volume}", (BODY[..., place].T + 700 * volume).astype(np.int16),
                ImageOrientationPatient=[-1, 0, 0, 0, -1, 0], ImagePositionPatient=[0, 0, place],
                InstanceNumber=volume * 5 + place, SeriesInstanceUID="1.2",
            )  # fmt: skip
    for volume in (0, 1):
        expected = BODY[::-1, ::-1, 2].T + 700 * volume
        check(read(f"{tmp_path}/echo:axial:2:{volume}", window="0:1700"), stretch(expected, 0, 1700))


def test_doses_lie_at_offsets():
    path = get_testdata_file("rtdose.dcm")
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array[3]
    pixels = read(f"{path}:axial:3", size=max(values.shape))
    check(pixels, stretch(values))


def test_pixels_that_stand_for_nothing_do_not_widen_the_window(tmp_path):
    values = STORED.copy()
    values[:4] = -2000
    make_dicom(tmp_path / "slice.dcm", values)
    dataset = pydicom.dcmread(tmp_path / "slice.dcm")
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.save_as(tmp_path / "slice.dcm")
    check(read(tmp_path / "slice.dcm"), stretch(values, STORED[4:].min(), STORED[4:].max()))


def test_volumes_over_time(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.stack([BODY, BODY // 2 + 7], axis=-1), np.eye(4)), tmp_path / "film.nii.gz")
    check(read(f"{tmp_path}/film.nii.gz:axial:2"), stretch(EXPECTED["axial:2"]))
    check(read(f"{tmp_path}/film.nii.gz:axial:2:1"), stretch(EXPECTED["axial:2"] // 2 + 7))
