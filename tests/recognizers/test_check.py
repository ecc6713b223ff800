"""Recognizers that break their promises one at a time are caught, each by its own check."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from maskbench.align import TEMPLATES
from maskbench.recognizers import check as module
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.check import FAILS, NOTE, OK, check_recognizer, demo_faces
from maskbench.recognizers.dummy import dummy
from maskbench.types import Status

ORDER = ["form", "templates", "input", "repeat", "batches", "odd pictures", "sense", "speed", "cost"]


@pytest.fixture(scope="module")
def material() -> tuple[np.ndarray, np.ndarray]:
    """48 pictures of 16 synthetic people, for the dummy's template."""
    return demo_faces(dummy().spec)


def findings(recognizer, material) -> dict[str, tuple[str, str]]:
    faces, subjects = material
    return {
        finding.check: (finding.verdict, finding.detail)
        for finding in check_recognizer(recognizer, faces.copy(), subjects)
    }


class Twisted:
    """The dummy, whose answer ``twist(self, faces, vectors, status)`` changes."""

    def __init__(self, twist, **changes):
        self.inner, self.twist, self.calls = dummy(), twist, 0
        self.spec = replace(self.inner.spec, **changes)

    def embed(self, faces, masks=None):
        self.calls += 1
        if self.spec.needs_mask:
            assert masks is not None and masks.shape == faces.shape[:3] and masks.dtype == np.uint8
        return self.twist(self, faces, *self.inner.embed(faces))


def test_faces_are_aligned_and_of_several_people(material):
    faces, subjects = material
    assert faces.shape == (48, 112, 112, 3) and faces.dtype == np.uint8 and len(set(subjects)) == 16
    larger, _ = demo_faces(replace(dummy().spec, input_size=(150, 150), template="dlib150"), people=2, pictures=1)
    assert larger.shape == (2, 150, 150, 3) and larger.std() > 20


def test_a_good_recognizer_passes(material):
    found = findings(dummy(), material)
    assert list(found) == ORDER and FAILS not in {verdict for verdict, _ in found.values()}
    assert found["repeat"] == (OK, "the same bytes twice") and found["batches"][0] == OK
    assert "48 of 48 faces" in found["templates"][1] and "black: failure" in found["odd pictures"][1]
    assert "faces a second" in found["speed"][1] and "parameters 0" in found["cost"][1]


def test_reported_failures_are_a_note(material):
    failing = load_recognizer("dummy-failing")
    faces, subjects = demo_faces(failing.spec)
    found = findings(failing, (faces, subjects))
    assert found["templates"][0] == NOTE and FAILS not in {verdict for verdict, _ in found.values()}


def half_nan(self, faces, vectors, status):
    vectors[::2] = np.nan
    return vectors, status


def all_failed(self, faces, vectors, status):
    return vectors, np.full(len(faces), Status.FAILED, np.int8)


def doubles(self, faces, vectors, status):
    return vectors.astype(np.float64), status


def long_status(self, faces, vectors, status):
    return vectors, status.astype(np.int64)


def writes(self, faces, vectors, status):
    faces[0, 0, 0, 0] += 1
    return vectors, status


def drifts(self, faces, vectors, status):
    return vectors + np.float32(self.calls * 1e-3), status


def mixes(self, faces, vectors, status):
    return vectors - vectors.mean(axis=0), status


def chance(self, faces, vectors, status):
    return np.ones_like(vectors), status


def odd(self, faces, vectors, status):
    if (faces[0] == 255).all():
        raise ZeroDivisionError("blank")
    return vectors, status


def large_batches(self, faces, vectors, status):
    if len(faces) == 3:
        raise ValueError("three")
    return vectors, status


@pytest.mark.parametrize(
    ("twist", "check", "detail"),
    [
        (half_nan, "templates", "24 of 48 faces: status OK, but NaN"),
        (all_failed, "templates", "no template for any of 48 faces"),
        (doubles, "form", "float64.*give float32 and int8"),
        (long_status, "form", "int64"),
        (writes, "input", "the faces were written to"),
        (drifts, "repeat", "two calls differ by"),
        (mixes, "batches", "differ by"),
        (chance, "sense", "no better than chance; check template"),
        (odd, "odd pictures", r"white: fails on 1 faces \(ZeroDivisionError: blank\)"),
        (large_batches, "batches", "batches of 3: fails on 3 faces"),
    ],
)
def test_each_broken_promise_has_its_check(material, twist, check, detail):
    verdict, text = findings(Twisted(twist), material)[check]
    assert verdict == FAILS and re.search(detail, text), text


def test_an_answer_of_the_wrong_size_ends_the_report(material):
    found = findings(Twisted(lambda self, faces, vectors, status: (vectors[:, :9], status)), material)
    assert found["form"][0] == FAILS and "(48, 9)" in found["form"][1] and "embedding size 256" in found["form"][1]
    assert list(found) == ["form", "input", "odd pictures"]


