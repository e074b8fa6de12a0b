"""What TAB offers: asked for as each shell does, and typed into a real bash."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import GOLDEN, ncatool

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _files():
    """A folder with a model, a picture, and what should not be offered."""
    Path("runs").mkdir()
    Path("series").mkdir()
    for name in ("phantom.safetensors", "runs/deep.safetensors", "two words.safetensors"):
        shutil.copy(GOLDEN, name)
    for name in ("photo.png", "phantom.curve.png"):
        Image.new("L", (4, 4)).save(name)
    for name in ("phantom.toml", "phantom.csv", "notes.txt", "seed.pt", "scan.nii.gz", "series/1.dcm", "series/2.dcm"):
        Path(name).write_text("")


def ask(shell, line):
    """What the command answers to a shell that completes the last word of a line."""
    words = line.split(" ")
    variables = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = ncatool(env={"_NCATOOL_COMPLETE": f"complete_{shell}", **variables})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_sets_targets_models_and_formats(shell):
    assert "chestmnist" in ask(shell, "ncatool fetch ch")
    targets = ask(shell, "ncatool train --target p")
    assert all(name in targets for name in ("phantom", "photo.png", "pathmnist", "pneumoniamnist"))
    assert "curve" not in targets
    models = ask(shell, "ncatool compare ")
    assert "phantom.safetensors" in models
    assert "runs/deep.safetensors" in models
    assert not any(name in models for name in ("toml", "csv", "notes"))
    assert "onnx" in ask(shell, "ncatool export phantom.safetensors --format o")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ncatool fetch blood", ["bloodmnist"]),
        ("ncatool fetch a", ["adrenalmnist3d", "all"]),
        ("ncatool train phan", ["phantom"]),
        ("ncatool train -t phot", ["photo.png"]),
        ("ncatool train ./phot", ["./photo.png"]),
        ("ncatool train sca", ["scan.nii.gz"]),
        ("ncatool train se", ["series/"]),
        ("ncatool train series/", ["series/1.dcm", "series/2.dcm"]),
        ("ncatool train photo.png --alpha ph", ["photo.png"]),
        ("ncatool train photo.png --window b", ["bone", "brain"]),
        ("ncatool train phantom --from ph", ["phantom.safetensors"]),
        ("ncatool train phantom --loss h", ["hinge"]),
        ("ncatool train --config ph", ["phantom.toml"]),
        ("ncatool resume ph", ["phantom.safetensors"]),
        ("ncatool render ru", ["runs/deep.safetensors"]),
        ("ncatool render phantom.safetensors phantom.w", ["phantom.webp", "phantom.webm"]),
        ("ncatool export ph", ["phantom.safetensors"]),
        ("ncatool export phantom.safetensors phantom.h", ["phantom.html", "phantom.h"]),
        ("ncatool import s", ["seed.pt"]),
        ("ncatool import seed.pt s", ["seed.safetensors"]),
        ("ncatool sweep --filter sobel,s", ["sobel,scharr"]),
        ("ncatool sweep ph", ["phantom.toml"]),
        ("ncatool sweep --target ph", ["phantom", "photo.png"]),
        ("ncatool compare no", []),
    ],
)
def test_what_fits_is_offered(line, offered):
    found = ask("bash", line).split()
    assert set(offered) <= set(found)
    assert len(found) == len(offered) or line.endswith("--target ph")


def test_a_broken_file_of_settings_does_no_harm():
    Path("phantom.toml").write_text("a = [")
    assert "hinge" in ask("bash", "ncatool train --config phantom.toml --loss h")


LOADED = """
import sys
from ncatool.cli.main import main
try:
    main()
except SystemExit:
    print(*(name for name in ("torch", "numpy", "PIL", "rich") if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("line", ["ncatool train p", "ncatool compare p", "ncatool fetch p", "ncatool export x "])
def test_it_loads_nothing_slow(line):
    words = line.split(" ")
    asked = {"_NCATOOL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


class Bash:
    """A bash on a terminal, with completion installed as a user does it."""

    def __init__(self, folder):
        program = folder / "bin" / "ncatool"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ncatool "$@"\n')
        program.chmod(0o755)
        self.environment = {
            **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "TERM": "dumb", "PS1": "$ ", "HOME": str(folder / "home"),
        }  # fmt: skip
        (folder / "home").mkdir(exist_ok=True)
        install = "ncatool --install-completion; true"
        done = subprocess.run(["bash", "-c", install], env=self.environment, capture_output=True, text=True, check=True)
        assert "bash completion installed" in done.stdout, done.stdout + done.stderr
        self.process, self.terminal = self._start()
        self.read_until("READY")

    def _start(self):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-i"], stdin=slave, stdout=slave, stderr=slave, env=self.environment, start_new_session=True
        )
        os.close(slave)
        os.write(master, b"bind 'set enable-bracketed-paste off'; echo REA''DY\n")
        return process, master

    def read_until(self, mark):
        text, end = "", time.monotonic() + 30
        while mark not in text:
            assert time.monotonic() < end, text
            if select.select([self.terminal], [], [], 0.2)[0]:
                text += os.read(self.terminal, 65536).decode(errors="replace")
        return text

    def complete(self, line):
        """Type a line and TAB; return what the line has become."""
        os.write(self.terminal, f"{line}\t".encode())
        time.sleep(1.5)
        os.write(self.terminal, b"\x01echo GO''T: \x05 :EN''D\n")
        return self.read_until(":END").rpartition("GOT: ")[2].partition(" :END")[0].strip()

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def test_tab_in_a_real_bash(tmp_path):
    bash = Bash(tmp_path)
    try:
        assert bash.complete("ncatool fetch blood") == "ncatool fetch bloodmnist"
        assert bash.complete("ncatool train -t chest") == "ncatool train -t chestmnist"
        assert bash.complete("ncatool render phan") == "ncatool render phantom.safetensors"
        assert bash.complete("ncatool export phantom.safetensors --format on").endswith("--format onnx")
        assert bash.complete("ncatool compare note") == "ncatool compare notes.txt", "as without us"
    finally:
        bash.close()


def complete_by(shell, script, words):
    """What another shell offers, where it is installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} on this machine")
    return subprocess.run([shell, "-c", script, *words], capture_output=True, text=True, timeout=60, check=True).stdout


def test_fish_itself(tmp_path):
    program = tmp_path / "ncatool"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ncatool "$@"\n')
    program.chmod(0o755)
    script = f"set PATH {tmp_path} $PATH; env _NCATOOL_COMPLETE=source_fish ncatool | source; "
    assert "bloodmnist" in complete_by("fish", f"{script} complete -C 'ncatool fetch blood'", [])


@pytest.mark.parametrize(
    ("shell", "start"), [("bash", "complete "), ("zsh", "#compdef ncatool"), ("fish", "complete ")]
)
def test_each_shell_has_its_script(shell, start):
    done = ncatool(env={"_NCATOOL_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0
    assert start in done.stdout
    assert f"_NCATOOL_COMPLETE=complete_{shell}" in done.stdout


@pytest.mark.parametrize("before", ["phantom", "photo.png bloodmnist:train:0-7"])
def test_later_pictures_of_a_training_are_offered_too(before):
    assert ask("bash", f"ncatool train {before} phot").split() == ["photo.png"]
    assert "pathmnist" in ask("bash", f"ncatool train {before} --size 20 path").split()
