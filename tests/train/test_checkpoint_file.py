"""Checkpoints: training goes on to the bit as if it had not stopped; what is no checkpoint is refused."""

from __future__ import annotations

import builtins
import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from torch import nn

from maskbench import files
from maskbench.errors import MaskbenchError
from maskbench.train.checkpoint import FORMAT, load_checkpoint, read_about, save_checkpoint

Optimizers = dict[str, torch.optim.Optimizer]
ABOUT = {"step": 3, "identity": {"recipe": {"name": "ä", "rate": 1e-4}}, "failures": {"a/b": "gone"}, "none": None}


def network(seed: int) -> nn.Module:
    """With buffers, integer ones among them, and weights that lie channels last."""
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    body[0].weight.requires_grad_(False)  # a frozen part has no state
    return body.to(memory_format=torch.channels_last)


def adamw(modules: dict[str, nn.Module]) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in modules["student"].parameters() if p.requires_grad], "rate": 1.0, "clipped": True},
        {"params": list(modules["head"].parameters()), "rate": 2.5, "clipped": False},
    ]
    return torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.03)


def sgd(modules: dict[str, nn.Module], momentum: float = 0.9) -> torch.optim.Optimizer:
    weights = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    return torch.optim.SGD(weights, lr=0.05, momentum=momentum, weight_decay=5e-4)


KINDS: dict[str, Callable[[dict[str, nn.Module]], torch.optim.Optimizer]] = {
    "adamw": adamw, "sgd": sgd, "plain sgd": lambda modules: sgd(modules, 0.0),
    "adamw amsgrad": lambda modules: torch.optim.AdamW(modules["head"].parameters(), amsgrad=True),
}  # fmt: skip


def fresh(seed: int, kind: str) -> tuple[dict[str, nn.Module], Optimizers]:
    modules = {"student": network(seed), "head": nn.Linear(5, 3)}
    return modules, {"student": KINDS[kind](modules)}


def train(modules: dict[str, nn.Module], optimizers: Optimizers, first: int, last: int) -> list[float]:
    losses = []
    for step in range(first, last):
        inputs = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(step))
        loss = modules["head"](modules["student"](inputs)).square().mean()
        loss.backward()
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] *= 0.9  # a schedule that lives in the groups
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def state(modules: dict[str, nn.Module], optimizers: Optimizers) -> list:
    """Everything, comparable: names, types and bytes."""
    found: list = [
        (name, key, value.dtype, value.shape, value.contiguous().numpy().tobytes())
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    ]
    for optimizer in optimizers.values():
        found.append([{key: value for key, value in group.items() if key != "params"} for group in
                      json.loads(json.dumps(optimizer.state_dict()["param_groups"]))])  # fmt: skip
        for index, values in sorted(optimizer.state_dict()["state"].items()):
            for key, value in sorted(values.items()):
                plain = value.contiguous().numpy().tobytes() if isinstance(value, torch.Tensor) else value
                found.append((index, key, plain))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_exactly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run" / "checkpoint.safetensors"
    modules, optimizers = fresh(1, kind)
    train(modules, optimizers, 0, 3)
    save_checkpoint(path, modules, optimizers, ABOUT)
    kept = state(modules, optimizers)
    losses = train(modules, optimizers, 3, 7)
    assert losses != train(*fresh(1, kind), 3, 7)  # what was learnt before matters

    again = fresh(2, kind)
    assert state(*again) != kept
    assert load_checkpoint(path, *again) == ABOUT
    assert state(*again) == kept
    assert train(*again, 3, 7) == losses
    assert state(*again) == state(modules, optimizers)


def test_saving_changes_nothing(tmp_path: Path) -> None:
    modules, optimizers = fresh(1, "adamw")
    losses = train(modules, optimizers, 0, 4)
    saved = fresh(1, "adamw")
    for step in range(4):
        save_checkpoint(tmp_path / "c", *saved, {"step": step})
        assert train(*saved, step, step + 1) == [losses[step]]


def test_before_the_first_step(tmp_path: Path) -> None:
    modules, optimizers = fresh(1, "adamw")
    save_checkpoint(tmp_path / "c", modules, optimizers, {})
    losses = train(modules, optimizers, 0, 3)
    again = fresh(2, "adamw")
    assert load_checkpoint(tmp_path / "c", *again) == {}
    assert train(*again, 0, 3) == losses


