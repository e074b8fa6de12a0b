"""Exports, each run by something else than what wrote it."""

import dataclasses
import datetime
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ncatool.config.names import Boundary, ExportFormat, Filter, SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.engine import build
from ncatool.engine.rollout import draw_fire_masks
from ncatool.errors import NcatoolError, UsageError
from ncatool.formats import browser, c_header, distill
from ncatool.formats import exporting as exporting
from ncatool.formats.common import make_seed_states, run_dense
from ncatool.formats.exporting import check_parity, choose_format, export_model
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData, load_model
from ncatool.nca.seed import make_seed
from tests.benchmarks.parity import lively
from tests.conftest import ncatool, run_in_process

GOLDEN = Path(__file__).parents[1] / "golden" / "phantom.safetensors"
RUNNABLE = [form for form in ExportFormat if form is not ExportFormat.HTML]
"""The page has tests of its own."""
HOSTILE = "x*/ #error no\n\\\n</script><script>alert(1)</script> ??/ \"'{{7*7}} \u2028 🧠"


def golden():
    return load_model(GOLDEN)


@pytest.mark.parametrize(
    ("channels", "hidden", "filter_", "boundary"),
    [
        (16, 128, Filter.SOBEL, Boundary.WRAP),
        (12, 64, Filter.SCHARR, Boundary.ZERO),
        (16, 64, Filter.GAUSSIAN, Boundary.WRAP),
        (12, 128, Filter.LAPLACIAN, Boundary.ZERO),
        (16, 64, Filter.MEAN, Boundary.ZERO),
    ],
)
def test_every_format_computes_what_the_model_does(channels, hidden, filter_, boundary, tmp_path):
    """All forty combinations: python -m tests.benchmarks.parity."""
    model = lively(channels, hidden, filter_, boundary)
    slow = (ExportFormat.ONNX, ExportFormat.PT2)
    for form in RUNNABLE:
        if form is ExportFormat.JSON and filter_ is not Filter.SOBEL:
            continue
        if form in slow and filter_ not in (Filter.SOBEL, Filter.LAPLACIAN):
            continue
        exporting.EXPORT_KINDS[form].write(model, {}, "model", tmp_path / f"m.{form}")
        found = check_parity(model, tmp_path / f"m.{form}", form)
        assert found.difference is not None
        assert found.difference < (0.1 if form is ExportFormat.JSON else 1e-5), form


@pytest.mark.parametrize("form", RUNNABLE)
def test_an_output_bias_and_a_grid_that_is_not_square(form, tmp_path):
    model = lively(8, 12, Filter.SOBEL, Boundary.WRAP)
    weights = model.weights._replace(output_bias=torch.linspace(-0.02, 0.03, 8))
    target = Target(np.full((9, 14, 4), 200, np.uint8), 1)
    model = ModelData(weights, model.config, target)
    found = export_model(model, {}, "m", tmp_path / "out", form)
    assert found.difference is not None
    assert found.difference < (0.1 if form is ExportFormat.JSON else 1e-5)


@pytest.mark.parametrize("form", RUNNABLE)
def test_an_artefact_that_strays_is_not_let_out(form, tmp_path, monkeypatch):
    kind = exporting.EXPORT_KINDS[form]
    monkeypatch.setitem(
        exporting.EXPORT_KINDS,
        form,
        exporting.ExportKind(kind.write, lambda m, p, f: kind.run(m, p, f) + 0.01, "", kind.exact),
    )
    if form is ExportFormat.JSON:  # which may differ, but not in the picture
        monkeypatch.setattr(
            distill, "read_weights", lambda path: golden().weights._replace(output_weight=torch.ones(16, 128))
        )
        with pytest.raises(NcatoolError, match="with 8-bit weights the MSE at step 500 is"):
            export_model(golden(), {}, "m", tmp_path / "out", form)
        return
    with pytest.raises(NcatoolError, match=r"differs from the model by 0\.01"):
        export_model(golden(), {}, "m", tmp_path / "out", form)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_explodes_is_not_compared(tmp_path, recwarn):
    model = golden()
    weights = model.weights._replace(output_bias=torch.full((16,), 1e37))
    with pytest.raises(NcatoolError, match="explodes within 64 steps"):
        export_model(ModelData(weights, model.config, model.target), {}, "m", tmp_path / "m.npz", ExportFormat.NPZ)
    assert not [one for one in recwarn if "encountered" in str(one.message)], "numpy's warnings stay inside"


