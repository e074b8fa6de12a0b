"""What TensorBoard reads of a run's log."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ncatool.data import targets
from ncatool.errors import NcatoolError
from ncatool.training import tensorboard
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from tests.conftest import SMALL, run_in_process, small_run


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_loss_learning_rate_psnr_and_pictures():
    plain = run_in_process("train", *SMALL, "-q", "--out", "plain.safetensors")
    done = run_in_process("train", *SMALL, "-q", "--tensorboard", "logs")
    assert done.returncode == plain.returncode == 0, done.stderr
    assert Path("phantom.csv").read_bytes() == Path("plain.csv").read_bytes(), "the log does not change the training"
    events = read("logs")
    assert set(events.Tags()["scalars"]) == {"loss", "learning rate", "psnr"}
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    rows = [line.split(",") for line in Path("phantom.csv").read_text().splitlines()[1:]]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([float(row[1]) for row in rows])
    pictures = events.Images("grown")
    assert len(pictures) == 6
    assert (pictures[0].width, pictures[0].height) == (48, 48)
    done = run_in_process("resume", "phantom.safetensors", "--iterations", "8", "--tensorboard", "logs", "-q")
    assert done.returncode == 0, done.stderr
    assert [event.step for event in read("logs").Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7, 8]


def open_and_close_log(folder):
    config = small_run()
    run = Run(config, targets.load_target(config.target), RunFiles(Path("m.safetensors")))
    with tensorboard.open_log(folder, run):
        pass


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(NcatoolError, match="needs the package tensorboard") as caught:
        open_and_close_log(Path("logs"))
    assert caught.value.hint == "pip install 'ncatool[tensorboard]'"


def test_folder_that_cannot_be_written():
    Path("logs").write_text("a file")
    with pytest.raises(NcatoolError, match="logs cannot be written"):
        open_and_close_log(Path("logs"))