def test_masks_are_given_to_those_that_want_them(material):
    recognizer = Twisted(lambda self, faces, vectors, status: (vectors, status), needs_mask=True)
    found = findings(recognizer, material)
    assert FAILS not in {verdict for verdict, _ in found.values()}
    assert list(found) == [*ORDER[:5], "masks", *ORDER[5:]] and found["masks"][0] == NOTE  # the dummy reads none


def test_silent_nan_on_blank_pictures_is_a_note(material):
    def silent(self, faces, vectors, status):
        return vectors, np.zeros_like(status)

    assert findings(Twisted(silent), material)["odd pictures"] == (
        NOTE,
        "black: NaN or zeros, white: NaN or zeros, noise: template",
    )


class Colourful(Twisted):
    """A recognizer that sees the picture well only if red is where it is expected."""

    def __init__(self, channel):
        def look(self, faces, vectors, status):
            plain = faces[..., channel].astype(np.float32).reshape(len(faces), 16, 7, 16, 7).mean((2, 4))
            return plain.reshape(len(faces), 256), status

        super().__init__(look)


def painted(material):
    """The faces with a red channel that tells people apart and a blue one that is noise."""
    faces, subjects = material
    rng, faces = np.random.default_rng(2), faces.copy()
    patterns = {name: rng.integers(0, 256, (112, 112)) for name in sorted(set(subjects))}
    for row, name in enumerate(subjects):
        faces[row, ..., 0] = np.clip(patterns[name] + rng.normal(0, 60, (112, 112)), 0, 255)
        faces[row, ..., 2] = np.clip(patterns[name] * 0.2 + rng.normal(128, 90, (112, 112)), 0, 255)
    return faces, subjects


def test_swapped_colours_are_suspected(material):
    assert findings(Colourful(0), painted(material))["sense"][0] == OK
    verdict, text = findings(Colourful(2), painted(material))["sense"]
    assert verdict == NOTE and "with red and blue swapped: check colour_order" in text


def test_another_template_is_suspected(material):
    """Of the pictures that are good for this recognizer, and the same ones turned upside down half of the time."""
    faces, subjects = painted(material)
    spoilt = faces.copy()
    spoilt[::2] = spoilt[::2, ::-1]
    for given, others, verdict in ((faces, spoilt, OK), (spoilt, faces, NOTE)):
        found = check_recognizer(Colourful(0), given.copy(), subjects, {"elsewhere": others})
        sense = next(finding for finding in found if finding.check == "sense")
        assert sense.verdict == verdict
        assert ("with template elsewhere: check template" in sense.detail) == (verdict == NOTE)


def test_other_templates_have_the_same_proportions():
    names = set(module.other_faces(dummy().spec))
    assert names == {name for name, t in TEMPLATES.items() if t.size[0] == t.size[1]} - {"arcface112"}
    narrow = replace(dummy().spec, template="sphereface96", input_size=(112, 96))
    assert module.other_faces(narrow) == {}


def test_scores_are_those_of_every_pair(material):
    """Area and d' against a count over every pair of pairs, and the formula."""
    faces, subjects = material
    vectors, _ = dummy().embed(faces)
    mated, non_mated = module._scores(dummy().spec, vectors, np.ones(len(faces), bool), subjects)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [((unit @ unit.T)[i, j], subjects[i] == subjects[j]) for i in range(len(faces)) for j in range(i)]
    expected = [np.sort([score for score, same in pairs if same == kind]) for kind in (True, False)]
    np.testing.assert_allclose(np.sort(mated), expected[0], atol=1e-6)
    np.testing.assert_allclose(np.sort(non_mated), expected[1], atol=1e-6)
    d = (mated.mean() - non_mated.mean()) / np.sqrt((mated.var() + non_mated.var()) / 2)
    assert module._separation(mated, non_mated) == pytest.approx(d)
    assert module._separation(non_mated, mated) == pytest.approx(-d)
    assert np.isnan(module._separation(mated, mated[:0])) and module._separation(np.ones(3), np.zeros(3)) == 0


def test_a_search_comparator_compares_people_with_references():
    spec = replace(dummy().spec, comparator="sparse-residual", embedding_size=16)
    rng = np.random.default_rng(5)
    vectors = np.repeat(rng.normal(size=(5, 16)), 2, axis=0) + 0.01 * rng.normal(size=(10, 16))
    subjects = np.repeat([f"p{i}" for i in range(5)], 2)
    mated, non_mated = module._scores(spec, vectors.astype(np.float32), np.ones(10, bool), subjects)
    assert (len(mated), len(non_mated)) == (5, 20) and mated.min() > non_mated.max()
    assert [len(part) for part in module._scores(spec, vectors[:1], np.ones(1, bool), subjects[:1])] == [0, 0]
