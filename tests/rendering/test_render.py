"""Outputs, opened again by Pillow, PyAV and a browser."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import Damage, View
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation.errors import measure_errors
from ncatool.nca.model_file import save_model
from ncatool.nca.picture import WHITE, compose, enlarge, parse_background
from ncatool.rendering import render as rendering
from ncatool.rendering.colour_bar import measure_colour_bar
from ncatool.rendering.damage_script import DamageEvent, repeat_random
from ncatool.rendering.drawing import measure_text
from ncatool.rendering.error_curve import ErrorCurve
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.render import render
from ncatool.rendering.timeline import RenderSettings, plan_moments
from ncatool.rendering.views import LOGARITHMIC, SIGNED
from ncatool.rendering.writer import find_changed_box
from tests.conftest import ncatool, run_in_process
from tests.rendering.test_playback import lively, three_celled

HURT = (DamageEvent(30, Damage.LEFT),)
STILL = [".gif", ".webp", ".apng"]


def rendered(*outputs, model=None, **how):
    settings = RenderSettings(**how)
    film = Playback(model or lively(), settings)
    render([film], [str(output) for output in outputs], settings)
    return film


def expected(scale, **how):
    """Frames as they should look, and how long each stays."""
    settings = RenderSettings(**how)
    shots = list(play_frames([Playback(lively(), settings)], settings))
    pictures = [compose(shot.scenes[0].cells[..., :4], settings.background, scale) for shot in shots]
    return [enlarge(picture, scale) for picture in pictures], [shot.moment.pause for shot in shots]


def read(path, mode="RGB"):
    with Image.open(path) as image:
        pictures, pauses = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert(mode)).astype(int))
            pauses.append(image.info["duration"])
        return pictures, pauses, image.info.get("loop")


@pytest.mark.parametrize("ending", STILL)
def test_an_animation_has_every_frame_for_as_long_as_asked(ending, tmp_path):
    how = {"steps": 60, "every": 3, "fps": 20, "hold": 1.5, "damage": HURT, "background": parse_background("#102030")}
    rendered(tmp_path / f"a{ending}", scale=4, **how)
    pictures, pauses, loop = read(tmp_path / f"a{ending}")
    frames_, moments = expected(4, **how)
    assert loop == 0, "it loops for ever"
    assert pauses == moments
    assert len(pictures) == len(frames_) == 22
    for found, wanted in zip(pictures, frames_, strict=True):
        assert found.shape == (52, 52, 3)
        near = np.abs(found - wanted)
        assert near.max() < 40 if ending == ".gif" else near.max() == 0
        assert (found[0, 0] == (16, 32, 48)).all(), "the ground has its very colour"


@pytest.mark.parametrize("ending", STILL)
def test_what_is_transparent_stays_so(ending, tmp_path):
    how = {"steps": 60, "every": 10, "damage": HURT, "background": parse_background("transparent")}
    rendered(tmp_path / f"a{ending}", scale=3, **how)
    pictures, _, _ = read(tmp_path / f"a{ending}", "RGBA")
    for found, wanted in zip(pictures, expected(3, **how)[0], strict=True):
        if ending == ".gif":
            assert (found[..., 3] == 255 * (wanted[..., 3] >= 128)).all()
        else:
            assert (found[..., 3] == wanted[..., 3]).all()
            assert (found[wanted[..., 3] > 0] == wanted[wanted[..., 3] > 0]).all()


def test_durations_do_not_drift(tmp_path):
    """30 frames a second are no whole number of hundredths, but 91 frames are three seconds and the hold."""
    rendered(tmp_path / "a.gif", steps=90, every=1, fps=30, hold=1)
    _, pauses, _ = read(tmp_path / "a.gif")
    assert set(pauses[:-1]) == {30, 40}
    assert sum(pauses) == pytest.approx(4000, abs=10)


def test_gif_has_one_palette(tmp_path):
    """No frame carries colours of its own: bit 7 of each image descriptor's flags is clear."""
    path = tmp_path / "a.gif"
    rendered(path, steps=30, every=1, scale=1)
    content = path.read_bytes()
    position = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    images = 0
    while content[position] != 0x3B:
        if content[position] == 0x21:
            position += 2
        else:
            assert content[position] == 0x2C
            assert not content[position + 9] & 0x80
            images += 1
            position += 11
        while content[position]:
            position += content[position] + 1
        position += 1
    assert images == 31
    assert position == len(content) - 1


