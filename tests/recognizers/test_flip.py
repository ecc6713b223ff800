"""The flip trick: templates of a face and of its mirror image together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskbench.recognizers.base import checked_embed, network_digest, spec_digest
from maskbench.recognizers.dummy import DummyRecognizer
from maskbench.recognizers.flip import FlipSum
from maskbench.types import Status


def faces(count: int = 6) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)


def test_a_template_is_the_sum_over_both_and_mirroring_the_face_changes_nothing():
    plain, flip, pictures = DummyRecognizer(), FlipSum(DummyRecognizer()), faces()
    vectors, status = checked_embed(flip, pictures)
    expected = plain.embed(pictures)[0] + plain.embed(pictures[:, :, ::-1])[0]
    assert (status == Status.OK).all() and np.allclose(vectors, expected)
    mirrored, _ = checked_embed(flip, np.ascontiguousarray(pictures[:, :, ::-1]))
    assert np.allclose(mirrored, vectors, atol=1e-5)
    assert not np.allclose(vectors, 2 * plain.embed(pictures)[0], atol=0.01), "a face is not its own mirror image"


def test_a_face_fails_if_either_side_does():
    pictures = faces(64)
    both = FlipSum(DummyRecognizer(failing=True))
    one, other = (DummyRecognizer(failing=True).embed(p)[1] for p in (pictures, pictures[:, :, ::-1]))
    _, status = checked_embed(both, pictures)
    assert np.array_equal(status == Status.OK, (one == Status.OK) & (other == Status.OK))
    assert (one != other).any() and (status == Status.OK).any()


class Masked:
    """A recognizer that wants masks and gives back where they were."""

    def __init__(self) -> None:
        self.spec = replace(DummyRecognizer().spec, needs_mask=True, embedding_size=112)

    def embed(self, faces, masks=None):
        return masks.sum(1).astype(np.float32) + 1, np.zeros(len(faces), np.int8)


def test_masks_are_mirrored_with_the_faces():
    masks = np.zeros((1, 112, 112), np.uint8)
    masks[0, 50:60, 10:20] = 1
    vectors, _ = checked_embed(FlipSum(Masked()), faces(1), masks)
    assert (vectors[0, 10:20] == 12).all() and (vectors[0, 92:102] == 12).all() and vectors[0].sum() == 224 + 200


def test_it_has_another_name_and_digest_and_a_plain_recognizer_keeps_its_own():
    plain, flip = DummyRecognizer(), FlipSum(DummyRecognizer())
    assert flip.spec.name == "dummy-flip-sum" and flip.spec.test_time == "flip-sum"
    assert spec_digest(flip.spec) != spec_digest(plain.spec) and network_digest(flip) != network_digest(plain)
    assert spec_digest(replace(plain.spec, test_time="")) == spec_digest(plain.spec)
