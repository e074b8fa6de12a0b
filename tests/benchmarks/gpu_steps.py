"""One training iteration, on a GPU if there is one, forward and backward of 80 steps, several ways in turn.

The seed project's dense loop in eager PyTorch, under `torch.compile`, and as a CUDA graph; CAX's growing cellular
automaton in JAX, where `pip install cax "jax[cuda13]"` has been done; our kernels launched one by one, as a CUDA
graph, and with bfloat16 products. Each reading waits for the GPU; medians and quartiles are printed, and how ours
stands to what its arithmetic alone and its bytes alone would take at the rates of a large product and a large copy,
measured in the same run. What fails says why, and the others go on.

Run: python -m tests.benchmarks.gpu_steps [--sides 28 72 224] [--batches 8 64] [--rounds 9] [--device auto]
"""

import argparse
import statistics
import time
from itertools import product

import torch
import torch.nn.functional as F

from ncatool.config.names import Device, Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import choose
from ncatool.engine.device import resolve_device
from ncatool.engine.rollout import draw_fire_masks, rollout
from ncatool.nca.filters import filter_pair
from ncatool.nca.weights import Weights, draw_weights

STEPS = 80
MODEL = ModelConfig()
MACS = 3 * MODEL.channels * MODEL.hidden + MODEL.hidden * MODEL.channels
"""Of a cell's network; twice as many again go back, to the cells and to the weights."""
BYTES = 4 * MODEL.channels * (2 + 3)
"""Of a cell in a step: its state read and written; state and gradient read and gradient written on the way back."""


class Seed(torch.nn.Module):
    """A step as the seed project has it: channels first, one grouped convolution, 1×1 ones, a mask drawn anew."""

    def __init__(self, weights, device):
        super().__init__()
        identity = torch.zeros(3, 3)
        identity[1, 1] = 1
        stack = torch.stack([identity, *filter_pair(MODEL.filter)]).repeat(MODEL.channels, 1, 1)
        self.register_buffer("kernel", stack.unsqueeze(1).to(device))
        by_channel = weights.hidden_weight.view(-1, 3, MODEL.channels).transpose(1, 2).flatten(1)
        self.hidden = torch.nn.Parameter(by_channel[..., None, None].contiguous().to(device))
        self.bias = torch.nn.Parameter(weights.hidden_bias.clone().to(device))
        self.output = torch.nn.Parameter(weights.output_weight[..., None, None].clone().to(device))

    def alive(self, state):
        return F.max_pool2d(state[:, 3:4], 3, stride=1, padding=1) > MODEL.threshold

    def forward(self, state):
        pre = self.alive(state)
        seen = F.conv2d(state, self.kernel, padding=1, groups=MODEL.channels)
        change = F.conv2d(torch.relu(F.conv2d(seen, self.hidden, self.bias)), self.output)
        state = state + change * (torch.rand_like(state[:, :1]) < MODEL.fire_rate)
        return state * (pre & self.alive(state))


def iteration(step, state):
    """An iteration by a module of one step."""

    def run():
        step.zero_grad(set_to_none=False)
        at = state
        for _ in range(STEPS):
            at = step(at)
        (at[:, :4] ** 2).mean().backward()

    return run


def graphed(run, device):
    """The same launches as one CUDA graph."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def ours(weights, state, precision, device):
    leaves = Weights(*(tensor.to(device).requires_grad_() for tensor in weights if tensor is not None))
    fire = draw_fire_masks(STEPS, state, MODEL.fire_rate, torch.Generator(device).manual_seed(0))

    def run():
        final = rollout(state, leaves, MODEL, fire, precision)
        torch.autograd.grad((final[..., :4] ** 2).mean(), [leaf for leaf in leaves if leaf is not None])

    return run


def cax(state):
    """An iteration of CAX's growing cellular automaton of the same size."""
    import jax
    import jax.numpy as jnp
    from cax.core import ComplexSystem
    from cax.core.perceive import ConvPerceive
    from cax.core.update import NCAUpdate
    from flax import nnx

    class Growing(ComplexSystem):
        def __init__(self, rngs):
            seen = 3 * MODEL.channels
            self.perceive = ConvPerceive(MODEL.channels, seen, feature_group_count=MODEL.channels, rngs=rngs)
            self.update = NCAUpdate(
                MODEL.channels, seen, (MODEL.hidden,), cell_dropout_rate=1 - MODEL.fire_rate, rngs=rngs
            )

        def _step(self, state, input=None, *, sow=False):  # noqa: A002 - CAX's name
            return self.update(state, self.perceive(state), input)

    system = Growing(nnx.Rngs(0))
    start = jnp.asarray(state.cpu().numpy())

    @nnx.jit
    def gradients(system, start):
        return nnx.grad(lambda own: jnp.mean(own(start, num_steps=STEPS)[..., :4] ** 2))(system)

    return lambda: jax.block_until_ready(gradients(system, start))


