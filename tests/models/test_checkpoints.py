"""Weights in files: what is read, what is refused, and how the refusal reads."""

import json
import pickle
import struct
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from network_names import CLASSIFIERS
from safetensors.torch import load_file, save_file
from torch import nn

from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.models.checkpoints import CONTAINERS, COUNTERS, load_state, load_strict, save_state
from maskbench.models.zoo import NETWORKS

BIG = {"iresnet34", "iresnet50", "iresnet100", "vggface16", "g2d"}  # 140 to 720 MB


class Tiny(nn.Module):
    """A convolution, a normalisation and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4, 2)


@pytest.fixture
def tiny():
    torch.manual_seed(3)
    module = Tiny()
    module.bn.running_mean.uniform_(-1, 1)
    return module


@pytest.fixture
def state(tiny):
    return {name: value.clone() for name, value in tiny.state_dict().items()}


def same(module, state):
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in BIG else n for n in NETWORKS]
)
def test_round_trip_of_every_network(name, tmp_path):
    network = NETWORKS[name]
    module = network.build(meta=True).to_empty(device="cpu")
    with torch.no_grad():
        for index, (key, value) in enumerate(module.state_dict().items()):
            value.fill_(0 if key.endswith("tracked") else index + 1)
    path = tmp_path / "network.safetensors"
    save_state(module, path)
    expected = {key: (tuple(value.shape), value.flatten()[0].item()) for key, value in module.state_dict().items()}
    del module
    again = network.build(meta=True)
    load_strict(again, load_state(path), path)
    assert {k: (tuple(v.shape), v.flatten()[0].item()) for k, v in again.state_dict().items()} == expected
    assert not any(value.is_meta for value in again.state_dict().values())


def test_same_weights_same_bytes(tiny, tmp_path):
    for name in ("a", "b"):
        save_state(tiny, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert set(load_file(tmp_path / "a.safetensors")) == set(tiny.state_dict())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_loaded_weights_are_the_module_s_own(tiny, state):
    other = Tiny()
    load_strict(other, state, "file")
    state["dense.bias"].fill_(99.0)
    assert same(other, tiny.state_dict())


def test_frozen_parameters_stay_frozen():
    for device in ("meta", "cpu"):
        with torch.device(device):
            module = Tiny()
        module.bn.weight.requires_grad = False
        state = {name: torch.ones(value.shape, dtype=value.dtype) for name, value in module.state_dict().items()}
        load_strict(module, state, "file")
        assert not module.bn.weight.requires_grad and module.dense.weight.requires_grad


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tiny, state, kind):
    narrow = {name: value.to(kind) if value.is_floating_point() else value for name, value in state.items()}
    other = Tiny()
    load_strict(other, narrow, "file")
    assert all(value.dtype == torch.float32 for name, value in other.named_parameters())
    assert torch.equal(other.dense.weight, state["dense.weight"].to(kind).float())


def test_counters_may_be_there_or_not(state):
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    with torch.device("meta"):
        module = Tiny()
    load_strict(module, old, "file")
    assert module.bn.num_batches_tracked.item() == 0
    load_strict(nn.Linear(4, 2), {"weight": torch.ones(2, 4), "bias": torch.ones(2), "num_batches_tracked": 1}, "file")
    assert COUNTERS == "*num_batches_tracked"


@pytest.mark.parametrize("network", CLASSIFIERS)
def test_a_classifier_is_ignored_and_nothing_else(network, state):
    optional = NETWORKS[network].optional
    heads = {name: torch.zeros(shape[0], 1) for name, shape in CLASSIFIERS[network].items()}
    load_strict(Tiny(), {**state, **heads}, "file", optional)
    with pytest.raises(RecognizerError, match='1 of its weights are unexpected, the first "fc9.weight"'):
        load_strict(Tiny(), {**state, "fc9.weight": torch.zeros(1)}, "file", optional)


def test_missing_and_unexpected_names(state):
    del state["bn.running_mean"], state["dense.bias"]
    state |= {"head.weight": torch.zeros(1)}
    with pytest.raises(RecognizerError) as caught:
        load_strict(Tiny(), state, "mine.safetensors")
    assert str(caught.value) == (
        'mine.safetensors: does not fit the network: 2 of its weights are missing, the first "bn.running_mean"; '
        '1 of its weights are unexpected, the first "head.weight"; name the network that it belongs to'
    )
    assert isinstance(caught.value, MaskbenchError)


def test_a_wrong_network_is_named_by_its_first_weight():
    of_18 = NETWORKS["iresnet18"].build(meta=True).state_dict()
    # One, two, four and one blocks more, of three normalisations (four weights each), two convolutions and one PReLU.
    with pytest.raises(RecognizerError, match=r'120 of its weights are missing, the first "layer1\.2\.bn1\.weight"'):
        load_strict(NETWORKS["iresnet34"].build(meta=True), of_18, "file")


def test_wrong_shapes(state):
    state["dense.weight"], state["conv.bias"] = torch.zeros(2, 5), torch.zeros(3)
    match = r'shape of "conv.bias" is \(3,\) instead of \(4,\) \(2 such weights\)'
    with pytest.raises(RecognizerError, match=match):
        load_strict(Tiny(), state, "file")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (torch.zeros(2, dtype=torch.int64), "int64"),
        (torch.zeros(2, dtype=torch.bool), "bool"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2).to_sparse(), "sparse_coo"),
    ],
)
def test_wrong_types(state, value, named):
    with pytest.raises(RecognizerError, match=rf'type of "dense.bias" is {named} instead of float32 \(1 such'):
        load_strict(Tiny(), {**state, "dense.bias": value}, "file")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tiny, state, value):
    broken = {**state, "dense.bias": torch.tensor([0.0, value])}
    with pytest.raises(RecognizerError, match='value of "dense.bias" is not finite'):
        load_strict(tiny, broken, "file")
    assert same(tiny, state)  # nothing was loaded


def test_overflow_on_the_way_to_float32_is_seen(state):
    with pytest.raises(RecognizerError, match='value of "dense.bias" is not finite'):
        load_strict(Tiny(), {**state, "dense.bias": torch.tensor([0.0, 1e300], dtype=torch.float64)}, "file")


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.pkl", "w", "w.PTH", "w.pth.tar"])
def test_pickles_are_refused(tmp_path, state, name):
    torch.save(state, tmp_path / name)
    with pytest.raises(RecognizerError, match=r"a pickle, which can run any code; convert it .*--allow-pickle"):
        load_state(tmp_path / name)
    assert same_state(load_state(tmp_path / name, allow_pickle=True), state)


def same_state(found, state):
    return set(found) == set(state) and all(torch.equal(found[name], value) for name, value in state.items())


def test_the_suffix_decides_in_any_case(tmp_path, state):
    save_file(state, tmp_path / "w.SafeTensors")
    assert same_state(load_state(tmp_path / "w.SafeTensors"), state)
    torch.save(state, tmp_path / "pickle.safetensors")  # is never unpickled, whatever is allowed
    with pytest.raises(RecognizerError, match="not safetensors, or damaged"):
        load_state(tmp_path / "pickle.safetensors", allow_pickle=True)


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("way", ["torch", "legacy", "pickle"])
def test_no_code_in_a_pickle_is_run(tmp_path, state, way):
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    content = {**state, "evil": Evil(victim)}
    if way == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "torch")
    with pytest.raises(RecognizerError, match="holds more than tensors") as caught:
        load_state(path, allow_pickle=True)
    assert not victim.exists() and "\n" not in str(caught.value)
    pickle.loads(pickle.dumps(Evil(victim))).close()  # the trap does work
    assert victim.exists()


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_of_trainers(tmp_path, state, container):
    torch.save({"epoch": 3, "global_step": 7, container: state, "state_optimizer": {"lr": 0.1}}, tmp_path / "w.pt")
    assert same_state(load_state(tmp_path / "w.pt", allow_pickle=True), state)


def test_nested_container_and_wrappers(tmp_path, state):
    wrapped = {f"module.backbone.{name}": value for name, value in state.items()}
    torch.save({"model": {"state_dict": wrapped}}, tmp_path / "w.pt")
    assert same_state(load_state(tmp_path / "w.pt", allow_pickle=True), state)
    save_file(wrapped, tmp_path / "w.safetensors")
    assert same_state(load_state(tmp_path / "w.safetensors"), state)


def test_a_prefix_of_some_names_stays(tmp_path, state):
    wrapped = {f"backbone.{name}": value for name, value in state.items()}
    save_file({**wrapped, "head.w": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert "backbone.dense.bias" in load_state(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "holds no tensors by name"),
        ({}, "holds no tensors by name"),
        ({"a": torch.zeros(1), "b": 3}, "'b' is int, where a tensor by its name belongs"),
        ({1: torch.zeros(1)}, "1 is Tensor, where a tensor by its name belongs"),
    ],
)
def test_content_that_is_no_state(tmp_path, content, match):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(RecognizerError, match=match):
        load_state(tmp_path / "w.pt", allow_pickle=True)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files(tmp_path, tiny, state, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_state(tiny, path)
    good = path.read_bytes()
    for damaged in (b"", good[:4], good[:100], good[: len(good) // 2], good[:-1], b"\0" * 64, b"hello, world\n" * 10):
        path.write_bytes(damaged)
        with pytest.raises(RecognizerError, match="damaged") as caught:
            load_state(path, allow_pickle=True)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_that_lies(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    with pytest.raises(RecognizerError, match="damaged"):
        load_state(tmp_path / "w.safetensors")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(RecognizerError, match="cannot be read|not .safetensors"):
            load_state(path)


def test_bytes_that_were_read_already(tmp_path, tiny, state):
    save_state(tiny, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    assert same_state(load_state(Path("no/such.safetensors"), data=data), state)


def test_a_folder_that_cannot_be_written_to(tmp_path, tiny):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MaskbenchError, match="cannot be written"):
        save_state(tiny, tmp_path / "file" / "w.safetensors")


def test_weights_that_share_memory_are_written_apart(tmp_path):
    module = nn.Module()
    module.a = nn.Parameter(torch.arange(4.0))
    module.b = nn.Parameter(module.a.data[:2])
    save_state(module, tmp_path / "w.safetensors")
    assert load_state(tmp_path / "w.safetensors")["b"].tolist() == [0.0, 1.0]
