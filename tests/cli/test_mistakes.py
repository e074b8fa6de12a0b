"""What users type by mistake, and what is said to them: one error, one hint that helps, in our own words.

Run: python -m tests.cli.test_mistakes prints them as a Markdown table.
"""

import contextlib
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import GOLDEN, SMALL, run_in_process

# What is typed, and a part of what is said.
MISTAKES = {
    # commands
    "grow phantom": "did you mean ncatool train?",
    "trian phantom": "did you mean ncatool train?",
    "Train phantom": "did you mean ncatool train?",
    "fit phantom": "did you mean ncatool train?",
    "evaluate phantom": "did you mean ncatool compare?",
    "download chestmnist": "did you mean ncatool fetch?",
    "play phantom": "did you mean ncatool render?",
    "predict phantom": "did you mean ncatool render?",
    "convert phantom": "did you mean ncatool export?",
    "continue phantom": "did you mean ncatool resume?",
    "describe phantom": "did you mean ncatool info?",
    "help train": "did you mean ncatool --help?",
    "version": "did you mean ncatool --version?",
    "phantom.safetensors": "ncatool render phantom.safetensors",
    "photo.png": "ncatool train photo.png",
    "chestmnist": "ncatool train chestmnist",
    "--target phantom": "ncatool train --target",
    "frobnicate": "see: ncatool --help",
    # options of other tools
    "train phantom --lr 1e-3": "did you mean --learning-rate?",
    "train phantom --learning_rate 1e-3": "did you mean --learning-rate?",
    "train phantom -lr 1e-3": "two: --learning-rate",
    "train phantom --epochs 10": "did you mean --iterations?",
    "train phantom --max_steps 10": "did you mean --iterations?",
    "train phantom --num_train_epochs 3": "did you mean --iterations?",
    "train phantom --resume": "ncatool resume MODEL",
    "train phantom --resume_from_checkpoint x": "ncatool resume MODEL",
    "train phantom --out-dir runs": "did you mean --out?",
    "train phantom --output m.safetensors": "did you mean --out?",
    "train phantom --output_dir runs": "did you mean --out?",
    "train phantom --project runs": "did you mean --out?",
    "train phantom --gpu 0": "did you mean --device cuda?",
    "train phantom --cuda": "did you mean --device cuda?",
    "train phantom --cpu": "did you mean --device cpu?",
    "train phantom --accelerator gpu": "did you mean --device?",
    "train phantom --batch 8": "did you mean --batch-size?",
    "train phantom --per_device_train_batch_size 8": "did you mean --batch-size?",
    "train phantom --imgsz 64": "did you mean --size?",
    "train phantom --data chestmnist": "did you mean --target?",
    "train phantom --image photo.png": "did you mean --target?",
    "train phantom --verbose": "--traceback",
    "train phantom --workers 4": "did you mean --threads?",
    "train phantom --criterion l1": "did you mean --loss?",
    "train phantom --kernel sobel": "did you mean --filter?",
    "train phantom --fp16": "did you mean --precision?",
    "train phantom --pretrained m": "did you mean --from?",
    "train phantom --overwrite": "did you mean --force?",
    "train phantom --save-every 100": "did you mean --checkpoint-every?",
    "train phantom --patience 3": "there is no early stopping",
    "train phantom --eval": "ncatool compare MODEL",
    "train phantom --iteratoins 10": "did you mean --iterations?",
    "render phantom --output a.gif": "ncatool render MODEL OUT.gif",
    "render phantom -o a.gif": "ncatool render MODEL OUT.gif",
    "render phantom a.gif --frames 100": "did you mean --steps?",
    "render phantom a.gif --framerate 10": "did you mean --fps?",
    "render phantom a.gif --bg black": "did you mean --background?",
    "render --model phantom a.gif": "the model stands alone",
    "render phantom a.gif --zoom 4": "did you mean --scale?",
    "compare phantom --metrics mse": "did you mean --metric?",
    "compare phantom --html r.html": "did you mean --report?",
    "compare phantom --num-samples 4": "did you mean --rollouts?",
    "fetch --dataset chestmnist": "ncatool fetch chestmnist",
    "fetch chestmnist --resolution 64": "did you mean --size?",
    "fetch chestmnist --output_dir data": "--root FOLDER",
    "sweep --loss l1,l2 --n-jobs 2": "did you mean --jobs?",
    "sweep --loss l1,l2 --dryrun": "did you mean --dry-run?",
    "export phantom --output a.html": "ncatool export MODEL OUT.html",
    "export phantom a.html --type html": "did you mean --format?",
    "resume phantom --lr 1e-3": "did you mean --learning-rate?",
    "resume phantom --epochs 10": "did you mean --iterations?",
    "resume phantom --batch-size 8": "a run keeps its batch-size",
    "info phantom --verbose": "--traceback",
    # targets and sets
    "train phantm": "did you mean phantom?",
    "train chestmnst": "did you mean chestmnist?",
    "train chest": "did you mean chestmnist?",
    "train chest-mnist": "did you mean chestmnist?",
    "train photo.jpg": "did you mean photo.png?",
    "train nowhere.png": "a target is phantom, a file as FILE[:PLANE][:INDEX], or a MedMNIST set",
    "train chestmnist:64": "did you mean chestmnist@64 for that size, or chestmnist:train:64?",
    "train chestmnist:validation": "did you mean val?",
    "train chestmnist@30": "choose from 28, 64, 128, 224",
    "train chestmnist": "ncatool fetch chestmnist",
    "train phantom --target photo.png": "the target is given twice",
    "train phantom out.safetensors": "--out NAME.safetensors",
    "train phantom.safetensors": "ncatool resume phantom.safetensors",
    "train phantom.toml": "ncatool train --config phantom.toml",
    "train runs": "runs holds no DICOM picture",
    "sweep phantom": "ncatool sweep --target phantom",
    "sweep --target phantm --loss l1,l2": "did you mean phantom?",
    "import seed.pt o.safetensors --filter sobel --target phantm": "did you mean phantom?",
    "fetch chest": "did you mean chestmnist?",
    "fetch chestmnist@64": "did you mean chestmnist --size 64?",
    "fetch chestmnist:test:3": "did you mean chestmnist --pick test:3 OUT.png?",
    "fetch phantom": "the phantom needs no download",
    "fetch": "ncatool fetch --list",
    # models
    "render nowhere": "models here: lone.safetensors, phantom.safetensors",
    "render phantm a.gif": "did you mean phantom.safetensors?",
    "render phantom.toml a.gif": "is the record of a run, not its model; give the model, phantom.safetensors",
    "render phantom.csv a.gif": "give the model, phantom.safetensors",
    "render phantom.checkpoint a.gif": "give the model, phantom.safetensors",
    "render phantom.curve.png a.gif": "give the model, phantom.safetensors",
    "render photo.png a.gif": "ncatool train photo.png",
    "render seed.pt a.gif": "ncatool import seed.pt seed.safetensors",
    "render runs a.gif": "runs is a folder, not a model",
    "compare phantom.toml": "give the model, phantom.safetensors",
    "compare empty": "there is no model in empty",
    "export phantom.csv a.html": "give the model, phantom.safetensors",
    "resume phantom.curve.png": "give the model, phantom.safetensors",
    "resume lone": "ncatool train --from lone.safetensors",
    "resume nowhere": "no such model: nowhere",
    "info notes.txt": "notes.txt is damaged, or no file of ncatool",
    "train phantom --from phantm": "did you mean phantom.safetensors?",
    # values
    "train phantom --filter sobol": "did you mean sobel?",
    "train phantom --loss mse": "did you mean l2?",
    "train phantom --loss crossentropy": "choose from l1, l2, manhattan, hinge",
    "train phantom --device gpu": "did you mean cuda?",
    "train phantom --iterations many": "--iterations is 'many', but takes a whole number",
    "train phantom --iterations 1.5": "but takes a whole number",
    "train phantom --learning-rate fast": "but takes a number",
    "train phantom --size 0": "size is 0, but goes from 1 to 1024",
    "train phantom --out": "--out needs a value",
    "train phantom --quiet=maybe": "--quiet takes no value",
    "train phantom --damage circle": "ncatool render MODEL OUT.gif --damage circle@200",
    "render phantom a.gif --steps 0": "--steps is '0', but goes from 1 to",
    "render phantom a.gif --damage circle": "write circle@200",
    "render phantom a.gif --damage left,right": "write left@200",
    "render phantom a.gif --damage oval@9": "choose from circle, left",
    "render phantom a.gif --damage circle@9999": "the last step is 500",
    "render phantom a.avi": "choose an ending from .gif",
    "export phantom a.txt": "choose an ending from .html",
    "export phantom": "ncatool export needs MODEL... OUT",
    "export phantom a.html b.html": "no such model: a.html",
    "render": "models here:",
    "compare": "models here:",
    "compare phantom --sort speed": "there is no column 'speed'",
    # inputs before outputs that exist already
    "train phantm --out taken.safetensors": "did you mean phantom?",
    "train phantom --from phantm --out taken.safetensors": "did you mean phantom.safetensors?",
    "render phantm taken.gif": "did you mean phantom.safetensors?",
    "compare phantm --csv taken.csv": "did you mean phantom.safetensors?",
    "export phantm taken.html": "did you mean phantom.safetensors?",
    "import nowhere.pt taken.safetensors --filter sobel": "no such file: nowhere.pt",
    "fetch chestmnist --from nowhere.npz --show 3 --out taken.png": "no such file: nowhere.npz",
    "sweep --target phantm --loss l1,l2 --out taken.gif": "did you mean phantom?",
}  # fmt: skip


