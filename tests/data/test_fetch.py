"""`ncatool fetch` from a server on the loopback address that fails in every way that servers do."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ncatool.config.names import Colormap
from ncatool.config.schema import TargetConfig
from ncatool.data import download, fetch
from ncatool.data.catalogue import DataSet
from ncatool.data.targets import load_target
from ncatool.errors import NcatoolError
from tests.conftest import ncatool, run_in_process
from tests.site import INFO, make_small_set, wait_until


@pytest.fixture
def cache(tmp_path):
    """The folder that NCATOOL_DATA names."""
    return tmp_path / "data"


def list_files(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock")) if cache.exists() else []


def is_same(cache, files, name="chestmnist.npz"):
    return (cache / name).read_bytes() == (files / name).read_bytes()


@pytest.fixture
def delays(monkeypatch):
    """The waits before another attempt, in seconds; none is waited for."""
    seconds = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


WHOLE = ["chestmnist.npz", "chestmnist.toml"]


def test_a_set_comes_whole_with_its_record(site, cache, files):
    done = ncatool("fetch", "chestmnist")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["chestmnist", "downloaded"]
    assert list_files(cache) == WHOLE
    assert is_same(cache, files)
    record = tomllib.loads((cache / "chestmnist.toml").read_text())
    digest = hashlib.md5((files / "chestmnist.npz").read_bytes()).hexdigest()
    assert record["md5"] == record["catalogue_md5"] == digest
    assert record["verified"] is True
    assert record["bytes"] == (files / "chestmnist.npz").stat().st_size
    assert record["source"] == f"{site.url}/files/chestmnist.npz?download=1"
    assert record["licence"] == "CC BY 4.0"
    assert "10.1038/s41597-022-01721-8" in record["citation"]
    assert record["date"].endswith("+00:00")


def test_a_second_fetch_asks_nothing(site, cache):
    assert run_in_process("fetch", "chestmnist").returncode == 0
    asked = len(site.log)
    done = run_in_process("fetch", "chestmnist", "--json")
    assert json.loads(done.stdout)["sets"][0]["state"] == "there"
    assert len(site.log) == asked


def test_several_sizes_and_a_volume(site, cache):
    done = run_in_process("fetch", "bloodmnist", "organmnist3d", "bloodmnist", "--json")
    assert [one["flag"] for one in json.loads(done.stdout)["sets"]] == ["bloodmnist", "organmnist3d"]
    assert run_in_process("fetch", "bloodmnist", "--size", 64).returncode == 0
    assert [name for name in list_files(cache) if name.endswith("npz")] == [
        "bloodmnist.npz", "bloodmnist_64.npz", "organmnist3d.npz",
    ]  # fmt: skip


def test_dropped_half_way_goes_on_where_it_was(site, cache, files, delays):
    site.faults = ["drop", "drop"]
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 0, done.stderr
    assert "trying again in 1 s" in done.stderr
    assert delays == [1, 1], "an attempt that brought bytes ends the row of failures"
    assert is_same(cache, files)
    assert list_files(cache) == WHOLE
    assert [entry[2] for entry in site.log] == [200, 206, 206]
    assert site.bytes_sent() == (files / "chestmnist.npz").stat().st_size, "not a byte came twice"


def test_given_up_and_gone_on_with_later(site, cache, files, delays):
    site.faults = ["drop", 503]
    done = run_in_process("fetch", "chestmnist", "--retries", 1)
    assert done.returncode == 1
    assert "the server answered 503 Service Unavailable (2 times in a row)" in done.stderr
    assert "run the same command again" in done.stderr
    assert list_files(cache) == ["chestmnist.npz.part"]
    assert run_in_process("fetch", "chestmnist").returncode == 0
    assert is_same(cache, files)
    assert site.bytes_sent() - len(b"sorry") == (files / "chestmnist.npz").stat().st_size


def test_a_server_that_knows_no_ranges_begins_again(site, cache, files, delays):
    site.faults = ["drop", "no-range"]
    assert run_in_process("fetch", "chestmnist").returncode == 0
    assert [entry[2] for entry in site.log] == [200, 200]
    assert is_same(cache, files)


def test_not_found(site, cache):
    site.faults = [404]
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 1
    assert "the server answered 404 Not Found" in done.stderr
    assert "--mirror URL" in done.stderr
    assert len(site.log) == 1, "not tried again"
    assert list_files(cache) == []


def test_server_errors_pass(site, cache, files, delays):
    site.faults = [500, 500]
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 0
    assert "500 Internal Server Error; trying again in 1 s" in done.stderr
    assert "500 Internal Server Error; trying again in 2 s" in done.stderr
    assert delays == [1, 2]
    assert is_same(cache, files)


def test_a_stall_ends(site, cache, files, delays):
    site.faults = ["stall"]
    done = run_in_process("fetch", "chestmnist", "--timeout", 0.5)
    assert done.returncode == 0, done.stderr
    assert "no answer for 0.5 s" in done.stderr
    assert is_same(cache, files)
    assert [entry[2] for entry in site.log] == [200, 206]


def test_a_redirect_is_followed(site, cache, files):
    site.faults = ["redirect"]
    assert run_in_process("fetch", "chestmnist").returncode == 0
    assert [entry[0].split("/")[1] for entry in site.log] == ["files", "elsewhere"]
    assert is_same(cache, files)


@pytest.mark.parametrize("fault", ["corrupt", "truncate"])
def test_a_wrong_md5_leaves_nothing(site, cache, files, fault):
    site.faults = [fault]
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 1
    right = hashlib.md5((files / "chestmnist.npz").read_bytes()).hexdigest()
    assert f"should be {right}; the download is deleted" in done.stderr
    assert list_files(cache) == []
    assert run_in_process("fetch", "chestmnist").returncode == 0


def test_what_is_left_of_another_file_is_noticed(site, cache, files, delays):
    cache.mkdir()
    (cache / "chestmnist.npz.part").write_bytes(b"x" * 10**7)
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 0, done.stderr
    assert "starting over" in done.stderr
    assert is_same(cache, files)


def test_a_whole_part_is_not_fetched_again(site, cache, files):
    cache.mkdir()
    shutil.copy(files / "chestmnist.npz", cache / "chestmnist.npz.part")
    assert run_in_process("fetch", "chestmnist").returncode == 0
    assert site.bytes_sent() == 0
    assert list_files(cache) == WHOLE


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_a_disk_that_fills_up(site, cache):
    command = [sys.executable, "-m", "ncatool", "fetch", "chestmnist"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_file_size)
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    assert list_files(cache) == ["chestmnist.npz.part"]
    assert run_in_process("fetch", "chestmnist").returncode == 0


def ignore_progress(done, total, text):
    pass


def test_too_little_space_is_seen_before_anything_is_written(site, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=download.RESERVED_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(NcatoolError, match="has 17 MB free, but 17 MB are needed") as caught:
        download.download(f"{site.mirror}/chestmnist.npz", tmp_path / "part", download.RetryPolicy(), ignore_progress)
    assert "--root" in caught.value.hint
    assert not (tmp_path / "part").exists()


def start(*arguments):
    command = [sys.executable, "-m", "ncatool", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_killed_half_way_and_run_again(site, cache, files, number, code):
    site.faults = ["pause"]
    process = start("fetch", "chestmnist")
    part, size = cache / "chestmnist.npz.part", (files / "chestmnist.npz").stat().st_size
    wait_until(lambda: part.exists() and part.stat().st_size == size // 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert "run the same command again" in err
    assert list_files(cache) == ["chestmnist.npz.part"]
    site.log.clear()
    assert run_in_process("fetch", "chestmnist").returncode == 0
    assert is_same(cache, files)
    assert site.bytes_sent() == size - size // 2


def test_two_at_once_download_once(site, cache, files):
    site.faults = ["pause"]
    first = start("fetch", "chestmnist")
    wait_until(lambda: site.log)
    second = start("fetch", "chestmnist")
    assert second.stderr.readline().startswith("chestmnist · 28 pixels → ")
    assert "another process is fetching this set: waiting for it" in second.stderr.readline()
    site.release.set()
    assert first.communicate(timeout=60)[0].split()[1] == "downloaded"
    assert second.communicate(timeout=60)[0].split()[1] == "there"
    assert len(site.log) == 1
    assert is_same(cache, files)


def test_a_mirror(site, cache, monkeypatch):
    assert run_in_process("fetch", "chestmnist", "--mirror", f"{site.url}/mine/").returncode == 0
    assert site.log[0][0] == "/mine/chestmnist.npz"
    with monkeypatch.context() as patch:
        patch.setenv("NCATOOL_FETCH_MIRROR", f"{site.url}/other")
        assert run_in_process("fetch", "bloodmnist").returncode == 0
    assert site.log[1][0] == "/other/bloodmnist.npz"
    done = run_in_process("fetch", "dermamnist", "--mirror", "ftp://x")
    assert done.returncode == 2
    assert "starts with http:// or https://" in done.stderr


def test_a_proxy_is_used(site, cache, files, monkeypatch):
    """The server acts as the proxy: it gets the whole URL."""
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.setenv("no_proxy", "")
    done = run_in_process("fetch", "chestmnist", "--mirror", "http://far.invalid/x")
    assert done.returncode == 0, done.stderr
    assert site.log[0][0] == "http://far.invalid/x/chestmnist.npz"


def test_a_file_that_went_bad_is_fetched_anew(site, cache, files):
    assert run_in_process("fetch", "chestmnist").returncode == 0
    (cache / "chestmnist.npz").write_bytes(b"broken")
    done = run_in_process("fetch", "chestmnist")
    assert "is not what it should be" in done.stderr
    assert is_same(cache, files)


def test_what_medmnist_downloaded_is_used(site, cache, files):
    folder = Path(os.environ["HOME"]) / ".medmnist"
    folder.mkdir(parents=True)
    shutil.copy(files / "chestmnist.npz", folder)
    done = run_in_process("fetch", "chestmnist", "--json")
    assert json.loads(done.stdout)["sets"][0] | {"bytes": 0} == {
        "flag": "chestmnist", "size": 28, "path": str(folder / "chestmnist.npz"), "state": "there", "bytes": 0,
        "md5": hashlib.md5((files / "chestmnist.npz").read_bytes()).hexdigest(), "verified": True,
    }  # fmt: skip
    assert site.log == []


def test_one_that_fails_does_not_hold_up_the_others(site, cache):
    site.faults = [404]
    done = run_in_process("fetch", "chestmnist", "bloodmnist")
    assert done.returncode == 1
    assert "1 of 2 sets were not fetched: chestmnist" in done.stderr
    assert list_files(cache) == ["bloodmnist.npz", "bloodmnist.toml"]


def test_an_unwritable_root(site, tmp_path):
    (tmp_path / "file").touch()
    done = run_in_process("fetch", "chestmnist", "--root", tmp_path / "file")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ([], "no set is named", "ncatool fetch --list"),
        (["bloodmnst"], "no set 'bloodmnst'", "did you mean bloodmnist?"),
        (["chestmnist", "--size", "29"], "chestmnist has no size 29", "28, 64, 128, 224"),
        (["organmnist3d", "--size", "224"], "organmnist3d has no size 224", "28, 64"),
        (["all", "--size", "30"], "no set has size 30", "28, 64, 128, 224"),
        (["chestmnist", "--from", "nowhere.npz"], "no such file: nowhere.npz", "--from"),
        (["chestmnist", "pathmnist", "--from", "x.npz"], "--from gives one set, but 2 are named", "one set"),
        (["chestmnist", "pathmnist", "--show", "3"], "of one set, but 2 are named", "one set"),
        (["chestmnist", "--pick", "train:1", "a.png", "--random"], "--pick names one sample", "one of them"),
        (["chestmnist", "--pick", "train:-1", "a.png"], "has no sample -1", "0 to 78467"),
        (["chestmnist", "--pick", "train:1:axial", "a.png"], "names no slice", "SPLIT:INDEX"),
        (["chestmnist", "--pick", "train:1", "a.jpg"], "does not end in .png", "does"),
        (["chestmnist", "--pick", "train:1", "a.nii.gz"], "a.nii.gz is for a volume", ".png"),
        (["organmnist3d", "--pick", "train:1:axial", "a.nii"], "names a slice", "SPLIT:INDEX"),
        (["organmnist3d", "--pick", "train:1", "a.npy"], "does not end in .png, .nii or .nii.gz", "does"),
        (["chestmnist", "--show", "3", "--split", "all"], "there is no split 'all'", "train, val, test"),
        (["chestmnist", "--show", "0"], "--show", "--help"),
        (["chestmnist", "--timeout", "0"], "--timeout", "--help"),
    ],
)
def test_bad_usage(monkeypatch, arguments, what, hint):
    monkeypatch.setenv("NCATOOL_FETCH_MIRROR", "http://127.0.0.1:9")
    done = run_in_process("fetch", *arguments)
    assert done.returncode == 2, done.stderr
    error_line, hint_line = done.stderr.rstrip("\n").split("\n")
    assert what in error_line
    assert hint in hint_line


def test_all_is_every_set_of_that_size():
    assert len(fetch.expand_names(["all"], 28)) == 18
    assert len(fetch.expand_names(["all"], 64)) == 18
    assert len(fetch.expand_names(["all", "chestmnist"], 128)) == 12


def test_a_local_copy(site, cache, files, tmp_path):
    done = run_in_process("fetch", "chestmnist", "--from", files / "chestmnist.npz", "--json")
    assert json.loads(done.stdout)["sets"][0]["verified"] is True
    assert json.loads(done.stdout)["sets"][0]["state"] == "copied"
    other = make_small_set(np.zeros((40, 28, 28), np.uint8))
    np.savez(tmp_path / "mine.npz", **other)
    done = run_in_process("fetch", "chestmnist", "--from", tmp_path / "mine.npz")
    assert done.returncode == 0, done.stderr
    assert "is not the catalogue's" in done.stdout
    assert tomllib.loads((cache / "chestmnist.toml").read_text())["source"] == str(tmp_path / "mine.npz")
    done = run_in_process("fetch", "chestmnist", "--json")
    assert json.loads(done.stdout)["sets"][0]["state"] == "there", "its MD5 is that of its record"
    assert site.log == []


def replace_array(name, value):
    return lambda arrays: arrays | {name: value}


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda arrays: {k: v for k, v in arrays.items() if k != "val_labels"}, "lacks the array val_labels"),
        (replace_array("train_images", np.zeros((20, 28, 28), np.float32)), "should be uint8 .* but is float32"),
        (replace_array("test_images", np.zeros((10, 64, 64), np.uint8)), r"but is uint8 \[10, 64, 64\]"),
        (replace_array("test_images", np.zeros((10, 28, 28, 3), np.uint8)), r"but is uint8 \[10, 28, 28, 3\]"),
        (replace_array("train_labels", np.zeros((3, 1), np.uint8)), "integers for 20 samples"),
        (replace_array("train_labels", np.zeros((20, 1))), "but is float64"),
        (replace_array("train_labels", np.array([{}] * 20)), "Python objects"),
        (replace_array("train_images", np.asfortranarray(np.zeros((20, 28, 28), np.uint8))), "columns first"),
    ],
)
def test_a_local_copy_that_does_not_fit(cache, tmp_path, damage, what):
    path = tmp_path / "bad.npz"
    np.savez(path, **damage(make_small_set(np.zeros((40, 28, 28), np.uint8))))
    with pytest.raises(NcatoolError, match=what) as caught:
        fetch.copy_set(DataSet("chestmnist"), path, cache, ignore_progress)
    assert "\n" not in caught.value.what
    assert list_files(cache) == []


def test_more_samples_than_the_set_has_are_refused(cache, tmp_path):
    """An array of many zeros is small in the file and huge when read: it is never read."""
    path = tmp_path / "bomb.npz"
    arrays = make_small_set(np.zeros((40, 28, 28), np.uint8)) | {
        "val_images": np.zeros((20_000, 28, 28), np.uint8),
        "val_labels": np.zeros((20_000, 1), np.uint8),
    }
    np.savez_compressed(path, **arrays)
    with pytest.raises(NcatoolError, match="holds 20,000 samples, but chestmnist has 11,219"):
        fetch.copy_set(DataSet("chestmnist"), path, cache, ignore_progress)


def test_a_flipped_bit_in_a_local_copy(cache, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, **make_small_set(np.arange(40 * 28 * 28).astype(np.uint8).reshape(40, 28, 28)))
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(NcatoolError, match="damaged: Bad CRC-32"):
        fetch.copy_set(DataSet("chestmnist"), path, cache, ignore_progress)


def test_list(site, cache):
    run_in_process("fetch", "chestmnist")
    done = run_in_process("fetch", "--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 19
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("chestmnist")]
    assert "multi-label" in line
    assert f"28: {cache / 'chestmnist.npz'}" in line
    sets = json.loads(run_in_process("fetch", "--list", "--json").stdout)["sets"]
    assert [one["flag"] for one in sets] == list(INFO)
    assert sets[1]["here"] == {"28": str(cache / "chestmnist.npz")}
    assert sets[12]["sizes"] == [28, 64]


def test_show_writes_a_sheet(site):
    done = run_in_process("fetch", "bloodmnist", "--show", 25)
    assert done.returncode == 0, done.stderr
    with Image.open("bloodmnist-train.png") as image:
        assert image.size == (5 * (84 + 8) + 8, 5 * (84 + 20 + 8) + 8)
    done = run_in_process("fetch", "bloodmnist", "--show", 25)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    done = run_in_process(
        "fetch", "organmnist3d", "--show", 4, "--split", "test", "--random", "--out", "o.png", "--json"
    )
    assert json.loads(done.stdout)["wrote"] == "o.png"


def test_show_more_than_there_are(site):
    done = run_in_process("fetch", "bloodmnist", "--show", 60, "--split", "val")
    assert "has 50 samples here in val, but 60 are asked for" in done.stderr
    assert done.returncode == 2


def test_pick_writes_a_volume(site, cache, tiles):
    """Its axial slices are those of the sample, as `train` reads both."""
    name = "organ.nii.gz"
    done = run_in_process("fetch", "organmnist3d", "--pick", "test:1", name, "--json")
    assert json.loads(done.stdout)["target"] == "organmnist3d:test:1"
    for index in (0, 9, 27):
        sample = load_target(TargetConfig(source=f"organmnist3d:test:1:axial:{index}"), cache)
        assert np.array_equal(load_target(TargetConfig(source=f"{name}:axial:{index}")).pixels, sample.pixels)
    content = Path(name).read_bytes()
    assert run_in_process("fetch", "organmnist3d", "--pick", "test:1", name, "--force").returncode == 0
    assert Path(name).read_bytes() == content


def test_pick_writes_a_sample(site, cache, tiles):
    assert run_in_process("fetch", "chestmnist", "--pick", "val:7", "chest.png").returncode == 0
    assert np.array_equal(np.asarray(Image.open("chest.png"))[..., 0], tiles["chestmnist"][307])
    done = run_in_process("fetch", "chestmnist", "--random", "--seed", 3, "--colormap", "viridis", "--json")
    result = json.loads(done.stdout)
    index = int(result["target"].split(":")[2])
    assert result["target"] == f"chestmnist:train:{index}"
    expected = load_target(TargetConfig(source=result["target"], colormap=Colormap.VIRIDIS), cache).pixels[..., :3]
    assert np.array_equal(np.asarray(Image.open(result["wrote"])), expected)
    again = run_in_process("fetch", "chestmnist", "--random", "--seed", 3, "--json", "--out", "again.png")
    assert json.loads(again.stdout)["target"] == result["target"]
