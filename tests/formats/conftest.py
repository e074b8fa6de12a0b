"""A page of a model, and a browser that opens pages without a network."""

import pytest

from ncatool.formats import page as pages
from ncatool.nca.model_file import load_model
from tests.formats.page_helpers import GOLDEN, RECORD, wait


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
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