def test_frames_beyond_those_that_wait_for_the_palette(tmp_path, monkeypatch):
    monkeypatch.setattr("ncatool.rendering.gif._MAX_BUFFER_BYTES", 3 * 13 * 13 * 3)
    rendered(tmp_path / "a.gif", steps=20, every=1, scale=2)
    pictures, _, _ = read(tmp_path / "a.gif")
    for found, wanted in zip(pictures, expected(2, steps=20, every=1)[0], strict=True):
        assert np.abs(found - wanted).max() < 60


def test_the_changed_rectangle():
    before = np.zeros((9, 9, 3), np.uint8)
    now = before.copy()
    now[3, 5] = now[6, 7] = 1
    assert find_changed_box(before, now) == (slice(2, 7), slice(4, 8))
    assert find_changed_box(before, before) == (slice(0, 1), slice(0, 1))
    assert find_changed_box(None, now) == (slice(0, 9), slice(0, 9))


@pytest.mark.parametrize("ending", [".gif", ".webp", ".apng", ".png"])
def test_same_seed_same_bytes(ending, tmp_path):
    for name, number in (("a", 1), ("b", 1), ("c", 2)):
        rendered(tmp_path / f"{name}{ending}", steps=40, every=5, seed=number)
    first, again, other = ((tmp_path / f"{name}{ending}").read_bytes() for name in "abc")
    assert first == again != other


def decoded(path):
    with av.open(path) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
        return pictures, float(container.duration / av.time_base), stream.average_rate


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_video_of_odd_size_is_whole(ending, tmp_path):
    how = {"steps": 40, "every": 5, "fps": 10, "hold": 0.5, "damage": HURT}
    rendered(tmp_path / f"a{ending}", scale=5, **how)
    pictures, seconds, rate = decoded(tmp_path / f"a{ending}")
    wanted, pauses = expected(5, **how)
    assert rate == 10
    assert seconds == pytest.approx(sum(pauses) / 1000)
    assert len(pictures) == 8 + 4 + 5, "what stays longer is repeated"
    assert pictures[0].shape == (66, 66, 3), "65 pixels and one to be even"
    for found, frame in ((pictures[0], wanted[0]), (pictures[6], wanted[6]), (pictures[-1], wanted[-1])):
        assert np.abs(found[:65, :65] - frame).mean() < 6


LOOK = """async ([kind, url]) => {
    const shown = document.createElement(kind);
    shown.src = url;
    await new Promise((done, failed) => {
        shown.addEventListener(kind === "img" ? "load" : "loadeddata", done);
        shown.onerror = failed;
    });
    let length = shown.duration;
    if (kind === "img") {
        const decoder = new ImageDecoder({ data: await (await fetch(url)).arrayBuffer(), type: "image/webp" });
        await decoder.tracks.ready;
        length = decoder.tracks.selectedTrack.frameCount;
    }
    const size = [shown.naturalWidth || shown.videoWidth, shown.naturalHeight || shown.videoHeight];
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    let corner = [0, 0, 0, 0];
    for (let i = 0; i < 100 && !corner[3]; i++) {  // a busy browser has the frame, but cannot draw it yet
        context.drawImage(shown, 0, 0);
        corner = [...context.getImageData(1, 1, 1, 1).data];
        await new Promise((done) => setTimeout(done, 50));
    }
    return { size, length, corner };
}"""


def test_a_browser_plays_them(browser, tmp_path):
    outputs = [f"a{ending}" for ending in (".webp", ".mp4", ".webm")]
    rendered(*outputs, steps=40, every=5, fps=10, hold=1, scale=6, background=parse_background("#204080"))
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        looked = [page.evaluate(LOOK, ["img" if name.endswith("webp") else "video", name]) for name in outputs]
        page.close()
        server.shutdown()
    assert [look["length"] for look in looked] == pytest.approx([9, 1.8, 1.8], abs=0.01), "frames, seconds"
    for look in looked:
        assert look["size"] == [78, 78]
        assert np.abs(np.subtract(look["corner"], (32, 64, 128, 255))).max() <= 6


