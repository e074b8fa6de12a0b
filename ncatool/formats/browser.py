"""Runs an exported page in a browser, so that its own script can be compared with the dense rule."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ncatool.errors import NcatoolError
from ncatool.formats.page import to_script_json
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import Fire, State

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "msedge")
BROWSER_TIMEOUT = 120.0
"""Seconds that the browser may take to run the page's script with one picture."""
_SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def run(model: ModelData, path: Path, fire: Fire, engine: str = "plain") -> State | None:
    """Return the states that the page's script computes from the seeds of its only model; see `run_all`."""
    states = run_all([model], path, [fire], engine)
    return None if states is None else states[0]


def run_all(
    models: Sequence[ModelData], path: Path, fires: Sequence[Tensor], engine: str = "plain"
) -> list[Tensor] | None:
    """Return the states that the page's script computes from the seeds of each model's pictures with its fire masks.

    A model's states and masks are a batch of its pictures; all models take the same number of steps, but their grids
    differ. `engine` is `plain` (JavaScript) or `webgl`. Returns None where there is no browser, or where it cannot run
    the WebGL engine. Raises NcatoolError where the browser fails.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    masks = [[_pack_masks(one) for one in fire.unbind(1)] for fire in fires]
    request = to_script_json({"backend": engine, "steps": len(fires[0]), "masks": masks})
    element = f'<body><script type="application/json" id="parity">{request}</script>'
    text = path.read_text(encoding="utf-8").replace("<body>", element, 1)
    flags = _SOFTWARE_GL if engine == "webgl" else ("--disable-gpu",)
    dom = _dump_dom(browser, text, flags, BROWSER_TIMEOUT * sum(map(len, masks)))
    if engine == "webgl" and 'id="parity-error"' in dom:
        return None
    shapes = [(len(one.target.pictures), *one.target.shape, one.config.channels) for one in models]
    return [_parse_states(dom, i, shape) for i, shape in enumerate(shapes)]


def _pack_masks(fire: Tensor) -> str:
    return base64.b64encode(np.packbits(fire.cpu().numpy().reshape(-1), bitorder="little").tobytes()).decode()


def _dump_dom(browser: str, text: str, flags: tuple[str, ...], timeout: float) -> str:
    """Return the page's document after its script has run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "page.html"
        page.write_text(text, encoding="utf-8", newline="\n")
        command = [browser, "--headless", "--dump-dom", f"--user-data-dir={folder}/profile", "--no-first-run", *flags]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to start its sandbox as root
        try:
            done = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=timeout, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _make_error(f"{browser}: {error}") from None
    return done.stdout.decode(errors="replace")


def _parse_states(dom: str, index: int, shape: tuple[int, ...]) -> Tensor:
    match = re.search(rf'<pre id="parity-state-{index}">([A-Za-z0-9+/= ]*)</pre>', dom)
    values = np.frombuffer(b"".join(map(base64.b64decode, match[1].split())) if match else b"", "<f4")
    if values.size != np.prod(shape):
        raise _make_error(f"the page left {values.size} values, not {np.prod(shape)}")
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _make_error(reason: str) -> NcatoolError:
    return NcatoolError(f"the page could not be run in a browser ({reason})", "open it by hand to see whether it works")