def test_two_optimizers_each_get_their_own_state(tmp_path: Path) -> None:
    def two(seed: int) -> tuple[dict[str, nn.Module], Optimizers]:
        modules = {"student": network(seed), "student/head": nn.Linear(5, 3)}  # one name begins as the other
        return modules, {
            "a": torch.optim.SGD(modules["student"].parameters(), lr=0.1, momentum=0.9),
            "ab": torch.optim.AdamW(modules["student/head"].parameters(), lr=0.1),
        }

    def steps(modules: dict[str, nn.Module], optimizers: Optimizers, first: int, last: int) -> list[float]:
        return train({"student": modules["student"], "head": modules["student/head"]}, optimizers, first, last)

    modules, optimizers = two(1)
    modules["student"][0].weight.requires_grad_(True)
    steps(modules, optimizers, 0, 2)
    save_checkpoint(tmp_path / "c", {"s": modules["student"], "h": modules["student/head"]}, optimizers, {})
    losses = steps(modules, optimizers, 2, 5)
    again = two(2)
    again[0]["student"][0].weight.requires_grad_(True)
    load_checkpoint(tmp_path / "c", {"s": again[0]["student"], "h": again[0]["student/head"]}, again[1])
    assert steps(*again, 2, 5) == losses


def test_what_was_said_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, *fresh(1, "sgd"), ABOUT)
    assert read_about(path) == ABOUT
    save_checkpoint(path, *fresh(1, "sgd"), ABOUT | {"step": 4})
    assert read_about(path)["step"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def message(error: pytest.ExceptionInfo, path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text and text.startswith(f"{path}: ") and len(text) < 400 + len(str(path))
    return text


def refused(path: Path) -> str:
    with pytest.raises(MaskbenchError) as of_about:
        read_about(path)
    with pytest.raises(MaskbenchError) as error:
        load_checkpoint(path, *fresh(1, "adamw"))
    assert message(of_about, path) == message(error, path)
    return str(error.value)


class TestRefused:
    def test_missing(self, tmp_path):
        assert refused(tmp_path / "c") == f"{tmp_path / 'c'}: there is no checkpoint to go on from; leave out --resume"
        assert "there is no checkpoint" in refused(tmp_path)  # a folder

    @pytest.mark.parametrize("left", [0, 4, 200, 0.5, -1])
    def test_cut_short(self, tmp_path, left):
        path = tmp_path / "c"
        save_checkpoint(path, *fresh(1, "adamw"), ABOUT)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * left) if isinstance(left, float) else left])
        assert "damaged (" in refused(path) and "remove it to begin anew" in refused(path)

    @pytest.mark.parametrize("content", [b"hello", b"PK\x03\x04" + b"\0" * 100, b"\x80\x04N." * 9, b"{}" * 20])
    def test_another_kind_of_file(self, tmp_path, content):
        path = tmp_path / "c"
        path.write_bytes(content)
        assert "damaged (" in refused(path)

    @pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": FORMAT + "0"}])
    def test_tensors_of_somebody_else(self, tmp_path, metadata):
        path = tmp_path / "c"
        path.write_bytes(safetensors.save({"weight": torch.zeros(2)}, metadata))
        assert "not a checkpoint of this version of maskbench; train into another folder" in refused(path)

    @pytest.mark.parametrize("change", ["width", "less", "more"])
    def test_another_network(self, tmp_path, change):
        path = tmp_path / "c"
        save_checkpoint(path, *fresh(1, "adamw"), ABOUT)
        head = nn.Linear(5, 4) if change == "width" else nn.Linear(5, 3, bias=change == "less")
        if change == "more":
            save_checkpoint(path, {"student": network(1), "head": head}, {}, ABOUT)
            head = nn.Linear(5, 3)
        elif change == "less":
            head = nn.Linear(5, 3, bias=False)
        with pytest.raises(MaskbenchError, match="holds another head .*; train into another folder") as error:
            load_checkpoint(path, {"student": network(2), "head": head}, {})
        message(error, path)

    def test_a_network_that_is_not_in_it(self, tmp_path):
        path = tmp_path / "c"
        save_checkpoint(path, {"student": network(1)}, {}, ABOUT)
        with pytest.raises(MaskbenchError, match="holds another head"):
            load_checkpoint(path, {"student": network(1), "head": nn.Linear(5, 3)}, {})

    def test_another_optimizer(self, tmp_path):
        path = tmp_path / "c"
        save_checkpoint(path, *fresh(1, "adamw"), ABOUT)
        modules, optimizers = fresh(1, "sgd")  # one group in place of two
        for given in (optimizers, {"other": optimizers["student"]}):
            with pytest.raises(MaskbenchError, match="holds another optimizer than .*; train into") as error:
                load_checkpoint(path, modules, given)
            message(error, path)


