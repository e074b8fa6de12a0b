"""Mutated files through every loader: each is loaded correctly or refused with one clear error, in little memory.

Long, by hand: python -m tests.fuzz --count 20000
A short share runs with the tests.
"""

import argparse
import random
import resource
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

from ncatool.data import targets
from ncatool.errors import NcatoolError
from ncatool.nca.model_file import load_model
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles

MAX_MEMORY_BYTES = 2**30
HOSTILE_TEXTS = [
    b"[" * 5000, b"1e999", b"nan", b"-inf", b"99999999999999999999999", b"\x00", b"\xff\xfe", b'"', b"'''", b"\n",
    b"[model]", b"a.b.c = 1", b"channels = 4096", b"{", b"}", b"null", b"true", b"\\u0000",
]  # fmt: skip


def flip_bits(content, rng):
    for _ in range(rng.randint(1, 5)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def truncate(content, rng):
    return content[: rng.randrange(len(content))]


def append_bytes(content, rng):
    return content + rng.randbytes(rng.randint(1, 100))


def swap_parts(content, rng):
    """Exchange two parts of the same length."""
    length = rng.randint(1, max(1, len(content) // 4))
    a, b = (rng.randrange(len(content) - length + 1) for _ in range(2))
    content[a : a + length], content[b : b + length] = content[b : b + length], content[a : a + length]
    return content


def write_huge_number(content, rng):
    """Write a huge number over the length of the header, or over eight bytes anywhere."""
    start = rng.choice([0, rng.randrange(max(1, len(content) - 8))])
    content[start : start + 8] = struct.pack("<Q", rng.choice([2**63 - 1, 2**40, 10**8, len(content), 0, 1]))
    return content


def insert_hostile_text(content, rng):
    """Insert text that a parser treats specially, more often in the first quarter."""
    start = rng.randrange(rng.choice([len(content), max(1, len(content) // 4)]))
    return content[:start] + rng.choice(HOSTILE_TEXTS) + content[start + rng.choice([0, 1, 8]) :]


def write_bad_float(content, rng):
    start = rng.randrange(max(1, len(content) - 4)) // 4 * 4
    content[start : start + 4] = struct.pack("<f", rng.choice([float("nan"), float("inf"), 1e38]))
    return content


def change_digit(content, rng):
    """Change a digit of the header: of a setting, a shape or an offset."""
    digits = [i for i in range(min(len(content), 3000)) if 48 <= content[i] <= 57]
    if digits:
        content[rng.choice(digits)] = rng.randint(48, 57)
    return content


MUTATIONS = [
    flip_bits, truncate, append_bytes, swap_parts, write_huge_number, insert_hostile_text, write_bad_float,
    change_digit,
]  # fmt: skip


def mutate(original, rng):
    content = bytearray(original)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = rng.choice(MUTATIONS)(content, rng) or bytearray(b"?")
    return bytes(content)


def list_weights(model):
    return [tensor.tolist() for tensor in model.weights if tensor is not None] + [model.config, model.target.padding]


def list_state(run):
    tensors = run.trainer.state_tensors()
    return (
        {name: tensor.tolist() for name, tensor in tensors.items()},
        run.trainer.state_numbers(),
        run.config,
        str(run.rows),
    )


LOADERS = {
    "model": ("m.safetensors", lambda path: list_weights(load_model(path))),
    "sidecar": ("m.toml", lambda path: list_weights(load_model(path.with_suffix(".safetensors")))),
    "checkpoint": (
        "m.checkpoint",
        lambda path: list_state(Run.resume(RunFiles(path.parent / "m.safetensors"))),
    ),
}


def fuzz(loader, folder, count, seed):
    """Return how many mutated files were refused and how many loaded.

    AssertionError, and the file is kept, where a file loads as something else than the original.
    """
    name, load = LOADERS[loader]
    path = folder / name
    original = path.read_bytes()
    expected = load(path)
    rng, outcomes = random.Random(seed), Counter()
    for _ in range(count):
        path.write_bytes(mutate(original, rng))
        message = ""
        try:
            assert load(path) == expected, f"{path} loads as something else"
        except NcatoolError as error:
            message = error.what
        assert len(message) < 2000
        outcomes["refused" if message else "loaded correctly"] += 1
    path.write_bytes(original)
    return outcomes


def make_run(folder):
    """Leave the files of a small run that was stopped half way."""
    from tests.conftest import small_run

    config = small_run(pool_size=2)
    run = Run(config, targets.load_target(config.target), RunFiles(folder / "m.safetensors"))
    list(run.train(lambda: run.trainer.iteration == 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_run(folder)
        for loader in LOADERS:
            outcomes = fuzz(loader, folder, arguments.count, arguments.seed)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(f"{loader:<11} {dict(outcomes)}  peak memory {peak / 1e6:.0f} MB", flush=True)
            if peak > MAX_MEMORY_BYTES:
                sys.exit("too much memory")


if __name__ == "__main__":
    main()
