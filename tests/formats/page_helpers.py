"""Models for pages, and what tests do with a page in a browser."""

import base64
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ncatool.config.names import Boundary, Filter, SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.nca.model_file import ModelData, load_model
from ncatool.nca.rule import step
from ncatool.nca.seed import apply_codes, draw_codes, make_seed
from ncatool.nca.weights import draw_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "phantom.safetensors"
RECORD = {"train": {"regime": "regenerating", "loss": "l2"}, "target": {"source": "phantom", "licence": "CC0"}}
SLOW = 30.0
"""Seconds that a busy machine may take for what is watched."""


def random_model(height=11, width=11, padding=2, bias=False, scale=0.1, cells=SeedCells.ONE, **config):
    """A model that keeps many cells alive: what it grows does not matter."""
    settings = ModelConfig(**({"channels": 12, "hidden": 64} | config))
    generator = torch.Generator().manual_seed(5)
    weights = draw_weights(settings, generator)
    output = torch.randn(settings.channels, settings.hidden, generator=generator) * scale / settings.hidden**0.5
    output[3] = output[3].abs()  # the alpha
    weights = weights._replace(output_weight=output)
    if bias:
        weights = weights._replace(output_bias=torch.linspace(-0.01, 0.02, settings.channels))
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 4), np.uint8)
    seed = make_seed(settings.channels, cells) if cells is SeedCells.THREE else None
    return ModelData(weights, settings, Target(pixels, padding, {"source": "noise"}), own_seed=seed)


def several_pictures(count=3, seed_cells=SeedCells.ONE, names=("ring", "a long name", "square"), **config):
    """A model of several pictures; their seeds differ in their hidden channels."""
    model = random_model(cells=seed_cells, **config)
    draws, generator = np.random.default_rng(4), torch.Generator().manual_seed(6)
    shape = model.target.pixels.shape
    first, *others = (
        Target(draws.integers(0, 256, shape, np.uint8), model.target.padding, {"source": f"{name}.png"}, name)
        for name in names[:count]
    )
    codes = draw_codes(count, model.config.channels - 4, generator)
    target = dataclasses.replace(first, others=tuple(others))
    return dataclasses.replace(model, target=target, own_seed=apply_codes(model.seed, codes))


MODELS = {
    "phantom": lambda: load_model(GOLDEN),
    **{
        f"{one}-{edge}": lambda f=one, b=edge: random_model(filter=f, boundary=b) for one in Filter for edge in Boundary
    },
    "wide": lambda: random_model(height=5, width=16, boundary=Boundary.WRAP),
    "tall": lambda: random_model(height=16, width=5, padding=0),
    "bias": lambda: random_model(bias=True),
    "odd": lambda: random_model(channels=6, hidden=7, threshold=0.0, fire_rate=0.8),
    "least": lambda: random_model(height=1, width=2, padding=0, channels=4, hidden=3, boundary=Boundary.WRAP),
    "many": lambda: random_model(height=6, width=6, channels=64, hidden=256, scale=0.05),
    "three": lambda: random_model(filter=Filter.GAUSSIAN, cells=SeedCells.THREE),
    "three-odd": lambda: random_model(
        height=3, width=8, padding=0, channels=6, hidden=7, cells=SeedCells.THREE, boundary=Boundary.WRAP
    ),
}
"""Whatever a model can be."""


def fire_masks(model, steps):
    generator = torch.Generator().manual_seed(9)
    return torch.rand(steps, 1, *model.target.shape, generator=generator) < model.config.fire_rate


def stepped(model, fire):
    state = model.place_seeds(1)
    for mask in fire:
        state = step(state, model.weights, model.config, mask)
    return state


def number(page, name):
    return float(page.inner_text(f"#{name}"))


def wait(page, what):
    """Asks from outside: the page's own policy forbids it to evaluate strings."""
    end = time.monotonic() + SLOW
    while not page.evaluate(what):
        assert time.monotonic() < end, what
        page.wait_for_timeout(50)


def cells(page):
    """The phantom's state."""
    return decoded(page.evaluate("ncatool.base64(ncatool.state)")).reshape(28, 28, 16)


def decoded(text):
    return np.frombuffer(base64.b64decode(text), "<f4").copy()


def grow(page, steps):
    """Many steps at once, as fast as they come."""
    page.evaluate("steps => { for (let i = 0; i < steps; i++) ncatool.player.step(); ncatool.player.show(); }", steps)


def pixels(page):
    with page.expect_download() as download:
        page.click("#save")
    path = Path(download.value.suggested_filename)
    download.value.save_as(path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return path.name, np.asarray(image.convert("RGB")).astype(int)


def click_cell(page, y, x, side=28):
    box = page.locator("#cells").bounding_box()
    page.mouse.click(box["x"] + (x + 0.5) / side * box["width"], box["y"] + (y + 0.5) / side * box["height"])


def square_cells(page):
    return decoded(page.evaluate("ncatool.base64(ncatool.state)")).reshape(15, 15, 12)


HOSTILE = "</title></script><script>window.hacked=1</script><body onload='hacked=2'><img src=x onerror=hacked=3>"


USE = "name => ncatool.player.use({ engine: new ncatool.ENGINES[name](ncatool.player.model), why: 'asked for' })"
