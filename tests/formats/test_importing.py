"""Other people's models: what is read, what is refused, and that they grow what they grew."""

import base64
import json
import os
import pickle
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ncatool.config.names import Damage, Filter, Order
from ncatool.config.schema import ModelConfig
from ncatool.engine.advance import advance, measure_mse
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.toml import read_toml
from ncatool.formats import importing
from ncatool.nca.damage import DAMAGE_SHAPES
from ncatool.nca.model_file import load_model
from ncatool.nca.rule import perceive, step
from ncatool.nca.seed import make_seed, place_seed
from tests.conftest import DATA, GOLDEN, PUBLISHED, run_in_process


def network(channels=8, hidden=12):
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3 * channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False))


@pytest.mark.published
@pytest.mark.parametrize(("expected", "name"), [(2.46e-4, "chest_sobel"), (3.4e-2, "chest_gaussian")])
def test_the_seed_projects_models_grow_as_well_as_they_did(name, expected):
    reference = PUBLISHED
    done = run_in_process("import", reference / f"{name}.pt", "m.safetensors", "--target", reference / "chest.png")
    assert done.returncode == 0, done.stderr
    filter_ = name.removeprefix("chest_")
    assert f"--filter {filter_}, as the file's name says" in done.stderr
    model = load_model(Path("m.safetensors"))
    found = measure_mse(model, [500], 64, torch.Generator().manual_seed(0)).median().item()
    print(f"{name}: median MSE at step 500 of 64 rollouts {found:.3g}")
    assert found == pytest.approx(expected, rel=0.05)
    origin = read_toml(Path("m.toml"))["origin"]
    assert origin["file"] == f"{name}.pt"
    assert origin["order"] == "interleaved"
    assert run_in_process("render", "m.safetensors", "m.gif", "--steps", 20, "-q").returncode == 0


def test_the_articles_lizard_grows_heals_and_goes_back_byte_for_byte():
    source = DATA / "lizard.json"
    done = run_in_process("import", source, "lizard.safetensors")
    assert done.returncode == 0, done.stderr
    model = load_model(Path("lizard.safetensors"))
    assert model.target.shape == (72, 72)
    assert model.config.boundary == "wrap"
    at = measure_mse(model, [300, 600], 2, torch.Generator().manual_seed(1)).median(dim=1).values
    assert (at < 5e-3).all(), "it stays what it was at step 200"
    generator = torch.Generator().manual_seed(2)
    state = advance(model, place_seed(make_seed(16), 1, 72, 72), 200, generator)
    hurt = state.clone()
    hurt[:, DAMAGE_SHAPES[Damage.CIRCLE](72, 72, 0.1, (40, 40))] = 0
    wanted = torch.from_numpy(model.target.premultiply())
    before, damaged, after = (
        ((x[0, ..., :4] - wanted) ** 2).mean().item() for x in (state, hurt, advance(model, hurt, 200, generator))
    )
    assert damaged > 5 * before
    assert after < 0.3 * damaged
    assert run_in_process("export", "lizard.safetensors", "lizard.json", "-q").returncode == 0
    ours, theirs = (json.loads(Path(path).read_text()) for path in ("lizard.json", source))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == {**other, **{name: pytest.approx(other[name]) for name in ("weight_scale", "bias_scale")}}


