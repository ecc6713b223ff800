from __future__ import annotations

import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import maskbench
from maskbench.digest import array_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.images import write_image
from maskbench.landmarks.aligned import template_mesh
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.cache import CachedLandmarker, _write
from maskbench.masking.recipes import load_recipe, resolve_recipe
from maskbench.masking.render import MaskedImage, render
from maskbench.masking.render_torch import render_torch
from maskbench.masking.transform import RandomMask

TEMPLATE = template_mesh()
COUNT = 12
RECIPE = resolve_recipe(mask="surgical,n95")  # quick to open
PAIR = """name: pair
version: 1
description: Two masks on one face.
source: none
seeds: [0, 1, 2, 3, 4]
mix:
  - name: both
    weight: 1
    wear: [{masks: surgical}, {masks: n95}]
"""


def known(count=COUNT):
    return {key: TEMPLATE for key in range(count)}


class Pictures(torch.utils.data.Dataset):
    """What a training loop has: decoded crops, and a transform."""

    def __init__(self, pictures, transform):
        self.pictures, self.transform = pictures, transform

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, key):
        return key, self.transform(self.pictures[key], key=key)


@pytest.fixture
def tensors(make_crop):
    return [torch.from_numpy(make_crop(seed)).permute(2, 0, 1).contiguous() for seed in range(COUNT)]


def epochs(pictures, transform, workers, context=None, persistent=False, epochs=(0, 1), shuffle=False):
    """All pictures of some epochs as a loader gives them, in the order of their keys."""
    loader = torch.utils.data.DataLoader(
        Pictures(pictures, transform), 3, shuffle, num_workers=workers, multiprocessing_context=context,
        persistent_workers=persistent, generator=torch.Generator().manual_seed(workers),
    )  # fmt: skip
    found = []
    for epoch in epochs:
        transform.set_epoch(epoch)
        batches = list(loader)
        keys = torch.cat([key for key, _ in batches])
        found.append(torch.cat([drawn for _, drawn in batches])[keys.argsort()])
    return found


def test_workers_forked_or_spawned_draw_the_same_as_no_worker(tensors):
    transform = RandomMask(RECIPE, p=0.7, seed=4, landmarks=known())
    first, second = epochs(tensors, transform, 0)
    assert (first != second).any() and (first != torch.stack(tensors)).any()
    for how in ({"workers": 2, "context": "fork", "shuffle": True}, {"workers": 1, "context": "spawn"},
                {"workers": 2, "context": "fork", "persistent": True}):  # fmt: skip
        again = epochs(tensors, transform, **how)
        assert torch.equal(again[0], first) and torch.equal(again[1], second), how


def test_spawned_workers_that_live_on_hear_of_the_next_epoch(tensors):
    transform = RandomMask(RECIPE, p=1, seed=4, landmarks=known())
    alone = epochs(tensors[:4], transform, 0, epochs=(3, 0))
    both = epochs(tensors[:4], transform, 1, "spawn", persistent=True, epochs=(3, 0))
    assert torch.equal(alone[0], both[0]) and torch.equal(alone[1], both[1]) and (both[0] != both[1]).any()


