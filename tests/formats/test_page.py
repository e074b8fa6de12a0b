"""The page: what a visitor can do, and that its script computes the rule."""

import base64
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import Boundary, ExportFormat, Filter, SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.errors import NcatoolError
from ncatool.formats import page as pages
from ncatool.formats.browser import run as run_page
from ncatool.formats.browser import run_all
from ncatool.formats.exporting import check_parity
from ncatool.nca.model_file import ModelData, load_model
from ncatool.nca.rule import step
from ncatool.nca.seed import apply_codes, draw_codes, make_seed, place_seed
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


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "phantom.html"
    pages.write(load_model(GOLDEN), RECORD, "phantom", path)
    return path


@pytest.fixture
def visit(browser):
    """Opens a page without a network; in the end, nothing may have been asked for, nothing complained of."""
    contexts, asked, said = [], [], []

    def opened(path, before="", **settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.add_init_script(before)
        page.goto(path.as_uri())
        wait(page, "document.querySelector('#backend').textContent !== '–'")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {url.split(":")[0] for url in asked} <= {"file", "blob", "data"}
    assert said == []


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


def test_it_grows_by_itself_and_heals_after_a_drag(visit, path):
    page = visit(path)
    assert page.title() == "phantom: Shepp-Logan head phantom, 28 × 28"
    assert page.inner_text("#backend") in ("WebGL2", "JavaScript")
    wait(page, "ncatool.player.count > 30")
    grow(page, 300)
    page.click("#pause")
    whole = number(page, "mse")
    assert whole < 2e-3
    box = page.locator("#cells").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.up()
    wounded = number(page, "mse")
    assert wounded > 2e-2
    state = cells(page)
    erased = (state == 0).all(-1)
    assert erased[[8, 11, 14], [8, 13, 19]].all(), "the stroke has no gap"
    assert not erased[18, 10]
    page.click("#pause")
    wait(page, "Number(document.querySelector('#mse').textContent) < 0.01")
    wait(page, "Number(document.querySelector('#rate').textContent) > 1")
    grow(page, 300)
    assert number(page, "mse") < 2e-3


def test_mse_is_over_the_whole_premultiplied_grid(visit):
    model = random_model()
    pages.write(model, {}, "noise", Path("noise.html"))
    page = visit(Path("noise.html").absolute())
    page.click("#pause")
    page.click("#restart")
    expected = ((place_seed(make_seed(12), 1, 15, 15)[0, ..., :4].numpy() - model.target.premultiply()) ** 2).mean()
    assert number(page, "mse") == pytest.approx(expected, rel=5e-3)


def press_by_mouse(page, name):
    page.click(f"#{name}")


def press_by_keyboard(page, name):
    page.focus(f"#{name}")
    page.keyboard.press("Enter")


KEYS = {"pause": "p", "step": "s", "restart": "r", "clear": "c", "left": "1", "right": "2", "top": "3", "bottom": "4"}


def press_by_shortcut(page, name):
    page.keyboard.press(KEYS[name])


@pytest.mark.parametrize("press", [press_by_mouse, press_by_keyboard, press_by_shortcut])
def test_every_button(visit, path, press):
    page = visit(path)
    press(page, "pause")
    assert page.inner_text("#pause") == "Play"
    count = number(page, "count")
    press(page, "step")
    assert number(page, "count") == count + 1
    press(page, "pause")
    wait(page, f"ncatool.player.count > {count + 1}")
    press(page, "step")
    assert page.inner_text("#pause") == "Play", "a step pauses"
    halves = {"left": np.s_[:, :14], "right": np.s_[:, 14:], "top": np.s_[:14], "bottom": np.s_[14:]}
    for side, where in halves.items():
        grow(page, 40)
        expected = cells(page)
        press(page, side)
        expected[where] = 0
        assert np.array_equal(cells(page), expected)
        assert page.inner_text("#said") == f"Erased the {side} half."
    press(page, "restart")
    assert number(page, "count") == 0
    assert np.array_equal(cells(page), place_seed(make_seed(16), 1, 28, 28)[0].numpy())
    press(page, "clear")
    press(page, "step")
    assert "No cell is alive" in page.inner_text("#said")


def test_fields_by_keyboard(visit, path):
    page = visit(path)
    page.focus("#speed")
    page.keyboard.press("Home")
    assert page.inner_text("#speed-shown") == "1 a second"
    page.keyboard.press("End")
    assert page.inner_text("#speed-shown") == "240 a second"
    page.focus("#brush")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#brush-shown") == "radius 4"
    page.focus("#view")
    page.keyboard.press("ArrowDown")
    assert "alpha" in page.inner_text("#caption")
    page.focus("#pause")
    for key, name, value in [("-", "speed", "6"), ("+", "speed", "7"), ("[", "brush", "3"), ("]", "brush", "4")]:
        page.keyboard.press(key)
        assert page.input_value(f"#{name}") == value
    page.keyboard.press("v")
    assert page.input_value("#view") == "hidden"
    page.click("summary")
    page.uncheck("#keys")
    page.focus("#pause")
    page.keyboard.press("v")
    assert page.input_value("#view") == "hidden", "who has switched the keys off has them off"


def test_everything_is_reached_by_tab_and_focus_shows(visit, path):
    page = visit(path)
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    buttons = ["pause", "step", "restart", "clear", "speed", "brush", "view", "ground"]
    buttons += ["erases", "left", "right", "top", "bottom", "save"]
    assert reached == ["cells", *buttons, "SUMMARY"]
    assert page.locator("button:not([type=button])").count() == 0
    assert page.evaluate("[...document.querySelectorAll('input, select')].every(field => field.labels.length === 1)")


def test_the_picture_by_keyboard(visit, path):
    page = visit(path)
    page.click("#pause")
    grow(page, 100)
    page.focus("#cells")
    for key in ("ArrowUp", "ArrowUp", "Shift+ArrowLeft", "Space"):
        page.keyboard.press(key)
    state = cells(page)
    rows, columns = np.ogrid[:28, :28]
    circle = (rows - 12) ** 2 + (columns - 9) ** 2 <= 9
    assert not state[circle].any()
    assert state[12, 13].any()


def pixels(page):
    with page.expect_download() as download:
        page.click("#save")
    path = Path(download.value.suggested_filename)
    download.value.save_as(path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return path.name, np.asarray(image.convert("RGB")).astype(int)


def test_views_and_the_saved_picture(visit, path):
    page = visit(path)
    page.click("#pause")
    grow(page, 200)
    name, colours = pixels(page)
    assert name == f"phantom-step-{int(number(page, 'count'))}.png"
    assert colours.shape == (728, 728, 3)
    state = cells(page)
    visible = np.clip(state[..., :3], 0, 1) + 1 - np.clip(state[..., 3:4], 0, 1)
    assert np.abs(colours[13::26, 13::26] - np.clip(visible, 0, 1) * 255).max() <= 1.5
    page.select_option("#view", "alpha")
    _, alpha = pixels(page)
    assert np.abs(alpha[13::26, 13::26, 0] - np.clip(1 - state[..., 3], 0, 1) * 255).max() <= 1.5
    page.select_option("#view", "hidden")
    assert page.inner_text("#caption").startswith("Channels 5 to 16")
    _, hidden = pixels(page)
    red, blue = hidden[..., 0] - hidden[..., 2], hidden[..., 2] - hidden[..., 0]
    assert min(red.max(), blue.max()) > 100
    tile = page.evaluate("ncatool.player.tiles()[5]")
    centres = ((np.arange(28) + 0.5) * tile["scale"]).astype(int)
    found = hidden[int(tile["y"]) + centres][:, int(tile["x"]) + centres]
    clear = np.abs(state[..., 9]) > 0.3
    assert (np.sign(found[..., 0] - found[..., 2]) == np.sign(state[..., 9]))[clear].mean() > 0.95
    box = page.locator("#cells").bounding_box()
    scale = box["width"] / 728
    x, y = (box[axis] + scale * (tile[axis] + 14.5 * tile["scale"]) for axis in ("x", "y"))
    page.mouse.click(x, y)
    assert page.evaluate("ncatool.state[(14 * 28 + 14) * 16 + 3]") == 0, "tiles can be erased in, too"


GROUNDS = {"white": (255, 255, 255), "dark": (35, 35, 41), "black": (0, 0, 0)}


def is_over(page, ground):
    """Whether the colours are those of the state over this ground: what is opaque is the same over each."""
    state, colours = cells(page), pixels(page)[1][13::26, 13::26]
    visible, alpha = np.clip(state[..., :3], 0, 1), np.clip(state[..., 3:4], 0, 1)
    return np.abs(colours - np.clip(255 * visible + (1 - alpha) * np.array(GROUNDS[ground]), 0, 255)).max() <= 1.5


def test_the_canvas_fits_dark_mode_and_the_picture_stays_as_it_is(visit, path):
    page = visit(path, color_scheme="dark")
    page.click("#pause")
    grow(page, 150)
    assert is_over(page, "dark")
    assert "dark ground" in page.inner_text("#caption")
    page.select_option("#view", "alpha")
    assert page.inner_text("#caption") == "The alpha channel: dark is 0, white is 1."
    assert np.abs(pixels(page)[1][0, 0] - GROUNDS["dark"]).max() <= 1
    page.select_option("#view", "hidden")
    gaps = pixels(page)[1][0, 0]
    assert gaps.max() < 128, "between the tiles it is dark, too"
    page.select_option("#view", "colours")
    page.select_option("#ground", "white")
    assert is_over(page, "white")
    page.select_option("#ground", "black")
    assert is_over(page, "black")
    page.select_option("#ground", "page")
    page.emulate_media(color_scheme="light")
    wait(page, "document.querySelector('#caption').textContent.includes('white')")
    assert is_over(page, "white"), "it follows the page"


def click_cell(page, y, x, side=28):
    box = page.locator("#cells").bounding_box()
    page.mouse.click(box["x"] + (x + 0.5) / side * box["width"], box["y"] + (y + 0.5) / side * box["height"])


def test_seeds_are_planted_where_visitors_click(visit, path):
    page = visit(path)
    page.check("#plants")
    assert "Clear" in page.inner_text("#said")
    page.click("#clear")
    assert page.inner_text("#pause") == "Play", "so that several can be planted before the first grows"
    places = [(5, 7), (20, 22), (0, 27)]
    for place in places:
        click_cell(page, *place)
    assert np.array_equal(cells(page), place_seed(make_seed(16), 1, 28, 28, places)[0].numpy())
    assert page.inner_text("#said") == "Planted a seed at row 0, column 27."
    page.click("#pause")
    wait(page, "ncatool.player.count > 40")
    page.click("#pause")
    alpha = cells(page)[..., 3]
    assert (alpha[2:9, 4:11] > 0.1).sum() > 9
    assert (alpha[17:24, 19:26] > 0.1).sum() > 9


def test_seeds_are_planted_by_keyboard_and_in_a_picture_that_lives(visit, path):
    page = visit(path)
    page.click("#pause")
    page.keyboard.press("e")
    assert page.is_checked("#plants")
    grow(page, 60)
    before = cells(page)
    page.focus("#cells")
    for key in ("ArrowUp", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    before[13, 9] = place_seed(make_seed(16), 1, 1, 1)[0, 0, 0].numpy()
    assert np.array_equal(cells(page), before)
    page.keyboard.press("e")
    assert page.is_checked("#erases")
    page.keyboard.press("Space")
    assert not cells(page)[13, 9].any()


def three_celled_page(boundary):
    """The page of a model of 15 x 15 cells, and the model."""
    model = random_model(filter=Filter.MEAN, cells=SeedCells.THREE, boundary=boundary)
    pages.write(model, {}, "three", Path("three.html"))
    return Path("three.html").absolute(), model


def square_cells(page):
    return decoded(page.evaluate("ncatool.base64(ncatool.state)")).reshape(15, 15, 12)


@pytest.mark.parametrize("backend", ["plain", "webgl"])
@pytest.mark.parametrize("boundary", Boundary)
def test_a_seed_of_three_cells_is_restarted_from_and_planted_whole(visit, boundary, backend):
    path, model = three_celled_page(boundary)
    page = visit(path)
    assert "grows from a few cells" in page.inner_text(".quiet >> nth=0")
    page.click("#pause")
    page.evaluate(USE, backend)
    grow(page, 5)
    page.click("#restart")
    assert np.array_equal(square_cells(page), model.place_seeds(1)[0].numpy())
    page.check("#plants")
    page.click("#clear")
    inwards = {(0, 4): (2, 4), (14, 14): (13, 12), (7, 0): (7, 2), (7, 8): (7, 8)}
    for clicked, moved in inwards.items():
        page.click("#clear")
        click_cell(page, *clicked, side=15)
        place = clicked if boundary is Boundary.WRAP else moved
        assert np.array_equal(square_cells(page), place_seed(model.seed, 1, 15, 15, [place])[0].numpy())
        assert page.inner_text("#said") == f"Planted a seed at row {place[0]}, column {place[1]}."
    grow(page, 4)
    before = square_cells(page)
    click_cell(page, 5, 6, side=15)
    sown = place_seed(model.seed, 1, 15, 15, [(5, 6)])[0].numpy()
    expected = np.where(sown.any(-1, keepdims=True), sown, before)
    assert np.array_equal(square_cells(page), expected), "between the cells of the seed all stays"
    assert np.array_equal(expected[7, 8], before[7, 8])


def test_the_ring_shows_where_a_seed_of_three_cells_goes(visit):
    """In the upper left corner it stays where the seed has room, around all of its cells."""
    path, _ = three_celled_page(Boundary.ZERO)
    page = visit(path)
    page.click("#pause")
    page.check("#plants")
    page.click("#clear")
    box = page.locator("#cells").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    width = page.evaluate("ncatool.player.canvas.width") / 15
    darkest = "([x, y]) => Math.min(...ncatool.player.context.getImageData(x - 2, y - 2, 5, 5).data)"
    middle, radius = 2.5 * width, (5**0.5 + 0.5) * width
    assert page.evaluate(darkest, [middle + 0.6 * radius, middle + 0.8 * radius]) < 100
    assert page.evaluate(darkest, [middle + 0.5 * radius, middle + 0.7 * radius]) == 255


def test_pages_of_plain_models_hold_no_seed():
    plain, three = pages.make_page_data(random_model(), "m"), pages.make_page_data(MODELS["three"](), "m")
    assert set(three) - set(plain) == {"seedCells"}
    assert three["seedCells"]["places"] == [(-2, 0), (1, -2), (1, 2)]
    kept = ModelData(**{**vars(random_model()), "own_seed": make_seed(12)})
    assert pages.make_page_data(kept, "m") == plain
    assert "grows from one cell. Erase" in pages.render_page(random_model(), {}, "m")
    both = [pages.PageModel(model, {}, "m") for model in (random_model(), MODELS["three"]())]
    assert "grows from one cell or a few. Erase" in pages.render_gallery(both)


@pytest.fixture
def several():
    """A page of a model of three pictures on 15 x 15 cells, and the model."""
    model = several_pictures()
    pages.write(model, {}, "three", Path("several.html"))
    return Path("several.html").absolute(), model


def square_mse(page, picture):
    """The MSE of the grid of 15 x 15 cells to a picture."""
    return float(((square_cells(page)[..., :4] - picture.target.premultiply()) ** 2).mean())


def test_a_menu_lists_the_pictures_of_a_model(visit, several):
    path, model = several
    page = visit(path)
    assert page.title() == "three: 3 pictures, 11 × 11"
    assert page.locator("#picture option").all_inner_texts() == ["ring", "a long name", "square"]
    assert page.input_value("#picture") == "0"
    assert page.is_checked("#plants"), "a click plants what is chosen"
    assert "pictures\tring, a long name, square" in page.inner_text(".facts")
    assert "target sources\tring.png, a long name.png, square.png" in page.inner_text(".facts")
    page.click("#pause")
    page.click("#restart")
    grow(page, 3)
    before = square_cells(page)
    for name, picture in zip(("ring", "a long name", "square"), model.pictures, strict=True):
        page.select_option("#picture", label=name)
        assert np.array_equal(square_cells(page), before), "to choose changes no cell"
        assert page.inner_text("#target-name") == f"target: {name}"
        assert number(page, "mse") == pytest.approx(square_mse(page, picture), rel=5e-3)
    assert page.inner_text("#picture-hint").startswith("grows where you click")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("e")
    assert page.inner_text("#picture-hint") == "grows by Restart; clicks erase"
    page.keyboard.press("g")
    assert page.input_value("#picture") == "0", "after the last comes the first"


@pytest.mark.parametrize("backend", ["plain", "webgl"])
@pytest.mark.parametrize("cells", SeedCells)
def test_the_chosen_picture_is_planted_and_restarted_from(visit, backend, cells):
    """Two grow at once, each from its own seed, as the rule has it."""
    model = several_pictures(seed_cells=cells)
    pages.write(model, {}, "three", Path("several.html"))
    page = visit(Path("several.html").absolute())
    page.click("#pause")
    page.evaluate(USE, backend)
    for i, picture in reversed([*enumerate(model.pictures)]):
        page.select_option("#picture", index=i)
        page.click("#restart")
        assert np.array_equal(square_cells(page), picture.place_seeds(1)[0].numpy())
        assert page.inner_text("#said") == f"Restarted from the seed of {picture.target.name}."
    page.click("#clear")
    state = torch.zeros(1, 15, 15, 12)
    for i, place in ((1, (4, 4)), (2, (10, 11))):
        page.select_option("#picture", index=i)
        click_cell(page, *place, side=15)
        state += place_seed(model.seeds[i], 1, 15, 15, [place])
        said = f"Planted a seed of {model.pictures[i].target.name} at row {place[0]}, column {place[1]}."
        assert page.inner_text("#said") == said
    assert np.array_equal(square_cells(page), state[0].numpy())
    page.evaluate("ncatool.player.draw = () => new Uint8Array(225).fill(1)")
    grow(page, 6)
    for _ in range(6):
        state = step(state, model.weights, model.config, torch.ones(1, 15, 15, dtype=torch.bool))
    assert np.abs(square_cells(page) - state[0].numpy()).max() < 1e-3
    assert number(page, "mse") == pytest.approx(square_mse(page, model.pictures[2]), rel=5e-3)


def test_a_seed_is_that_of_the_picture_chosen_when_it_was_planted(visit, several):
    """While the page plays, clicks wait for the next step."""
    path, model = several
    page = visit(path)
    page.click("#pause")
    page.click("#clear")
    planted = """() => {
      const { player } = ncatool;
      player.choose(1);
      player.playing = true;
      player.plant(3, 4);
      player.choose(0);
      player.playing = false;
      player.show();
    }"""
    page.evaluate(planted)
    assert np.array_equal(square_cells(page), place_seed(model.seeds[1], 1, 15, 15, [(4, 3)])[0].numpy())


@pytest.mark.parametrize("backend", ["plain", "webgl"])
def test_every_picture_of_a_page_is_stepped(browser, backend):
    models = [several_pictures(), random_model(), several_pictures(2, SeedCells.THREE)]
    pages.write_gallery([pages.PageModel(model, {}, f"m{i}") for i, model in enumerate(models)], Path("all.html"))
    pictures = [model.pictures for model in models]
    masks = [[torch.roll(fire_masks(one, 32), i, 0) for i, one in enumerate(group)] for group in pictures]
    found = run_all(models, Path("all.html").absolute(), [torch.cat(one, 1) for one in masks], engine=backend)
    assert found is not None
    assert [len(states) for states in found] == [3, 1, 2]
    for states, group, fires in zip(found, pictures, masks, strict=True):
        expected = torch.cat([stepped(one, fire) for one, fire in zip(group, fires, strict=True)])
        assert (states - expected).abs().max() < 1e-3


def test_a_page_with_the_wrong_seed_for_a_later_picture_fails_its_check(browser):
    model = several_pictures()
    swapped = dataclasses.replace(model, own_seed=model.seeds[[0, 2, 1]])
    pages.write(swapped, {}, "swapped", Path("swapped.html"))
    with pytest.raises(NcatoolError, match="differs from the model"):
        check_parity(model, Path("swapped.html").absolute(), ExportFormat.HTML)
    pages.write(model, {}, "right", Path("right.html"))
    difference = check_parity(model, Path("right.html").absolute(), ExportFormat.HTML).difference
    assert difference is not None
    assert difference < 1e-3


def test_weights_are_there_once_and_pages_of_one_picture_have_no_menu_of_pictures(several):
    path, model = several
    data = pages.make_page_data(model, "three")
    alone = pages.make_page_data(model.pictures[1], "three")
    assert path.read_text().count('"hiddenWeight"') == path.read_text().count(data["hiddenWeight"]) == 1
    assert set(alone) - set(data) == {"target", "seedCells"}
    assert [one["label"] for one in data["pictures"]] == ["ring", "a long name", "square"]
    assert data["pictures"][1] == {"label": "a long name", "target": alone["target"], "seedCells": alone["seedCells"]}
    page = pages.render_page(random_model(), {}, "m")
    assert 'id="picture"' not in page
    assert "next picture" not in page


def test_a_gallery_with_a_model_of_several_pictures(visit):
    models = {"one": random_model(), "several": several_pictures(), "two": several_pictures(2, names=("x", "y"))}
    pages.write_gallery([pages.PageModel(model, {}, name) for name, model in models.items()], Path("g.html"))
    page = visit(Path("g.html").absolute())
    page.click("#pause")
    assert not page.is_visible("#picture")
    assert page.is_visible("#alone")
    assert page.is_checked("#erases")
    page.keyboard.press("g")
    page.select_option("#choice", label="several")
    page.select_option("#picture", label="square")
    page.click("#restart")
    assert np.array_equal(square_cells(page), models["several"].pictures[2].place_seeds(1)[0].numpy())
    page.select_option("#choice", label="two")
    assert page.locator("#picture option").all_inner_texts() == ["x", "y"]
    assert not page.is_visible("#alone")
    page.click("#restart")
    assert np.array_equal(square_cells(page), models["two"].place_seeds(1)[0].numpy())
    page.select_option("#choice", label="several")
    assert page.input_value("#picture") == "2", "it is as it was left"
    page.select_option("#choice", label="one")
    assert not page.is_visible("#picture")
    assert page.inner_text("#target-name") == "target"


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_names_of_pictures(visit, width):
    names = (HOSTILE, "x" * 300, "two\nlines\u202e")
    model = several_pictures(names=names)
    pages.write(model, {}, "m", Path("h.html"))
    page = visit(Path("h.html").absolute(), viewport={"width": width, "height": 844})
    for i, name in enumerate(names):
        page.select_option("#picture", index=i)
        assert page.inner_text("#target-name") == f"target: {pages.clean_text(name)}"
        click_cell(page, 4, 4, side=15)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(visit, path, scheme):
    page = visit(path, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 26)"
    assert dark == (scheme == "dark")
    sizes = page.locator("button").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert min(sizes) >= 44, "large enough for a finger"
    page.tap("#pause")
    grow(page, 100)
    page.tap("#cells")
    assert page.evaluate("ncatool.state[(14 * 28 + 14) * 16 + 3]") == 0
    assert page.evaluate("getComputedStyle(document.querySelector('#cells')).touchAction") == "none"


HOSTILE = "</title></script><script>window.hacked=1</script><body onload='hacked=2'><img src=x onerror=hacked=3>"


@pytest.mark.parametrize(
    "value", [HOSTILE, "x" * 100_000, "two\nlines\x00\x1b[31m\u202e\u2028\ud800", "'\"&{{7*7}}${hacked=1}"]
)
def test_hostile_names_and_records(visit, value):
    model = load_model(GOLDEN)
    record = {
        "train": {"loss": value, "regime": [value], value: value},
        "target": {"source": value, "licence": {value: 1}},
    }
    pages.write(model, record, value, Path("hostile.html"))
    assert Path("hostile.html").stat().st_size < 120_000
    page = visit(Path("hostile.html").absolute(), viewport={"width": 390, "height": 844})
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert page.inner_text("h1") == pages.clean_text(value)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if value == HOSTILE:
        assert run_page(model, Path("hostile.html"), fire_masks(model, 2)) is not None, "the true body is found"


@pytest.mark.parametrize("record", [{}, {"train": 3, "target": [], "model": "x"}, {"train": {"loss": None}}])
def test_records_that_lack_things(record):
    page = pages.render_page(load_model(GOLDEN), record, "")
    assert "training" not in page.split("<h2>The model</h2>")[1].split("</table>")[0]


def test_what_cannot_be_written_out_is_left_out():
    assert pages.clean_text(1 << 20_000) == pages.clean_text([1 << 20_000]) == "…"
    assert '<h1 dir="auto">model</h1>' in pages.render_page(load_model(GOLDEN), {"train": {"loss": 1 << 20_000}}, "\n")


def test_facts():
    found = pages.describe_facts(load_model(GOLDEN), RECORD)
    assert found["filter"] == "sobel"
    assert found["training regime"] == "regenerating"
    assert found["target licence"] == "CC0"
    assert found["grid"] == "28 × 28 cells"


def test_the_page_is_small_and_the_same_every_time(path):
    text = path.read_text()
    assert len(text.encode()) < 120_000
    assert text == pages.render_page(load_model(GOLDEN), RECORD, "phantom")
    assert "http" not in text.replace("http-equiv", "")


USE = "name => ncatool.player.use({ engine: new ncatool.ENGINES[name](ncatool.player.model), why: 'asked for' })"


def test_visitors_see_the_same_from_both_engines(visit, path):
    found = {}
    for backend in ("plain", "webgl"):
        page = visit(path)
        page.click("#pause")
        page.evaluate(USE, backend)
        page.evaluate("ncatool.player.draw = ncatool.masks(ncatool.player.model, 99)")
        page.click("#restart")
        grow(page, 60)
        page.click("#left")
        page.click("#step")
        page.select_option("#view", "hidden")
        found[backend] = cells(page), pixels(page)[1]
    assert page.inner_text("#backend") == "WebGL2"
    assert np.abs(found["plain"][0] - found["webgl"][0]).max() < 1e-3
    assert np.abs(found["plain"][1] - found["webgl"][1]).max() <= 1


LACKS = {
    "has no WebGL2": "HTMLCanvasElement.prototype.getContext = (get => function (kind, how) "
    "{ return kind === 'webgl2' ? null : get.call(this, kind, how); })(HTMLCanvasElement.prototype.getContext)",
    "cannot write float textures": "WebGL2RenderingContext.prototype.getExtension = () => null",
    "computes something else": "WebGL2RenderingContext.prototype.drawArrays = () => undefined",
}


@pytest.mark.parametrize("what", LACKS)
def test_where_webgl_does_not_work_the_script_computes(visit, path, what):
    page = visit(path, before=LACKS[what])
    assert what in page.inner_text("#why")
    assert page.inner_text("#backend") == "JavaScript"
    wait(page, "ncatool.player.count > 20")


def test_a_device_that_goes_is_replaced(visit, path):
    page = visit(path)
    page.evaluate(USE, "webgl")
    wait(page, "ncatool.player.count > 20")
    page.evaluate("ncatool.player.engine.gl.getExtension('WEBGL_lose_context').loseContext()")
    wait(page, "document.querySelector('#backend').textContent === 'JavaScript'")
    wait(page, "ncatool.player.count > 5 && ncatool.player.alive")
    assert "has gone" in page.inner_text("#why")


REPLAY = """([given, backend, steps, packed]) => {
  const model = new ncatool.Model(given);
  return ncatool.base64(ncatool.replay(model, backend, steps, ncatool.bytes(packed)));
}"""


@pytest.mark.parametrize("backend", ["plain", "webgl"])
def test_both_engines_compute_the_rule(visit, path, backend):
    page = visit(path)
    page.click("#pause")
    for name, make in MODELS.items():
        model = make()
        fire = fire_masks(model, 64)
        packed = base64.b64encode(np.packbits(fire.numpy().reshape(-1), bitorder="little").tobytes()).decode()
        found = page.evaluate(REPLAY, [pages.make_page_data(model, name), backend, 64, packed])
        expected = stepped(model, fire).flatten()
        error = (torch.from_numpy(decoded(found)) - expected).abs().max().item()
        living = (expected != 0).float().mean().item()
        print(f"{name} {backend}: {error:.1e}, {living:.0%} of the state is not 0")
        assert error < 1e-3, name
        assert living > 0.1, name


@pytest.mark.parametrize("backend", ["plain", "webgl"])
def test_the_exported_page_itself_is_stepped(browser, path, backend):
    model = load_model(GOLDEN)
    fire = fire_masks(model, 64)
    found = run_page(model, path, fire, engine=backend)
    assert found is not None
    assert (found - stepped(model, fire)).abs().max() < 1e-3
    if backend == "plain":
        assert torch.equal(found, run_page(model, path, fire))


def test_without_a_browser_there_is_nothing_to_compare(path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    model = load_model(GOLDEN)
    assert run_page(model, path, fire_masks(model, 1)) is None


def test_a_page_that_does_not_work_is_an_error(browser, path):
    Path("broken.html").write_text(path.read_text().replace("class Plain", "class Broken"))
    model = load_model(GOLDEN)
    with pytest.raises(NcatoolError, match="could not be run in a browser"):
        run_page(model, Path("broken.html"), fire_masks(model, 1))


GALLERY = ("phantom", "sobel-wrap", "gaussian-zero", "wide", "least", "three", "three-odd")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "gallery.html"
    models = [pages.PageModel(MODELS[name](), RECORD if name == "phantom" else {}, name) for name in GALLERY]
    pages.write_gallery(models, path)
    return path


@pytest.mark.parametrize("backend", ["plain", "webgl"])
def test_every_model_of_a_gallery_is_stepped(browser, gallery, backend):
    models = [MODELS[name]() for name in GALLERY]
    fires = [fire_masks(model, 64) for model in models]
    found = run_all(models, gallery, fires, engine=backend)
    assert found is not None
    for state, model, fire, name in zip(found, models, fires, GALLERY, strict=True):
        assert (state - stepped(model, fire)).abs().max() < 1e-3, name


def test_a_gallery_shows_the_model_that_is_chosen(visit, gallery):
    page = visit(gallery)
    assert page.locator("#choice option").all_inner_texts() == list(GALLERY)
    page.click("summary")
    assert "next model" in page.inner_text(".keys")
    page.click("#pause")
    page.click("#restart")
    page.focus("#choice")
    for i, name in enumerate(GALLERY):
        model = MODELS[name]()
        assert page.inner_text("h1") == name
        assert page.title() == f"{name}: {page.inner_text('#about')}"
        assert page.locator(".facts:visible").count() == 1
        assert f"name\t{name}" in page.inner_text(".facts:visible")
        assert f"own {model.config.channels} channels" in page.inner_text("#sight")
        assert ("symmetric" in page.inner_text("#sight")) == (name in ("gaussian-zero", "three"))
        assert ("the 3 cells of the seed give" in page.inner_text("#sight")) == (name == "three")
        assert ("seed\t3 cells, 2 to 2.2 from" in page.inner_text(".facts:visible")) == name.startswith("three")
        assert ("wraps" in page.inner_text("#sight")) == (model.config.boundary is Boundary.WRAP)
        wait(page, "document.querySelector('#backend').textContent !== '–'")
        state = decoded(page.evaluate("ncatool.base64(ncatool.state)"))
        assert np.array_equal(state, model.place_seeds(1).numpy().reshape(-1))
        shape = page.evaluate("[ncatool.player.canvas.height, ncatool.player.canvas.width]")
        assert shape[0] / shape[1] == model.target.shape[0] / model.target.shape[1]
        assert page.locator("#view [value=hidden]").is_disabled() == (model.config.channels == 4)
        grow(page, 5)
        page.keyboard.press("ArrowDown") if i % 2 else page.evaluate("document.activeElement.blur()")
        page.keyboard.press("n") if not i % 2 else None
        page.focus("#choice")
    assert page.inner_text("h1") == GALLERY[0], "after the last comes the first"


def test_a_model_grows_and_heals_after_others_have_been_shown(visit, gallery):
    page = visit(gallery)
    for name in (*GALLERY[1:4], "phantom"):
        page.select_option("#choice", label=name)
        wait(page, "document.querySelector('#backend').textContent !== '–'")
    wait(page, "ncatool.player.count > 5")
    grow(page, 300)
    page.click("#pause")
    assert number(page, "mse") < 2e-3
    page.click("#left")
    assert number(page, "mse") > 2e-2
    grow(page, 200)
    assert number(page, "mse") < 1e-2


def test_engines_of_models_before_are_given_back(visit, gallery):
    """A browser has some sixteen at most, and takes the oldest away."""
    page = visit(gallery)
    page.click("#pause")
    for _ in range(5):
        for name in GALLERY[1:4]:
            page.select_option("#choice", label=name)
            wait(page, "document.querySelector('#backend').textContent !== '–'")
            page.evaluate(USE, "webgl")
    assert page.inner_text("#backend") == "WebGL2"
    grow(page, 3)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_gallery_of_hostile_names(visit, width):
    names = [HOSTILE, "x" * 300, "two\nlines\u202e", "'&{{7*7}}"]
    pages.write_gallery(
        [pages.PageModel(load_model(GOLDEN), {"train": {"loss": HOSTILE}}, one) for one in names], Path("h.html")
    )
    page = visit(Path("h.html").absolute(), viewport={"width": width, "height": 844})
    for i, name in enumerate(names):
        page.select_option("#choice", index=i)
        assert page.inner_text("h1") == pages.clean_text(name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2


def test_the_script_is_there_once(gallery):
    text = gallery.read_text()
    assert text.count("class Player") == 1
    assert text.count('"hiddenWeight"') == len(GALLERY)


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ({"source": "phantom", "label": "Shepp-Logan head phantom"}, "Shepp-Logan head phantom, 11 × 11"),
        ({"source": "/home/me/scans/chest.png"}, "chest.png, 11 × 11"),
        ({"source": "C:\\scans\\chest.png"}, "chest.png, 11 × 11"),
        (
            {"source": "bloodmnist:train:3", "label": [1], "meaning": "eosinophil"},
            "bloodmnist:train:3, eosinophil, 11 × 11",
        ),
        ({}, "a picture, 11 × 11"),
        ({"source": 3, "label": None}, "3, 11 × 11"),
    ],
)
def test_the_target_in_words(origin, said):
    model = random_model()
    model = ModelData(model.weights, model.config, Target(model.target.pixels, 2, origin))
    assert pages.describe_target(model, {}) == said
    assert f"<title>m: {said}</title>" in pages.render_page(model, {}, "m")


def test_json_ends_no_script():
    assert json.loads(pages.to_script_json("</script>&\u2028")) == "</script>&\u2028"
    assert not set("<>&\u2028") & set(pages.to_script_json("</script>&\u2028"))
