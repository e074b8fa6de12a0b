"""Model files: round trips, what is refused, and that none is ever half-written."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save

from ncatool.config.names import Boundary, Filter, SeedCells
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data import targets
from ncatool.errors import ExitCode, NcatoolError
from ncatool.nca.model_file import ModelData, load_model, save_model
from ncatool.nca.seed import make_seed, place_seed
from ncatool.nca.weights import Weights, draw_weights
from ncatool.training.run_files import RunFiles


def make_model(bias=False, **settings_):
    config = ModelConfig(**({"channels": 5, "hidden": 7} | settings_))
    weights = draw_weights(config, torch.Generator().manual_seed(1))
    if bias:
        weights = weights._replace(output_bias=torch.arange(float(config.channels)))
    return ModelData(weights, config, targets.load_target(TargetConfig(size=9, padding=2)))


@settings(max_examples=25, deadline=None)
@given(
    st.booleans(),
    st.integers(4, 9),
    st.integers(1, 9),
    st.sampled_from(Filter),
    st.sampled_from(Boundary),
    st.floats(0.01, 1),
)
def test_round_trip(bias, channels, hidden, name, boundary, fire_rate):
    model = make_model(bias, channels=channels, hidden=hidden, filter=name, boundary=boundary, fire_rate=fire_rate)
    path = Path("round.safetensors")
    save_model(path, model)
    loaded = load_model(path)
    assert loaded.config == model.config
    assert loaded.target.describe() == model.target.describe()
    for a, b in zip(loaded.weights, model.weights, strict=True):
        assert a is b is None or torch.equal(a, b)


def test_format_is_pinned():
    """Names, shapes, dtypes and header of a model file, which other programs read."""
    path = Path("m.safetensors")
    save_model(path, make_model(bias=True))
    with safe_open(path, "pt") as file:
        shapes = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["ncatool"])
    assert shapes == {
        "hidden.bias": ("F32", [7]),
        "hidden.weight": ("F32", [7, 15]),
        "output.bias": ("F32", [5]),
        "output.weight": ("F32", [5, 7]),
        "target": ("U8", [9, 9, 4]),
    }
    assert header["model"] == {
        "channels": 5, "hidden": 7, "filter": "sobel", "fire_rate": 0.5, "threshold": 0.1, "boundary": "zero",
    }  # fmt: skip
    assert header["format"] == "ncatool-1"
    assert header["target"]["source"] == "phantom"


def test_same_bytes_from_every_process():
    """safetensors orders its metadata differently in each process; the bytes of a model must not depend on that."""
    script = (
        "import sys; from pathlib import Path; from tests.nca.test_model_file import make_model;"
        "from ncatool.nca.model_file import save_model; save_model(Path(sys.argv[1]), make_model())"
    )
    save_model(Path("a.safetensors"), make_model())
    for name in "bc":
        path = Path(f"{name}.safetensors").absolute()
        subprocess.run([sys.executable, "-c", script, path], check=True, cwd=Path(__file__).parents[2])
    assert (
        Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes() == Path("c.safetensors").read_bytes()
    )


def rewrite(path, change):
    """Write the model file again with its tensors and metadata changed."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def edit_header(metadata, table, **values):
    header = json.loads(metadata["ncatool"])
    header[table] |= values
    metadata["ncatool"] = json.dumps(header)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop("output.weight"), r"lacks the tensor output.weight of shape \[5, 7\]"),
        (lambda t, m: t.pop("target"), "lacks the tensor target"),
        (lambda t, m: t.update({"hidden.bias": torch.zeros(8)}), r"hidden.bias should be F32 \[7\], but is F32 \[8\]"),
        (lambda t, m: t.update({"hidden.bias": torch.zeros(7).double()}), r"but is F64 \[7\]"),
        (lambda t, m: t.update({"hidden.bias": torch.full((7,), torch.nan)}), "not finite"),
        (lambda t, m: t.update({"target": torch.zeros(9, 4, dtype=torch.uint8)}), "target should be"),
        (lambda t, m: t.update({"target": torch.zeros(2000, 1, 4, dtype=torch.uint8)}), "target should be"),
        (lambda t, m: m.clear(), "no header of the format ncatool-1"),
        (lambda t, m: m.update({"ncatool": "[1, 2"}), "no header"),
        (lambda t, m: m.update({"ncatool": "[" * 100_000}), "no header"),
        (lambda t, m: m.update({"ncatool": "[1, 2]"}), "no header"),
        (lambda t, m: m.update({"ncatool": '{"format": "ncatool-1"}'}), r"no \[model\] table"),
        (lambda t, m: edit_header(m, "model", fire_rate=0.25), "has changed since it was written"),
        (lambda t, m: edit_header(m, "target", padding=1), "has changed since it was written"),
        (lambda t, m: t["hidden.bias"].add_(1e-7), "has changed since it was written"),
        (lambda t, m: t["target"].add_(1), "has changed since it was written"),
        (lambda t, m: edit_header(m, "model", filter="sobol"), "filter is 'sobol'"),
        (lambda t, m: edit_header(m, "model", channels=10**9), "channels is 1000000000"),
        (lambda t, m: edit_header(m, "model", fire_rate="x"), "fire_rate is 'x'"),
        (lambda t, m: edit_header(m, "model", colour=1), "unknown setting 'colour'"),
        (lambda t, m: edit_header(m, "target", padding=-1), "padding is -1"),
        (lambda t, m: t.update({"seed": torch.ones(5)}), r"seed should be \[rows, columns, 5\].*, but is \[5\]"),
        (lambda t, m: t.update({"seed": torch.ones(1, 3, 3, 5)}), r"seed should be .* but is \[1, 3, 3, 5\]"),
        (lambda t, m: t.update({"seed": torch.ones(3, 3, 6)}), r"seed should be .* but is \[3, 3, 6\]"),
        (lambda t, m: t.update({"seed": torch.ones(0, 3, 5)}), r"seed should be .* but is \[0, 3, 5\]"),
        (
            lambda t, m: t.update({"seed": torch.ones(1, 1025, 5)}),
            r"at most 1024 rows and columns, but is \[1, 1025, 5\]",
        ),
        (
            lambda t, m: t.update({"seed": torch.ones(3, 3, 5).double()}),
            r"seed should be F32 .* but is F64 \[3, 3, 5\]",
        ),
        (lambda t, m: t.update({"seed": torch.full((3, 3, 5), torch.nan)}), "seed holds values that are not finite"),
        (lambda t, m: t.update({"seed": torch.full((3, 3, 5), -torch.inf)}), "seed holds values that are not finite"),
        (
            lambda t, m: t.update({"seed": torch.zeros(3, 3, 5)}),
            "its seed has no cell that is not 0, so nothing can grow",
        ),
        (
            lambda t, m: t.update({"seed": torch.ones(15, 1, 5)}),
            "its seed of 15x1 cells lies beyond the edge of .* 13x13",
        ),
        (lambda t, m: t.update({"seed": torch.ones(3, 3, 5)}), "has changed since it was written"),
    ],
)
def test_model_files_with_wrong_content(change, message):
    path = Path("m.safetensors")
    save_model(path, make_model())
    rewrite(path, change)
    with pytest.raises(NcatoolError, match=message) as caught:
        load_model(path)
    assert "\n" not in caught.value.what
    assert "m.safetensors" in caught.value.what


