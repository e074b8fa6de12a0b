"""The page: its two engines compute the rule, and one takes the place of the other."""

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.errors import NcatoolError
from ncatool.formats import page as pages
from ncatool.formats.browser import run as run_page
from ncatool.nca.model_file import load_model
from tests.formats.page_helpers import GOLDEN, MODELS, USE, cells, decoded, fire_masks, grow, pixels, stepped, wait


def test_visitors_see_the_same_from_both_engines(visit, phantom):
    found = {}
    for backend in ("plain", "webgl"):
        page = visit(phantom)
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
def test_where_webgl_does_not_work_the_script_computes(visit, phantom, what):
    page = visit(phantom, before=LACKS[what])
    assert what in page.inner_text("#why")
    assert page.inner_text("#backend") == "JavaScript"
    wait(page, "ncatool.player.count > 20")


def test_a_device_that_goes_is_replaced(visit, phantom):
    page = visit(phantom)
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
def test_both_engines_compute_the_rule(visit, phantom, backend):
    page = visit(phantom)
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
def test_the_exported_page_itself_is_stepped(browser, phantom, backend):
    model = load_model(GOLDEN)
    fire = fire_masks(model, 64)
    found = run_page(model, phantom, fire, engine=backend)
    assert found is not None
    assert (found - stepped(model, fire)).abs().max() < 1e-3
    if backend == "plain":
        assert torch.equal(found, run_page(model, phantom, fire))


def test_without_a_browser_there_is_nothing_to_compare(phantom, monkeypatch):
    monkeypatch.setenv("PATH", "")
    model = load_model(GOLDEN)
    assert run_page(model, phantom, fire_masks(model, 1)) is None


def test_a_page_that_does_not_work_is_an_error(browser, phantom):
    Path("broken.html").write_text(phantom.read_text().replace("class Plain", "class Broken"))
    model = load_model(GOLDEN)
    with pytest.raises(NcatoolError, match="could not be run in a browser"):
        run_page(model, Path("broken.html"), fire_masks(model, 1))