def test_onnx_takes_any_batch_and_size_and_tells_what_it_is(tmp_path):
    model = golden()
    export_model(model, {"train": {"loss": "l2"}}, "phantom", tmp_path / "m.onnx", ExportFormat.ONNX)
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in [*proto.graph.input, *proto.graph.output]] == ["state", "fire", "next"]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for batch, height, width in ((1, 28, 28), (3, 17, 41)):
        state = np.zeros((batch, height, width, 16), np.float32)
        (following,) = session.run(None, {"state": state, "fire": np.ones((batch, height, width), bool)})
        assert following.shape == state.shape
    facts = json.loads(session.get_modelmeta().custom_metadata_map["ncatool"])
    assert facts["model"]["filter"] == "sobel"
    assert facts["train"] == {"loss": "l2"}
    assert facts["target"]["sha256"] == model.target.describe()["sha256"]


@pytest.mark.parametrize("boundary", Boundary)
@pytest.mark.parametrize("rollout", [0, 5])
def test_the_free_axes_of_an_onnx_file_have_names(tmp_path, boundary, rollout):
    model = lively(8, 12, Filter.SOBEL, boundary)
    export_model(model, {}, "m", tmp_path / "m.onnx", ExportFormat.ONNX, rollout)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    named = {value.name: value.shape for value in [*session.get_inputs(), *session.get_outputs()]}
    axes, state = ["batch", "height", "width"], ["batch", "height", "width", 8]
    assert named == ({"start": state, "final": state} if rollout else {"state": state, "fire": axes, "next": state})
    text = str(onnx.load(tmp_path / "m.onnx"))
    symbols = {match[1] for match in re.finditer(r'dim_param: "([^"]*)"', text)}
    assert {word for symbol in symbols for word in re.findall(r"[A-Za-z_]\w*", symbol)} == set(axes)


def test_an_onnx_rollout_grows_the_picture_and_draws_its_own_masks(tmp_path):
    model = golden()
    export_model(model, {}, "phantom", tmp_path / "m.onnx", ExportFormat.ONNX, rollout=300)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    state = make_seed_states(model).repeat(4, 1, 1, 1).numpy()
    (final,) = session.run(None, {"start": state})
    errors = ((final[..., :4] - model.target.premultiply()) ** 2).mean(axis=(1, 2, 3))
    assert np.median(errors) < 1e-3
    assert len(np.unique(errors)) == 4, "each sample has masks of its own"


def test_a_program_of_torch_takes_any_batch_and_size(tmp_path):
    done = ncatool("export", GOLDEN, tmp_path / "m.pt2")  # in a process in which nothing has run before
    assert done.returncode == 0, done.stderr
    script = (
        "import torch, json, sys\n"
        "extra = {'ncatool.json': ''}\n"
        "program = torch.export.load(sys.argv[1], extra_files=extra)\n"
        "state = torch.zeros(3, 17, 41, 16)\n"
        "print(*program.module()(state, torch.ones(3, 17, 41, dtype=torch.bool)).shape)\n"
        "print(json.loads(extra['ncatool.json'])['name'], 'ncatool' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "m.pt2")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", timeout=120)
    assert done.stdout.splitlines() == ["3 17 41 16", "phantom False"]


def test_arrays_by_name(tmp_path):
    model = golden()
    export_model(model, {}, "phantom", tmp_path / "m.npz", ExportFormat.NPZ)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"hidden.weight", "hidden.bias", "output.weight", "kernels", "target", "settings"}
        assert arrays["kernels"].tolist() == filter_pair(Filter.SOBEL).tolist()
        assert (arrays["target"] == model.target.pixels).all()
        assert json.loads(str(arrays["settings"]))["model"]["channels"] == 16


def test_bytes_of_the_article_by_hand():
    rows, scale = distill.quantise(np.array([-2.0, 0.0, 1.0, 2.0]))
    assert scale == 4
    assert rows.tolist() == [0, 128, 191, 255]
    assert distill.quantise(np.zeros(3))[1] == 0, "not 0/0"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"filter": Filter.MEAN}, "supports only sobel"),
        ({"channels": 6}, "packs four channels"),
        ({"hidden": 9}, "packs four"),
    ],
)
def test_what_the_article_cannot_say(settings, what, tmp_path):
    model = dataclasses.replace(golden(), config=ModelConfig(**settings))
    with pytest.raises(UsageError, match=what):
        distill.check_supported(model)


