"""TOML files that are broken, huge or hostile: refused in one line, wherever a command reads one."""

import time
from pathlib import Path

import pytest

from ncatool.config.flat import SETTINGS
from ncatool.errors import NcatoolError
from ncatool.files.toml import MAX_FILE_BYTES, read_toml, write_toml
from ncatool.nca.model_file import save_model
from tests.conftest import SMALL, run_in_process
from tests.nca.test_model_file import make_model

HUGE = "0x" + "f" * 9000
"""An integer for which Python has neither text nor a float."""


@pytest.mark.parametrize(
    "text",
    [
        f"a = {HUGE}", f"a = [[{{b = {HUGE}}}]]", "a = 9223372036854775808", "a = " + "9" * 5000,
        "a = " + "[" * 200 + "]" * 200, "a = " + "[" * 100_000, "a = " + "{a = " * 100_000, "a." * 50 + "a = 1",
        "a." * 100_000 + "a = 1", "[" + "a." * 100_000 + "a]", "\xef\xbb\xbf\xef\xbb\xbfa = 1", "a = '\x00'",
        "a = \"\\ud800\"", "a = 1\n" * 2, "\xff", "[a\n", "#" * (MAX_FILE_BYTES + 1),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_at_once(text):
    Path("a.toml").write_bytes(text.encode("latin-1"))
    start = time.monotonic()
    with pytest.raises(NcatoolError, match=r"a\.toml is not valid TOML") as caught:
        read_toml(Path("a.toml"))
    assert "\n" not in caught.value.what
    assert len(caught.value.what) < 300
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", ["/dev/zero", "."])
def test_what_is_no_file_is_refused(path):
    with pytest.raises(NcatoolError, match="is not valid TOML"):
        read_toml(Path(path))


@pytest.mark.parametrize("text", ["\ufeffa = 1", "a = 1\r\n", "a = 1 # \u00e9\n"])
def test_files_of_all_editors_are_read(text):
    Path("a.toml").write_text(text, encoding="utf-8")
    assert read_toml(Path("a.toml")) == {"a": 1}


def test_a_list_of_many_numbers_is_read():
    write_toml(Path("a.toml"), {"a": [0.1] * 5000, "b": 2**63 - 1, "c": -(2**63)})
    Path("b.toml").write_text(f"a = {[0.1] * 5000}")
    assert read_toml(Path("a.toml"))["a"] == read_toml(Path("b.toml"))["a"] == [0.1] * 5000


WRONG = [
    HUGE, "-1", "1e400", "nan", "-inf", "true", '"x"', "1979-05-27", "07:32:00", "[]", "[[1]]", "{a = 1}", "[1, 'x']",
]  # fmt: skip


def one_line(*arguments):
    """Run a command, which may work or fail in one line; return its exit code."""
    done = run_in_process(*arguments)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode in (0, 1, 2)
    assert len(errors) == (done.returncode != 0), done.stderr
    assert all(len(line) < 600 for line in done.stderr.splitlines())
    return done.returncode


TABLES = {
    "model": ["channels", "filter", "fire_rate"],
    "target": ["source", "size", "padding", "label", "sha256"],
    "train": ["iterations", "learning_rate", "loss", "regime", "seed", "checkpoint"],
    "result": ["iterations", "mse_at_500", "seconds"],
    "environment": ["threads"],
}


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_value_anywhere_in_a_record(value):
    """As --config of train, and beside the model that other commands read."""
    save_model(Path("m.safetensors"), make_model())
    texts = [f"[{table}]\n{name} = {value}\n" for table, names in TABLES.items() for name in names]
    texts += [f"{table} = {value}\n" for table in (*TABLES, "history", "format", "origin")]
    texts += [f"[[{table}]]\na = {value}\n" for table in (*TABLES, "history")]
    for text in texts:
        Path("m.toml").write_text(text)
        assert one_line("train", "--config", "m.toml", "--iterations", 0), "it never trains"
        if "model" in text:
            one_line("render", "m.safetensors", "m.png", "--steps", 1, "--force", "-q")


@pytest.mark.parametrize("value", [HUGE, "nan", "1979-05-27", "[1, 'x']", "{a = 1}"])
def test_records_that_only_describe(value):
    save_model(Path("m.safetensors"), make_model())
    describing = [f"[target]\nsource = {value}\n", f"[result]\nseconds = {value}\n", f"train = {value}\n"]
    for text in ["".join(describing), f"[train]\nloss = {value}\nregime = {value}\n[history]\na = {value}\n"]:
        Path("m.toml").write_text(text)
        one_line("export", "m.safetensors", "m.npz", "--force", "-q")
        one_line("compare", "m.safetensors", "--rollouts", 1, "--steps", 200, "--report", "r.html", "--force", "-q")


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_value_anywhere_in_a_plan(value):
    texts = [f"[base]\n{name} = {value}\n[grid]\nseed = [0, 1]\n" for name in SETTINGS]
    texts += [f"[grid]\n{name} = [{value}, {value}]\n" for name in SETTINGS]
    texts += [f"[[runs]]\n{name} = {value}\n" for name in ("name", "size", "target", "steps")]
    texts += [f"[replicates]\nseeds = {part}\n" for part in (value, f"[{value}]")]
    texts += [
        f"{table} = {part}\n" for table in ("base", "grid", "runs", "replicates") for part in (value, f"[{value}]")
    ]
    for text in texts:
        Path("plan.toml").write_text(text)
        assert one_line("sweep", "plan.toml", "--target", "nowhere.png", "--out", "runs", "-q"), "it never trains"


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_value_in_the_plan_that_a_sweep_has_left(value):
    Path("runs").mkdir()
    for text in (f"[base]\nseed = {value}\n", f"[[runs]]\nname = {value}\n", f"[replicates]\nseeds = [{value}]\n"):
        Path("runs/sweep.toml").write_text(text)
        assert one_line("sweep", *SMALL, "--seed", "0,1", "--filter", "sobol", "--out", "runs", "-q")
        assert one_line("sweep", *SMALL, "--seed", "0,1", "--target", "nowhere.png", "--out", "runs", "-q")