@pytest.mark.parametrize("content", [b"", b"x" * 7, b"GIF89a" + bytes(100), b"\xff" * 64, bytes(8) + b"{}"])
def test_not_a_model_file(content):
    path = Path("m.safetensors")
    path.write_bytes(content)
    with pytest.raises(NcatoolError, match=r"m\.safetensors"):
        load_model(path)


def test_every_truncation_is_refused():
    path = Path("m.safetensors")
    save_model(path, make_model())
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(NcatoolError, match=r"m\.safetensors"):
            load_model(path)


def test_missing_model_and_folder(tmp_path):
    with pytest.raises(NcatoolError, match="no such model") as caught:
        load_model(Path("nowhere.safetensors"))
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(NcatoolError):
        load_model(tmp_path)


def test_sidecar_that_disagrees():
    path = Path("m.safetensors")
    save_model(path, make_model())
    sidecar = path.with_suffix(".toml")
    sidecar.write_text('[model]\nfilter = "sobel"\nhidden = 7\n')
    assert load_model(path).config.hidden == 7
    sidecar.write_text('[model]\nfilter = "mean"\n')
    with pytest.raises(NcatoolError, match=r"filter = 'mean', but the header of m.safetensors says .*sobel"):
        load_model(path)
    sidecar.write_text("[model\n")
    with pytest.raises(NcatoolError, match="not valid TOML"):
        load_model(path)
    sidecar.write_text("model = 3\n")
    with pytest.raises(NcatoolError, match="model"):
        load_model(path)


def make_isotropic_model(radius=2.0, **settings_):
    seed = make_seed(5, SeedCells.THREE, radius)
    return dataclasses.replace(
        make_model(**settings_), own_seed=seed, train={"seed_cells": "three", "seed_radius": radius}
    )


