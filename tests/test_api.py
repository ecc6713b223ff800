from __future__ import annotations

import numpy as np
import pytest

import maskbench
from maskbench.errors import ImageError


@pytest.mark.parametrize("name", maskbench.__all__)
def test_every_public_name_can_be_had_and_is_documented(name: str):
    value = getattr(maskbench, name)
    assert name == "__version__" or (callable(value) and value.__doc__)


def test_public_functions_win_over_submodules_of_the_same_name():
    import maskbench.evaluation
    import maskbench.leaderboard

    assert callable(maskbench.evaluate) and callable(maskbench.synthesize) and maskbench.leaderboard


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'mask'"):
        _ = maskbench.mask


def test_apply_mask_to_an_array(mannequin: np.ndarray):
    before = mannequin.copy()
    drawn = maskbench.apply_mask(mannequin, mask="surgical", seed=3)
    assert np.array_equal(mannequin, before)
    assert drawn.placement.asset_id == "surgical" and 0.3 < drawn.placement.coverage < 0.7
    untouched = drawn.alpha == 0
    assert np.array_equal(drawn.image[untouched], mannequin[untouched]) and (drawn.alpha > 200).mean() > 0.05
    again = maskbench.apply_mask(mannequin, mask="surgical", seed=3)
    assert np.array_equal(drawn.image, again.image)
    assert {maskbench.apply_mask(mannequin, seed=seed).placement.asset_id for seed in range(12)} > {"surgical"}


def test_apply_mask_refuses_what_is_no_picture_or_shows_no_face():
    with pytest.raises(ImageError, match="uint8 is needed"):
        maskbench.apply_mask(np.zeros((50, 50), np.uint8))
    with pytest.raises(ImageError, match="an array is needed, not str"):
        maskbench.apply_mask("portrait.jpg")
    with pytest.raises(ImageError, match="no face found"):
        maskbench.apply_mask(np.full((300, 300, 3), 80, np.uint8))