def test_the_header_is_clean_c99_and_cpp(tmp_path):
    """Compiled apart from the check, strictly, and run: the seed it makes is ours."""
    export_model(golden(), {}, "phantom", tmp_path / "m.h", ExportFormat.H)
    source = tmp_path / "main.c"
    source.write_text(
        '#include "m.h"\n#include <stdio.h>\n'
        "static float state[nca_phantom_SIZE], next[nca_phantom_SIZE];\n"
        "static unsigned char fire[nca_phantom_CELLS], scratch[nca_phantom_CELLS];\n"
        "int main(void) {\n"
        "    int i; nca_phantom_seed(state);\n"
        "    for (i = 0; i < nca_phantom_CELLS; i++) fire[i] = 1;\n"
        "    nca_phantom_step(state, next, fire, scratch);\n"
        '    for (i = 0; i < nca_phantom_SIZE; i++) if (state[i] != 0.0f) printf("%d ", i);\n'
        '    printf("%d %g\\n", nca_phantom_HEIGHT, (double)nca_phantom_fire_rate);\n'
        "    return 0;\n}\n"
    )
    for language in (["cc", "-std=c99"], ["c++", "-x", "c++", "-std=c++11"]):
        if shutil.which(language[0]) is None:
            pytest.skip(f"there is no {language[0]} on this machine")
        command = [*language, "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-o", "main", str(source)]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
        done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
        cell = (14 * 28 + 14) * 16
        assert done.stdout.split() == [*(str(cell + i) for i in range(3, 16)), "28", "0.5"]


