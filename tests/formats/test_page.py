"""The page: what a visitor can do by mouse, keyboard and finger, and what there is to see."""

from pathlib import Path

import numpy as np
import pytest

from ncatool.formats import page as pages
from ncatool.nca.seed import make_seed, place_seed
from tests.formats.page_helpers import cells, grow, number, pixels, random_model, wait


def test_it_grows_by_itself_and_heals_after_a_drag(visit, phantom):
    page = visit(phantom)
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
def test_every_button(visit, phantom, press):
    page = visit(phantom)
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


def test_fields_by_keyboard(visit, phantom):
    page = visit(phantom)
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


def test_everything_is_reached_by_tab_and_focus_shows(visit, phantom):
    page = visit(phantom)
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


def test_the_picture_by_keyboard(visit, phantom):
    page = visit(phantom)
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


def test_views_and_the_saved_picture(visit, phantom):
    page = visit(phantom)
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


def test_the_canvas_fits_dark_mode_and_the_picture_stays_as_it_is(visit, phantom):
    page = visit(phantom, color_scheme="dark")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(visit, phantom, scheme):
    page = visit(phantom, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
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