def test_videos_have_no_transparency(tmp_path):
    with pytest.raises(UsageError, match=r"a \.mp4 is not transparent"):
        rendered(tmp_path / "a.mp4", steps=3, background=parse_background("transparent"))
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_a_video_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(NcatoolError, match="videos need the package av"):
        rendering.check_outputs(["a.mp4"], False)
    with pytest.raises(NcatoolError, match="videos need the package av") as caught:
        rendered(tmp_path / "a.mp4", steps=3)
    assert caught.value.hint == "pip install 'ncatool[video]'"
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet(tmp_path):
    rendered(tmp_path / "sheet.png", steps=60, every=1, scale=5, damage=repeat_random(60))
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 6 * 13 * 5
        assert len(image.getcolors(10**6)) > 3


def test_stages_are_growth_then_each_damage_and_what_became_of_it():
    def steps(how):
        moments = plan_moments(how)
        return [moments[i][:2] for i in rendering.choose_stages(moments)]

    plain = steps(RenderSettings(steps=100, every=1))
    assert plain == [(s, "") for s in (0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100)]
    ten = tuple(DamageEvent(step) for step in range(10, 110, 10))
    hurt = steps(RenderSettings(steps=110, every=1, damage=ten))
    assert hurt[:5] == [(0, ""), (2, ""), (10, ""), (10, "damaged"), (20, "")]
    assert hurt[-2:] == [(100, "damaged"), (110, "")]
    once = steps(RenderSettings(steps=110, every=1, damage=HURT))
    assert [step for step, damaged in once if step < 30] == [0, 0, 2, 4, 8, 12, 17, 23][1:], "much of growth"


def test_a_folder_of_frames(tmp_path):
    folder = tmp_path / "frames"
    rendered(f"{folder}/", steps=40, every=10, scale=2, damage=HURT)
    names = sorted(file.name for file in folder.iterdir())
    assert names == [
        "step-0000000.png", "step-0000010.png", "step-0000020.png", "step-0000030.png",
        "step-0000030.then-damaged.png", "step-0000040.png",
    ]  # fmt: skip
    without_punctuation = sorted(names, key=lambda name: re.sub(r"[^a-z0-9]", "", name))
    assert without_punctuation == names, "as some locales sort"
    wanted = expected(2, steps=40, every=10, damage=HURT)[0]
    for name, picture in zip(names, wanted, strict=True):
        with Image.open(folder / name) as image:
            assert np.array_equal(np.asarray(image), picture), name
    Image.new("RGB", (2, 2)).save(folder / "step-0000030-damaged.png")  # as earlier versions named it
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds frames already"):
        rendering.check_outputs([f"{folder}/"], False)
    rendered(f"{folder}/", steps=10, every=10)
    assert sorted(file.name for file in folder.iterdir()) == ["mine.txt", "step-0000000.png", "step-0000010.png"]


def test_outputs_share_one_rollout(tmp_path, monkeypatch):
    steps = []
    before = Playback.advance_to
    monkeypatch.setattr(Playback, "advance_to", lambda self, step: (steps.append(step), before(self, step)))
    rendered(tmp_path / "a.gif", tmp_path / "a.png", tmp_path / "a.apng", f"{tmp_path}/f/", steps=20, every=10)
    assert steps == [0, 10, 20]
    assert read(tmp_path / "a.apng")[0][-1].tolist() == np.asarray(Image.open(tmp_path / "f/step-0000020.png")).tolist()


def test_one_frame_is_enough(tmp_path):
    for ending in rendering.WRITERS:
        rendered(tmp_path / f"a{ending}", steps=1, hold=0)
        assert (tmp_path / f"a{ending}").stat().st_size > 100


@pytest.mark.parametrize("view", View)
def test_views_and_overlay_keep_one_size(view, tmp_path):
    how = {"steps": 40, "every": 10, "damage": HURT, "view": view, "overlay": True}
    rendered(tmp_path / "a.apng", tmp_path / "a.gif", tmp_path / "a.png", **how)
    pictures, _, _ = read(tmp_path / "a.apng")
    assert len({picture.shape for picture in pictures}) == 1
    assert len(pictures) == 6
    assert (pictures[0] != pictures[-1]).any()


