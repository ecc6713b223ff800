"""What the masked pictures of the protocol lfw-masked wear must not change under its name."""

from __future__ import annotations

from maskbench.masking.assets import select_assets
from maskbench.masking.recipes import load_recipe

# The first half of each mask's digest, for recipe lfw-masked, version 1. A mask that is drawn anew makes other
# pictures: raise the recipe's version (and the protocol's) together with these.
MASKS = {
    "cloth": "6c8c80076d982097345065619fb032ce",
    "cloth-check": "4b86275d12989cac99e88eded9bf12b7",
    "ffp2": "f08862d0732854c4a3d13e4850cb4d88",
    "kn95": "f05b6133e84ed1eaebc77facdae2accc",
    "n95": "eb3ff1412e3be51732f751b632a69697",
    "surgical": "c96f5216e0690b10086da5abd9c9b386",
}


def test_the_masks_of_lfw_masked_are_those_of_its_version():
    recipe = load_recipe("lfw-masked", 1)
    used = {name for entry in recipe.mix for slot in entry.wear for name in slot.masks}
    assert used == set(MASKS)
    assert {asset.asset_id: asset.sha256[:32] for asset in select_assets(",".join(MASKS))} == MASKS