@pytest.mark.parametrize("order", Order)
def test_the_network_computes_what_it_did(order, generator):
    """One step by the network itself, on inputs in its own order, beside ours after the conversion."""
    net = network()
    first, second = {
        Order.BLOCKED: ("0", "2"),
        Order.INTERLEAVED: ("update_module.0", "update_module.2"),
        Order.TRANSPOSED: ("fc0", "fc1"),
    }[order]
    names = {"0.weight": f"{first}.weight", "0.bias": f"{first}.bias", "2.weight": f"{second}.weight"}
    torch.save({names[name]: tensor for name, tensor in net.state_dict().items()}, "m.pt")
    foreign = importing.read_model(Path("m.pt"))
    assert foreign.order is order
    config = ModelConfig(channels=8, hidden=12, filter=Filter.SCHARR)
    weights = importing.reorder_inputs(foreign.weights, order)
    state = torch.rand(1, 9, 7, 8, generator=generator)
    seen = perceive(state, config)
    if order is Order.INTERLEAVED:
        seen = seen.unflatten(-1, (3, 8)).transpose(-1, -2).flatten(-2)
    if order is Order.TRANSPOSED:
        seen = seen.unflatten(-1, (3, 8))[..., [0, 2, 1], :].flatten(-2)
    change = net(seen.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    ours = step(state, weights, config, torch.ones(1, 9, 7, dtype=torch.bool))
    torch.testing.assert_close(ours, state + change, rtol=1e-4, atol=1e-5)


def test_other_names_linear_layers_and_one_level_down():
    net = network()
    own = net.state_dict()
    names = {"0.weight": "fc0.weight", "0.bias": "fc0.bias", "2.weight": "fc1.weight"}
    renamed = {names[name]: tensor.squeeze() for name, tensor in own.items()}
    torch.save({"epoch": 3, "model": {**renamed, "perception.kernel": torch.zeros(3, 3)}}, "m.pt")
    foreign = importing.read_model(Path("m.pt"))
    assert torch.equal(foreign.weights.hidden_weight, own["0.weight"].squeeze())
    assert foreign.weights.output_bias is None
    assert foreign.ignored == ("perception.kernel",)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def bad_files():
    good = json.dumps([
        {"data_b64": base64.b64encode(bytes((49) * 128)).decode(), "in_ch": 48, "out_ch": 128, "weight_scale": 1.0,
         "bias_scale": 1.0, "type": "uint8"},
    ] * 2)  # fmt: skip
    torch.save({"w": Evil()}, "evil.pt")
    torch.save([1, 2], "list.pt")
    torch.save({"a.weight": torch.zeros(3, 4)}, "none.pt")
    torch.save({**network().state_dict(), "0.bias": torch.zeros(5)}, "bias.pt")
    Path("empty.pt").write_bytes(b"")
    Path("text.pt").write_text("hello")
    Path("cut.pt").write_bytes(Path("none.pt").read_bytes()[:300])
    Path("empty.json").write_text("")
    Path("list.json").write_text("[1, 2]")
    Path("deep.json").write_text("[" * 100_000)
    Path("same.json").write_text(good)
    Path("scale.json").write_text(good.replace("1.0", "NaN"))
    Path("infinite.json").write_text(good.replace("48", "1e999"))
    Path("huge.json").write_text(good.replace("48", "999999999999"))
    return sorted(path.name for path in Path().iterdir() if path.is_file())


def test_bad_files_are_refused_in_one_line_and_never_executed():
    names = bad_files()
    assert len(names) == 14
    for name in names:
        with pytest.raises(NcatoolError) as caught:
            importing.read_model(Path(name))
        assert name in caught.value.what
        assert len(caught.value.what) < 400
        assert "\n" not in caught.value.what
    assert not Path("executed").exists()
    with pytest.raises(UsageError, match="no such file"):
        importing.read_model(Path("nowhere.pt"))


def save_as_the_seed_project(model, path):
    """Write a model as the seed project does: 1x1 convolutions whose inputs go channel by channel."""
    hidden, inputs = model.weights.hidden_weight.shape
    interleaved = model.weights.hidden_weight.reshape(hidden, 3, inputs // 3).transpose(1, 2).reshape(hidden, inputs)
    tensors = {"0.weight": interleaved[..., None, None], "0.bias": model.weights.hidden_bias}
    tensors["2.weight"] = model.weights.output_weight[..., None, None]
    torch.save({f"update_module.{name}": tensor for name, tensor in tensors.items()}, path)


def test_a_model_in_the_seed_projects_layout_is_the_same_model():
    golden = load_model(GOLDEN)
    save_as_the_seed_project(golden, Path("phantom_sobel.pt"))
    done = run_in_process("import", "phantom_sobel.pt", "m.safetensors", "--target", "phantom")
    assert done.returncode == 0, done.stderr
    assert read_toml(Path("m.toml"))["origin"]["order"] == "interleaved"
    model = load_model(Path("m.safetensors"))
    assert all(torch.equal(one, other) for one, other in zip(model.weights[:3], golden.weights[:3], strict=True))


def reorder_outputs_of_perception(weight, order):
    """The reverse of the import: a hidden weight of ours, with its inputs in another order."""
    blocks = weight.unflatten(1, (3, -1))
    if order is Order.INTERLEAVED:
        blocks = blocks.transpose(1, 2)
    elif order is Order.TRANSPOSED:
        blocks = blocks[:, [0, 2, 1]]
    return blocks.flatten(1).contiguous()


@pytest.mark.parametrize("first", ["0", "fc0"], ids=["unknown", "as chenmingxiang110"])
@pytest.mark.parametrize("order", Order)
def test_the_target_decides_the_order(order, first):
    """The names of the tensors say nothing, or the wrong order: the picture that grows does."""
    golden = load_model(GOLDEN)
    hidden = reorder_outputs_of_perception(golden.weights.hidden_weight, order)
    second = "2" if first == "0" else "fc1"
    tensors = {f"{first}.weight": hidden, f"{first}.bias": golden.weights.hidden_bias}
    torch.save({**tensors, f"{second}.weight": golden.weights.output_weight}, "phantom.pt")
    arguments = ("import", "phantom.pt", "m.safetensors", "--filter", golden.config.filter, "--target", "phantom")
    done = run_in_process(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert f"--order {order} grows the target (MSE of blocked " in done.stderr
    assert json.loads(done.stdout)["order"] == read_toml(Path("m.toml"))["origin"]["order"] == order
    assert torch.equal(load_model(Path("m.safetensors")).weights.hidden_weight, golden.weights.hidden_weight)
    done = run_in_process(*arguments, "--json", "--force", "--order", "interleaved")
    assert json.loads(done.stdout)["order"] == "interleaved", "what is given holds"
    assert "--order" not in done.stderr


def test_an_order_that_nothing_decides_is_said():
    torch.save(network().state_dict(), "m.pt")
    done = run_in_process("import", "m.pt", "m.safetensors", "--filter", "mean")
    assert "--order blocked is assumed, as for a state dict; --target PICTURE decides it" in done.stderr
    done = run_in_process("import", "m.pt", "m.safetensors", "--filter", "mean", "--target", "phantom", "--force")
    assumed = "--order blocked is assumed: no order grows the target; check --size, --padding, --filter"
    assert f"{assumed}, --seed-cells (MSE" in done.stderr, "which a symmetric filter is likely to need"
    done = run_in_process("import", "m.pt", "m.safetensors", "--filter", "sobel", "--target", "phantom", "--force")
    assert f"{assumed} (MSE" in done.stderr


@pytest.mark.published
@pytest.mark.parametrize("name", ["chest_sobel", "chest_gaussian"])
def test_the_target_decides_the_order_of_a_published_model(name):
    tensors = torch.load(PUBLISHED / f"{name}.pt", map_location="cpu", weights_only=True)
    torch.save({key.removeprefix("update_module."): value for key, value in tensors.items()}, f"{name}.pt")
    done = run_in_process("import", f"{name}.pt", "m.safetensors", "--target", PUBLISHED / "chest.png", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["order"] == "interleaved"
    assert "--order interleaved grows the target (MSE of blocked" in done.stderr


def foreign_files():
    """Files that are no models, by what is to be said of them."""
    Image.new("RGB", (8, 8)).save("p.png")
    Image.new("RGB", (8, 8)).save("p.gif")
    Image.new("RGB", (8, 8)).save("p.jpg")
    Image.new("RGB", (8, 8)).save("named_so.pt", "PNG")
    Path("t.toml").write_text("a = 1\n")
    Path("t.pt").write_text("hello, \u4e16\u754c" * 1000)
    Path("pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    Path("empty.pt").write_bytes(b"")
    Path("folder.pt").mkdir()
    os.mkfifo("pipe.pt")
    with zipfile.ZipFile("zip.pt", "w") as archive:
        archive.writestr("a.txt", "x")
    Path("plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    Path("set.pkl").write_bytes(pickle.dumps({"a": {1, 2}}, protocol=2))
    torch.save(nn.Linear(3, 4), "module.pt")
    Path("cut.pt").write_bytes(Path("module.pt").read_bytes()[:500])
    np.save("a.npy", np.zeros(3))
    np.savez("a.npz", a=np.zeros(3))
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(nn.Linear(3, 4), torch.zeros(1, 3)), "script.pt")
    image, text, objects = "image", "a text file", "other objects than tensors"
    return {
        "p.png": "a PNG image", "p.gif": "a GIF image", "p.jpg": "a JPEG image", "named_so.pt": f"a PNG {image}",
        "t.toml": text, "t.pt": text, "pointer.pth": "a Git LFS pointer", "empty.pt": "empty (0 bytes)",
        "folder.pt": "a folder", "pipe.pt": "no regular file", "zip.pt": "an archive without a torch model",
        "plain.pkl": objects, "set.pkl": objects, "module.pt": objects, "cut.pt": "a damaged or truncated archive",
        "a.npy": "a NumPy array", "a.npz": "an archive without", "script.pt": "a TorchScript program",
    }  # fmt: skip


def test_other_files_are_named_in_one_line_of_ours():
    with warnings.catch_warnings(action="error"):
        for name, kind in foreign_files().items():
            done = run_in_process("import", name, "m.safetensors", "--filter", "sobel", "--quiet")
            assert done.returncode in (1, 2), name
            assert kind in done.stderr, done.stderr
            assert len([line for line in done.stderr.splitlines() if " → " not in line]) == 2, done.stderr
            assert "weights_only" not in done.stderr
            assert "PyTorch" not in done.stderr


def test_damaged_tensors_of_the_seed_project():
    """A byte changed anywhere: refused, or read as numbers; never another error."""
    save_as_the_seed_project(load_model(GOLDEN), Path("whole.pt"))
    content = Path("whole.pt").read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), 3):
            damaged[place] = generator.integers(0, 256)
        Path("m.pt").write_bytes(bytes(damaged))
        with suppress(NcatoolError):
            importing.read_model(Path("m.pt"))


def test_the_filter_by_name():
    assert importing.guess_filter(Path("x/chest_l2_Sobel_3.pt")) is Filter.SOBEL
    assert importing.guess_filter(Path("sobel/chest.pt")) is None
    assert importing.guess_filter(Path("sobel_or_mean.pt")) is None


def test_the_command_asks_for_what_the_file_does_not_say():
    torch.save(network().state_dict(), "m.pt")
    done = run_in_process("import", "m.pt", "out.safetensors")
    assert done.returncode == 2
    assert "which filter it was trained with" in done.stderr
    assert "sobel, scharr, gaussian, laplacian, mean" in done.stderr
    done = run_in_process(
        "import", "m.pt", "out.safetensors", "--filter", "mean", "--target", "phantom", "--size", 12, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["filter"] == "mean"
    assert load_model(Path("out.safetensors")).target.shape == (12, 12)
    done = run_in_process("import", "m.pt", "out.safetensors", "--filter", "mean")
    assert "out.safetensors exists already" in done.stderr
    Path("out.csv").write_text("of another run")
    Image.new("RGB", (12, 12), "red").save("out.png")
    done = run_in_process("import", "m.pt", "out.safetensors", "--filter", "mean", "--force", "--target", "out.png")
    assert done.returncode == 0, done.stderr
    assert Path("out.png").exists(), "a target may have the model's name"
    assert not Path("out.csv").exists(), "what a run has left is no part of this model"
    torch.save(network(channels=3).state_dict(), "three.pt")
    done = run_in_process("import", "three.pt", "three.safetensors", "--filter", "mean")
    assert "three.pt has 3 channels, but a model has 4 to 256" in done.stderr
    zero = {name: torch.zeros_like(tensor) for name, tensor in network().state_dict().items()}
    torch.save({**zero, "2.bias": torch.full((8,), -1.0)}, "dead.pt")
    done = run_in_process("import", "dead.pt", "dead.safetensors", "--filter", "mean")
    assert done.returncode == 2
    assert "nothing grows in 200 steps" in done.stderr
    assert not Path("dead.safetensors").exists()
    torch.save({name: tensor * float("nan") for name, tensor in network().state_dict().items()}, "nan.pt")
    done = run_in_process("import", "nan.pt", "nan.safetensors", "--filter", "mean")
    assert done.returncode == 1
    assert "not finite" in done.stderr


def plain_network(**changed):
    """Return two layers under plain names, with some tensors replaced."""
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.rand(12, 24, generator=generator) - 0.5,
        "a.bias": torch.rand(12, generator=generator),
        "b.weight": torch.rand(8, 12, generator=generator) - 0.5,
    } | {name.replace("_", "."): tensor for name, tensor in changed.items()}


def one(*shape):
    return torch.ones(*shape)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ODD = {
        "sparse": {"a_weight": one(12, 24).to_sparse()},
        "compressed": {"a_weight": one(12, 24).to_sparse_csr()},
        "without data": {"a_weight": one(12, 24).to("meta")},
        "quantised": {"a_weight": torch.quantize_per_tensor(one(12, 24), 0.1, 0, torch.qint8)},
        "complex": {"a_weight": one(12, 24).to(torch.complex64)},
        "whole numbers": {"a_weight": one(12, 24).int()},
        "truth values": {"a_weight": one(12, 24).bool()},
        "a complex bias": {"a_bias": one(12).to(torch.complex64)},
        "a sparse bias": {"a_bias": one(12).to_sparse()},
        "a bias without data": {"a_bias": one(12).to("meta")},
        "a bias of whole numbers": {"a_bias": one(12).int()},
        "12 TB": {"a_weight": one(1).expand(10**6, 3 * 10**6), "b_weight": one(1).expand(10**6, 10**6)},
        "nested": {"a_weight": torch.nested.nested_tensor([one(2), one(3)])},
        "many": {f"t{i}": one(1) for i in range(5000)},
        "a long name": {"b_weight": one(8, 11), "x" * 10**6: one(2)},
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors_are_refused_in_one_line(kind, legacy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(plain_network(**ODD[kind]), "m.pt", _use_new_zipfile_serialization=not legacy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = run_in_process("import", "m.pt", "out.safetensors", "--filter", "sobel", "--target", "phantom")
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if " → " not in line]
    assert [line.partition(" ")[0] for line in lines] == ["error:", "hint:"], done.stderr
    assert len(lines[0]) < 300
    assert not Path("out.safetensors").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.half().float(), lambda tensor: tensor.half(), lambda tensor: tensor.bfloat16(),
        lambda tensor: tensor.double(), lambda tensor: tensor.clone().requires_grad_(),
        lambda tensor: nn.Parameter(tensor),
        lambda tensor: tensor.T.contiguous().T, lambda tensor: tensor[:, :1].expand(tensor.shape),
        lambda tensor: tensor.to(torch.float8_e4m3fn), lambda tensor: torch.cat([tensor, tensor])[: len(tensor)],
    ],
)  # fmt: skip
def test_other_forms_of_the_same_numbers_are_read(change):
    plain = plain_network()
    changed = {name: change(plain[name]) for name in ("a.weight", "b.weight")}
    torch.save(plain | changed, "m.pt")
    done = run_in_process("import", "m.pt", "out.safetensors", "--filter", "sobel", "--target", "phantom")
    assert done.returncode == 0, done.stderr
    weights = load_model(Path("out.safetensors")).weights
    assert torch.equal(weights.hidden_weight, changed["a.weight"].detach().float())
    assert torch.equal(weights.output_weight, changed["b.weight"].detach().float())


def test_tensors_that_share_their_memory_are_read():
    values = torch.rand(12 * 24)
    torch.save(
        plain_network(a_weight=values.view(12, 24), b_weight=values[:96].view(8, 12), a_bias=values[:12]), "m.pt"
    )
    done = run_in_process("import", "m.pt", "out.safetensors", "--filter", "sobel", "--target", "phantom")
    assert done.returncode == 0, done.stderr


def test_an_archive_that_unpacks_to_gigabytes():
    """It is refused by its directory: nothing is unpacked."""
    torch.save(plain_network(), "plain.pt")
    with zipfile.ZipFile("plain.pt") as plain, zipfile.ZipFile("m.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            with bomb.open(name, "w") as entry:
                entry.write(plain.read(name))
                for _ in range(300 if name.endswith("data/0") else 0):
                    entry.write(bytes(2**20))
    assert Path("m.pt").stat().st_size < 2**20
    with pytest.raises(NcatoolError, match="bytes when it is read"):
        importing.read_model(Path("m.pt"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("in_ch", "out_ch") for value in (0, -1, -2, 10**400, 1e300, None, [], "x", True)),
        *(("weight_scale", value) for value in (10**400, 1e300, None, [], "x", "1e999")),
        *(("data_b64", value) for value in ("", "A" * 100, "é", None, [], "A" * 2**23)),
    ],
)
def test_hostile_files_of_the_article(field, value):
    layers = json.loads((DATA / "lizard.json").read_text())
    layers[0][field] = value
    Path("m.json").write_text(json.dumps(layers))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = run_in_process("import", "m.json", "out.safetensors", "--size", 8)
    assert done.returncode == 1, done.stderr
    assert [line[:5] for line in done.stderr.splitlines()][-2:] == ["error", "hint:"]
