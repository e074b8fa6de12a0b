"""The sweep that all disturbed ones are compared with."""

import pytest
from filelock import FileLock

from tests.conftest import ncatool
from tests.sweep.runs import DISTURBED, weights


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, worker_id):
    """The folder of a sweep of twelve that nothing disturbed, trained once for all of pytest's processes.

    What the command printed is in `stdout.json` and `stderr.txt` beside the folder.
    """
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "sweep"
    place.mkdir(exist_ok=True)
    folder = place / "undisturbed"
    with FileLock(place / "lock"):
        if not (folder / "summary.csv").exists():  # written last
            flags = ["--jobs", 2, "--json", "--quiet", "--out", folder]
            done = ncatool(*DISTURBED, *flags, env={"NCATOOL_SWEEP_DEVICE": "cpu"})
            assert done.returncode == 0, done.stderr
            (place / "stdout.json").write_text(done.stdout)
            (place / "stderr.txt").write_text(done.stderr)
    assert len(weights(folder)) == 12
    return folder
