"""Small training sets of people who do not exist."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

PEOPLE = Path(str(files("maskbench.data") / "demo-people"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for all training tests: landmarks and templates are found once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of six people, a folder for each."""
    root = tmp_path_factory.mktemp("sets") / "people"
    folders = sorted(folder for folder in PEOPLE.iterdir() if folder.is_dir() and len(list(folder.glob("*.jpg"))) > 1)
    for folder in folders[:6]:
        for picture in sorted(folder.glob("*.jpg"))[:2]:
            (root / folder.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, root / folder.name / picture.name)
    return root


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures without labels."""
    root = tmp_path_factory.mktemp("sets") / "strangers"
    root.mkdir()
    for number, picture in enumerate(sorted(PEOPLE.rglob("*.jpg"))[-8:]):
        shutil.copy(picture, root / f"{number}.jpg")
    return root