class FullDisk:
    """A stream that takes so many bytes and then no more."""

    def __init__(self, stream, room: int) -> None:
        self._stream, self._room = stream, room

    def __enter__(self):
        self._stream.__enter__()
        return self

    def __exit__(self, *error):
        return self._stream.__exit__(*error)

    def write(self, data: bytes) -> int:
        self._stream.write(data[: self._room])
        if len(data) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._room -= len(data)
        return len(data)


@pytest.mark.parametrize("room", [0, 100, 1000])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    path = tmp_path / "c"
    modules, optimizers = fresh(1, "adamw")
    save_checkpoint(path, modules, optimizers, ABOUT)
    old = path.read_bytes()
    assert len(old) > 1000
    train(modules, optimizers, 0, 2)
    with monkeypatch.context() as patch:
        full = lambda name, mode: FullDisk(builtins.open(name, mode), room)  # noqa: E731 - in place of open
        patch.setattr(files, "open", full, raising=False)
        with pytest.raises(MaskbenchError, match="c: cannot be written .No space left on device."):
            save_checkpoint(path, modules, optimizers, ABOUT | {"step": 5})
    assert path.read_bytes() == old and [file.name for file in tmp_path.iterdir()] == ["c"]
    again = fresh(2, "adamw")
    assert load_checkpoint(path, *again) == ABOUT


def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    modules, optimizers = fresh(1, "adamw")
    save_checkpoint(path, modules, optimizers, ABOUT)
    old = path.read_bytes()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, modules, optimizers, ABOUT | {"step": 5})
    assert path.read_bytes() == old and [file.name for file in tmp_path.iterdir()] == ["c"]


def test_no_pickle(tmp_path: Path) -> None:
    """The file is a header of JSON and plain numbers, as the format's description says."""
    path = tmp_path / "c"
    modules, optimizers = fresh(1, "adamw")
    train(modules, optimizers, 0, 1)
    save_checkpoint(path, modules, optimizers, ABOUT)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header.pop("__metadata__")["about"]) == ABOUT
    assert "module/student/1.num_batches_tracked" in header and header["module/head/weight"]["shape"] == [3, 5]
    place = header["module/head/weight"]["data_offsets"]
    stored = np.frombuffer(data[8 + length :][place[0] : place[1]], "<f4").reshape(3, 5)
    np.testing.assert_array_equal(stored, modules["head"].weight.detach().numpy())


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_optimizer_goes_on_as_it_would_have_with_weights_in_another_order(tmp_path, name):
    """A fused step goes through memory; a checkpoint holds state row by row, weights may lie channels last."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    more = {"momentum": 0.9} if name == "sgd" else {}

    def made():
        torch.manual_seed(0)
        module = torch.nn.Conv2d(5, 7, 3).to(memory_format=torch.channels_last)
        return {"m": module}, {"o": kind(module.parameters(), lr=0.01, fused=True, **more)}

    def step(modules, optimizers, seed):
        modules["m"].weight.grad = torch.empty_like(modules["m"].weight).copy_(
            torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(seed))
        )
        optimizers["o"].step()

    first, second = made(), made()
    for seed in (1, 2):
        step(*first, seed)
    save_checkpoint(tmp_path / "c", *first, {})
    load_checkpoint(tmp_path / "c", *second)
    for both in (first, second):
        step(*both, 3)
    assert torch.equal(first[0]["m"].weight, second[0]["m"].weight)
