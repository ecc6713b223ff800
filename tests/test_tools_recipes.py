"""The mask recipes of tools/ are recipes."""

from pathlib import Path

import pytest

from maskbench.masking.recipes import resolve_recipe

FILES = sorted((Path(__file__).parents[1] / "tools").glob("*/*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recipe_is_whole(path):
    assert resolve_recipe(recipe=str(path)).name


def test_there_are_some():
    assert len(FILES) >= 6
