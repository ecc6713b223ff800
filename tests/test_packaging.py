"""What is outside the package folder must ship in it, by wheel and by editable install."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = (
    "maskbench/data/canonical468.json",
    "maskbench/data/mannequin-1-hazel.jpg",
    "maskbench/data/LICENSE-mannequin.txt",
)


def test_the_installed_package_finds_its_data():
    assert (files("maskbench.mask_assets") / "surgical" / "asset.json").is_file()
    assert files("maskbench.protocol_data").is_dir()
    assert (files("maskbench.data") / "canonical468.json").is_file()
    assert (files("maskbench.data") / "demo-people" / "people.csv").is_file()
    assert (files("maskbench.protocol_data") / "demo-people" / "protocol.yaml").is_file()


@pytest.mark.slow
def test_the_wheel_holds_masks_data_and_every_module(tmp_path: Path):
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    names = [name for name in tracked.stdout.split("\0") if name]
    for name in names:  # a copy, so that building leaves nothing in the tree
        target = tmp_path / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((REPOSITORY / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=tmp_path / "tree", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {name for name in names if name.startswith("maskbench/") and name.endswith(".py")}
    masks = {f"maskbench/{name}" for name in names if name.startswith("mask_assets/")}
    protocols = {
        f"maskbench/protocol_data/{name.removeprefix('protocols/')}" for name in names if name.startswith("protocols/")
    }
    assert len(masks) > 18 and len(modules) > 60
    data = {name for name in names if name.startswith("maskbench/data/")}
    assert modules | masks | protocols | data | set(DATA) <= inside
    assert not any(name.startswith(("tests/", "tools/")) for name in inside)