def test_seed_epoch_and_key_decide_and_nothing_else(make_crop):
    picture = make_crop(1)
    transform = RandomMask(RECIPE, p=1, seed=1)
    drawn = transform(picture, key="a", landmarks=TEMPLATE, epoch=2)
    assert np.array_equal(transform(picture, key="a", landmarks=TEMPLATE, epoch=2), drawn)
    for _ in range(3):  # what was drawn before leaves no trace
        transform(picture, key="x", landmarks=TEMPLATE)
    transform.set_epoch(2)
    assert transform.epoch == 2 and np.array_equal(transform(picture, key="a", landmarks=TEMPLATE), drawn)
    others = [
        transform(picture, key="b", landmarks=TEMPLATE, epoch=2),
        transform(picture, key="a", landmarks=TEMPLATE, epoch=3),
        RandomMask(RECIPE, p=1, seed=2)(picture, key="a", landmarks=TEMPLATE, epoch=2),
    ]
    assert all((other != drawn).any() for other in others)
    sent = pickle.loads(pickle.dumps(transform))
    assert sent.epoch == 2 and np.array_equal(sent(picture, key="a", landmarks=TEMPLATE), drawn)
    # A number and its text are one key; without a key the pixels are.
    numbered = transform(picture, key=7, landmarks=TEMPLATE)
    assert np.array_equal(numbered, transform(picture, key="7", landmarks=TEMPLATE))
    unnamed = transform(picture, landmarks=TEMPLATE)
    assert np.array_equal(unnamed, transform(picture, key=array_sha256(picture), landmarks=TEMPLATE))


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_the_share_of_masked_pictures_is_p(p):
    count = 3000
    transform = RandomMask(RECIPE, p=p, landmarks=known(count))
    hits = np.array([[bool(transform.plan(None, key, epoch=epoch)) for key in range(count)] for epoch in (0, 1)])
    # Five standard deviations of a binomial distribution; at 0 and at 1 there is no spread.
    assert np.abs(hits.sum(1) - p * count).max() <= 5 * np.sqrt(count * p * (1 - p))
    if p == 0.5:  # each epoch draws anew
        assert abs((hits[0] & hits[1]).sum() - count / 4) < 5 * np.sqrt(count * 3 / 16)
    larger = RandomMask(RECIPE, p=min(1.0, p + 0.3), landmarks=known(count))
    assert all(larger.plan(None, key) for key in np.flatnonzero(hits[0])[:200].tolist())


def test_the_recipe_is_respected():
    count = 2000
    transform = RandomMask("worn", p=1, landmarks=known(count))
    drawn = [transform.plan(None, key)[0] for key in range(count)]
    weights = transform.wardrobe.weights
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        found = sum(placement.parameters["entry"] == name for _, placement in drawn)
        assert abs(found - share * count) <= 5 * np.sqrt(count * share * (1 - share)) + 1
    assert {asset.asset_id for asset, _ in drawn} <= {asset.asset_id for asset in transform.wardrobe.assets}
    jitter = load_recipe("worn").jitter
    assert all(abs(placement.parameters["across"]) <= jitter.across for _, placement in drawn)


def test_arrays_and_tensors_come_back_as_they_went_in(make_crop):
    picture = make_crop(1)
    picture.flags.writeable = False
    tensor = torch.from_numpy(make_crop(1)).permute(2, 0, 1)
    settings = {"p": 1, "landmarks": known()}
    as_array = RandomMask(RECIPE, **settings)(picture, 3)
    as_tensor = RandomMask(RECIPE, **settings)(tensor, 3)
    assert isinstance(as_array, np.ndarray) and as_tensor.shape == (3, 112, 112) and as_tensor.dtype == torch.uint8
    assert np.array_equal(as_tensor.permute(1, 2, 0).numpy(), as_array) and as_tensor.is_contiguous()
    drawn, alpha = RandomMask(RECIPE, output="pair", **settings)(tensor, 3)
    assert torch.equal(drawn, as_tensor) and alpha.shape == (112, 112) and alpha.dtype == torch.uint8
    assert torch.equal(drawn[:, alpha == 0], tensor[:, alpha == 0]) and (alpha > 200).any()
    record = RandomMask(RECIPE, output="record", **settings)(tensor, 3)
    assert isinstance(record, MaskedImage) and np.array_equal(record.image, as_array)
    asset, placement = RandomMask(RECIPE, **settings).plan(None, 3)[0]
    assert record.placement.asset_id == asset.asset_id
    assert np.array_equal(render(picture, asset, placement).image, as_array)


def test_a_picture_without_a_mask_is_returned_itself(make_crop):
    picture, tensor = make_crop(1), torch.from_numpy(make_crop(1)).permute(2, 0, 1)
    assert RandomMask(RECIPE, p=0)(picture, "a") is picture  # without any landmarks, too
    drawn, alpha = RandomMask(RECIPE, p=0, output="pair")(tensor, "a")
    assert drawn is tensor and alpha.shape == (112, 112) and not alpha.any()
    record = RandomMask(RECIPE, p=0, output="record")(picture, "a")
    assert record.placement is None and record.image is picture


