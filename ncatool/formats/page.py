"""`.html`: one page that grows pictures in a browser, and lets visitors erase cells and plant seeds.

It holds one model or several, each of one picture or several, needs no other file, and asks for nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from torch import Tensor

from ncatool.config.names import Boundary
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import is_plain, list_cells
from ncatool.nca.seed_summary import describe_places
from ncatool.nca.types import Seed

MAX_TEXT_LENGTH = 200
"""Characters shown of a value that comes from a file."""
SHORTCUTS = {
    "P": "pause, play",
    "S": "one step",
    "R": "restart from the seed",
    "C": "clear",
    "1 2 3 4": "erase left, right, top, bottom",
    "− +": "slower, faster",
    "[ ]": "smaller, larger brush",
    "V": "next view",
    "D": "save a PNG",
    "E": "a click erases, or plants a seed",
    "Arrows": "move the brush (picture focused; with Shift, further)",
    "Space, Enter": "erase or plant at the brush",
}
"""Keys, and what they do, as the page lists them."""
_SCRIPTS = ("engine.js", "page.js", "controls.js")
_TARGET_FIELDS = ("source", "label", "split", "index", "colormap", "alpha", "licence")
_TRAIN_FIELDS = ("regime", "loss", "iterations", "learning_rate", "batch_size", "seed")


class PageModel(NamedTuple):
    """A model of a page."""

    model: ModelData
    record: Mapping[str, Any]
    """What is known of its training."""
    name: str


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write the page of one model."""
    path.write_bytes(render_page(model, record, name).encode())


def write_gallery(models: Sequence[PageModel], path: Path) -> None:
    """Write a page of several models, which visitors choose from a menu."""
    path.write_bytes(render_gallery(models).encode())


def render_page(model: ModelData, record: Mapping[str, Any], name: str) -> str:
    """Return the HTML text of the page of one model."""
    return render_gallery([PageModel(model, record, name)])


def render_gallery(models: Sequence[PageModel]) -> str:
    """Return the HTML text of a page; the script is there once, the models are data.

    Text that comes from files is shortened and escaped; the page's security policy runs no script but its own.
    """
    script = "\n".join(['"use strict";', *map(_read_asset, _SCRIPTS)])
    style = _read_asset("page.css")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shown = [_describe_model(*model) for model in models]
    has_pictures = any(one.model.target.others for one in models)
    data = [{**make_page_data(one.model, one.name), **text} for one, text in zip(models, shown, strict=True)]
    return environment.from_string(_read_asset("page.html")).render(
        models=[
            {**text, "facts": describe_facts(one.model, one.record)} for one, text in zip(models, shown, strict=True)
        ],
        origin=_describe_origin([one.model for one in models]),
        has_pictures=has_pictures,
        shortcuts={
            **SHORTCUTS,
            **({"N": "next model"} if len(models) > 1 else {}),
            **({"G": "next picture to grow"} if has_pictures else {}),
        },
        version=metadata.version("ncatool"),
        data=Markup(to_script_json(data)),
        script=Markup(script),
        script_hash=_hash_source(script),
        style=Markup(style),
        style_hash=_hash_source(style),
    )


def _describe_origin(models: Sequence[ModelData]) -> str:
    """Return what the pictures of a page grow from."""
    counts = [len(list_cells(model.seed)) for model in models]
    if max(counts) == 1:
        return "one cell"
    return "a few cells" if min(counts) > 1 else "one cell or a few"


def _describe_model(model: ModelData, record: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return what the page says of a model in words: its name, its target, both as a title, and what a cell sees."""
    label, target = clean_text(name) or "model", describe_target(model, record)
    return {"label": label, "subject": target, "title": f"{label}: {target}", "sight": describe_sight(model)}


def describe_target(model: ModelData, record: Mapping[str, Any]) -> str:
    """Return what the picture is and its size: `Shepp-Logan head phantom, 28 × 28`, `chest.png, 28 × 28`.

    Of several it is their number: `4 pictures, 28 × 28`.
    """
    height, width = model.target.pixels.shape[:2]
    if model.target.others:
        return f"{len(model.target.pictures)} pictures, {height} × {width}"
    origin = {**model.target.origin, **_get_table(record, "target")}
    source, label = (
        clean_text(origin.get("source") or ""),
        clean_text(origin.get("meaning") or origin.get("label") or ""),
    )
    name = re.split(r"[/\\]", source)[-1]
    words = label if source == "phantom" and label else ", ".join(filter(None, (name, label)))
    return f"{clean_text(words) or 'a picture'}, {height} × {width}"


def describe_sight(model: ModelData) -> str:
    """Return in a few sentences what a cell sees of itself and its neighbours."""
    config = model.config
    twice = _describe_direction(model) if config.filter.is_symmetric else "and through its transpose"
    edge = "the grid wraps around" if config.boundary is Boundary.WRAP else "beyond the edge there is nothing"
    return (
        f"What a cell sees: its own {config.channels} channels, and those of its 3 × 3 neighbourhood through the "
        f"{config.filter} filter, {twice}; {edge}. From these {3 * config.channels} numbers {config.hidden} hidden "
        f"units compute its change, which happens at {config.fire_rate:.0%} of the steps, by chance."
    )


def _describe_direction(model: ModelData) -> str:
    """Return what a symmetric filter lacks, and what else gives the cells their direction."""
    if not model.has_direction:
        return "which is symmetric and gives no sense of direction"
    return f"which is symmetric: the {len(list_cells(model.seed))} cells of the seed give the sense of direction"


def _read_asset(name: str) -> str:
    return resources.files("ncatool.formats").joinpath("web", name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    """Return the hash by which the page's security policy allows a script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def to_script_json(value: Any) -> str:
    """Return JSON for the inside of a script element, without characters that could end the element."""
    text = json.dumps(value)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _encode_tensor(values: Tensor | None) -> str | None:
    """Return little-endian float32 as base64."""
    if values is None:
        return None
    return base64.b64encode(values.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).decode()


def make_page_data(model: ModelData, name: str) -> dict[str, Any]:
    """Return the model as JSON values for the page's script."""
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
        **_pack_pictures(model),
    }


