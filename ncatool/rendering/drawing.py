"""Drawings: pictures and lines of text at positions in pixels, painted as an image or written as PNG, SVG or PDF."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from ncatool.data.matplotlib_defaults import FIGURE_METADATA, load_matplotlib, use_matplotlib_defaults
from ncatool.nca.picture import Background, Picture

TEXT_PIXELS = 14
"""Size of all text."""
LINE_HEIGHT = 20
"""Pixels of a line of text."""
SHEET_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
"""Format of a drawing by the ending of its file."""


@cache
def load_font() -> ImageFont.FreeTypeFont:
    """Return the font of all text: DejaVu Sans, which matplotlib brings and draws with, too."""
    path = Path(load_matplotlib().get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    # Pillow's other engine is not in every build of it, and fails for some texts.
    return ImageFont.truetype(path, TEXT_PIXELS, layout_engine=ImageFont.Layout.BASIC)


def measure_text(text: str) -> float:
    """Return the width of a line of text in pixels."""
    return load_font().getlength(text)


def shorten_text(text: str, width: float) -> str:
    """Return one line of text that fits into `width` pixels, ending in dots where it was cut."""
    text = "".join(character if character.isprintable() else " " for character in text[:200])
    if measure_text(text) <= width:
        return text
    while text and measure_text(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


class PlacedPicture(NamedTuple):
    """A picture, and x and y of its upper left corner."""

    x: int
    y: int
    picture: Picture


class PlacedText(NamedTuple):
    """A line of text, and x and y of its upper left corner."""

    x: int
    y: int
    text: str


class Drawing:
    """Pictures and lines of text on a background, which can be placed into another drawing."""

    def __init__(self, width: int, height: int, background: Background) -> None:
        self.width, self.height, self.background = width, height, background
        self.pictures: list[PlacedPicture] = []
        self.texts: list[PlacedText] = []

    def place(self, content: Picture | Drawing, x: int, y: int) -> None:
        """Add a picture, or all of another drawing, with its upper left corner at x and y."""
        if not isinstance(content, Drawing):
            self.pictures.append(PlacedPicture(x, y, content))
            return
        self.pictures += [PlacedPicture(x + one.x, y + one.y, one.picture) for one in content.pictures]
        self.texts += [PlacedText(x + one.x, y + one.y, one.text) for one in content.texts]

    def write(self, text: str, x: int, y: int) -> None:
        """Add a line of text with its upper left corner at x and y."""
        self.texts.append(PlacedText(x, y, text))

    def paint(self) -> Image.Image:
        """Return the drawing as an image: RGB, or RGBA where the background is transparent."""
        mode = "RGBA" if self.background.transparent else "RGB"
        image = Image.new(mode, (self.width, self.height), self.background.paper)
        for one in self.pictures:
            image.paste(Image.fromarray(one.picture), (one.x, one.y))
        draw = ImageDraw.Draw(image)
        for line in self.texts:
            draw.text((line.x, line.y), line.text, fill=self.background.ink, font=load_font())
        return image

    def save(self, file: BinaryIO | Path, image_format: str) -> None:
        """Write the drawing in a format of `SHEET_FORMATS`; the same drawing gives the same bytes."""
        if image_format == "png":
            self.paint().save(file, "PNG")
            return
        with use_matplotlib_defaults() as matplotlib:
            matplotlib.rcParams.update(
                {"svg.hashsalt": "ncatool", "svg.fonttype": "none", "pdf.fonttype": 42, "image.composite_image": False}
            )
            self._save_figure(file, image_format)

    def _save_figure(self, file: BinaryIO | Path, image_format: str) -> None:
        """Write the drawing by matplotlib: at 72 dots an inch, a pixel is a point."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72)
        for one in self.pictures:
            figure.figimage(one.picture, one.x, self.height - one.y - len(one.picture), origin="upper")
        red, green, blue = self.background.ink[:3]
        for line in self.texts:
            figure.text(
                line.x / self.width, 1 - (line.y + 2) / self.height, line.text, va="top", fontsize=TEXT_PIXELS,
                color=f"#{red:02x}{green:02x}{blue:02x}", parse_math=False,
            )  # fmt: skip
        red, green, blue = self.background.colour
        paper = "none" if self.background.transparent else f"#{red:02x}{green:02x}{blue:02x}"
        figure.savefig(file, format=image_format, dpi=72, facecolor=paper, metadata=FIGURE_METADATA[image_format])
