"""The command as a shell sees it: streams, exit codes, precedence, signals."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import GOLDEN, SMALL, ncatool, replace_flags, run_in_process


def test_train_and_render_and_resume(tmp_path):
    done = ncatool("train", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "no --target and chestmnist is not fetched: growing the built-in phantom" in done.stderr
    assert done.stdout.startswith("wrote")
    for ending in (".safetensors", ".toml", ".csv", ".curve.png", ".checkpoint"):
        assert Path(f"phantom{ending}").stat().st_size
    done = ncatool("render", "phantom.safetensors", "out.gif", "--steps", 20)
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["wrote", "steps", "mse", "psnr", "l1", "l2", "manhattan", "hinge"]
    with Image.open("out.gif") as image:
        assert image.size == (396, 396), "12 cells of 33 pixels"
    done = ncatool("resume", "phantom.safetensors", "--iterations", 8, "--json")
    assert json.loads(done.stdout)["iterations"] == 8


def test_a_lone_model_file_renders(tmp_path):
    assert run_in_process("train", *SMALL, "--quiet").returncode == 0
    (tmp_path / "alone").mkdir()
    shutil.copy("phantom.safetensors", "alone")
    assert run_in_process("render", "alone/phantom.safetensors", "out.png").returncode == 0


def test_json_is_one_object_and_quiet_is_quiet():
    done = run_in_process("train", *SMALL, "--json", "--quiet")
    assert json.loads(done.stdout)["wrote"] == "phantom.safetensors"
    assert done.stderr == ""
    done = run_in_process("render", "phantom.safetensors", "a.gif", "--json", "--quiet", "--steps", 5)
    assert json.loads(done.stdout)["steps"] == 5
    assert done.stderr == ""


def test_same_command_same_bytes():
    for name in "ab":
        assert ncatool("train", *SMALL, "--target", "phantom", "--out", f"{name}.safetensors", "-q").returncode == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def settings_of(name="phantom"):
    return tomllib.loads(Path(f"{name}.toml").read_text())


def test_flag_beats_environment_beats_config_beats_default():
    Path("run.toml").write_text('[train]\niterations = 3\nseed = 30\nbatch_size = 3\n[model]\nfilter = "mean"\n')
    few = [word for i, word in enumerate(SMALL) if SMALL[max(0, i - 1)] != "--batch-size" and word != "--batch-size"]
    flags = [word for i, word in enumerate(few) if SMALL and word != "--iterations" and few[i - 1] != "--iterations"]
    environment = {"NCATOOL_TRAIN_SEED": "20", "NCATOOL_TRAIN_ITERATIONS": "2"}
    done = ncatool("train", *flags, "--config", "run.toml", "--iterations", 1, env=environment)
    assert done.returncode == 0, done.stderr
    found = settings_of()
    assert (found["train"]["iterations"], found["train"]["seed"]) == (1, 20)
    assert (found["train"]["batch_size"], found["model"]["filter"]) == (3, "mean")
    assert found["train"]["learning_rate"] == 0.006


def test_a_runs_own_record_repeats_it():
    assert ncatool("train", *SMALL, "--target", "phantom", "--loss", "l1", "--filter", "scharr").returncode == 0
    done = ncatool("train", "--config", "phantom.toml", "--out", "again.safetensors")
    assert done.returncode == 0, done.stderr
    assert Path("phantom.safetensors").read_bytes() == Path("again.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("[train]\niteration = 3\n", "unknown setting 'iteration'", "did you mean iterations?"),
        ("[trian]\n", "unknown table [trian]", "[train]"),
        ("[train]\niterations = 'x'\n", "iterations is 'x'", "type int"),
        ("[train]\nbatch_size = 99999\n", "batch-size is 99999", "--batch-size"),
        ("[model]\nfilter = 'sobol'\n", "filter is 'sobol'", "sobel, scharr"),
        ("model = 3\n", "[model] is 3", "table"),
        ("[train\n", "not valid TOML", "fix"),
        ("\x00", "not valid TOML", "fix"),
    ],
)
def test_bad_config(text, what, hint):
    Path("bad.toml").write_text(text)
    fails(run_in_process("train", "--config", "bad.toml"), what, hint, codes=(1, 2))


def fails(done, what, hint, codes=(2,)):
    """One line that says what is wrong, and a hint; nothing on stdout, nothing left behind."""
    assert done.returncode in codes, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("no --target") and " → " not in line]
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert what in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]
    assert not list(Path().glob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ("train --target nowhere.png", "no such target: nowhere.png", "phantom"),
        (
            "train --filter sobol",
            "--filter is 'sobol'",
            "did you mean sobel? Choose from sobel, scharr, gaussian, laplacian, mean; see: ncatool train --help",
        ),
        ("train --loss l3", "--loss is 'l3'", "l1, l2, manhattan, hinge; see: ncatool train --help"),
        ("train --size 0", "size is 0, but goes from 1 to 1024", "--size"),
        ("train --size 5000", "size is 5000", "--size"),
        ("train --size 1000 --padding 100", "makes 1200 cells a side", "--padding"),
        ("train --channels 3", "channels is 3, but goes from 4", "--channels"),
        ("train --batch-size 300", "a batch of 300 cannot be drawn from a pool of 256", "--pool-size 300"),
        ("train --damage --damaged 4", "4 damaged states leave none whole in a batch of 4", "--damaged 3"),
        ("train --damage --regime growing", "--regime is growing", "one of them"),
        ("train --steps 9-3", "steps is 3, but goes from 9", "--steps"),
        ("train --steps many", "steps is 'many'", "MIN-MAX"),
        ("train --iterations many", "--iterations", "--help"),
        ("train --fire-rate 0", "fire-rate is 0", "--fire-rate"),
        ("train --learning-rate nan", "learning-rate is nan", "--learning-rate"),
        ("train --out model.pt", "model.pt does not end in .safetensors", "model.safetensors"),
        ("train --out nowhere/m.safetensors", "nowhere cannot be written", "folder"),
        ("train --target chestmnist", "chestmnist at 28 pixels has not been fetched", "ncatool fetch chestmnist"),
        ("train --target chestmnist@30", "no size 30", "28, 64, 128, 224"),
        ("train --device cuda", "torch sees no cuda device", "cpu"),
        ("train --config nowhere.toml", "no such file: nowhere.toml", "TOML"),
        ("train --no-such-flag", "--no-such-flag", "--help"),
        ("render nowhere.safetensors out.gif", "no such model: nowhere.safetensors", ".safetensors"),
        (f"render {GOLDEN} out.avi", "out.avi ends in .avi", ".gif, .webp"),
        (f"render {GOLDEN} out.gif --background nocolour", "'nocolour' is not a colour", "white"),
        (f"render {GOLDEN} out.gif --steps 0", "--steps", "--help"),
        (f"render {GOLDEN} a.gif --damage circle@501", "the last step is 500", "--steps 501"),
        (f"render {GOLDEN} a.gif --damage oval@9", "no damage 'oval'", "circle, left"),
        (f"render {GOLDEN} a.gif --grid 30", "--grid is '30'", "--grid 64x96"),
        (f"render {GOLDEN} a.gif --grid 0x9", "grid is 0, but goes from 1 to 1024", "--grid"),
        (f"render {GOLDEN} a.gif --grid 9999x9", "grid is 9999", "--grid"),
        (f"render {GOLDEN} a.gif --at 3", "--at is '3'", "--at 64,96"),
        (f"render {GOLDEN} a.gif --view inside", "--view is 'inside'", "rgba, alpha, hidden"),
        (f"render {GOLDEN} a.gif a.gif", "a.gif is named twice", "once"),
        ("render nowhere.safetensors", "no such model: nowhere.safetensors", ".safetensors"),
        ("render", "ncatool render needs MODEL... [OUT...]", "--help"),
        ("resume nowhere.safetensors", "there is no checkpoint nowhere.checkpoint", "model file"),
        ("resume nowhere.safetensors --pool-size 9", "a run keeps its pool-size", "train --from MODEL --pool-size"),
        ("grow", "there is no command 'grow'", "did you mean ncatool train? See: ncatool --help"),
    ],
)
def test_bad_usage(arguments, what, hint):
    if "cuda" in arguments and shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a CUDA device")
    fails(run_in_process(*arguments.split()), what, hint, codes=(1, 2))


def test_bad_usage_in_a_shell():
    fails(ncatool("train", "--size", 0), "size is 0, but goes from 1 to 1024", "--size")


def test_an_output_that_exists_is_kept():
    Path("phantom.csv").write_text("mine")
    done = run_in_process("train", *SMALL)
    assert done.returncode == 2
    assert "phantom.csv exists already" in done.stderr
    assert "--force" in done.stderr
    assert Path("phantom.csv").read_text() == "mine"
    assert run_in_process("train", *SMALL, "--force").returncode == 0
    assert run_in_process("render", "phantom.safetensors", "phantom.csv.gif", "--steps", 3).returncode == 0
    assert run_in_process("render", "phantom.safetensors", "phantom.csv.gif", "--steps", 3).returncode == 2


def test_traceback_on_request():
    done = ncatool("train", "--size", 0, "--traceback")
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def wait_for(process, condition):
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_tells_how_to_go_on(number, code):
    long = replace_flags(SMALL, iterations="100000", checkpoint_every="5")
    command = [sys.executable, "-m", "ncatool", "train", *long]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, Path("phantom.csv").exists)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    done, total = map(int, re.search(r"stopped after iteration (\d+) of (\d+)", errors).groups())
    assert total == 100000
    assert "ncatool resume phantom.safetensors" in errors
    assert len(Path("phantom.csv").read_text().splitlines()) == done + 1
    resumed = ncatool("resume", "phantom.safetensors", "--iterations", done + 2, "--json")
    assert json.loads(resumed.stdout)["iterations"] == done + 2
    assert len(Path("phantom.csv").read_text().splitlines()) == done + 3


def on_a_terminal(*arguments, **environment):
    """What the command draws on a terminal of 100 columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ncatool", *arguments],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **environment},
    )
    os.close(slave)
    drawn = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0, drawn
    return drawn.decode()


