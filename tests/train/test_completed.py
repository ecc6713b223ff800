"""Faces that are completed before training: the same as those that the loop would complete, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from small_runs import HERE

from maskbench.errors import MaskbenchError
from maskbench.train import completed, run_deocclusion
from maskbench.train.completed import CompletedFaces, completed_faces
from maskbench.train.data import collate
from maskbench.train.deocclusion import Deocclusion
from maskbench.train.loop import read_log
from maskbench.train.recipe import load_recipe
from maskbench.train.run_deocclusion import train_deocclusion
from maskbench.train.running import Source

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = (
    "completion.size=32", "completion.width=0.125", "completion.batch=8", "completion.epochs=0.1",
    "completion.losses.adversary=none", "completion.precision=32-true", "recognition.batch=8",
    "recognition.epochs=3", "recognition.precision=32-true", "recognition.losses.sampled=9", "recognition.variants=2",
)  # fmt: skip


@dataclass
class Ran:
    """A run, and what ``completed_faces`` was asked for and gave."""

    out: Path
    cache: Path
    asked: tuple[Any, ...]
    given: CompletedFaces


def run(out: Path, cache: Path, sources: list[Source], *changes: str, **how: Any) -> None:
    recipe = load_recipe("deocclusion-small", [*QUICK, *changes])
    train_deocclusion(recipe, sources, out, machine=HERE, cache=cache, **how)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, people, strangers):
    """Small blocks, so that there are several of them."""
    out, cache, seen = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("cache"), []

    def spy(*arguments):
        seen.append((arguments, completed_faces(*arguments)))
        return seen[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completed, "BLOCK", 16)
        patch.setattr(run_deocclusion, "completed_faces", spy)
        run(out, cache, [Source(people), Source(strangers)])
    ((asked, given),) = seen
    yield Ran(out, cache, asked, given)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(completed, "BLOCK", 16)


def files(cache: Path) -> dict[str, bytes]:
    (folder,) = (cache / "training").glob("completed-*")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_view_is_what_the_loop_would_have_completed(ran):
    data, method = ran.asked[:2]
    masked = []
    for epoch in (0, 1):
        for index in range(len(data)):
            found, batch = ran.given[epoch, index], collate([data[epoch, index]])
            batch.flipped[:] = False
            wanted = method.completed(batch)[0].permute(1, 2, 0).numpy()
            assert np.abs(found.student - wanted).max() <= 0.51
            assert found.masked == bool(batch.masked[0]) and not found.holes.any()
            if not found.masked:
                assert (found.student == batch.faces[0].numpy()).all()
            masked.append(found.masked)
    assert any(masked) and not all(masked)


def test_epochs_take_variants_in_turn_and_mirror_anew(ran):
    views = [[ran.given[epoch, index] for index in range(len(ran.given))] for epoch in range(4)]
    for one, other in zip(views[0], views[2], strict=True):
        assert (one.student == other.student).all()
    assert any((one.student != other.student).any() for one, other in zip(views[0], views[1], strict=True))
    flips = np.array([[view.flipped for view in epoch] for epoch in views])
    assert 0.2 < flips.mean() < 0.8 and len({row.tobytes() for row in flips}) == 4
    again = CompletedFaces(ran.asked[0], ran.given._blocks)
    assert [again[3, index].flipped for index in range(len(again))] == flips[3].tolist()


def test_a_batch_of_them_goes_through_the_method_untouched(ran):
    method: Deocclusion = ran.asked[1]
    batch = collate([ran.given[0, index] for index in range(8)])
    with torch.no_grad():
        found = method.completed(batch).permute(0, 2, 3, 1).numpy()
    for picture, face, flipped in zip(found, batch.faces.numpy(), batch.flipped.tolist(), strict=True):
        assert (picture == (face[:, ::-1] if flipped else face)).all()


def test_what_was_cut_short_is_made_again_and_nothing_else(ran):
    before = files(ran.cache)
    folder = next((ran.cache / "training").glob("completed-*"))
    whole, cut, lost = folder / "0-000000.npy", folder / "0-000001.npy", folder / "1-000000.about.npy"
    stamp = whole.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:-100])
    lost.unlink()
    completed_faces(*ran.asked)
    assert files(ran.cache) == before and whole.stat().st_mtime_ns == stamp


def test_another_run_completes_nothing_and_learns_the_same(ran, tmp_path, people, strangers, monkeypatch):
    weights = ran.out / "completion" / "weights.safetensors"
    monkeypatch.setattr(completed, "_make", lambda *_: pytest.fail("made anew"))
    run(tmp_path, ran.cache, [Source(people), Source(strangers)], stages=("student",), completion=weights)
    one, other = (path / "student" / "weights.safetensors" for path in (ran.out, tmp_path))
    assert one.read_bytes() == other.read_bytes() and read_log(tmp_path / "student")


@pytest.mark.parametrize("change", ["seed=1", "recognition.p=0.5", "completion.grow=[2, 2]", "augmentation.noise=0"])
def test_what_decides_the_pixels_has_faces_of_its_own(ran, tmp_path, people, strangers, change):
    class Stop(Exception):
        pass

    def stop(path, *_):
        raise Stop(path.parent.name)

    weights = ran.out / "completion" / "weights.safetensors"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop) as asked:
        patch.setattr(completed, "_make", stop)
        run(tmp_path, ran.cache, [Source(people), Source(strangers)], change, stages=("student",), completion=weights)
    assert str(asked.value).startswith("completed-")


def test_a_face_that_cannot_be_read_is_named_with_the_remedy(ran, tmp_path):
    block = ran.given._blocks[0][0]
    crops, about = np.load(block), np.load(block.with_suffix(".about.npy"))
    about[3] = False
    np.save(tmp_path / "0-000000.npy", crops)
    np.save(tmp_path / "0-000000.about.npy", about)
    index, reason = CompletedFaces(ran.asked[0], [[tmp_path / "0-000000.npy"]])[0, 3]
    assert index == 3 and str(tmp_path) in reason and "remove" in reason


def test_a_completion_that_learns_along_is_refused(tmp_path, people):
    with pytest.raises(MaskbenchError, match="variants are completed before training"):
        run(tmp_path, tmp_path / "cache", [Source(people)], "recognition.end_to_end=true")