def test_the_curve_shows_the_wound(tmp_path):
    rendered(tmp_path / "a.apng", steps=100, every=5, damage=HURT, overlay=True, scale=20)
    strip = read(tmp_path / "a.apng")[0][-1][260:]
    reds = np.argwhere((strip == (214, 39, 40)).all(-1))
    assert len(reds) > 20
    assert set(reds[:, 1]) == {ErrorCurve.LEFT + round((260 - 1 - 4 - ErrorCurve.LEFT) * 0.3)}, "at its step"


@pytest.mark.parametrize("how", [{"scale": 1}, {"scale": 30}, {"scale": 1, "view": View.ERROR}])
def test_what_the_overlay_says_is_whole(how, tmp_path):
    """Nothing is cut at the edge, whatever the size of the picture."""
    rendered(tmp_path / "a.apng", steps=900, every=900, overlay=True, **how)
    height = ErrorCurve(1, 900, WHITE).draw(plan_moments(RenderSettings(steps=900))[0], 0).shape[0]
    picture = read(tmp_path / "a.apng")[0][-1]
    strip = picture[-height:]
    words = (strip[:18] < 128).all(-1).any(0).nonzero()[0]
    assert words[0] > 2, "the first letter is whole"
    assert words[-1] < strip.shape[1] - 2, "the last digit is whole"
    assert words[-1] - words[0] > measure_text("step 900   MSE 1.0e-01") - 8
    for power in range(3):
        rows = strip[ErrorCurve.TOP - 6 + power * 28 :][:12, : ErrorCurve.LEFT - 4]
        letters = (rows < 128).all(-1).any(0).nonzero()[0]
        assert letters[0] >= 2, "an axis label is whole"


def test_lines_have_their_colours_in_a_gif(tmp_path):
    rendered(tmp_path / "a.gif", steps=60, every=1, damage=HURT, overlay=True)
    strip = read(tmp_path / "a.gif")[0][-1][-80:]
    assert (strip == (214, 39, 40)).all(-1).sum() > 20


BARS = {
    View.RGBA: [],
    View.ERROR: [True],
    View.HIDDEN: [False, True],
    View.ALL: [False, True, False, True, False, True],
}
"""For six channels, beside which panels there is a bar: none where the next one in the row has the same."""


