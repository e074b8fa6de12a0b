"""Every command in every encoding with every state of its streams, as a table: `python -m tests.benchmarks.streams`.

A cell holds the exit codes in the order of the encodings (one, where all are the same), and what is wrong, if anything.
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.cli.test_streams import ALL, check
from tests.stream_server import ENCODINGS, STATES, StreamServer


def fill_cell(server, folder, name, state):
    codes, wrong = [], []
    for encoding in ENCODINGS:
        faults, done = check(server, folder, name, encoding, state)
        codes.append(done.returncode)
        wrong += [f"{encoding}: {fault}" for fault in faults]
    return "; ".join([" ".join(map(str, codes if len({*codes}) > 1 else codes[:1])), *wrong])


def main():
    print(f"encodings: {', '.join(ENCODINGS)}\n")
    print(f"| command | {' | '.join(STATES)} |\n|{'---|' * (len(STATES) + 1)}")
    os.environ["NCATOOL_TRAIN_DEVICE"] = "cpu"
    with StreamServer() as server, tempfile.TemporaryDirectory() as name:
        server.prepare(Path(name))
        for command in ALL:
            cells = [fill_cell(server, Path(name), command, state) for state in STATES]
            print(f"| `{command}` | {' | '.join(cells)} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