def ways(weights, state, device):
    """Each way by name, as something that prepares it and returns what is then timed."""
    planes = state.permute(0, 3, 1, 2).contiguous()
    found = {
        "seed's loop, eager": lambda: iteration(Seed(weights, device), planes),
        "seed's loop, torch.compile": lambda: iteration(torch.compile(Seed(weights, device)), planes),
        "CAX, JAX": lambda: cax(state),
        f"ours ({choose.engine_name(device)})": lambda: ours(weights, state, Precision.FLOAT32, device),
        "ours, bfloat16": lambda: ours(weights, state, Precision.BFLOAT16, device),
    }
    if device.type == "cuda":
        found["seed's loop, CUDA graph"] = lambda: graphed(iteration(Seed(weights, device), planes), device)
        found["ours, CUDA graph"] = lambda: graphed(ours(weights, state, Precision.FLOAT32, device), device)
    return found


def settle(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(run, device):
    settle(device)
    start = time.perf_counter()
    run()
    settle(device)
    return time.perf_counter() - start


def timed(found, rounds, device):
    """Seconds of each way that works, all of them in turn; the first two readings of each only warm up."""
    ready, times = {}, {}
    for name, prepare in found.items():
        try:
            ready[name] = prepare()
            for _ in range(2):
                seconds(ready[name], device)
            times[name] = []
        except Exception as error:
            ready.pop(name, None)
            print(f"  {name}: failed, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    for _ in range(rounds):
        for name, run in ready.items():
            times[name].append(seconds(run, device))
    return times


def rates(device, side):
    """Multiplications a second of a large float32 product, of one with TF32 and of one of bfloat16; bytes of a copy."""
    a, b = torch.randn(2, side, side, device=device)
    found = {}
    for name, dtype, loose in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = loose
        one, other = a.to(dtype), b.to(dtype)
        found[name] = side**3 / statistics.median(seconds(lambda x=one, y=other: x @ y, device) for _ in range(5))
    torch.backends.cuda.matmul.allow_tf32 = False
    large = torch.empty(side * side * 16, device=device)
    copied = statistics.median(seconds(large.clone, device) for _ in range(5))
    return found, 2 * large.nbytes / copied


def told(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{1000 * middle:9.3f} ms ({1000 * low:.3f} to {1000 * high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", help="28, 72 and 224; on a processor 28")
    parser.add_argument("--batches", type=int, nargs="+", help="8 and 64; on a processor 8")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(Device(arguments.device))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
    products, copies = rates(device, 8192 if device.type == "cuda" else 1024)
    print(f"{name}, torch {torch.__version__}, float32 but where said")
    print("rates:", ", ".join(f"{kind} {2e-12 * rate:.3g} TFLOP/s" for kind, rate in products.items()),
          f"and {1e-9 * copies:.4g} GB/s")  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    weights = draw_weights(MODEL, generator)
    weights = weights._replace(output_weight=0.001 * torch.randn(MODEL.channels, MODEL.hidden, generator=generator))
    large = device.type == "cuda"
    sides = arguments.sides or ([28, 72, 224] if large else [28])
    for side, batch in product(sides, arguments.batches or ([8, 64] if large else [8])):
        state = (0.5 + torch.rand(batch, side, side, MODEL.channels, generator=generator)).to(device)
        print(f"{side}x{side}, batch {batch}", flush=True)
        times = timed(ways(weights, state, device), arguments.rounds, device)
        for way, values in times.items():
            print(f"  {way:28} {told(values)}", flush=True)
        cells = STEPS * batch * side * side
        mine = next((statistics.median(values) for way, values in times.items() if way.startswith("ours (")), None)
        if mine is not None:
            arithmetic = {kind: 3 * MACS * cells / rate for kind, rate in products.items()}
            shares = [f"{kind} arithmetic of all cells {alone / mine:.1%}" for kind, alone in arithmetic.items()]
            print(f"  share of ours: {', '.join(shares)}, bytes {BYTES * cells / copies / mine:.1%}", flush=True)


if __name__ == "__main__":
    main()