def test_a_seed_of_three_cells_comes_back():
    path = Path("m.safetensors")
    save_model(path, make_isotropic_model())
    with safe_open(path, "pt") as file:
        entry = file.get_slice("seed")
        assert (entry.get_dtype(), entry.get_shape()) == ("F32", [5, 5, 5])
    loaded = load_model(path)
    assert torch.equal(loaded.own_seed, make_seed(5, SeedCells.THREE))
    assert torch.equal(loaded.place_seeds(2), place_seed(loaded.own_seed, 2, 13, 13))


def test_the_plain_seed_is_not_in_the_file():
    for name, seed in (("a", None), ("b", make_seed(5))):
        save_model(Path(f"{name}.safetensors"), dataclasses.replace(make_model(), own_seed=seed))
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()
    assert load_model(Path("a.safetensors")).own_seed is None
    assert torch.equal(load_model(Path("a.safetensors")).seed, make_seed(5))


def test_a_seed_may_be_larger_than_a_grid_that_wraps():
    """What lies beyond an edge comes in at the opposite one; where nothing does, there is no such place."""
    path = Path("m.safetensors")
    save_model(path, make_isotropic_model(radius=8, boundary=Boundary.WRAP))
    assert len(load_model(path).place_seeds(1).any(dim=-1).nonzero()) == 3
    save_model(path, make_isotropic_model(radius=8))
    with pytest.raises(
        NcatoolError, match="its seed of 17x17 cells lies beyond the edge of its grid of 13x13"
    ) as caught:
        load_model(path)
    assert caught.value.code == ExitCode.FAILED


@pytest.mark.parametrize(
    ("settings_", "what"),
    [
        ({"seed_cells": "four"}, "seed_cells is 'four'"),
        ({"seed_cells": ["three"]}, r"seed_cells is \['three'\]"),
        ({"seed_cells": 3}, "seed_cells is 3"),
        ({"seed_radius": "2"}, "seed_radius is '2'"),
        ({"seed_radius": 0.5}, "seed-radius is 0.5, but goes from 1 to 64"),
        ({"seed_radius": float("nan")}, "seed-radius is nan"),
        ({"seed_radius": 2**62}, "seed-radius is 4"),
    ],
)
def test_wrong_settings_of_a_seed_in_the_header(settings_, what):
    path = Path("m.safetensors")
    save_model(path, dataclasses.replace(make_isotropic_model(), train=settings_))
    with pytest.raises(NcatoolError, match=rf"m\.safetensors: {what}") as caught:
        load_model(path)
    assert caught.value.code == ExitCode.FAILED
    assert "\n" not in caught.value.what


def test_a_sidecar_that_disagrees_on_the_seed():
    path = Path("m.safetensors")
    save_model(path, make_isotropic_model())
    sidecar = path.with_suffix(".toml")
    sidecar.write_text('[train]\nseed_cells = "three"\nseed_radius = 2.0\nloss = "l1"\n')
    assert load_model(path).train["seed_radius"] == 2
    sidecar.write_text("[train]\nseed_radius = 3.0\n")
    with pytest.raises(NcatoolError, match=r"seed_radius = 3\.0, but the header of m\.safetensors says 2\.0"):
        load_model(path)
    sidecar.write_text('[train]\nseed_cells = "one"\n')
    with pytest.raises(NcatoolError, match=r"seed_cells = 'one', but the header of m\.safetensors says 'three'"):
        load_model(path)
    sidecar.write_text("train = 3\n")
    with pytest.raises(NcatoolError, match="train = 3, which is no table"):
        load_model(path)


def test_names_of_a_runs_files():
    files = RunFiles(Path("a/b.safetensors"))
    assert [path.name for path in files.list_paths()] == [
        "b.safetensors", "b.toml", "b.checkpoint", "b.csv", "b.curve.png",
    ]  # fmt: skip
    with pytest.raises(NcatoolError, match="does not end in"):
        RunFiles(Path("b.pt"))


@pytest.mark.skipif(os.name != "posix", reason="needs a file size limit")
def test_a_full_disk(tmp_path):
    """A process that may write 4 kB in a file fails in one line and leaves the old model unchanged."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from tests.nca.test_model_file import make_model;"
        "from ncatool.nca.model_file import save_model; from ncatool.errors import NcatoolError\n"
        "path = Path(sys.argv[1]); save_model(path, make_model())\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: save_model(path, make_model(hidden=900))\n"
        "except NcatoolError as error: print(error.what)"
    )
    path = tmp_path / "m.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert "cannot be written: File too large" in done.stdout
    assert load_model(path).config.hidden == 7
    assert [entry.name for entry in tmp_path.iterdir() if "safetensors" in entry.name] == ["m.safetensors"]


def test_weights_without_output_bias_stay_without():
    path = Path("m.safetensors")
    save_model(path, make_model())
    assert load_model(path).weights.output_bias is None
    assert isinstance(load_model(path).weights, Weights)
