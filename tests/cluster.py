"""A Dask scheduler and workers on the loopback address, each a process of its own."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A scheduler and workers that can be killed and started again."""

    def __init__(self, folder):
        self.folder, self.port, self.processes = folder, find_free_port(), []
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = None

    def _start(self, *arguments, **environment):
        (self.folder / "dask").mkdir(exist_ok=True)
        variables = {"PYTHONPATH": str(ROOT), "HOME": str(self.folder / "dask"), **environment}
        log = (self.folder / f"dask{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, arguments)],
            env={**os.environ, **variables}, cwd=self.folder / "dask", stdout=log, stderr=log,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def start_scheduler(self, **environment):
        options = ("--host", "127.0.0.1", "--port", self.port, "--no-dashboard")
        self.scheduler = self._start("scheduler", *options, **environment)

    def start_worker(self, **environment):
        options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--death-timeout", 60, "--host", "127.0.0.1")
        return self._start("worker", self.address, *options, **environment)

    def kill(self, process):
        process.kill()
        process.wait()  # until then it is listed as a process, and its locks seem to be held

    def count_workers(self):
        from distributed import Client

        with Client(self.address, timeout=60, set_as_default=False) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])

    def end(self):
        for process in self.processes:
            self.kill(process)


@contextmanager
def start_cluster(folder, workers=2, scheduler=None, **environment):
    cluster = Cluster(folder)
    try:
        cluster.start_scheduler(**(scheduler or {}))
        for _ in range(workers):
            cluster.start_worker(**environment)
        yield cluster
    finally:
        cluster.end()
