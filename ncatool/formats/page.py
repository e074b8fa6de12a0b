"""`.html`: a page on its own that grows the picture and lets visitors erase cells."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment
from markupsafe import Markup
from torch import Tensor

from ncatool.config.names import Boundary
from ncatool.errors import NcatoolError
from ncatool.formats.common import Fire
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State

MAX_TEXT_LENGTH = 200
"""Most characters that are shown of a value from a file."""
BROWSER_TIMEOUT = 120.0
"""Seconds that a browser may take to run the page's script."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "msedge")
KEYS = {
    "P": "pause, play",
    "S": "one step",
    "R": "restart from the seed",
    "C": "clear",
    "1 2 3 4": "erase left, right, top, bottom",
    "− +": "slower, faster",
    "[ ]": "smaller, larger brush",
    "V": "next view",
    "D": "save a PNG",
    "Arrows": "move the brush (picture focused; with Shift, further)",
    "Space, Enter": "erase there",
}
_SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write the page."""
    path.write_bytes(render_page(model, record, name).encode())


def render_page(model: ModelData, record: Mapping[str, Any], name: str) -> str:
    """Return the HTML. All text from files is shortened and escaped, and only the page's own script can run."""
    script = "\n".join(['"use strict";', _read_asset("engine.js"), _read_asset("page.js")])
    style = _read_asset("page.css")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_read_asset("page.html")).render(
        name=clean_text(name) or "model",
        facts=describe_facts(model, record),
        keys=KEYS,
        version=metadata.version("ncatool"),
        model=Markup(_to_script_json(page_data(model, name))),
        script=Markup(script),
        script_hash=_hash_source(script),
        style=Markup(style),
        style_hash=_hash_source(style),
    )


def _read_asset(name: str) -> str:
    return resources.files("ncatool.formats").joinpath("web", name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _to_script_json(value: Any) -> str:
    """Return JSON that is safe within a script element: nothing in it can end the element."""
    text = json.dumps(value)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _encode_tensor(values: Tensor | None) -> str | None:
    """Return a tensor as little-endian float32 in base64."""
    if values is None:
        return None
    return base64.b64encode(values.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).decode()


def page_data(model: ModelData, name: str) -> dict[str, Any]:
    """Return what the page's script computes with."""
    config, weights, target = model.config, model.weights, model.target
    height, width = target.shape
    return {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "model",
        "channels": config.channels,
        "hidden": config.hidden,
        "fireRate": config.fire_rate,
        "threshold": config.threshold,
        "wrap": config.boundary is Boundary.WRAP,
        "filters": filter_pair(config.filter).flatten(1).tolist(),
        "height": height,
        "width": width,
        "padding": target.padding,
        "hiddenWeight": _encode_tensor(weights.hidden_weight),
        "hiddenBias": _encode_tensor(weights.hidden_bias),
        "outputWeight": _encode_tensor(weights.output_weight),
        "outputBias": _encode_tensor(weights.output_bias),
        "target": base64.b64encode(np.ascontiguousarray(target.pixels).tobytes()).decode(),
    }


def clean_text(value: object) -> str:
    """Return a value from a file as one short line, with blanks for control characters."""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a table in a table in a table
        return "…"
    visible = (
        " " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text[: 4 * MAX_TEXT_LENGTH]
    )
    line = " ".join("".join(visible).split())
    return (
        line if len(line) <= MAX_TEXT_LENGTH and len(text) <= 4 * MAX_TEXT_LENGTH else f"{line[: MAX_TEXT_LENGTH - 1]}…"
    )


def describe_facts(model: ModelData, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts that the page shows: model, target, and training if the record has it."""
    config = model.config
    (height, width), padding = model.target.shape, model.target.padding
    lines: dict[str, object] = {
        "filter": config.filter.value,
        "channels": config.channels,
        "hidden units": config.hidden,
        "fire rate": config.fire_rate,
        "alive above": config.threshold,
        "boundary": config.boundary.value,
        "grid": f"{height} × {width} cells" + (f", {padding} of padding on each side" if padding else ""),
        **_select_facts({**model.target.origin, **_get_table(record, "target")}, "target ", _TARGET),
        **_select_facts(_get_table(record, "train"), "training ", _TRAIN),
        **_select_facts(_get_table(record, "result"), "training ", ("iterations", "seconds")),
    }
    return {heading: clean_text(value) for heading, value in lines.items()}


_TARGET = ("source", "label", "split", "index", "colormap", "alpha", "licence")
_TRAIN = ("regime", "loss", "iterations", "learning_rate", "batch_size", "seed")


def _get_table(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = record.get(name)
    return table if isinstance(table, Mapping) else {}


def _select_facts(table: Mapping[str, Any], before: str, names: tuple[str, ...]) -> dict[str, object]:
    """Return those values of a table that exist, by heading."""
    return {before + name.replace("_", " "): table[name] for name in names if table.get(name) not in (None, "")}


def run(model: ModelData, path: Path, fire: Fire, backend: str = "plain") -> State | None:
    """Run the page's own script in a browser, from the seed with these fire masks, and return the state.

    `backend` is `plain` or `webgl`. None where there is no browser, or it has no WebGL2 that can do it.
    Raises NcatoolError where the browser fails.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    masks = base64.b64encode(np.packbits(fire.cpu().numpy().reshape(-1), bitorder="little").tobytes()).decode()
    given = _to_script_json({"backend": backend, "steps": len(fire), "masks": masks})
    block = f'<body><script type="application/json" id="parity">{given}</script>'
    text = path.read_text(encoding="utf-8").replace("<body>", block, 1)
    dom = _dump_dom(browser, text, _SOFTWARE_GL if backend == "webgl" else ("--disable-gpu",))
    if backend == "webgl" and 'id="parity-error"' in dom:
        return None
    return _parse_state(dom, (1, *model.target.shape, model.config.channels))


def _dump_dom(browser: str, text: str, flags: tuple[str, ...]) -> str:
    """Return the document after its script has run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text, encoding="utf-8", newline="\n")
        command = [browser, "--headless", "--dump-dom", f"--user-data-dir={folder}/profile", "--no-first-run", *flags]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")
        try:
            done = subprocess.run([*command, copy.as_uri()], capture_output=True, timeout=BROWSER_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _browser_error(f"{browser}: {error}") from None
    return done.stdout.decode(errors="replace")


def _parse_state(dom: str, shape: tuple[int, ...]) -> Tensor:
    found = re.search(r'<pre id="parity-state">([A-Za-z0-9+/=]*)</pre>', dom)
    values = np.frombuffer(base64.b64decode(found[1]), "<f4") if found else np.zeros(0, "<f4")
    if values.size != np.prod(shape):
        raise _browser_error(f"the page left {values.size} values, not {np.prod(shape)}")
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _browser_error(why: str) -> NcatoolError:
    return NcatoolError(
        f"the page could not be stepped in a browser ({why})", "open it by hand to see whether it works"
    )