def test_a_recipe_that_puts_two_masks_on_a_face(tmp_path, make_crop):
    path = tmp_path / "pair.yaml"
    path.write_text(PAIR)
    transform = RandomMask(path, p=1, landmarks=known(), output="pair")
    picture = make_crop(1)
    plan = transform.plan(None, 1)
    assert [asset.asset_id for asset, _ in plan] == ["surgical", "n95"]
    drawn, alpha = transform(picture, 1)
    first = render(picture, *plan[0])
    second = render(first.image, *plan[1])
    assert np.array_equal(drawn, second.image) and np.array_equal(alpha, np.maximum(first.alpha, second.alpha))


def test_plans_for_the_batched_renderer(tensors):
    transform = RandomMask(RECIPE, p=0.6, landmarks=known())
    plans = [transform.plan(None, key) for key in range(COUNT)]
    assert 0 < sum(map(bool, plans)) < COUNT
    assets, placements = zip(*(plan[0] if plan else (None, None) for plan in plans), strict=True)
    drawn, _ = render_torch(torch.stack(tensors), assets, placements)
    one_by_one = torch.stack([transform(tensor, key) for key, tensor in enumerate(tensors)])
    assert ((drawn.int() - one_by_one.int()).abs() <= 2).float().mean() > 0.99


def test_every_form_of_landmarks_means_the_same(make_crop, tmp_path):
    picture = make_crop(1)
    face = mesh_landmarks(TEMPLATE, "test")
    expected = RandomMask(RECIPE, p=1)(picture, 0, landmarks=TEMPLATE)
    forms = [{0: TEMPLATE}, {0: face}, {0: [face]}, {0: TEMPLATE.tolist()}, TEMPLATE[None], "aligned",
             CachedLandmarker("aligned")]  # fmt: skip
    for form in forms:
        assert np.array_equal(RandomMask(RECIPE, p=1, landmarks=form)(picture, 0), expected)
    away = TEMPLATE + [0, 9, 0]
    given = RandomMask(RECIPE, p=1, landmarks={0: away})
    assert (given(picture, 0) != expected).any()
    assert np.array_equal(given(picture, 0, landmarks=TEMPLATE), expected)  # what comes with the call comes first
    sent = pickle.loads(pickle.dumps(RandomMask(RECIPE, p=1, landmarks="aligned")))
    assert np.array_equal(sent(picture, 0), expected)


def test_pictures_without_a_face(make_crop):
    picture, small = make_crop(1), (TEMPLATE - 56) * 0.05 + 56
    unknown = {"none": None, "empty": [], "small": small, "nan": np.full((468, 3), np.nan)}
    for key in unknown:
        assert RandomMask(RECIPE, p=1, landmarks=unknown)(picture, key) is picture
        with pytest.raises(ImageError, match=f"picture '{key}': .*face.*no_face=\"keep\""):
            RandomMask(RECIPE, p=1, landmarks=unknown, no_face="error")(picture, key)
    assert RandomMask(RECIPE, p=1, landmarks="aligned")(make_crop(1, 90), 0).shape == (90, 90, 3)


def test_bad_arguments_are_named():
    for arguments, message in (
        ({"p": 1.5}, r"p=1.5 is no probability"),
        ({"p": "often"}, "p='often' is no probability"),
        ({"output": "mask"}, "output='mask' is unknown; use one of image, pair, record"),
        ({"no_face": "skip"}, "no_face='skip' is unknown"),
        ({"recipe": "wron"}, 'no recipe named "wron"'),
        ({"landmarks": "alinged"}, "alinged"),
        ({"masks_dirs": ["/nowhere"]}, "/nowhere: no such mask folder"),
    ):
        with pytest.raises(MaskbenchError, match=message):
            RandomMask(**arguments)