COMPILERS = [
    *(f"{name} -std={standard}" for name in ("gcc", "clang") for standard in ("c99", "c11")),
    *(f"{name} -x c++ -std={standard}" for name in ("g++", "clang++") for standard in ("c++11", "c++17")),
]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    ("boundary", "side", "cells"),
    [(Boundary.ZERO, 28, SeedCells.ONE), (Boundary.WRAP, 1, SeedCells.ONE), (Boundary.ZERO, 28, SeedCells.THREE)],
)
def test_the_header_warns_of_nothing_whether_it_is_used_or_not(tmp_path, compiler, boundary, side, cells):
    """Three files that include it: one uses nothing of it, one the functions, one a constant."""
    if shutil.which(compiler.split()[0]) is None:
        pytest.skip(f"there is no {compiler.split()[0]} on this machine")
    model = lively(8, 12, Filter.SOBEL, boundary)
    target = Target(np.full((side, side, 4), 200, np.uint8), 0)
    model = dataclasses.replace(model, target=target, own_seed=make_seed(8, cells))
    export_model(model, {}, "m", tmp_path / "m.h", ExportFormat.H)
    (tmp_path / "a.c").write_text('#include "m.h"\n#include "m.h"\nint main(void) { return 0; }\n')
    (tmp_path / "b.c").write_text(
        '#include "m.h"\nvoid use(float *s, float *n, unsigned char *a);\n'
        "void use(float *s, float *n, unsigned char *a) { nca_m_seed(s); nca_m_step(s, n, a, a); }\n"
    )
    (tmp_path / "c.c").write_text('#include "m.h"\nfloat rate(void);\nfloat rate(void) { return nca_m_fire_rate; }\n')
    strict = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror", "-o", "main"]
    command = [*compiler.split(), *strict, "a.c", "b.c", "c.c"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_header_that_does_not_compile_is_not_let_out(tmp_path, monkeypatch):
    folder = tmp_path / 'we"ird'
    folder.mkdir()
    assert export_model(golden(), {}, "m", folder / "m.h", ExportFormat.H).difference is not None
    monkeypatch.setattr(c_header, "_format_array", lambda name, values: "no C")
    with pytest.raises(NcatoolError, match="does not compile"):
        export_model(golden(), {}, "m", tmp_path / "m.h", ExportFormat.H)
    assert not (tmp_path / "m.h").exists()


def test_a_single_cell_and_a_record_of_odd_values(tmp_path):
    model = lively(8, 12, Filter.SOBEL, Boundary.ZERO)
    model = ModelData(model.weights, model.config, Target(np.full((1, 1, 4), 200, np.uint8), 0))
    record = {"result": {"mse": float("nan"), "at": datetime.date(2026, 1, 2), "list": [1]}}
    for form in (ExportFormat.PT2, ExportFormat.ONNX, ExportFormat.NPZ, ExportFormat.H):
        assert export_model(model, record, "m", tmp_path / f"m.{form}", form).difference < 1e-5
    with np.load(tmp_path / "m.npz") as arrays:
        assert json.loads(str(arrays["settings"]))["result"] == {"mse": None, "at": "2026-01-02", "list": [1]}


def test_without_a_compiler_the_header_is_written_unchecked(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_find_compilers", list)
    assert export_model(golden(), {}, "m", tmp_path / "m.h", ExportFormat.H).difference is None
    assert (tmp_path / "m.h").stat().st_size > 10_000


@pytest.mark.parametrize("form", RUNNABLE)
def test_hostile_names_and_records(form, tmp_path):
    record = {"train": {"loss": HOSTILE * 1000, HOSTILE: 1}, "result": "no table", "model": 3}
    target = Target(golden().target.pixels, 0, {"source": HOSTILE, "licence": HOSTILE})
    model = ModelData(golden().weights, golden().config, target)
    found = export_model(model, record, HOSTILE, tmp_path / f"m.{form}", form)
    assert found.difference is not None
    if form is ExportFormat.H:
        text = (tmp_path / "m.h").read_text(encoding="ascii")
        comment = text[: text.index("#ifndef")]
        assert comment.count("*/") == 1
        assert "#error" not in comment
        assert "\\" not in text
        assert "??" not in text
        assert max(map(len, text.splitlines())) < 2100
        assert re.fullmatch(r"[ -~\n]*", text)


def test_identifiers():
    assert c_header.make_identifier("Chest X-ray (2)") == "nca_chest_x_ray_2"
    assert c_header.make_identifier("💥") == "nca_model"
    assert len(c_header.make_identifier("x" * 300)) < 50


def test_a_page_is_followed_in_a_browser_or_written_unchecked(tmp_path, monkeypatch):
    found = export_model(golden(), {}, "m", tmp_path / "m.html", ExportFormat.HTML)
    assert found.difference is None or found.difference < 1e-4
    assert (found.difference is None) == (not any(map(shutil.which, browser.BROWSERS)))
    monkeypatch.setattr(browser, "BROWSERS", ())
    assert export_model(golden(), {}, "m", tmp_path / "unchecked.html", ExportFormat.HTML).difference is None
    assert (tmp_path / "unchecked.html").read_bytes() == (tmp_path / "m.html").read_bytes()


def test_formats_by_ending():
    assert choose_format(Path("a.HTML"), None) is ExportFormat.HTML
    assert choose_format(Path("a.bin"), ExportFormat.NPZ) is ExportFormat.NPZ
    with pytest.raises(UsageError, match=r"a\.pkl ends in \.pkl") as caught:
        choose_format(Path("a.pkl"), None)
    assert ".html, .onnx, .pt2, .json, .npz, .h" in caught.value.hint
    with pytest.raises(UsageError, match="--rollout is for"):
        export_model(golden(), {}, "m", Path("a.npz"), ExportFormat.NPZ, rollout=3)


def test_without_the_extra_onnx_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NcatoolError, match="needs the package onnxruntime") as caught:
        export_model(golden(), {}, "m", tmp_path / "m.onnx", ExportFormat.ONNX)
    assert caught.value.hint == "pip install 'ncatool[onnx]'"
    assert list(tmp_path.iterdir()) == []


def test_the_command():
    shutil.copy(GOLDEN, "m.safetensors")
    done = run_in_process("export", "m.safetensors", "m.json", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["wrote"] == "m.json"
    assert 0 < found["quantisation_error"] < 0.02
    assert found["mse_at_500_quantised"] < 1e-2
    assert "the article's player has boundary wrap, not zero" in done.stderr
    recorded = tomllib.loads(Path("m.json.toml").read_text())["export"]
    assert recorded["largest_difference"] == found["largest_difference"]
    done = run_in_process("export", "m.safetensors", "m.json")
    assert done.returncode == 2
    assert "m.json exists already" in done.stderr
    done = run_in_process("export", "m.safetensors", "m.onnx", "--rollout", 20, "-q")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(Path("m.onnx.toml").read_text())["export"]["rollout"] == 20
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].split() == ["wrote", "m.onnx"]


def test_the_reference_is_the_dense_rule():
    """Which the engine's own tests compare with everything else; here: it follows the masks it is given."""
    model = golden()
    generator = torch.Generator().manual_seed(0)
    fire = draw_fire_masks(5, make_seed_states(model), 0.5, generator)
    assert not torch.equal(run_dense(model, fire), run_dense(model, ~fire))
    assert torch.equal(run_dense(model, fire[:0]), make_seed_states(model))
