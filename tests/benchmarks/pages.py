"""The report, the page and the gallery in a real browser, as pictures: look at them.

Run: python -m tests.benchmarks.pages FOLDER [ITERATIONS]

Each is shown whole on a desktop, light and dark, and on a dark phone, as NAME-WIDTH-SCHEME.png; what can be scrolled
sideways is printed. A few small models are trained for it, beside the golden one.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "phantom.safetensors"
SHOWN = (
    ("light", {"width": 1280, "height": 900}),
    ("dark", {"width": 1280, "height": 900}),
    ("dark", {"width": 390, "height": 844}),
)
GROWTH = 6000
"""Milliseconds that a page grows for before it is shown."""
SCROLLED = """[...document.querySelectorAll("body, body *")]
  .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX === "auto")
  .map(one => `${one.className || one.tagName} ${one.scrollWidth} > ${one.clientWidth}`)"""


def run(folder, *words):
    command = [sys.executable, "-m", "ncatool", *map(str, words)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def prepare(folder, iterations):
    plan = ["--filter", "sobel,scharr,gaussian", "--damage", "both", "--iterations", iterations, "--no-compare"]
    run(folder, "sweep", "--target", "phantom", "--size", 20, "--device", "cpu", *plan, "--out", "models")
    shutil.copy(GOLDEN, folder / "models" / "golden.safetensors")
    run(folder, "compare", "models", "--rollouts", 4, "--device", "cpu", "--report", "report.html")
    run(folder, "export", GOLDEN, "page.html")
    run(folder, "export", "models", "gallery.html")


def plant(page):
    """Two seeds, half grown."""
    page.check("#plants")
    page.click("#clear")
    page.locator("h1").scroll_into_view_if_needed()
    box = page.locator("#cells").bounding_box()
    for x, y in ((0.25, 0.3), (0.7, 0.65)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.evaluate("for (let i = 0; i < 30; i++) ncatool.player.step(); ncatool.player.show();")


def choose_last(page):
    page.select_option("#choice", index=page.locator("#choice option").count() - 1)
    page.wait_for_timeout(GROWTH)


SCREENS = {
    "report": ("report.html", lambda page: None),
    "page": ("page.html", lambda page: page.wait_for_timeout(GROWTH)),
    "page-hidden": ("page.html", lambda page: (page.wait_for_timeout(GROWTH), page.select_option("#view", "hidden"))),
    "page-seeds": ("page.html", plant),
    "gallery": ("gallery.html", choose_last),
}


def capture(browser, folder, kept):
    for name, (file, act) in SCREENS.items():
        for scheme, viewport in SHOWN:
            page = browser.new_page(viewport=viewport, color_scheme=scheme)
            page.goto((folder / file).as_uri())
            act(page)
            title = f"{name}-{viewport['width']}-{scheme}"
            page.screenshot(path=kept / f"{title}.png", full_page=True)
            print(f"{title}: {page.evaluate(SCROLLED) or 'nothing is off-screen'}")
            page.close()


def main():
    kept = Path(sys.argv[1])
    kept.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        prepare(Path(name), int(sys.argv[2]) if len(sys.argv) > 2 else 500)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        capture(browser, Path(name), kept)
        browser.close()


if __name__ == "__main__":
    main()
