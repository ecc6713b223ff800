"""Small training sets of people who do not exist."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from maskbench.cli.main import main

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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So that sums by torch are the same to the bit; a module asks for it by ``pytestmark``."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def begun(done, tmp_path: Path) -> Path:
    """A copy of the folder of a module's run, the first part of its ``done``.

    Checkpoints are large, and training replaces them only: they are links, which a test must not write into.
    """

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith("checkpoint.safetensors") else shutil.copy2)(source, target)

    return Path(shutil.copytree(done[0], tmp_path / "begun", copy_function=copy))


@pytest.fixture
def command(capsys, people: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs ``maskbench train METHOD`` by mistake; returns what it says on its way out with code 2."""

    def run(method: str, *arguments: object) -> str:
        with pytest.raises(SystemExit) as end:
            main(["train", method, "--data", str(people), "--out", str(tmp_path / "out"), *map(str, arguments)])
        assert end.value.code == 2 and not (tmp_path / "out").exists()
        return capsys.readouterr().err

    return run
