"""Several pictures in exported files: every seed is there, chosen by a name or a number, and each is checked."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from ncatool.config.names import ExportFormat, SeedCells
from ncatool.errors import NcatoolError
from ncatool.formats import arrays, c_header
from ncatool.formats.common import make_seed_states
from ncatool.formats.exporting import export_model
from ncatool.nca.model_file import save_model
from tests.conftest import run_in_process
from tests.several import make_several

FORMS = (ExportFormat.ONNX, ExportFormat.PT2, ExportFormat.NPZ, ExportFormat.H)


@pytest.mark.parametrize("cells", [SeedCells.ONE, SeedCells.SQUARE])
def test_every_seed_is_in_the_file_and_checked(cells, tmp_path):
    model = make_several(cells=cells)
    for form in FORMS:
        found = export_model(model, {}, "m", tmp_path / f"m.{form}", form)
        assert found.difference is not None
        assert found.difference < 1e-5, form
    (entry,) = onnx.load(tmp_path / "m.onnx").metadata_props
    seeds = json.loads(entry.value)["seeds"]
    assert list(seeds) == ["red", "green", "blue"]
    middle = next(cell for cell in seeds["blue"] if (cell["row"], cell["column"]) == (0, 0))
    rows, columns = (side // 2 for side in model.seeds.shape[1:3])
    assert middle["channels"] == model.seeds[2, rows, columns].tolist()
    with np.load(tmp_path / "m.npz") as found:
        assert np.array_equal(found["seed"], model.seeds.numpy())
        assert found["target"].shape == (3, 9, 9, 4)
        assert json.loads(str(found["settings"]))["target"]["names"] == ["red", "green", "blue"]


def test_a_rollout_of_onnx_grows_the_picture_whose_seed_it_is_given(tmp_path):
    model = make_several()
    export_model(model, {}, "m", tmp_path / "m.onnx", ExportFormat.ONNX, rollout=9)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (final,) = session.run(None, {"start": make_seed_states(model).numpy()})
    assert len(final) == 3
    assert not np.allclose(final[0], final[1])


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "g++ -x c++ -std=c++11"])
def test_a_header_names_pictures_and_sows_each(compiler, tmp_path):
    """As a strict compiler sees it; a program prints the names, and a hidden channel of each seed."""
    if shutil.which(compiler.split()[0]) is None:
        pytest.skip(f"there is no {compiler.split()[0]} on this machine")
    model = make_several(names=("red blood", "é", 'a"b'))
    export_model(model, {}, "m", tmp_path / "m.h", ExportFormat.H)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "m.h"\nint main(void)\n{\n    static float state[nca_m_SIZE];\n    int i;\n'
        "    for (i = 0; i < nca_m_PICTURES; i++) {\n        nca_m_seed(state, i);\n"
        '        printf("%s %g\\n", nca_m_name(i), (double)state[nca_m_find_cell(6, 6) * nca_m_CHANNELS + 5]);\n'
        "    }\n    return 0;\n}\n"
    )
    strict = ["-pedantic-errors", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    subprocess.run([*compiler.split(), *strict, "-o", "main", "main.c"], check=True, cwd=tmp_path)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    values = [f"{seed[0, 0, 5].item():g}" for seed in model.seeds]
    assert done.stdout.splitlines() == [f"red_blood {values[0]}", f"_ {values[1]}", f"a_b {values[2]}"]


@pytest.mark.parametrize("form", [ExportFormat.NPZ, ExportFormat.H])
def test_a_wrong_seed_of_a_later_picture_is_found(form, tmp_path, monkeypatch):
    model = make_several()
    other = make_several()
    other.own_seed[2] *= -1
    kind = {ExportFormat.NPZ: arrays, ExportFormat.H: c_header}[form]
    write = kind.write
    monkeypatch.setattr(kind, "write", lambda _, *rest: write(other, *rest))
    path = tmp_path / f"m.{form}"
    kind.write(model, {}, "m", path)
    from ncatool.formats.exporting import check_parity

    with pytest.raises(NcatoolError, match="differs from the model"):
        check_parity(model, path, form)


def test_the_articles_format_holds_one_picture():
    save_model(Path("m.safetensors"), make_several(channels=16))
    done = run_in_process("export", "m.safetensors", "m.json", "-q")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "one picture" in done.stderr
    assert not list(Path().glob("m.json*"))


def test_values_of_lists_are_json(tmp_path):
    """Errors of each picture in the record stay numbers, and what is not finite becomes null."""
    record = {"result": {"each_mse_at_500": [0.5, float("inf"), 1e-4]}}
    export_model(make_several(), record, "m", tmp_path / "m.npz", ExportFormat.NPZ)
    with np.load(tmp_path / "m.npz") as found:
        assert json.loads(str(found["settings"]))["result"]["each_mse_at_500"] == [0.5, None, 1e-4]


def test_states_of_the_check_are_one_a_picture():
    model = make_several()
    states = make_seed_states(model)
    assert states.shape == (3, 13, 13, 8)
    assert torch.equal(states[1, 6, 6], model.seeds[1, 0, 0])


def test_an_imported_model_grows_one_picture():
    """The models of others have one seed, so several targets are refused, and nothing is written."""
    shape = {
        "update_module.0.weight": (8, 48, 1, 1),
        "update_module.0.bias": (8,),
        "update_module.2.weight": (16, 8, 1, 1),
    }
    torch.save({name: torch.zeros(size) for name, size in shape.items()}, "theirs_sobel.pt")
    for name, grey in (("a", 60), ("b", 200)):
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(f"{name}.png")
    done = run_in_process("import", "theirs_sobel.pt", "ours.safetensors", "--target", "a.png + b.png", "-q")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --target names 2 pictures, but an imported model grows one",
        "hint: name that picture alone",
    ]
    assert not list(Path().glob("ours*"))