def make_files():
    """The files of a run, pictures, and others that may be named by mistake, in the current folder."""
    for name in ("phantom.safetensors", "lone.safetensors", "taken.safetensors", "runs/m.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(GOLDEN, name)
    for name in ("photo.png", "phantom.curve.png", "taken.png", "taken.gif"):
        Image.radial_gradient("L").resize((8, 8)).save(name)
    for name in ("phantom.csv", "phantom.checkpoint", "taken.csv", "taken.html", "notes.txt", "seed.pt"):
        Path(name).write_text("text")
    Path("phantom.toml").write_text("[train]\nseed = 3\n")
    Path("empty").mkdir()


@pytest.fixture
def _files():
    make_files()


FOREIGN = re.compile(
    r"Usage:|Try '|No such (option|command)|Invalid value|Missing (argument|option)|not a valid|is not one of|"
    r"unexpected extra|requires an argument|does not take|Input should|pydantic|click|typer|torch\.|Traceback \(|Errno",
    re.IGNORECASE,
)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_gets_one_error_and_a_hint_that_helps(typed):
    before = sorted(Path().rglob("*"))
    done = run_in_process(*shlex.split(typed))
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.partition(" ")[0] for line in lines[-2:]] == ["error:", "hint:"], done.stderr
    assert all(" · " in line for line in lines[:-2]), done.stderr  # what is about to be done
    assert MISTAKES[typed] in " ".join(lines[-2:]).replace(" hint:", ";"), done.stderr
    assert not FOREIGN.search(done.stderr)
    assert [path for path in Path().rglob("*") if "home" not in path.parts] == before or sorted(
        path for path in Path().rglob("*") if "home" not in path.parts
    ) == before


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(
    "typed",
    [
        "train phantom", "train Phantom --out a.safetensors", "train photo.png", "train --target photo.png",
        "train phantom --damage random --out a.safetensors", "train phantom --preview true --out a.safetensors",
        "train phantom --checkpoint false --out a.safetensors",
        "train phantom --loss L1 --filter Sobel --out a.safetensors",
    ],
)  # fmt: skip
def test_what_is_meant_is_trained(typed):
    Path("phantom.safetensors").unlink()
    for ending in (".toml", ".csv", ".checkpoint", ".curve.png"):
        Path(f"phantom{ending}").unlink()
    done = run_in_process(*shlex.split(typed), *SMALL, "--quiet")
    assert done.returncode == 0, done.stderr
    name = "a" if "--out" in typed else "photo" if "photo" in typed else "phantom"
    assert Path(f"{name}.safetensors").is_file()
    assert Path(f"{name}.checkpoint").is_file() != ("checkpoint false" in typed)
    assert ('regime = "regenerating"' in Path(f"{name}.toml").read_text()) == ("--damage" in typed)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(
    "typed",
    [
        "render phantom a.gif --steps 4", "render phantom. a.gif --steps 4", "render phantom lone a.gif --steps 4",
        "render phantom a.gif --steps 20 --damage random", "render phantom a.gif --steps 20 --damage",
        "render phantom --steps 20 --damage a.gif", "render phantom a.gif --steps 4 --overlay yes",
        "export phantom a.npz", "info phantom", "compare phantom --rollouts 1 --steps 200",
    ],
)  # fmt: skip
def test_models_are_found_by_their_names(typed):
    Path("phantom.toml").unlink()
    done = run_in_process(*shlex.split(typed))
    assert done.returncode == 0, done.stderr
    for out in ("a.gif", "a.npz"):
        assert Path(out).is_file() == (out in typed)


def test_sets_ignore_case(site):
    assert run_in_process("fetch", "BloodMNIST", "-q").returncode == 0
    words = [word if word != "10" or SMALL[i - 1] != "--size" else "28" for i, word in enumerate(SMALL)]
    done = run_in_process("train", "BloodMNIST:Test:3", *words, "-q")
    assert done.returncode == 0, done.stderr
    assert Path("bloodmnist-test-3.safetensors").is_file()
    assert run_in_process("resume", "bloodmnist:test:3", "-q").returncode == 0


def main():
    """Print what each mistake is answered with."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["NCATOOL_DATA"] = str(Path(folder) / "data")
        make_files()
        print("| typed after `ncatool` | error | hint |\n|---|---|---|")
        for typed in MISTAKES:
            done = run_in_process(*shlex.split(typed))
            *_, error, hint = [line.partition(": ")[2].replace("|", "\\|") for line in done.stderr.splitlines()]
            print(f"| `{typed}` | {error} | {hint} |")


if __name__ == "__main__":
    main()
