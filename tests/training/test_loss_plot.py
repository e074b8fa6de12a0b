"""The curve that a run leaves depends on the run alone, not on the user's settings of matplotlib."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from ncatool.errors import NcatoolError
from ncatool.training.loss_plot import compute_curve, draw_loss_plot, read_rows
from tests.conftest import SMALL, ncatool, run_in_process
from tests.nca.test_model_file import make_model

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


def make_rows(count):
    """Errors that fall from 0.1 to 0.0001, with every tenth ten times as high."""
    falling = 10 ** np.linspace(-1, -4, count)
    return [(i + 1, error, error * (10 if i % 10 == 0 else 1), 1e-3, "") for i, error in enumerate(falling)]


def test_the_curve_is_the_median_of_windows_and_the_band_its_quantiles():
    curve = compute_curve(make_rows(4500))
    assert curve.window == 30
    assert len(curve.median) == 150
    assert (curve.lower <= curve.median).all()
    assert (curve.median <= curve.upper).all()
    assert (np.diff(curve.median) < 0).all(), "outliers do not smear it"
    assert curve.iterations[0] == 15.5
    errors = [row[2] for row in make_rows(4500)[:30]]
    assert [curve.lower[0], curve.median[0], curve.upper[0]] == np.quantile(errors, (0.1, 0.5, 0.9)).tolist()


@pytest.mark.parametrize("count", [1, 2, 149, 150])
def test_short_runs_are_drawn_as_they_were(count):
    curve = compute_curve(make_rows(count))
    assert curve.window == 1
    assert curve.lower.tolist() == curve.median.tolist() == curve.upper.tolist() == [row[2] for row in make_rows(count)]


def test_errors_that_are_not_finite_are_left_out():
    rows = [(i + 1, 0, float("inf") if i < 300 else float("nan") if i == 400 else 0.5, 0, "") for i in range(600)]
    curve = compute_curve(rows)
    assert np.isnan(curve.median[:75]).all()
    assert (curve.median[75:] == 0.5).all()


def read_panels(image):
    """Return height and place of each framed panel right of the plot, from its grey frame."""
    grey = (image == 204).all(-1)
    columns = np.flatnonzero(grey.sum(axis=0) > 100)
    return [(int(np.flatnonzero(grey[:, x])[0]), int(np.flatnonzero(grey[:, x])[-1])) for x in columns]


@pytest.mark.parametrize("event", ["1 of 4 states exploded: weights of iteration 25 restored", "every cell died"])
def test_panels_are_as_tall_as_the_plot_and_restorations_are_marked(event, generator):
    rows = make_rows(900)
    rows[449] = (*rows[449][:4], event)
    draw_loss_plot(Path("a.png"), make_model(channels=6, hidden=8), rows, generator)
    with Image.open("a.png") as picture:
        image = np.asarray(picture.convert("RGB")).astype(int)
    spine = np.flatnonzero((image[:, :200] < 40).all(-1).sum(axis=0) > 200)
    ink = (image[:, spine[0]] < 40).all(-1)
    first = int(ink.argmax())
    last = first + int((~ink[first:]).argmax()) - 1
    panels = read_panels(image)
    assert len(panels) >= 4, "two frames, each of two sides"
    for top, bottom in panels:
        assert abs(top - first) <= 2
        assert abs(bottom - last) <= 5, "the axis ends in a tick of five pixels"
    reds = ((image[..., 0] > 180) & (image[..., 1:] < 90).all(-1)).sum()
    assert (reds > 100) == ("restored" in event)


@pytest.mark.parametrize("plot_format", ["png", "svg", "pdf"])
def test_the_same_run_gives_the_same_bytes_and_no_date(plot_format, generator, monkeypatch):
    rows = make_rows(300)
    rows[20] = (*rows[20][:4], "1 dead state replaced by the seed")
    for name in "ab":
        generator.manual_seed(1)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", {"a": "0", "b": "1000000000"}[name])
        draw_loss_plot(Path(name), make_model(channels=6, hidden=8), rows, generator, plot_format)
    assert Path("a").read_bytes() == Path("b").read_bytes()
    assert b"Date" not in Path("a").read_bytes()
    if plot_format == "svg":
        assert "dead states replaced" in Path("a").read_text(), "text stays text"


def test_rows_are_those_of_the_runs_csv(plain):
    rows = read_rows(Path("plain.csv"))
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    for content in ("", "a,b\n1,2\n", "iteration,loss,mse,learning_rate,events\nx,1,1,1,\n", "\0"):
        Path("b.csv").write_text(content)
        with pytest.raises(NcatoolError, match=r"b\.csv") as caught:
            read_rows(Path("b.csv"))
        assert "beside the model" in caught.value.hint
    with pytest.raises(NcatoolError, match=r"c\.csv cannot be read"):
        read_rows(Path("c.csv"))
