"""The README's pictures, made by the commands that it shows.

Run: python -m tests.pictures [FOLDER]   (by default docs/images; trains two models, which takes five minutes)
"""

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from ncatool.library import load
from ncatool.nca.picture import WHITE, compose, enlarge
from ncatool.rendering.demo import DEMO_MODEL
from ncatool.rendering.sheet import arrange_sheet
from tests.terminal import Terminal, draw_screen

ROOT = Path(__file__).parents[1]
GROWTH = (0, 10, 20, 30, 45, 60, 96)
HEALING = (0, 6, 12, 20, 30, 50, 150)
"""Steps after the damage."""
WOUNDED_AT = 150
SCALE = 5
"""Pixels a cell."""
WIDTH = 760
"""Pixels of a terminal's picture."""


def draw_growing(path):
    """The model of the demonstration: growth above, healing of its left half below."""
    model = load(DEMO_MODEL, "cpu")
    states = [model.grow(step) for step in GROWTH]
    states += [model.grow(WOUNDED_AT + step, damage=f"left@{WOUNDED_AT}") for step in HEALING]
    labels = [f"step {step}" for step in GROWTH] + [
        "left half erased",
        *(f"{step} steps later" for step in HEALING[1:]),
    ]
    pictures = [enlarge(compose(state[..., :4], WHITE), SCALE) for state in states]
    arrange_sheet(pictures, labels, len(GROWTH), WHITE).save(path)


def draw_demo(path, browser):
    with Terminal("demo", columns=80, lines=22) as terminal:
        terminal.read_until(lambda text: "erased" in text and "step 17" in text)
        save_terminal(terminal.screen, "ncatool demo", path, browser)


def draw_training(path, browser, arguments, reached):
    """Training on a terminal, when it has reached some iterations, and what it says at its end."""
    with Terminal(*arguments, "--preview", columns=80, lines=30) as terminal:
        terminal.read_until(reached, 900)
        save_terminal(terminal.screen, "ncatool train phantom --damage --preview", path, browser)
        assert terminal.read_all(900) == 0, terminal.text


def save_terminal(screen, title, path, browser):
    save_page(draw_screen(screen, title), path, browser, width=WIDTH, selector="svg")


def save_page(content, path, browser, width, height=700, selector=None, prepare=None):
    """A picture of a page, given as text or file; of one element of it with `selector`."""
    page = browser.new_page(viewport={"width": width, "height": height})
    if isinstance(content, Path):
        page.goto(content.as_uri())
    else:
        page.set_content(content)
    if prepare is not None:
        prepare(page)
    (page.locator(selector).first if selector else page).screenshot(path=path)
    page.close()
    shrink(path)


def shrink(path):
    """Keep 256 colours, which a terminal or page has few more than."""
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def run(*arguments):
    with Terminal(*arguments, columns=100) as terminal:
        assert terminal.read_all(900) == 0, terminal.text


@contextmanager
def open_browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def draw_all(folder, browser, reached=lambda text: " 1000/" in text.replace(",", "")):
    """Write all pictures; the current folder gets the models."""
    run(
        "train",
        "phantom",
        "--size",
        20,
        "--padding",
        4,
        "--filter",
        "scharr",
        "--loss",
        "l1",
        "--out",
        "small.safetensors",
    )
    draw_training(
        folder / "train.png", browser, ("train", "phantom", "--damage", "--out", "healing.safetensors"), reached
    )
    draw_growing(folder / "growing.png")
    draw_demo(folder / "demo.png", browser)
    run(
        "render",
        "healing.safetensors",
        folder / "healing.gif",
        "--damage",
        "left@120,circle@240",
        "--steps",
        360,
        "--force",
    )
    run("export", "healing.safetensors", "small.safetensors", "gallery.html", "--force")
    save_page(Path("gallery.html").absolute(), folder / "page.png", browser, 900, 640, prepare=let_it_grow)
    run("compare", "healing.safetensors", "small.safetensors", "--report", "report.html", "--force")
    save_page(Path("report.html").absolute(), folder / "report.png", browser, 1100, 760)


def let_it_grow(page):
    page.wait_for_timeout(3000)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "images").absolute()
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as place, open_browser() as browser:
        os.chdir(place)
        draw_all(folder, browser)
    for path in sorted(folder.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
