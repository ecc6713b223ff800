"""Recognizers that answer malformed, or not at all, for some faces: those fail, the run goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maskbench.errors import RecognizerError
from maskbench.recognizers.base import checked_embed
from maskbench.recognizers.dummy import dummy
from maskbench.recognizers.flip import FlipSum

SPEC = replace(dummy().spec, name="fake", input_size=(4, 6), embedding_size=2)
BAD = 200  # the brightness of the pictures that a fake cannot cope with


def faces_with(*bad: int, count: int = 5) -> np.ndarray:
    faces = np.full((count, 4, 6, 3), 10, np.uint8)
    faces += np.arange(count, dtype=np.uint8)[:, None, None, None]
    faces[list(bad)] = BAD
    return faces


def is_bad(face: np.ndarray) -> bool:
    return bool((face == BAD).all())


class Fake:
    """Gives (first pixel, 1) for a face; ``spoil(batch, vectors, status)`` changes an answer that has a bad face."""

    def __init__(self, spoil, needs_mask: bool = False):
        self.spec, self.spoil, self.batches = replace(SPEC, needs_mask=needs_mask), spoil, []

    def embed(self, faces, masks=None):
        self.batches.append((len(faces), masks))
        vectors = np.stack([faces[:, 0, 0, 0].astype(np.float32), np.ones(len(faces), np.float32)], axis=1)
        status = np.zeros(len(faces), np.int8)
        return self.spoil(faces, vectors, status) if any(map(is_bad, faces)) else (vectors, status)


def raises(faces, vectors, status):
    raise RuntimeError("Non-zero status code\nsecond line")


def ragged(faces, vectors, status):
    return [vector[:1] if is_bad(face) else vector for face, vector in zip(faces, vectors, strict=True)], status


def dropped(faces, vectors, status):
    return vectors[[not is_bad(face) for face in faces]], status


def no_status(faces, vectors, status):
    return vectors, status[:0]


def odd_status(faces, vectors, status):
    return vectors, np.array([7 if is_bad(face) else 0 for face in faces])


def one_value(faces, vectors, status):
    return vectors


def words(faces, vectors, status):
    return [["a", "b"] if is_bad(face) else vector for face, vector in zip(faces, vectors, strict=True)], status


SPOILT = [raises, ragged, dropped, no_status, odd_status, one_value, words]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("bad", [(0,), (1, 4), (0, 1, 2, 3)])
def test_only_the_bad_faces_fail(spoil, bad):
    faces, fake = faces_with(*bad), Fake(spoil)
    vectors, status = checked_embed(fake, faces)
    expected = np.isin(np.arange(5), bad)
    np.testing.assert_array_equal(status, expected)
    assert vectors.shape == (5, 2) and np.isnan(vectors[expected]).all() and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[~expected, 0], faces[~expected, 0, 0, 0])
    assert [size for size, _ in fake.batches] == [5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_of_nothing_but_bad_faces_does_not_end_the_run(spoil, count):
    vectors, status = checked_embed(Fake(spoil), faces_with(*range(count), count=count))
    assert status.tolist() == [1] * count and np.isnan(vectors).all()


def test_good_batches_are_asked_once():
    fake = Fake(raises)
    assert not checked_embed(fake, faces_with())[1].any() and len(fake.batches) == 1


def test_masks_go_with_their_faces():
    faces = faces_with(2)
    masks = np.arange(5, dtype=np.uint8)[:, None, None] % 2 * np.ones((1, 4, 6), np.uint8)
    fake = Fake(raises, needs_mask=True)
    checked_embed(fake, faces, masks)
    for row, (_, given) in enumerate(fake.batches[1:]):
        np.testing.assert_array_equal(given, masks[row : row + 1])


class Broken:
    """Cannot embed anything."""

    spec = SPEC

    def __init__(self, error):
        self.error = error

    def embed(self, faces, masks=None):
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad weights\nmore"), r'recognizer "fake" fails on 5 faces \(ValueError: bad weights\)'),
        (RecognizerError("net.onnx: fails on input"), r"fails on 5 faces \(net.onnx: fails on input\)"),
        (MemoryError(), r"fails on 5 faces \(MemoryError\)"),
    ],
)
def test_a_recognizer_that_answers_nothing_is_an_error(error, message):
    with pytest.raises(RecognizerError, match=message) as caught:
        checked_embed(Broken(error), faces_with())
    assert "\n" not in str(caught.value) and caught.value.__cause__ is error


def test_an_interruption_is_no_failure():
    with pytest.raises(KeyboardInterrupt):
        checked_embed(Broken(KeyboardInterrupt()), faces_with())


def test_mirrored_sums_of_ragged_answers():
    faces = faces_with(1)
    vectors, status = checked_embed(FlipSum(Fake(ragged)), faces)
    assert status.tolist() == [0, 1, 0, 0, 0]
    np.testing.assert_array_equal(vectors[0], [20, 2])
