"""What G2D reads and on what it is measured: crops with holes, who is kept out, strangers and people known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from g2d_pictures import INNER, SIDE, WIDE, Bands, Faces, encoder, network
from torch import nn

from maskbench.align import template_at
from maskbench.models.g2d import FeatureClassifier
from maskbench.train.augment import Augmentation
from maskbench.train.data import View
from maskbench.train.g2d_split import divided, held_out, subset
from maskbench.train.g2d_stages import wide_side
from maskbench.train.g2d_validation import Identification, MaskedQuality, TokenQuality, bare_and_masked
from maskbench.train.occluded import OccludedFaces, planes, shows, wide_at

STILL = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class TestPictures:
    def test_a_template_in_place_of_a_side(self):
        """The same crops and holes, where the template is the one of the side."""
        one, other = (OccludedFaces(Faces(), WIDE, inner, Bands(), None, 3, (1, 3)) for inner in (24, wide_at(24)))
        for index in range(6):
            assert np.array_equal(one[0, index].student, other[0, index].student)
            assert np.array_equal(one[0, index].holes, other[0, index].holes)

    def test_the_mask_is_drawn_only_where_it_is_worn(self):
        bare, worn = (
            OccludedFaces(Faces(), WIDE, INNER, Bands(none=["set/1"]), None, 3, (1, 1), worn=worn)
            for worn in (False, True)
        )
        magenta = np.array([255, 0, 255])
        one, other, none = bare[0, 0], worn[0, 0], worn[0, 1]
        assert one.student.shape == other.student.shape == (SIDE, SIDE, 3) and one.inner is other.inner is None
        assert np.array_equal(one.holes, other.holes) and one.holes.any() and one.masked and other.masked
        drawn = (other.student == magenta).all(axis=2)
        assert drawn.any() and other.holes[drawn].all() and not (one.student == magenta).all(axis=2).any()
        assert np.array_equal(one.student[one.holes == 0], other.student[one.holes == 0])
        assert not none.masked and not none.holes.any()
        assert np.array_equal(none.student, bare[0, 1].student)

    def test_holes_turn_with_the_picture(self):
        still, turned = (
            OccludedFaces(Faces(), WIDE, INNER, Bands(), replace(STILL, flip=flip), 3, worn=True)[0, 2]
            for flip in (0.0, 1.0)
        )
        assert turned.flipped and not still.flipped
        assert np.array_equal(turned.student, still.student[:, ::-1])
        assert np.array_equal(turned.holes, still.holes[:, ::-1])

    @pytest.mark.parametrize(("name", "size", "side"), [("dlib150", 144, 192), ("dlib150", 256, 328),
                                                        ("wide128", 128, 192), ("arcface112", 224, 256)])  # fmt: skip
    def test_wide_crops_have_the_pixels_that_the_networks_need(self, name, size, side):
        template = template_at(name, (size, size))
        assert wide_side(template) == side and shows(wide_at(side), template)

    def test_a_crop_that_shows_more_than_another(self):
        assert shows(wide_at(64), template_at("arcface112")) and not shows(template_at("arcface112"), wide_at(64))


class TestSplit:
    def faces(self, counts, extra=0) -> Faces:
        subjects = [f"p{person}" for person, count in enumerate(counts) for _ in range(count)] + [None] * extra
        count = len(subjects)
        return Faces(tuple(f"set/{n}" for n in range(count)), tuple(subjects), np.arange(3 * count).reshape(count, 3),
                     np.arange(count).astype("U32"))  # fmt: skip

    def test_one_of_seven_of_each_person(self):
        faces = self.faces([6, 7, 13, 14, 30], extra=20)
        chosen = held_out(faces, 7)
        assert [int(chosen[[s == f"p{n}" for s in faces.subjects]].sum()) for n in range(5)] == [0, 1, 1, 2, 4]
        assert not chosen[-20:].any() and not held_out(faces, 0).any()

    def test_it_depends_on_the_names_alone(self):
        """Neither on the order nor on other people."""
        faces = self.faces([7, 9, 14])
        order = np.random.default_rng(3).permutation(len(faces))
        mixed = Faces(tuple(faces.keys[n] for n in order), tuple(faces.subjects[n] for n in order),
                      faces.places[order], faces.pictures[order])  # fmt: skip
        assert np.array_equal(held_out(mixed, 7), held_out(faces, 7)[order])
        alone = subset(faces, np.array([subject == "p2" for subject in faces.subjects]))
        assert np.array_equal(held_out(alone, 7), held_out(faces, 7)[-14:])
        assert not np.array_equal(np.flatnonzero(held_out(alone, 7)), [0, 1])  # no mere beginning

    def test_both_parts_are_what_they_were(self):
        faces = self.faces([8, 8], extra=3)
        kept, held = divided(faces, 4)
        assert len(kept) + len(held) == len(faces) and not set(kept.keys) & set(held.keys) and len(held) == 4
        for part in (kept, held):
            for row, key in enumerate(part.keys):
                number = faces.keys.index(key)
                assert part.subjects[row] == faces.subjects[number]
                assert np.array_equal(part.places[row], faces.places[number])
                assert part.pictures[row] == faces.pictures[number]

    def test_the_same_picture_under_another_name_is_not_trained_on(self):
        faces = self.faces([4, 4], extra=2)
        (one,) = np.flatnonzero(held_out(faces, 4))[:1]
        pictures = faces.pictures.copy()
        pictures[-1] = pictures[one]
        kept, held = divided(replace(faces, pictures=pictures), 4)
        assert len(held) == 2 and len(kept) == 7 and faces.keys[-1] not in kept.keys + held.keys


@pytest.fixture
def bands(monkeypatch):
    import maskbench.train.g2d_validation as module

    monkeypatch.setattr(module, "MaskMix", Bands)


@pytest.mark.usefixtures("bands")
class TestValidation:
    def test_verification_of_bare_and_masked_faces(self):
        found = MaskedQuality(Faces(), WIDE, INNER, {"x": 1.0})(made := network(), "cosine")
        assert {"umr_ump_eer", "umr_mp_eer", "mr_mp_eer"} <= set(found) and made.training

    def test_its_templates_are_those_of_the_network(self):
        """Bare faces without a hole, masked ones with what they wear."""
        for data, masked in zip(bare_and_masked(Faces(), WIDE, INNER, {"x": 1.0}), (False, True), strict=True):
            views = [data[0, index] for index in range(6)]
            assert all(isinstance(view, View) and view.masked == masked == bool(view.holes.any()) for view in views)
            assert all(((view.student == [255, 0, 255]).all(2)).any() == masked for view in views)
            assert not any(view.flipped for view in views)

    def test_identification_counts(self):
        """A classifier that answers "b" for all: two of six."""
        classes = ["a", "b", "c", "d"]
        checked = Identification(Faces(), WIDE, INNER, {"x": 1.0}, classes)
        classifier = FeatureClassifier(5, 4)
        nn.init.zeros_(classifier.fc.weight)
        with torch.no_grad():
            classifier.fc.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
        found = checked(network(), classifier)
        assert found == {
            "rank1_bare": 1 / 3, "rank1_masked": 1 / 3, "correct_bare": 2, "correct_masked": 2, "pictures": 6,
        }  # fmt: skip

    def test_identification_of_templates_that_are_told_apart(self):
        """Classes' weights from the bare templates themselves: all are right, masked ones need not be."""
        faces, made = replace(Faces(), subjects=tuple("abcdef")), network().eval()
        data, _ = bare_and_masked(faces, WIDE, INNER, {"x": 1.0})
        pictures = torch.from_numpy(np.stack([data[0, index].student for index in range(6)]))
        with torch.no_grad():
            vectors = made(planes(pictures), torch.zeros(6, 1, SIDE, SIDE))
        classifier = FeatureClassifier(5, 6)
        with torch.no_grad():  # the nearest of the vectors
            classifier.fc.weight.copy_(2 * vectors)
            classifier.fc.bias.copy_(-vectors.square().sum(1))
        found = Identification(faces, WIDE, INNER, {"x": 1.0}, list("abcdef"))(made, classifier)
        assert (found["rank1_bare"], found["correct_bare"]) == (1.0, 6)

    def test_tokens_of_masked_faces(self):
        """One face after the other, as the losses have it, averaged over hidden tokens."""
        made, faces = encoder(), Faces()
        found = TokenQuality(faces, WIDE, INNER, {"x": 1.0})(made)
        data, sums, count = OccludedFaces(faces, WIDE, INNER, Bands(), None, 20_000, (2, 2)), np.zeros(2), 0
        for index in range(6):
            view = data[0, index]
            tokens = made.tokenise(planes(torch.from_numpy(view.student.copy())[None]))
            hidden = made.hidden(torch.from_numpy(view.holes.copy())[None, None].float())
            with torch.no_grad():
                answers = made.prior(tokens, hidden).log_softmax(2)
            for place in hidden[0].nonzero()[:, 0].tolist():
                wanted = tokens[0, place]
                sums += [-answers[0, place, wanted].item(), int(answers[0, place].argmax() == wanted)]
                count += 1
        assert count > 6
        assert found == {"token_loss": pytest.approx(sums[0] / count, rel=1e-4),
                         "token_accuracy": pytest.approx(sums[1] / count)}  # fmt: skip
