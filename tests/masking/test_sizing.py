"""Sizes that reach a wanted share of the face: on drawn faces, and on average over photographs."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root
from maskbench.images import read_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.faces import mask_faces
from maskbench.masking.recipes import load_recipe, resolve_recipe
from maskbench.masking.sizing import (
    INTER_OCULAR,
    OPEN_MOUTH,
    POSES,
    SIZES,
    coverage,
    posed_face,
    size_for_fraction,
)
from maskbench.masking.synthesis import SynthesisConfig, config_dict
from maskbench.masking.wardrobe import Wardrobe


def photographs(root, folder: str, count: int):
    """Evenly chosen photographs with their largest face."""
    paths = sorted(path for path in (root / "faces" / folder).rglob("*") if path.suffix in (".jpg", ".webp"))
    landmarker = CachedLandmarker("mediapipe", root=cache_root())
    for index in np.unique(np.linspace(0, len(paths) - 1, count).astype(int)):
        image = read_image(paths[index])
        if found := landmarker.detect(image, file_sha256(paths[index])):
            yield paths[index].name, image, found[0]


def shares(faces, wardrobe):
    return np.array([
        mask_faces(image.copy(), [face], wardrobe, name, 0).covered_fraction for name, image, face in faces
    ])


def test_more_size_covers_more_and_the_share_is_reached_to_a_hundredth():
    asset = select_assets("surgical")[0]
    covered = [coverage(asset, "correct", size) for size in SIZES]
    assert (np.diff(covered) > 0).all() and 0 < covered[0] < 0.1 < 0.5 < covered[-1] < 1
    for wanted in (0.12, 0.2, 0.33, covered[0]):
        size = size_for_fraction(asset, wanted)
        assert size == round(size, 2)
        # Measured at that very size, which lies between those that the curve is made of.
        assert coverage(asset, "correct", size) == pytest.approx(wanted, abs=0.01)
    assert size_for_fraction(asset, 0.15) < size_for_fraction(asset, 0.25) < size_for_fraction(asset, 0.4)
    assert size_for_fraction(asset, 0.15, "under-nose") > size_for_fraction(asset, 0.15)


def test_a_share_that_no_size_reaches_is_refused():
    asset = select_assets("nist-round-low")[0]
    with pytest.raises(MaskbenchError, match="mask nist-round-low cannot cover 0.9 of the face, worn correct: it"):
        size_for_fraction(asset, 0.9)
    with pytest.raises(MaskbenchError, match="mask nist-round-low cannot cover 0.001"):
        size_for_fraction(asset, 0.001)
    with pytest.raises(MaskbenchError, match="cannot cover 0.9"):
        Wardrobe.open(resolve_recipe(mask="nist-round-low", fraction=0.9)).sizes()


@pytest.mark.slow
def test_every_mask_of_the_deocclusion_recipe_can_be_sized():
    sizes = Wardrobe.open(load_recipe("deocclusion")).sizes()
    assert len(sizes) > 45, "the paper has 45"
    assert all(0.25 <= size <= 1.75 for ways in sizes.values() for size in ways.values())


def test_masks_that_are_worn_together_share_the_fraction():
    recipe = load_recipe("worn")
    one = recipe.mix[0].wear[0]
    two = replace(recipe, fraction=0.3, mix=(replace(recipe.mix[0], wear=(one, one)),))
    asset = select_assets("surgical")[0]
    assert {choice.size for choice in Wardrobe.open(two).choose(0, "a")} == {size_for_fraction(asset, 0.15)}
    assert Wardrobe.open(recipe).choose(0, "a")[0].size == 1.0, "without a fraction masks keep their own size"


def test_sizes_are_measured_once_and_handed_to_workers():
    config = SynthesisConfig(mask="surgical,n95", style=("correct", "under-nose"), fraction=0.2, seed=4)
    fixed = config.fixed()
    assert set(fixed.sizes) == {"n95", "surgical"} and set(fixed.sizes["n95"]) == {"correct", "under-nose"}
    assert fixed.seed == 4 and fixed.resolve() == config.resolve() == fixed.fixed().resolve()
    assert config_dict(fixed) == config_dict(config)
    other = replace(fixed, sizes={"n95": {"correct": 0.51, "under-nose": 0.52}, "surgical": fixed.sizes["surgical"]})
    drawn = [other.wardrobe().choose(0, str(number))[0] for number in range(30)]
    assert {c.size for c in drawn if c.asset.asset_id == "n95"} == {0.51, 0.52}, "what is known is not measured again"
    assert SynthesisConfig(mask="n95").fixed().sizes == {}
    assert pickle.loads(pickle.dumps(fixed)).resolve() == fixed.resolve(), "processes are handed it"


def test_the_measured_faces_are_turned_and_seen_whole():
    for pose in POSES:
        points = posed_face(*pose)
        assert points.shape == (468, 3) and points[:, :2].min() > 10 and points[:, :2].max() < 250
    one, straight, other = (posed_face(yaw, 0)[1, 0] for yaw in (-25, 0, 25))  # the tip of the nose
    assert abs(one - straight) > 8 and one + other == pytest.approx(2 * straight)
    assert abs(posed_face(0, 10)[1, 1] - posed_face(0, -10)[1, 1]) > 3
    lips = posed_face(0, 0)[[13, 152], 1] - posed_face(0, 0)[10, 1]
    shut = (canonical_face()[[13, 152], 1] - canonical_face()[10, 1]) * INTER_OCULAR
    assert lips - shut == pytest.approx([0.01 * INTER_OCULAR, OPEN_MOUTH * INTER_OCULAR], abs=0.03 * INTER_OCULAR)


@pytest.mark.parametrize("folder", ["lfw_gray250", "celeba256"])
def test_a_fifth_of_real_faces_is_covered_on_average(data_root, folder):
    faces = list(photographs(data_root, folder, 60))
    assert len(faces) > 50
    for mask in ("surgical", "n95"):
        covered = shares(faces, Wardrobe.open(resolve_recipe(mask=mask, fraction=0.2)))
        assert covered.mean() == pytest.approx(0.2, abs=0.02), mask


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.2, 0.35])
def test_a_thousand_real_faces_are_covered_as_asked(data_root, fraction):
    """Within 0.02 of the asked share on average, drawn by a recipe."""
    wardrobe = Wardrobe.open(resolve_recipe(recipe="lfw-masked", fraction=fraction))
    covered = shares(photographs(data_root, "lfw_gray250", 1000), wardrobe)
    assert len(covered) > 950
    assert covered.mean() == pytest.approx(fraction, abs=0.02)


@pytest.mark.slow
def test_the_deocclusion_recipe_covers_a_fifth_of_a_thousand_real_faces(data_root):
    wardrobe = Wardrobe.open(load_recipe("deocclusion"))
    covered = shares(photographs(data_root, "lfw_gray250", 1000), wardrobe)
    assert covered.mean() == pytest.approx(0.2, abs=0.02)
