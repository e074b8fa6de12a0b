"""Targets: the phantom, image files of every mode, and what is refused."""

import contextlib
import hashlib
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from ncatool.config.schema import TargetConfig
from ncatool.data import targets
from ncatool.data.file_spec import FileSpec
from ncatool.data.phantom import draw_phantom
from ncatool.data.target import Target
from ncatool.errors import ExitCode, NcatoolError
from ncatool.rendering.damage_script import DamageEvent, make_mask


def read_image(path, size):
    return targets.load_target(TargetConfig(source=str(path), size=size)).pixels


def test_phantom_against_the_published_ellipses():
    """Grey values at points whose ellipses can be read off the table: skull, brain, ventricles, tumours."""
    pixels = draw_phantom(200)

    def grey(x, y):
        return pixels[round((1 - y) * 100 - 0.5), round((x + 1) * 100 - 0.5)].tolist()

    assert grey(0, 0.9) == [255, 255, 255, 255]  # skull
    assert grey(0, 0) == [51, 51, 51, 255]  # brain: 1 - 0.8
    assert grey(0.22, 0) == [0, 0, 0, 255]  # ventricle: 1 - 0.8 - 0.2
    assert grey(0, 0.35)[0] in (76, 77)  # upper ellipse: 1 - 0.8 + 0.1, of 255
    assert grey(0.9, 0.9) == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [1, 2, 28, 41])
def test_phantom_at_any_size(size):
    pixels = draw_phantom(size)
    assert pixels.shape == (size, size, 4)
    assert pixels[..., 3].any()


def test_phantom_covers_its_area():
    """The skull's ellipse covers pi * 0.69 * 0.92 of a square of area 4."""
    assert draw_phantom(64)[..., 3].mean() / 255 == pytest.approx(np.pi * 0.69 * 0.92 / 4, rel=2e-3)


def make_colour_image():
    y, x = np.mgrid[0:6, 0:8]
    rgba = np.stack([x * 30, y * 40, 255 - x * 20, np.where(x > 5, 0, 255)], -1).astype(np.uint8)
    return Image.fromarray(rgba, "RGBA")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode(tmp_path, mode):
    """Each mode gives what Pillow's own conversion shows; deep greys go from the lowest to the highest."""
    image = make_colour_image()
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(image.convert("L")).astype(np.uint16)
        share = (grey - grey.min()) / (grey.max() - grey.min())
        expected = Image.fromarray(np.round(255 * share).astype(np.uint8)).convert("RGBA")
        deep = Image.fromarray(grey * 257)
        image = (
            Image.fromarray(grey.astype(np.float32)) if mode == "F" else deep if mode == "I;16" else deep.convert("I")
        )
        path = tmp_path / "deep.tiff"
    else:
        image = image.convert(mode)
        expected = image.convert("RGBA")
        path = tmp_path / ("image.jpg" if mode in ("CMYK", "YCbCr") else "image.png")
    image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    if path.suffix == ".jpg":
        expected = Image.open(path).convert("RGBA")
    assert np.array_equal(read_image(path, 8), np.asarray(expected))


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "p.png", transparency=0)
    pixels = read_image(tmp_path / "p.png", 4)
    assert pixels[0, 0, 3] == 0
    assert pixels[1, 1].tolist() == [0, 255, 0, 255]


def test_orientation_and_aspect_ratio(tmp_path):
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half comes to the top
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = read_image(tmp_path / "turned.png", 20)
    assert pixels.shape == (20, 10, 4)
    assert pixels[2, 5].tolist() == [0, 0, 255, 255]
    assert pixels[17, 5].tolist() == [255, 0, 0, 255]
    assert ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")).size == (20, 40)


def test_colours_do_not_bleed_from_transparent_pixels(tmp_path):
    """Red under full transparency stays out of the green beside it when the picture shrinks."""
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 37, 64))
    image.save(tmp_path / "edge.png")
    pixels = read_image(tmp_path / "edge.png", 16)
    visible = pixels[pixels[..., 3] > 8]
    assert visible[:, 0].max() <= 2


