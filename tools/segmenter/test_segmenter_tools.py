"""The parts of the training scripts that decide what the network sees and what is reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import make  # noqa: E402
from augment import augmented  # noqa: E402
from garments import GROUPS, MIXED, OWN, SHARES, dress, group_of, held_out, rack  # noqa: E402
from rows import Folder, figures, overlaps  # noqa: E402

from maskbench.align import estimate_similarity, five_points, template_at
from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.types import Landmarks


def a_face(side: int = 200) -> Landmarks:
    """The canonical face in the middle of a picture."""
    points = np.asarray(canonical_face(), np.float64)
    points = points - points.mean(0)
    points = points * (0.5 * side / np.ptp(points[:, 1]))
    if points[10, 1] > points[152, 1]:  # y up: forehead above the chin
        points[:, 1:] *= -1
    points[:, :2] += side / 2
    return Landmarks(points.astype(np.float32), "mesh468", 1.0, "test")


def test_every_mask_is_a_target_or_the_persons_own_and_groups_hold_out_some():
    assets = select_assets("all")
    for asset in assets:
        assert (group_of(asset) is None) == (asset.kind in OWN or asset.asset_id in MIXED)
    seen, unseen = rack(False), rack(True)
    targets = [asset for asset in assets if group_of(asset)]
    ids = {name: {a.asset_id for masks in r.groups.values() for a in masks} for name, r in (("s", seen), ("u", unseen))}
    assert not ids["s"] & ids["u"] and len(ids["s"] | ids["u"]) == len(targets)
    assert set(unseen.groups) == set(GROUPS) - {"face-shield"}  # of which there is one
    assert set(seen.groups) == set(GROUPS) == set(SHARES)
    assert 0.1 < len(ids["u"]) / len(targets) < 0.2


def test_what_is_held_out_does_not_depend_on_the_order():
    names = [f"mask-{i}" for i in range(20)]
    assert held_out(names) == held_out(names[::-1]) and len(held_out(names)) == 3
    assert held_out(["one"]) == set() and len(held_out(["one", "two"])) == 1


def test_dressing_is_repeatable_and_targets_are_where_pixels_change():
    image, face = np.full((200, 200, 3), 120, np.uint8), a_face()
    for number in range(12):
        first = dress(generator(0, str(number)), image, face, bool(number % 2), 0.0, False)
        again = dress(generator(0, str(number)), image, face, bool(number % 2), 0.0, False)
        np.testing.assert_array_equal(first[0], again[0])
        assert first[2:] == again[2:] and first[2] in GROUPS and len(first[3]) == 1
        changed = (first[0] != image).any(2)
        assert not changed[first[1] == 0].any()
    _, alpha, group, worn = dress(generator(0, "x"), image, face, False, 1.0, True)
    assert not alpha.any() and (group, worn) == ("", [])


def test_own_hair_and_spectacles_change_the_picture_and_not_the_target():
    image, face, changed = np.full((200, 200, 3), 120, np.uint8), a_face(), 0
    for number in range(60):
        drawn, alpha, _, _ = dress(generator(5, str(number)), image, face, False, 1.0, True)
        assert not alpha.any()
        changed += bool((drawn != image).any())
    assert 2 <= changed <= 18  # 12 % of 60


def test_jittered_crops_stay_near():
    matrix = estimate_similarity(five_points(a_face()), template_at("wide128").points)
    middle = np.linalg.solve(matrix[:, :2], np.array([63.5, 63.5]) - matrix[:, 2])
    for number in range(50):
        turned = make.jittered(generator(1, str(number)), matrix)
        assert np.abs(turned[:, :2] @ middle + turned[:, 2] - 63.5).max() <= make.SHIFT + 1e-9
        ratio = np.sqrt(np.linalg.det(turned[:, :2]) / np.linalg.det(matrix[:, :2]))
        assert 1 - make.SCALE - 1e-9 <= ratio <= 1 + make.SCALE + 1e-9


def test_augmentation_keeps_shapes_and_its_input_and_moves_both_together():
    face, alpha = np.full((128, 128, 3), 60, np.uint8), np.zeros((128, 128), np.uint8)
    alpha[30:90, 20:60] = 255
    face[30:90, 20:60] = 200
    before = face.copy()
    shares = []
    for number in range(40):
        rng = np.random.default_rng(number)
        out, target = augmented(rng, face, alpha)
        assert out.shape == (128, 128, 3) and out.dtype == np.uint8
        assert target.shape == (128, 128) and set(np.unique(target)) <= {0, 1}
        inner = cv2.erode(target, np.ones((9, 9))) > 0
        outer = cv2.dilate(target, np.ones((9, 9))) == 0
        grey = out.mean(2)
        shares.append(grey[inner].mean() > grey[outer].mean())
    np.testing.assert_array_equal(face, before)
    assert np.mean(shares) > 0.7  # another colour for what is worn may turn the order round


def test_figures_by_hand():
    told = figures(np.array([50, 0, 150]), np.array([100, 5, 150]), np.array([150, 10, 150]))
    # IoU 50/200 and 150/150; the target of 10 pixels counts in the pool only: (50+0+150) / (200+15+150)
    assert told == {"pictures": 2, "mean_iou": 0.625, "pooled_iou": round(200 / 365, 4)}


def task(tmp_path: Path, **change) -> make.Task:
    faces = tmp_path / "faces" / "celeba256"
    names = []
    for person in ("1", "2"):
        for number in range(2):
            path = faces / person / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.random.default_rng(number).integers(90, 160, (200, 200, 3), np.uint8))
            names.append(f"celeba256/{person}/{number}.png")
    points = np.stack([a_face().points] * 4)
    np.savez(tmp_path / "landmarks.npz", names=np.array(names), points=points)
    (tmp_path / "people.txt").write_text("1\n")
    given = {
        "faces": str(tmp_path / "faces"), "landmarks": (str(tmp_path / "landmarks.npz"),),
        "people": str(tmp_path / "people.txt"), "sets": ("celeba256",), "copies": (3,), "unseen": False, "bare": 0.0,
        "align": "jitter", "limit": 0, "seed": 0,
    }  # fmt: skip
    return make.Task(**(given | change))


def test_a_folder_is_made_of_the_wanted_people_only_and_is_continued(tmp_path):
    wanted = task(tmp_path)
    make.make(tmp_path / "out", wanted, 1)
    rows = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert len(rows) == 6 and {row["picture"].split("/")[1] for row in rows} == {"1"}
    folder = Folder.open(tmp_path / "out")
    assert len(folder.rows()) == 6 and (folder.alpha >= 128).any((1, 2)).sum() >= 5
    before = np.array(folder.faces)
    done = np.load(tmp_path / "out" / "done.npy", mmap_mode="r+")
    done[2:4] = 0
    make.make(tmp_path / "out", wanted, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "faces.npy"), before)
    with pytest.raises(MaskbenchError, match="other options"):
        make.make(tmp_path / "out", task(tmp_path, seed=1), 1)


def test_limits_spread_over_pictures_and_missing_sets_are_told(tmp_path):
    wanted = task(tmp_path, limit=2)
    items = make.items_of(wanted, list(make.known_faces(wanted)))
    assert [item[0] for item in items] == [0, 1] and len({item[1] for item in items}) == 2
    with pytest.raises(MaskbenchError, match="no landmarks of these sets"):
        make.known_faces(task(tmp_path, sets=("utk144",)))
    with pytest.raises(MaskbenchError, match="run make.py first"):
        Folder.open(tmp_path / "nothing")


def test_overlaps_are_counted_for_each_threshold(tmp_path):
    make.make(tmp_path / "out", task(tmp_path, copies=(1,)), 1)
    folder = Folder.open(tmp_path / "out")
    rows = folder.rows()
    both, found, target = overlaps(folder, rows, lambda faces: np.full(faces.shape[:3], 0.5), np.array([0.4, 0.6]))
    assert both.shape == (2, len(rows)) and (found[0] == 128**2).all() and not found[1].any()
    np.testing.assert_array_equal(both[0], target[0])
    np.testing.assert_array_equal(target[0], [(folder.alpha[row] >= 128).sum() for row in rows])


def test_training_lowers_the_loss_and_goes_on_from_its_checkpoint(tmp_path, capsys):
    pytest.importorskip("torch")
    import train

    make.make(tmp_path / "out", task(tmp_path, copies=(32,)), 1)
    run = train.Run(tmp_path / "run", 0)
    train.train(run, [tmp_path / "out"], tmp_path / "out", None, 0.05, 1e9)
    assert run.step >= 1 and (tmp_path / "run" / "checkpoint.pt").exists()
    again = train.Run(tmp_path / "run", 0)
    assert (again.step, again.seconds) == (run.step, run.seconds)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == run.step and 0 <= log[-1]["mean_iou"] <= 1
    train.train(again, [tmp_path / "out"], tmp_path / "out", None, 0.05, 1e9)  # its time is spent
    assert again.step == run.step


def test_too_few_rows_to_train_on_are_told(tmp_path):
    pytest.importorskip("torch")
    import train

    make.make(tmp_path / "out", task(tmp_path, copies=(2,)), 1)
    with pytest.raises(MaskbenchError, match="4 rows to train on"):
        next(train.ahead(train.batches([Folder.open(tmp_path / "out")], set(), 0)))
