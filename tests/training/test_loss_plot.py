"""The curve that a run leaves depends on the run alone, not on the user's settings of matplotlib."""

from pathlib import Path

import matplotlib
import pytest

from tests.conftest import SMALL, ncatool, run_in_process

TRAIN = ["train", *SMALL, "--target", "phantom", "--quiet"]
SETTINGS = (
    "lines.linewidth: 9\nfont.size: 20\nfigure.facecolor: red\naxes.grid: True\nno.such.key: 3\nsavefig.dpi: 30\n"
)


@pytest.fixture
def plain():
    done = run_in_process(*TRAIN, "--out", "plain.safetensors")
    assert done.returncode == 0, done.stderr
    return find_curve("plain").read_bytes()


def find_curve(name):
    (curve,) = [path for path in Path().glob(f"{name}.*png") if path.name.startswith(name)]
    return curve


def place(settings, kind, monkeypatch):
    path = {"folder": "matplotlibrc", "home": "home/.config/matplotlib/matplotlibrc", "variable": "mine.rc"}[kind]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(settings)
    if kind == "variable":
        monkeypatch.setenv("MATPLOTLIBRC", str(Path(path).absolute()))


@pytest.mark.parametrize(
    ("kind", "backend"), [("folder", "rubbish"), ("home", "tkagg"), ("variable", "module://no.such")]
)
def test_settings_of_the_users_change_no_byte_and_print_nothing(plain, kind, backend, monkeypatch):
    place(SETTINGS.encode(), kind, monkeypatch)
    monkeypatch.setenv("MPLBACKEND", backend)
    done = ncatool(*TRAIN, "--out", "mine.safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert find_curve("mine").read_bytes() == plain


def test_a_style_set_in_the_process_changes_no_byte(plain):
    with matplotlib.rc_context({"lines.linewidth": 9, "figure.facecolor": "red", "font.size": 20}):
        done = run_in_process(*TRAIN, "--out", "mine.safetensors")
        assert done.returncode == 0, done.stderr
        assert matplotlib.rcParams["lines.linewidth"] == 9, "what was set is still set"
    assert find_curve("mine").read_bytes() == plain


def test_a_settings_file_that_is_no_text_is_said_before_anything_is_trained(monkeypatch):
    place(b"\xff\xfe\x00", "folder", monkeypatch)
    done = ncatool(*TRAIN, "--out", "mine.safetensors")
    assert done.returncode == 1
    assert "error: matplotlib cannot be loaded: " in done.stderr
    assert "fix or remove it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("mine.safetensors").exists()