def test_bad_calls_are_named(make_crop):
    picture, transform = make_crop(1), RandomMask(RECIPE, p=1, landmarks=known())
    for wrong, got in (
        (picture[..., 0], r"ndarray \(112, 112\) uint8"),
        (picture.astype(np.float32), "float32"),
        (torch.zeros(112, 112, 3, dtype=torch.uint8), r"Tensor \(112, 112, 3\)"),
        (torch.zeros(3, 112, 112), "torch.float32"),
        ("portrait.jpg", "not str"),
    ):
        with pytest.raises(ImageError, match=got):
            transform(wrong, 0)
    with pytest.raises(MaskbenchError, match="picture 'abc': not among the landmarks' 12 keys"):
        transform(picture, "abc")
    with pytest.raises(MaskbenchError, match="not among the landmarks' 1 keys"):
        RandomMask(RECIPE, p=1, landmarks=TEMPLATE[None])(picture, -1)
    for key in (0.0, np.float32(0), True, "0", None):
        with pytest.raises(MaskbenchError, match="are found by whole numbers; give one as key"):
            RandomMask(RECIPE, p=1, landmarks=TEMPLATE[None])(picture, key)
    for key in (np.int64(0), torch.tensor(0)):
        assert RandomMask(RECIPE, p=1, landmarks=TEMPLATE[None]).plan(picture, key)
    with pytest.raises(MaskbenchError, match="picture 3: no landmarks; give them"):
        RandomMask(RECIPE, p=1)(picture, 3)
    with pytest.raises(MaskbenchError, match=r"picture 3: landmarks of shape \(5, 2\); give the 468 points"):
        transform(picture, 3, landmarks=np.zeros((5, 2)))
    with pytest.raises(MaskbenchError, match="a landmarker needs the picture"):
        RandomMask(RECIPE, p=1, landmarks="aligned").plan(None, 3)
    with pytest.raises(MaskbenchError, match="neither a picture nor a key"):
        transform.plan(None)
    for epoch in (-1, 1.5, True, "1"):
        with pytest.raises(MaskbenchError, match="give a whole number from 0"):
            transform.set_epoch(epoch)
        with pytest.raises(MaskbenchError, match="give a whole number from 0"):
            transform(picture, 0, epoch=epoch)


def test_cached_landmarks_load_no_mediapipe(make_crop, tmp_path, monkeypatch):
    """In a process of its own: a landmarker whose cache has the picture is never made."""
    picture = make_crop(1)
    landmarker = CachedLandmarker("auto", root=tmp_path)
    name = array_sha256(picture)
    _write(f"{landmarker._root}/{name[:2]}/{name}.npy", [mesh_landmarks(TEMPLATE, "test")])
    np.save(tmp_path / "picture.npy", picture)
    code = f"""
import sys
import maskbench
assert "torch" not in sys.modules, "importing maskbench loads torch"
import numpy as np
from maskbench.landmarks.cache import CachedLandmarker
picture = np.load({str(tmp_path / "picture.npy")!r})
found = CachedLandmarker("auto", root=__import__("pathlib").Path({str(tmp_path)!r}))
drawn = maskbench.RandomMask(p=1, seed=5, landmarks=found)(picture, "a")
assert (drawn != picture).any() and found.hits == 1 and not found.misses
assert "mediapipe" not in sys.modules, "mediapipe was loaded"
print(drawn.sum())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    here = maskbench.RandomMask(p=1, seed=5)(picture, "a", landmarks=TEMPLATE)
    assert int(ran.stdout) == here.sum()


def test_it_says_what_it_is():
    transform = RandomMask(RECIPE, p=0.25, seed=3)
    transform.set_epoch(8)
    assert repr(transform) == "RandomMask(recipe='masks', p=0.25, seed=3, epoch=8)"


def test_the_documented_examples_run(tmp_path, monkeypatch, make_crop, mannequin):
    """Every block of the page, in order, as a reader would run them."""
    page = Path(__file__).parents[2] / "docs" / "python.md"
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", page.read_text(), re.M | re.S)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "portrait.jpg", mannequin)
    for seed in range(2):
        write_image(tmp_path / "faces" / f"{seed}.png", make_crop(seed))
    names = {"pictures": [make_crop(seed) for seed in range(6)], "landmarks": known(6)}
    for code in blocks:
        exec(textwrap.dedent(code), names)
    assert (tmp_path / "masked" / "manifest.csv").is_file()
    assert len(names["landmarks"]) == 6 and names["masked"].shape == (6, 3, 112, 112) and names["alpha"].any()