def test_progress_on_a_terminal():
    drawn = on_a_terminal("train", *replace_flags(SMALL, iterations="40"))
    for part in ("loss", "PSNR", "40/40", "iterations/s"):
        assert part in drawn


def test_preview_draws_half_blocks():
    drawn = on_a_terminal("train", *replace_flags(SMALL, iterations="40"), "--preview", COLORTERM="truecolor")
    assert "▀" in drawn
    assert "\x1b[38;2;" in drawn, "in true colour"


def test_no_progress_where_it_is_not_wanted():
    assert "iterations/s" not in on_a_terminal("train", *SMALL, NCATOOL_NO_PROGRESS="1")
    assert "\x1b[" not in on_a_terminal("train", *SMALL, "--force", "--quiet")


def test_plain_lines_without_a_terminal(monkeypatch, capsys):
    from ncatool.cli import terminal

    monkeypatch.setattr(terminal, "PLAIN_INTERVAL", 0)
    with terminal.show_progress(10, "iterations") as update:
        update(1, "loss 1")
        update(2, "loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("1/10 iterations  loss 1")
    assert re.fullmatch(r"2/10 iterations  loss 0.5  [\d.]+ iterations/s", lines[1])


def test_version():
    done = ncatool("--version")
    assert re.fullmatch(r"ncatool \d+\.\d+\.\d+\n", done.stdout)
