"""Error rates of a student, against loops over pairs of people, on pictures that say who and what they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from maskbench.align import Template, template_at
from maskbench.errors import ImageError, MaskbenchError
from maskbench.train import validation
from maskbench.train.prepare import wide_template
from maskbench.train.validation import Validation, score_all

TEMPLATE = template_at("arcface112")
SIDE = wide_template(TEMPLATE).size[0]
MARGIN = (SIDE - 112) // 2


@dataclass
class Faces:
    """Stands for ``PreparedFaces``: the crop of face i is i everywhere."""

    subjects: tuple[str | None, ...]
    template: Template = wide_template(TEMPLATE)
    lost: set[int] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    sets = (SimpleNamespace(name="held_out"),)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(f"held_out/{index}" for index in range(len(self.subjects)))

    def __len__(self) -> int:
        return len(self.subjects)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(index)
        if index in self.lost:
            raise ImageError(f"{index}.jpg: is gone")
        return np.full((SIDE, SIDE, 3), index, np.uint8), np.full((468, 3), 50, np.float32)


class Mix:
    """Stands for ``MaskMix``: a masked picture is 200 in its last channel."""

    made: list[tuple] = []

    def __init__(self, recipes, p, seed):
        self.made.append((recipes, p, seed))

    def __call__(self, image, mesh, key, epoch):
        assert epoch == 0 and key.endswith(f"/{image[0, 0, 0]}") and (mesh[:, :2] == 50 - MARGIN).all()
        image = image.copy()
        image[..., 2] = 200
        return SimpleNamespace(image=image, alpha=None)


@pytest.fixture(autouse=True)
def _no_masks(monkeypatch):
    Mix.made = []
    monkeypatch.setattr(validation, "MaskMix", Mix)


def embedder(bare: np.ndarray, masked: np.ndarray):
    """Looks up the template of the picture that it is shown; and checks what it is shown."""

    def embed(faces: np.ndarray) -> np.ndarray:
        assert faces.dtype == np.uint8 and faces.shape[1:] == (112, 112, 3) and len(faces) <= validation.BATCH
        tables = [masked if face[0, 0, 2] == 200 else bare for face in faces]
        return np.stack([table[face[0, 0, 0]] for table, face in zip(tables, faces, strict=True)])

    return embed


def slow_score(a: np.ndarray, b: np.ndarray, comparator: str) -> float:
    a, b = a.astype(float).tolist(), b.astype(float).tolist()
    if comparator == "cosine":
        lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / lengths
    return -math.dist(a, b)


def slow_rates(mated: list[float], non_mated: list[float]) -> tuple[float, float | None]:
    """EER by the bracketing rule and the lowest FNMR at FMR <= 1 %, threshold by threshold."""
    points = []
    for threshold in [*sorted({*mated, *non_mated}), math.inf]:
        fmr = Fraction(sum(score >= threshold for score in non_mated), len(non_mated))
        points.append((fmr, Fraction(sum(score < threshold for score in mated), len(mated))))
    low = [point for point in points if point[1] <= point[0]][-1]
    high = next(point for point in points if point[1] >= point[0])
    value = min((sum(low), 0), (sum(high), 1))[0] / 2
    return float(value), float(min(fnmr for fmr, fnmr in points if fmr <= Fraction(1, 100)))


def slow_validation(bare, masked, subjects, comparator) -> dict[str, float]:
    found = {}
    for name, references, probes in (
        ("umr_ump", bare, bare), ("umr_mp", bare, masked), ("mr_mp", masked, masked),
    ):  # fmt: skip
        mated, non_mated = [], []
        for i in range(len(subjects)):
            for j in range(len(subjects)):
                # bare with masked is another pair than masked with bare; the rest is symmetric
                if i == j or (name != "umr_mp" and j < i):
                    continue
                score = slow_score(references[i], probes[j], comparator)
                (mated if subjects[i] == subjects[j] else non_mated).append(score)
        found[f"{name}_eer"], found[f"{name}_fmr100"] = slow_rates(mated, non_mated)
    return found


SUBJECTS = tuple(f"held_out/{'abcdefgh'[index * 5 % 8]}" for index in range(26)) + ("held_out/once",)


@pytest.mark.parametrize("comparator", ["cosine", "negative-l2"])
@pytest.mark.parametrize("spread", [0.4, 1.0, 3.0])
def test_rates_against_loops_over_pairs(comparator, spread):
    rng = np.random.default_rng(int(10 * spread))
    people = {subject: rng.standard_normal(6) * rng.uniform(0.5, 2) for subject in sorted(set(SUBJECTS))}
    bare = np.stack([people[subject] + spread * rng.standard_normal(6) for subject in SUBJECTS]).astype(np.float32)
    masked = (bare + 0.7 * spread * rng.standard_normal(bare.shape)).astype(np.float32)
    found = Validation(Faces(SUBJECTS), TEMPLATE, {"worn": 1.0})(embedder(bare, masked), comparator)
    expected = slow_validation(bare, masked, SUBJECTS, comparator)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
        assert type(found[name]) is float
    assert len(set(found.values())) > 3  # the conditions differ


def test_a_student_that_knows_everybody_through_masks():
    people = sorted(set(SUBJECTS))
    bare = np.eye(len(people))[[people.index(subject) for subject in SUBJECTS]]
    found = Validation(Faces(SUBJECTS), TEMPLATE, {"worn": 1.0})(embedder(bare, bare * 2), "cosine")
    assert found == {f"{name}_{rate}": 0.0 for name in ("umr_ump", "umr_mp", "mr_mp") for rate in ("eer", "fmr100")}


def test_every_face_gets_one_mask_and_that_the_same_for_all_students():
    faces = Faces(SUBJECTS)
    check = Validation(faces, TEMPLATE, {"worn": 2.0, "styles": 1.0})
    assert Mix.made == [({"worn": 2.0, "styles": 1.0}, 1.0, validation.SEED)]
    bare = np.random.default_rng(1).standard_normal((len(SUBJECTS), 4)).astype(np.float32)
    seen: list[list[np.ndarray]] = [[], []]
    for round_ in seen:

        def embed(pictures, into=round_):
            into.append(pictures.copy())
            return embedder(bare, bare)(pictures)

        check(embed, "cosine")
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))
    assert faces.asked == 2 * list(range(len(SUBJECTS)))


def test_more_faces_than_a_batch():
    subjects = tuple(f"held_out/{index // 2}" for index in range(2 * validation.BATCH + 6))
    rng = np.random.default_rng(3)
    bare = np.repeat(rng.standard_normal((len(subjects) // 2, 8)), 2, axis=0).astype(np.float32)
    found = Validation(Faces(subjects), TEMPLATE, {"worn": 1.0})(embedder(bare, -bare), "negative-l2")
    assert found["umr_ump_eer"] == found["mr_mp_eer"] == found["mr_mp_fmr100"] == 0
    assert found["umr_mp_eer"] > 0.5  # templates turned round: the own person is the farthest


@pytest.mark.parametrize("subjects", [("a", "a", None), ("a", "a", "a"), ("a", "b", "c"), ("a",), ()])
def test_people_that_make_no_pairs(subjects):
    with pytest.raises(MaskbenchError, match="held_out: validation needs a folder for each of at least two people"):
        Validation(Faces(subjects), TEMPLATE, {"worn": 1.0})


def test_a_picture_that_is_gone():
    check = Validation(Faces(("a", "a", "b"), lost={1}), TEMPLATE, {"worn": 1.0})
    with pytest.raises(MaskbenchError, match="validation: held_out/1: 1.jpg: is gone"):
        check(embedder(np.eye(3), np.eye(3)), "cosine")


@pytest.mark.parametrize("comparator", ["cosine", "negative-l2"])
def test_scores_against_loops(comparator):
    rng = np.random.default_rng(4)
    references, probes = rng.standard_normal((5, 16)), rng.standard_normal((7, 16))
    probes[2] = references[3]
    found = score_all(references, probes, comparator)
    expected = [[slow_score(a, b, comparator) for b in probes] for a in references]
    # a difference of squares loses half of the digits where two vectors are one
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.isfinite(found).all() and found[3].argmax() == 2