@pytest.mark.parametrize("view", BARS)
def test_maps_have_colour_bars(view, tmp_path):
    rendered(tmp_path / "a.apng", steps=2, view=view, scale=8)
    picture = read(tmp_path / "a.apng")[0][-1]
    if not BARS[view]:
        assert picture.shape == (104, 104, 3)
        return
    room = measure_colour_bar(SIGNED if view is View.HIDDEN else LOGARITHMIC)
    tile = 104 + room + 8
    assert picture.shape[:2] == (8 + -(-len(BARS[view]) // 4) * 132, 8 + min(4, len(BARS[view])) * tile)
    corners = [(36 + i // 4 * 132, 8 + i % 4 * tile + 104 + 10) for i in range(len(BARS[view]))]
    gradients = [picture[y : y + 104, x] for y, x in corners]
    assert [bool((np.ptp(gradient, axis=0) > 90).any()) for gradient in gradients] == BARS[view]


def test_a_sheet_of_maps_has_one_bar_beside_it(tmp_path):
    rendered(tmp_path / "a.png", steps=8, every=1, scale=8, view=View.ERROR)
    plain = RenderSettings(steps=8, every=1, scale=8)
    render([Playback(lively(), plain)], [str(tmp_path / "c.png")], plain)
    with Image.open(tmp_path / "a.png") as maps, Image.open(tmp_path / "c.png") as cells:
        assert maps.width == cells.width + measure_colour_bar(LOGARITHMIC) + 16


@pytest.mark.parametrize("ending", [".svg", ".pdf"])
def test_a_sheet_as_a_vector_picture(ending, tmp_path, monkeypatch):
    for name, epoch in (("a", "0"), ("b", "1700000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        rendered(tmp_path / f"{name}{ending}", steps=40, every=5, damage=HURT)
    content = (tmp_path / f"a{ending}").read_bytes()
    assert content == (tmp_path / f"b{ending}").read_bytes()
    assert b"Date" not in content
    assert content.startswith({".svg": b"<?xml", ".pdf": b"%PDF"}[ending])
    if ending == ".svg":
        assert ">step 30 damaged</text>" in content.decode()
        assert content.count(b"<image") == content.count(b"</text>") == 9, "six of growth, damage, the end, target"


def test_a_browser_shows_the_svg_as_the_png(browser, tmp_path):
    rendered(tmp_path / "a.svg", tmp_path / "a.png", steps=40, every=5, damage=HURT, scale=8)
    with Image.open(tmp_path / "a.png") as image:
        expected_ = np.asarray(image).astype(int)
    svg = (tmp_path / "a.svg").read_text()
    svg = re.sub(r'(width|height)="([0-9.]+)pt"', r'\1="\2"', svg[svg.index("<svg") :])
    page = browser.new_page(viewport={"width": expected_.shape[1], "height": expected_.shape[0]})
    page.set_content(f"<body style='margin:0'>{svg}")
    page.screenshot(path=str(tmp_path / "shot.png"))
    page.close()
    with Image.open(tmp_path / "shot.png") as image:
        shot = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shot - expected_).mean() < 3


def test_several_models_are_tiles(tmp_path):
    how = RenderSettings(steps=10, every=5)
    films = [Playback(lively(), how, name) for name in ("one", "x" * 300, "<b>three\n</b>", "four")]
    render(films, [str(tmp_path / "a.apng")], how)
    (first, *_), _, _ = read(tmp_path / "a.apng")
    assert first.shape[1] == pytest.approx(2 * 286 + 3 * 8, abs=1), "two columns"
    assert first.shape[0] == first.shape[1] + 2 * 20


def test_models_of_one_name_are_told_apart(model_file):
    Path("other").mkdir()
    shutil.copy(model_file, "other")
    done = ncatool("render", model_file, "other/m.safetensors", "a.gif", "--steps", 4, "--json", "-q")
    assert [model["model"] for model in json.loads(done.stdout)["models"]] == ["m", "other/m"]
    assert json.loads(done.stdout)["wrote"] == ["a.gif"]


def test_trimmed_and_larger(tmp_path):
    rendered(tmp_path / "a.gif", steps=5, grid=(20, 31), scale=2)
    rendered(tmp_path / "b.gif", steps=5, trim=True, scale=2)
    assert read(tmp_path / "a.gif")[0][0].shape == (40, 62, 3)
    assert read(tmp_path / "b.gif")[0][0].shape == (18, 14, 3)


def test_frames_that_nothing_could_hold():
    for how in ({"grid": (1000, 1000), "scale": 17}, {"view": View.ALL, "grid": (500, 500), "scale": 9}):
        with pytest.raises(UsageError, match="are too large: 16383 a side"):
            rendered("a.gif", steps=1, **how)
    with pytest.raises(UsageError, match="frames of 16"):
        rendered("a.webp", steps=1, grid=(2, 65), scale=63, view=View.ALL)
    assert not Path("a.webp").exists()
    for how in ({"fps": float("nan")}, {"hold": -1}, {"seed": 2**63}, {"rotate": float("inf")}):
        with pytest.raises(UsageError, match="but goes from"):
            RenderSettings(**how)


def test_endings_are_checked():
    with pytest.raises(UsageError, match=r"a\.avi ends in \.avi") as caught:
        rendering.check_outputs(["a.avi"], False)
    assert ".gif, .webp, .apng, .mp4, .webm, .png, .svg, .pdf" in caught.value.hint
    Path("f").mkdir()
    for doubled in (["a.gif", "./a.gif"], ["f", "f/"], ["-", "-"]):
        with pytest.raises(UsageError, match="named twice"):
            rendering.check_outputs(doubled, False)
    with pytest.raises(UsageError, match="ends in nothing"):
        rendering.check_outputs(["./-"], False)
    (Path("f") / "frame").mkdir()
    rendering.check_outputs(["f"], False)
    with pytest.raises(NcatoolError, match="nowhere cannot be written"):
        rendering.check_outputs(["nowhere/frames/"], False)


FULL = """
import resource, sys, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from ncatool.cli.main import main
main()
"""


@pytest.fixture
def model_file(tmp_path):
    shutil.copy(Path(__file__).parents[1] / "golden" / "phantom.safetensors", tmp_path / "m.safetensors")
    return "m.safetensors"


def render_words(*words):
    done = run_in_process("render", *words, "--steps", 4, "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None, done.stderr.splitlines()


def test_a_seed_of_three_cells_is_placed_turned_and_mirrored():
    model = three_celled()
    save_model(Path("three.safetensors"), model)
    save_model(Path("one.safetensors"), dataclasses.replace(model, own_seed=None))
    for words in ((), ("--mirror",), ("--mirror", "--rotate", "60"), ("--rotate", "180", "--at", "4,6")):
        found, said = render_words("three.safetensors", "a.png", "--force", *words)
        how = {"mirror": "--mirror" in words, "at": ((4, 6),) if "--at" in words else ()}
        settings = RenderSettings(
            steps=4, rotate=int(words[words.index("--rotate") + 1]) if len(words) > 1 else 0, **how
        )
        playback = Playback(model, settings)
        playback.advance_to(4)
        assert found["mse"] == measure_errors(playback.state, playback.expected)["mse"]
        assert any("right angles only" in line for line in said) == ("60" in words)
    for words, what, hint in (
        (
            ("three.safetensors", "b.png", "--at", "6,0"),
            "a seed at row 6, column 0 reaches beyond",
            "from column 2 to 10",
        ),
        (
            ("one.safetensors", "b.png", "--mirror"),
            "the gaussian filter is symmetric, and the seed is one",
            "--mirror out",
        ),
        (("one.safetensors", "b.png", "--rotate", "9"), "the gaussian filter is symmetric, and the", "--rotate out"),
    ):
        found, (*_, error, advice) = render_words(*words)
        assert found is None
        assert error.startswith(f"error: {what}")
        assert advice.startswith("hint: ")
        assert hint in advice
        assert not Path("b.png").exists()


@pytest.mark.parametrize("output", ["a.gif", "a.webp", "a.apng", "a.mp4", "a.webm", "a.png", "frames/"])
def test_a_full_disk_leaves_nothing(output, model_file):
    command = [sys.executable, "-c", FULL, "render", model_file, output, "--steps", "60", "--scale", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot be written: " in done.stderr
    assert len([line for line in done.stderr.splitlines() if " → " not in line]) == 2, done.stderr
    assert not Path(output).exists()
    assert not list(Path().rglob("*.partial*"))


def test_a_gif_on_stdout_and_nothing_else(model_file):
    command = [sys.executable, "-m", "ncatool", "render", model_file, "-", "--steps", "20", "--every", "2"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    Path("a.gif").write_bytes(done.stdout)
    assert len(read("a.gif")[0]) == 11


def test_a_reader_that_goes_away(model_file):
    ours = f"{sys.executable} -m ncatool render {model_file} - --steps 900"
    script = f"{ours} | head -c 5000 > part.gif; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: stdout was closed before the GIF was whole"
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert Path("part.gif").stat().st_size == 5000


def test_a_terminal_shows_no_gif(model_file):
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "ncatool", "render", model_file, "-"]
    done = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, timeout=120, text=True, check=False)
    os.close(master)
    os.close(slave)
    assert done.returncode == 2
    assert "stdout is a terminal" in done.stderr


def test_plain_damage_may_stand_anywhere(model_file):
    for order in (["--damage", "a.gif"], ["a.gif", "--damage"], ["--damage", "random", "--force", "a.gif"]):
        done = run_in_process("render", model_file, *order, "--steps", 11, "--every", 11, "-q")
        assert done.returncode == 0, done.stderr
        assert len(read("a.gif")[0]) == 4, "the seed, before and after, the end"
        Path("a.gif").unlink()
    done = run_in_process(
        "render", model_file, "a.gif", "--damage", "left@3,top@4", "--damage=right@3", "--every", 9, "--steps", 9
    )
    assert done.returncode == 0, done.stderr
    assert len(read("a.gif")[0]) == 6


def test_figures_by_hand():
    wanted = lively().target.premultiply()
    state = torch.from_numpy(wanted)[None] + 0.1
    found = measure_errors(torch.cat([state, state], dim=-1), wanted)
    cells = 13 * 13 * 4
    expected_ = {"mse": 0.01, "psnr": 20, "l1": 0.1, "l2": 0.01, "manhattan": 0.1 * cells, "hinge": 0.095}
    assert found == pytest.approx(expected_, rel=1e-4)
