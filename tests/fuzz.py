"""Mutated files through every loader: each gives the right thing or one clear error, in little memory.

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

from ncatool.data import readers as targets
from ncatool.errors import NcatoolError
from ncatool.nca.model_file import load_model
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles

MEMORY = 2**30
HOSTILE = [
    b"[" * 5000, b"1e999", b"nan", b"-inf", b"99999999999999999999999", b"\x00", b"\xff\xfe", b'"', b"'''", b"\n",
    b"[model]", b"a.b.c = 1", b"channels = 4096", b"{", b"}", b"null", b"true", b"\\u0000",
]  # fmt: skip


def flipped(content, chance):
    for _ in range(chance.randint(1, 5)):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def grown(content, chance):
    return content + chance.randbytes(chance.randint(1, 100))


def swapped(content, chance):
    """Two stretches change places."""
    length = chance.randint(1, max(1, len(content) // 4))
    a, b = (chance.randrange(len(content) - length + 1) for _ in range(2))
    content[a : a + length], content[b : b + length] = content[b : b + length], content[a : a + length]
    return content


def giant(content, chance):
    """The length of the header, or eight bytes anywhere, become huge."""
    at = chance.choice([0, chance.randrange(max(1, len(content) - 8))])
    content[at : at + 8] = struct.pack("<Q", chance.choice([2**63 - 1, 2**40, 10**8, len(content), 0, 1]))
    return content


def hostile(content, chance):
    """Something that means much to a parser, at the front half more often."""
    at = chance.randrange(chance.choice([len(content), max(1, len(content) // 4)]))
    return content[:at] + chance.choice(HOSTILE) + content[at + chance.choice([0, 1, 8]) :]


def not_a_number(content, chance):
    at = chance.randrange(max(1, len(content) - 4)) // 4 * 4
    content[at : at + 4] = struct.pack("<f", chance.choice([float("nan"), float("inf"), 1e38]))
    return content


def edited(content, chance):
    """A digit of the text at the front becomes another: a setting, a shape or an offset."""
    digits = [i for i in range(min(len(content), 3000)) if 48 <= content[i] <= 57]
    if digits:
        content[chance.choice(digits)] = chance.randint(48, 57)
    return content


MUTATIONS = [flipped, cut, grown, swapped, giant, hostile, not_a_number, edited]


def mutated(original, chance):
    content = bytearray(original)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        content = chance.choice(MUTATIONS)(content, chance) or bytearray(b"?")
    return bytes(content)


def weights_of(model):
    return [tensor.tolist() for tensor in model.weights if tensor is not None] + [model.config, model.target.padding]


def state_of(run):
    tensors = run.trainer.state_tensors()
    return (
        {name: tensor.tolist() for name, tensor in tensors.items()},
        run.trainer.state_numbers(),
        run.config,
        str(run.rows),
    )


def resumed(folder):
    return Run.resume(RunFiles(folder / "m.safetensors"))


LOADERS = {
    "model": ("m.safetensors", lambda path: weights_of(load_model(path))),
    "sidecar": ("m.toml", lambda path: weights_of(load_model(path.with_suffix(".safetensors")))),
    "checkpoint": (
        "m.checkpoint.safetensors",
        lambda path: state_of(Run.resume(RunFiles(path.parent / "m.safetensors"))),
    ),
}


def fuzz(loader, folder, count, seed):
    """Counts of what happened; AssertionError with the file kept where something slipped through.

    A file that loads must give what the original gives: what was changed then means nothing.
    """
    name, load = LOADERS[loader]
    path = folder / name
    original = path.read_bytes()
    right = load(path)
    chance, outcomes = random.Random(seed), Counter()
    for _ in range(count):
        path.write_bytes(mutated(original, chance))
        said = ""
        try:
            assert load(path) == right, f"{path} loads as something else"
        except NcatoolError as error:
            said = error.what
        assert len(said) < 2000
        outcomes["refused" if said else "loaded, rightly"] += 1
    path.write_bytes(original)
    return outcomes


def make(folder):
    """A small run, stopped on its way."""
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
        make(folder)
        for loader in LOADERS:
            outcomes = fuzz(loader, folder, arguments.count, arguments.seed)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(f"{loader:<11} {dict(outcomes)}  peak memory {peak / 1e6:.0f} MB", flush=True)
            if peak > MEMORY:
                sys.exit("too much memory")


if __name__ == "__main__":
    main()
