"""What the faces of a picture wear, how it is recorded, and that the record draws it again."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from maskbench.errors import ManifestError, MaskbenchError
from maskbench.landmarks.base import FACE_OVAL, mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.apply import apply_mask
from maskbench.masking.assets import select_assets
from maskbench.masking.faces import covered_fraction, mask_faces
from maskbench.masking.placement import from_json, to_json
from maskbench.masking.recipes import Entry, Recipe, Slot, load_recipe, resolve_recipe
from maskbench.masking.render import render
from maskbench.masking.wardrobe import Wardrobe

SEEDS = (0, 1, 2, 3, 4)


def face(scale: float, x: float, y: float):
    return mesh_landmarks(canonical_face() * scale + [x, y, 0], "drawn")


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (260, 360, 3), np.uint8)


def two_slots(**options) -> Wardrobe:
    """A mask on the mouth and another, drawn after it, of a fixed colour and style."""
    first = Slot(masks=("surgical",), colours={"#204060": 1.0}, styles={"mouth-only": 1.0})
    second = Slot(masks=("cloth", "n95"), styles={"under-chin": 1.0})
    return Wardrobe.open(Recipe("two", 1, "d", "s", SEEDS, (Entry("both", 1.0, (first, second)),), **options))


def test_everything_drawn_is_recorded_and_draws_the_same_picture_again():
    image, faces = picture(), [face(60, 120, 80), face(40, 270, 90)]
    masked = mask_faces(image.copy(), faces, two_slots(), "a.jpg", 3, jpeg=70)
    again = from_json(to_json(masked.placements))
    assert [(p.parameters["face"], p.parameters["entry"]) for p in again] == [(0, "both")] * 2 + [(1, "both")] * 2
    assert [p.style for p in again] == ["mouth-only", "under-chin"] * 2
    assert again[0].colour == "#204060" and {p.parameters["jpeg"] for p in again} == {70}
    assert all(p.seed == 3 and p.size == 1.0 and 0 <= p.coverage <= 1 for p in again)
    # The far face first, and on each face the slots in order.
    drawn, alpha = image, np.zeros(image.shape[:2], np.uint8)
    for placement in again[2:] + again[:2]:
        step = render(drawn, select_assets(placement.asset_id)[0], placement)
        drawn, alpha = step.image, np.maximum(alpha, step.alpha)
    assert np.array_equal(drawn, masked.image) and np.array_equal(alpha, masked.alpha)
    assert (drawn[alpha == 0] == image[alpha == 0]).all() and (drawn != image).any()


def test_fractions_are_of_all_masks_of_the_first_face_and_of_nothing_else():
    image, faces = picture(), [face(60, 120, 80), face(40, 270, 90)]
    both = mask_faces(image.copy(), faces, two_slots(), "a", 0)
    alone = mask_faces(image.copy(), faces[:1], two_slots(), "a", 0)
    assert both.covered_fraction == alone.covered_fraction and both.crop_fraction == alone.crop_fraction
    assert alone.covered_fraction == covered_fraction(alone.alpha, faces[0].points)
    assert alone.crop_fraction == pytest.approx(alone.alpha.sum() / 255 / alone.alpha.size, abs=1e-4)
    assert alone.covered_fraction > max(p.coverage for p in alone.placements)
    # An independent count over the face oval's pixels, by the crossing number of each pixel's centre.
    oval = faces[0].points[list(FACE_OVAL), :2].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(oval, np.roll(oval, -1, 0), strict=True):
        crosses = (y0 <= y) != (y1 <= y)
        inside ^= crosses & (x < x0 + (y - y0) / np.where(y1 == y0, 1, y1 - y0) * (x1 - x0))
    assert alone.covered_fraction == pytest.approx(alone.alpha[inside].sum() / 255 / inside.sum(), abs=0.01)


def test_the_first_face_wears_the_same_with_and_without_bystanders_and_they_something_else():
    faces = [face(60, 120, 80), face(60, 270, 90)]
    wardrobe = Wardrobe.open(load_recipe("lfw-masked"))
    kinds = []
    for number in range(20):
        both = mask_faces(picture(), faces, wardrobe, f"{number}", 0).placements
        (alone,) = mask_faces(picture(), faces[:1], wardrobe, f"{number}", 0).placements
        assert (alone.asset_id, alone.colour, alone.parameters) == (
            both[0].asset_id, both[0].colour, both[0].parameters,
        )  # fmt: skip
        kinds.append((both[0].asset_id, both[0].colour) != (both[1].asset_id, both[1].colour))
    assert sum(kinds) > 12


def test_order_and_another_seed():
    wardrobe, faces = Wardrobe.open(load_recipe("lfw-masked")), [face(60, 150, 90)]
    paths = [f"{number}.png" for number in range(12)]
    forward = {path: mask_faces(picture(), faces, wardrobe, path, 1) for path in paths}
    for path in reversed(paths):
        again = mask_faces(picture(), faces, Wardrobe.open(load_recipe("lfw-masked")), path, 1)
        assert np.array_equal(again.image, forward[path].image)
        assert to_json(again.placements) == to_json(forward[path].placements)
    other = [to_json(mask_faces(picture(), faces, wardrobe, path, 2).placements) for path in paths]
    assert all(to_json(forward[path].placements) != text for path, text in zip(paths, other, strict=True))


def test_the_recipes_jitter_is_used():
    faces = [face(60, 150, 90)]
    nist = Wardrobe.open(load_recipe("nist6b"))
    for placement in (mask_faces(picture(), faces, nist, str(k), 0).placements[0] for k in range(5)):
        assert [placement.parameters[key] for key in ("across", "down", "scale", "roll")] == [0, 0, 1, 0]
    maskinv = Wardrobe.open(load_recipe("maskinv"))
    shifted = [mask_faces(picture(), faces, maskinv, str(k), 0) for k in range(40)]
    down = [masked.placements[0].parameters["down"] for masked in shifted]
    assert 0.05 < max(np.abs(down)) <= 0.0874 and {m.placements[0].parameters["roll"] for m in shifted} == {0}
    assert len({masked.placements[0].colour for masked in shifted}) == 40


def test_placements_that_are_none_are_refused():
    masked = mask_faces(picture(), [face(60, 150, 90)], two_slots(), "a", 0)
    rows = json.loads(to_json(masked.placements))
    assert {"style", "size", "colour", "parameters"} <= set(rows[0])
    for change in ({"style": "sideways"}, {"size": "large"}, {"control_points": [[0, 0, 0]]}):
        with pytest.raises(ManifestError, match="not a placement"):
            from_json(json.dumps([{**rows[0], **change}]))
    with pytest.raises(ManifestError, match="not a placement"):
        from_json(json.dumps([{key: rows[0][key] for key in rows[0] if key != "size"}]))
    unknown = replace(masked.placements[0], coverage=math.nan)
    assert math.isnan(from_json(to_json([unknown]))[0].coverage)


def test_one_picture_in_memory_takes_the_same_options(mannequin):
    drawn = apply_mask(mannequin, recipe="styles", style="under-nose", colour="black", seed=5)
    assert drawn.placement.style == "under-nose" and drawn.placement.colour == "black"
    shaped = apply_mask(mannequin, coverage="low", shape="round", colour="red")
    assert shaped.placement.asset_id == "nist-round-low" and shaped.placement.colour == "red"
    small = apply_mask(mannequin, "surgical", fraction=0.2)
    assert small.placement.size < 0.8 and small.placement.coverage == pytest.approx(0.2, abs=0.05)
    drawn = {apply_mask(mannequin, seed=seed).placement.parameters["entry"] for seed in range(12)}
    assert 3 <= len(drawn) and drawn <= {entry.name for entry in load_recipe("worn").mix}, "without options: worn"
    with pytest.raises(MaskbenchError, match="mask n95 has no colour black"):
        apply_mask(mannequin, "n95", colour="black")
    assert resolve_recipe(recipe=load_recipe("ar1")).name == "ar1", "a recipe itself will do as well"
