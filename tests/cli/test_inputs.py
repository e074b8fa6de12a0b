"""No command writes over a file that it reads, however that file is reached, and whatever else it may overwrite."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import GOLDEN, SMALL, run_in_process


def write_picture(path):
    Image.radial_gradient("L").resize((16, 16)).save(path, "PNG")


def write_model(path):
    shutil.copyfile(GOLDEN, path)


def write_settings(path):
    path.write_text("[train]\nseed = 3\n")


def write_plan(path):
    path.write_text('[base]\ntarget = "phantom"\n[grid]\nfilter = ["sobel", "mean"]\n')


def write_state_dict(path):
    shapes = {"0.weight": (8, 48, 1, 1), "0.bias": (8,), "2.weight": (16, 8, 1, 1)}
    tensors = {f"update_module.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def write_record(path):
    path.write_text('format = "ncatool-1"\n')


TRAIN = ["train", *SMALL, "--out", "m.safetensors"]
SWEEP = ["sweep", *SMALL, "--filter", "sobel,mean", "--no-compare", "--out", "s"]
PLAN = ["sweep", "{}", *SMALL, "--no-compare", "--out", "s"]
RENDER = ["render", GOLDEN, "--steps", 8]
IMPORT = ["import", "--filter", "sobel"]
# Command, how its input is made, and the output that is the same file.
CASES = {
    "train: target, curve": ([*TRAIN, "--target", "{}"], write_picture, "m.curve.png"),
    "train: target, model": ([*TRAIN, "--target", "{}"], write_picture, "m.safetensors"),
    "train: target, rows": ([*TRAIN, "--target", "{}"], write_picture, "m.csv"),
    "train: config, record": ([*TRAIN, "--config", "{}"], write_settings, "m.toml"),
    "train: start, model": (["train", "--from", "{}", "--out", "m.safetensors"], write_model, "m.safetensors"),
    "train: start, checkpoint": (["train", "--from", "{}", "--out", "m.safetensors"], write_model, "m.checkpoint"),
    "sweep: plan, manifest": (PLAN, write_plan, "s/sweep.toml"),
    "sweep: plan, record": (PLAN, write_plan, "s/sobel.toml"),
    "sweep: target, curve": ([*SWEEP, "--target", "{}"], write_picture, "s/sobel.curve.png"),
    "sweep: target, summary": ([*SWEEP, "--target", "{}"], write_picture, "s/summary.csv"),
    "sweep: start, model": (
        ["sweep", "--from", "{}", "--seed", "0,1", "--out", "s"],
        write_model,
        "s/seed0.safetensors",
    ),
    "render: model": (["render", "{}", "a.gif"], write_model, "a.gif"),
    "render: model, sheet": (["render", "{}", "a.png"], write_model, "a.png"),
    "render: mask": ([*RENDER, "a.png", "--damage", "{}@4"], write_picture, "a.png"),
    "render: mask, frame": ([*RENDER, "f/", "--damage", "{}@4"], write_picture, "f/step-0000002.png"),
    "compare: model, table": (["compare", "{}", "--csv", "a.csv"], write_model, "a.csv"),
    "compare: model, sheet": (["compare", "{}", "--picture", "a.png"], write_model, "a.png"),
    "compare: model, page": (["compare", "{}", "--report", "a.html"], write_model, "a.html"),
    "compare: model, animation": (["compare", "{}", "--animation", "a.gif"], write_model, "a.gif"),
    "export: model": (["export", "{}", "a.npz"], write_model, "a.npz"),
    "export: record": (["export", "g.safetensors", "g.toml", "--format", "npz"], write_record, "g.toml"),
    "import: state dict, model": ([*IMPORT, "{}", "m.safetensors"], write_state_dict, "m.safetensors"),
    "import: state dict, curve": ([*IMPORT, "{}", "m.safetensors"], write_state_dict, "m.curve.png"),
    "import: target, curve": ([*IMPORT, "a.pt", "m.safetensors", "--target", "{}"], write_picture, "m.curve.png"),
}


def place(spelling, write, output):
    """Make the input, so that the output is the same file; return how the command line names the input."""
    origin = Path(f"origin{output.suffix}")
    write(origin)
    output.parent.mkdir(exist_ok=True)
    if spelling == "symbolic link":
        output.symlink_to(origin.absolute())
        return str(origin)
    if spelling == "hard link":
        os.link(origin, output)
        return str(origin)
    origin.rename(output)
    return {"name": str(output), "./name": f"./{output}", "absolute": str(output.absolute())}[spelling]


@pytest.mark.parametrize("spelling", ["name", "./name", "absolute", "symbolic link", "hard link"])
@pytest.mark.parametrize("case", CASES)
def test_an_input_is_never_overwritten(case, spelling):
    arguments, write, output = CASES[case]
    write_state_dict(Path("a.pt"))
    write_model(Path("g.safetensors"))
    name = place(spelling, write, Path(output))
    before = Path(output).read_bytes()
    done = run_in_process(*(str(argument).format(name) for argument in arguments), "--force")
    assert done.returncode == 2, done.stderr
    assert f"error: {output} is read by this command" in done.stderr
    assert Path(output).read_bytes() == before
    assert Path(name).samefile(output)
    assert Path(output).is_symlink() == (spelling == "symbolic link")


def test_the_sweeps_own_plan_can_be_given_again():
    options = ["--jobs", 1, "--no-compare", "--out", "s"]
    assert run_in_process("sweep", *SMALL, "--filter", "sobel,mean", "--target", "phantom", *options).returncode == 0
    before = Path("s/sweep.toml").read_bytes()
    done = run_in_process("sweep", "s/sweep.toml", *options)
    assert done.returncode == 0, done.stderr
    assert Path("s/sweep.toml").read_bytes() == before


def test_a_photograph_and_its_model_have_the_same_name():
    write_picture(Path("photo.png"))
    before = Path("photo.png").read_bytes()
    for force in ([], ["--force"]):
        done = run_in_process("train", *SMALL, "--target", "photo.png", "--out", "photo.safetensors", *force)
        assert done.returncode == 0, done.stderr
    assert Path("photo.png").read_bytes() == before
    assert run_in_process("render", "photo.safetensors", "photo.gif", "--steps", 8).returncode == 0
    assert sorted(path.name for path in Path().iterdir()) == [
        "photo.checkpoint", "photo.csv", "photo.curve.png", "photo.gif", "photo.png", "photo.safetensors", "photo.toml",
    ]  # fmt: skip