def _pack_pictures(model: ModelData) -> dict[str, Any]:
    """Return target and seed; of several pictures those of each, with what it is called."""
    packed = [
        {"target": base64.b64encode(np.ascontiguousarray(one.target.pixels).tobytes()).decode(), **_pack_seed(one.seed)}
        for one in model.pictures
    ]
    if len(packed) == 1:
        return packed[0]
    names = (clean_text(one.name) or "picture" for one in model.target.pictures)
    return {"pictures": [{"label": name, **one} for name, one in zip(names, packed, strict=True)]}


def _pack_seed(seed: Seed) -> dict[str, Any]:
    """Return places and channels of a seed's cells; nothing for the plain one cell, which the script makes itself."""
    if is_plain(seed):
        return {}
    return {"seedCells": {"places": list_cells(seed), "values": _encode_tensor(seed[seed.any(dim=-1)])}}


def clean_text(value: object) -> str:
    """Return a value from a file as one short line; control characters become spaces."""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or deeply nested tables
        return "…"
    start = text[: 4 * MAX_TEXT_LENGTH]
    visible = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in start)
    line = " ".join(visible.split())
    if len(line) <= MAX_TEXT_LENGTH and start == text:
        return line
    return f"{line[: MAX_TEXT_LENGTH - 1]}…"


def describe_facts(model: ModelData, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the rows of the page's table: the model, its target, and its training where the record has it."""
    config = model.config
    (height, width), padding = model.target.shape, model.target.padding
    facts: dict[str, object] = {
        "filter": config.filter.value,
        "channels": config.channels,
        "hidden units": config.hidden,
        "fire rate": config.fire_rate,
        "alive above": config.threshold,
        "boundary": config.boundary.value,
        **_describe_seeds(model),
        "grid": f"{height} × {width} cells" + (f", {padding} of padding on each side" if padding else ""),
        **_describe_origins(model, _get_table(record, "target")),
        **_select_facts(_get_table(record, "train"), "training ", _TRAIN_FIELDS),
        **_select_facts(_get_table(record, "result"), "training ", ("iterations", "seconds")),
    }
    return {heading: clean_text(value) for heading, value in facts.items()}


def _describe_seeds(model: ModelData) -> dict[str, str]:
    """Return the row on the seed, where there is more to say than that it is the plain one cell."""
    cells = list_cells(model.seed)
    if not model.target.others:
        return {} if is_plain(model.seed) else {"seed": describe_places(cells)}
    places = "1 cell" if cells == [(0, 0)] else describe_places(cells)
    return {"seed": f"{places}; the hidden channels hold the code of the picture"}


def _describe_origins(model: ModelData, table: Mapping[str, Any]) -> dict[str, object]:
    """Return the rows on the target; of several pictures their names, sources, and what they have in common."""
    if not model.target.others:
        return _select_facts({**model.target.origin, **table}, "target ", _TARGET_FIELDS)
    pictures = model.target.pictures
    sources = ", ".join(filter(None, (clean_text(one.origin.get("source") or "") for one in pictures)))
    return {
        "pictures": ", ".join(one.name for one in pictures),
        **({"target sources": sources} if sources else {}),
        **_select_facts({**model.target.describe(), **table}, "target ", _TARGET_FIELDS),
    }


def _get_table(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = record.get(name)
    return table if isinstance(table, Mapping) else {}


def _select_facts(table: Mapping[str, Any], prefix: str, fields: tuple[str, ...]) -> dict[str, object]:
    """Return the fields that the table has, under headings that start with `prefix`."""
    return {prefix + name.replace("_", " "): table[name] for name in fields if table.get(name) not in (None, "")}
