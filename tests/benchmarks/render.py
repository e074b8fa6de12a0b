"""Rendering: seconds to a GIF beside matplotlib's, its size beside imageio's, and the memory of a long one.

    python -m tests.benchmarks.render [--repeats 3]

The same 500 frames of 28x28 cells, at 280x280 pixels and more: ours, from the seed to the file; the
seed project's way (ArtistAnimation, one `imshow` a frame, here with matplotlib's Pillow writer), with
and without the same rollout; imageio's default. Then a rendering of 256x256 cells for 1,000 and for
10,000 steps, each in a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as imageio
import matplotlib
import numpy as np
import torch

from ncatool.engine import compiled
from ncatool.nca.model_file import load_model
from ncatool.nca.picture import WHITE, compose, enlarge
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.render import render
from ncatool.rendering.timeline import RenderSettings

GOLDEN = Path(__file__).parents[1] / "golden" / "phantom.safetensors"
HOW = RenderSettings(steps=499, every=1)


def grown():
    return [
        compose(frame.scenes[0].cells[..., :4], WHITE)
        for frame in play_frames([Playback(load_model(GOLDEN), HOW)], HOW)
    ]


def by_matplotlib(path):
    matplotlib.use("Agg")
    from matplotlib import animation, pyplot

    figure = pyplot.figure()
    pyplot.axis("off")
    artists = [[pyplot.imshow(picture, animated=True)] for picture in grown()]
    animation.ArtistAnimation(figure, artists, interval=40, blit=True).save(path, writer="pillow")
    pyplot.close(figure)


def by_imageio(path):
    imageio.imwrite(path, np.stack([enlarge(picture, 10) for picture in grown()]), duration=40, loop=0)


def ours(path):
    render([Playback(load_model(GOLDEN), HOW)], [str(path)], HOW)


def timed(work, *arguments):
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def speed(repeats, folder):
    ways = {"rollout and colours alone": lambda path: grown(), "ours": ours, "imageio": by_imageio}
    seconds = {name: [] for name in [*ways, "matplotlib"]}
    for i in range(repeats + 1):
        for name, way in ways.items():
            seconds[name].append(timed(way, folder / f"{name}.gif"))
        if i:  # it needs no warming up
            seconds["matplotlib"].append(timed(by_matplotlib, folder / "matplotlib.gif"))
    for name in ways:
        seconds[name] = seconds[name][1:]
    print(f"500 frames of 28x28 to GIF, {repeats} times in turn, median (from-to):")
    for name, values in seconds.items():
        file = folder / f"{name}.gif"
        size = f"{file.stat().st_size / 1e6:.2f} MB" if file.exists() else ""
        print(f"  {name:26} {statistics.median(values):7.3f} s ({min(values):.3f}-{max(values):.3f})  {size}")
    ratios = [a / b for a, b in zip(seconds["matplotlib"], seconds["ours"], strict=True)]
    print(
        f"  ours is {statistics.median(ratios):.0f} times as fast as matplotlib ({min(ratios):.0f}-{max(ratios):.0f})"
    )


def long_one(steps, out):
    """Peak memory of a rendering of 256x256 cells grown from 36 seeds, a frame every second step."""
    at = tuple((y, x) for y in range(20, 256, 43) for x in range(20, 256, 43))
    how = RenderSettings(steps=steps, grid=(256, 256), at=at, scale=1)
    film = Playback(load_model(GOLDEN), how)
    render([film], [out], how)
    living = (film.state[..., 3] > 0.1).float().mean()
    size = Path(out).stat().st_size / 1e6
    print(
        f"{steps:6} steps of 256x256 to {Path(out).suffix}, {100 * living:.0f} % alive: {peak():.0f} MiB, {size:.1f} MB"
    )


def peak():
    """MiB; getrusage would tell the peak of the process that started this one, where that was higher."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    compiled.set_thread_count(torch.get_num_threads())
    torch.set_flush_denormal(True)
    if chosen.long:
        long_one(chosen.long, chosen.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        speed(chosen.repeats, Path(folder))
        for ending in ("gif", "webp", "apng", "mp4"):
            for steps in (1000, 10_000) if ending == "gif" else (1000, 3000):
                command = [sys.executable, "-m", "tests.benchmarks.render", "--long", str(steps)]
                subprocess.run([*command, "--out", f"{folder}/long-{steps}.{ending}"], check=True)


if __name__ == "__main__":
    main()
