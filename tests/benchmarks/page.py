"""Steps a second of an exported page, by both of its engines, in a real browser.

Run: python -m tests.benchmarks.page
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from ncatool.formats import page as pages
from tests.formats.page_helpers import random_model

SIZES = {"72x72 cells, 40x40 of them alive": (40, 16), "224x224 cells, all alive": (224, 0)}
"""Side and padding of the pictures."""
SPEED = """([given, backend]) => {
  const model = new ncatool.Model(given);
  const grown = model.empty();
  for (let cell = 0; cell < model.cells; cell++) {
    const [y, x] = [Math.floor(cell / model.width), cell % model.width];
    const inside = Math.min(y, x, model.height - 1 - y, model.width - 1 - x) >= model.padding;
    if (inside) grown.fill(0.5, cell * model.lanes, cell * model.lanes + model.channels);
  }
  const engine = new ncatool.ENGINES[backend](model);
  const times = Array.from({ length: 8 }, () => ncatool.secondsAStep(engine, grown, ncatool.masks(model, 77)));
  return 1 / Math.min(...times);
}"""


def main():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (side, padding) in SIZES.items():
            model = random_model(height=side, width=side, padding=padding, channels=16, hidden=128, scale=0.001)
            path = Path(folder) / f"{side}.html"
            pages.write(model, {}, "speed", path)
            page = browser.new_page()
            page.goto(path.as_uri())
            page.click("#pause")
            for engine in ("plain", "webgl"):
                rate = page.evaluate(SPEED, [pages.make_page_data(model, "speed"), engine])
                print(f"{engine}: {rate:.3g} steps a second on {name}")
        browser.close()


if __name__ == "__main__":
    main()
