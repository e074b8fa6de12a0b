"""Animations and videos, opened again by Pillow, PyAV and a browser."""

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest

from ncatool.errors import NcatoolError, UsageError
from ncatool.nca.picture import parse_background
from ncatool.rendering import render as rendering
from ncatool.rendering.writer import find_changed_box
from tests.rendering.renderings import HURT, STILL, paint_frames, read_frames, render_outputs


@pytest.mark.parametrize("ending", STILL)
def test_an_animation_has_every_frame_for_as_long_as_asked(ending, tmp_path):
    how = {"steps": 60, "every": 3, "fps": 20, "hold": 1.5, "damage": HURT, "background": parse_background("#102030")}
    render_outputs(tmp_path / f"a{ending}", scale=4, **how)
    pictures, pauses, loop = read_frames(tmp_path / f"a{ending}")
    frames_, moments = paint_frames(4, **how)
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
    render_outputs(tmp_path / f"a{ending}", scale=3, **how)
    pictures, _, _ = read_frames(tmp_path / f"a{ending}", "RGBA")
    for found, wanted in zip(pictures, paint_frames(3, **how)[0], strict=True):
        if ending == ".gif":
            assert (found[..., 3] == 255 * (wanted[..., 3] >= 128)).all()
        else:
            assert (found[..., 3] == wanted[..., 3]).all()
            assert (found[wanted[..., 3] > 0] == wanted[wanted[..., 3] > 0]).all()


def test_durations_do_not_drift(tmp_path):
    """30 frames a second are no whole number of hundredths, but 91 frames are three seconds and the hold."""
    render_outputs(tmp_path / "a.gif", steps=90, every=1, fps=30, hold=1)
    _, pauses, _ = read_frames(tmp_path / "a.gif")
    assert set(pauses[:-1]) == {30, 40}
    assert sum(pauses) == pytest.approx(4000, abs=10)


def test_gif_has_one_palette(tmp_path):
    """No frame carries colours of its own: bit 7 of each image descriptor's flags is clear."""
    path = tmp_path / "a.gif"
    render_outputs(path, steps=30, every=1, scale=1)
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
    render_outputs(tmp_path / "a.gif", steps=20, every=1, scale=2)
    pictures, _, _ = read_frames(tmp_path / "a.gif")
    for found, wanted in zip(pictures, paint_frames(2, steps=20, every=1)[0], strict=True):
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
        render_outputs(tmp_path / f"{name}{ending}", steps=40, every=5, seed=number)
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
    render_outputs(tmp_path / f"a{ending}", scale=5, **how)
    pictures, seconds, rate = decoded(tmp_path / f"a{ending}")
    wanted, pauses = paint_frames(5, **how)
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
    render_outputs(*outputs, steps=40, every=5, fps=10, hold=1, scale=6, background=parse_background("#204080"))
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
        render_outputs(tmp_path / "a.mp4", steps=3, background=parse_background("transparent"))
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_a_video_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(NcatoolError, match="videos need the package av"):
        rendering.check_outputs(["a.mp4"], False)
    with pytest.raises(NcatoolError, match="videos need the package av") as caught:
        render_outputs(tmp_path / "a.mp4", steps=3)
    assert caught.value.hint == "pip install 'ncatool[video]'"
    assert list(tmp_path.iterdir()) == []