def test_premultiplied_and_padded():
    pixels = np.array([[[255, 128, 0, 51], [10, 20, 30, 0]]], np.uint8)
    values = Target(pixels, padding=1).premultiply()
    assert values.shape == (3, 4, 4)
    assert values[1, 1].tolist() == pytest.approx([0.2, 128 / 255 * 0.2, 0, 0.2])
    assert values.sum() == pytest.approx(values[1, 1].sum())


def test_record_holds_the_digest_of_the_pixels():
    target = targets.load_target(TargetConfig(size=12, padding=3))
    record = target.describe()
    assert record["sha256"] == hashlib.sha256(draw_phantom(12).tobytes()).hexdigest()
    assert (record["source"], record["size"], record["padding"]) == ("phantom", 12, 3)
    assert target.shape == (18, 18)


def test_a_picture_of_the_right_size_is_read_pixel_for_pixel(tiles, tmp_path):
    pixels = np.dstack([tiles["bloodmnist"][0], tiles["chestmnist"][0]])
    Image.fromarray(pixels).save(tmp_path / "cell.png")
    assert np.array_equal(read_image(tmp_path / "cell.png", 28), pixels)


def write_empty(path):
    path.touch()


def write_text(path):
    path.write_text("not a picture")


def write_truncated(path):
    make_colour_image().resize((300, 300)).save(path)
    path.write_bytes(path.read_bytes()[:400])


def write_transparent(path):
    Image.new("RGBA", (5, 5), (1, 2, 3, 0)).save(path)


def write_bomb(path):
    """Write a small PNG that unpacks to 400 million pixels."""
    Image.new("1", (20_000, 20_000)).save(path)


def write_large(path):
    """Write a picture that Pillow accepts, but that is above our own limit."""
    Image.new("1", (9_000, 8_000)).save(path)


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (write_empty, "0 bytes"),
        (write_text, "not a picture"),
        (write_truncated, "cannot be read"),
        (write_transparent, "transparent everywhere"),
        (write_bomb, "20000 × 20000 pixels"),
        (write_large, "9000 × 8000 pixels"),
    ],
)
def test_bad_files(tmp_path, write, what):
    path = tmp_path / "bad.png"
    write(path)
    with pytest.raises(NcatoolError, match=what) as caught:
        read_image(path, 28)
    assert caught.value.code == ExitCode.FAILED
    assert "\n" not in caught.value.what


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(NcatoolError, match="no such target") as caught:
        targets.load_target(TargetConfig(source="nowhere.png"))
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(NcatoolError, match="folder without files"):
        read_image(tmp_path, 28)


def write_large(path):
    """100 million pixels, of which Pillow warns before this project refuses them."""
    Image.new("1", (10_000, 10_000)).save(path, "PNG")


def write_corrupt_exif(path):
    Image.new("RGB", (8, 8), "red").save(path, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30))


def write_not_a_number(path):
    values = np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8)
    values[0, 0], values[0, 1] = np.nan, np.inf
    Image.fromarray(values).save(path, "TIFF")


def write_palette(path):
    image = Image.new("P", (8, 8), 2)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(path, "PNG", transparency=bytes([0, 128, 255]))


@pytest.mark.parametrize("write", [write_large, write_corrupt_exif, write_not_a_number, write_palette])
def test_warnings_of_other_libraries_are_not_printed(tmp_path, write):
    """As a target, as a mask, and as an image that the library is given; a warning is an error here."""
    path = tmp_path / "picture"
    write(path)
    error = "has 10000 × 10000 pixels, but 64,000,000 are the most"
    refused = pytest.raises(NcatoolError, match=error) if write is write_large else contextlib.nullcontext()
    everything = slice(0, 8), slice(0, 8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with refused:
            assert read_image(path, 8).shape == (8, 8, 4)
        with refused:
            assert make_mask(DamageEvent(0, FileSpec(path)), everything, (8, 8), 8).shape == (8, 8)
    assert [str(warning.message) for warning in caught] == []
    if write is not write_large:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(path)
        with image, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            targets.convert_picture(image, TargetConfig(source="image", size=8))
        assert [str(warning.message) for warning in caught] == []
