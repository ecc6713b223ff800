"""Wrong files given to evaluate: one line that names the file and the remedy, code 2, and no result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from maskbench.classical import fit_classical, save_fitted
from maskbench.cli.main import main
from maskbench.digest import bytes_sha256
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import make_folders, write_protocol


@pytest.fixture
def evaluate(crop_folder, tmp_path: Path, capsys):
    """Runs evaluate on a small scene; returns the one line that it complains with."""
    faces = crop_folder(12)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    write_protocol(make_folders(faces, 12), tmp_path / "protocol")

    def run(*arguments: object) -> str:
        scene = ["--protocol", tmp_path / "protocol", "--faces", faces, "--masked", tmp_path / "masked"]
        with pytest.raises(SystemExit) as end:
            main(["evaluate", *map(str, (*scene, "--out", tmp_path / "out", "--workers", 1, *arguments))])
        said = capsys.readouterr()
        assert end.value.code == 2, said
        assert len(said.err.splitlines()) == 1 and not (tmp_path / "out").exists()
        return said.err

    return run


def test_a_file_in_a_folders_place(evaluate, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("x")
    for completion in ("none", "telea"):
        given = ("--model", "dummy", "--completion", completion, "--mask-source", "file", "--mask-files")
        assert f"{file}: not a folder; give the folder of the mask files" in evaluate(*given, file)
        assert "no such folder" in evaluate(*given, tmp_path / "absent")
    for given in (("--model", "pca"), ("--model", "dummy", "--completion", "mean-face")):
        assert f"{file}: not a folder; give a folder of faces" in evaluate(*given, "--fit-on", file)


def test_a_single_picture_to_fit_on(evaluate, crop_folder, tmp_path: Path):
    others = crop_folder(14, "others")
    for number in range(6):
        shutil.rmtree(others / f"Subject_{number:03d}")
    next(others.rglob("*.png")).unlink()
    said = evaluate("--model", "pca", "--fit-on", others)
    assert f"{others}: pca cannot be fitted on it: 1 training faces; give two or more (--fit-on)" in said


def test_an_empty_network(evaluate, tmp_path: Path):
    network = tmp_path / "zero.onnx"
    network.write_bytes(b"")
    assert f"{network}: empty file; get it again" in evaluate("--model", f"onnx:{network}")


@pytest.fixture
def fitted(tmp_path: Path) -> bytes:
    """The bytes of a fitted recognizer whose card is model.json."""
    faces = np.random.default_rng(1).integers(0, 256, (6, 112, 112, 3), np.uint8)
    save_fitted(fit_classical("pca", faces), tmp_path / "model.safetensors")
    return (tmp_path / "model.safetensors").read_bytes()


def with_about(data: bytes, change) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["maskbench"] = change(header["__metadata__"]["maskbench"])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: data[:20],
        lambda data: data[: len(data) // 2],
        lambda data: (2**40).to_bytes(8, "little") + data[8:],
        lambda data: (2**64 - 1).to_bytes(8, "little") + data[8:],
        lambda data: with_about(data, lambda text: "[" * 100_000),
        lambda data: with_about(data, lambda text: json.dumps({**json.loads(text), "options": [1]})),
        lambda data: with_about(data, lambda text: json.dumps({**json.loads(text), "method": ["pca"]})),
    ],
)
def test_a_damaged_fitted_recognizer(evaluate, fitted: bytes, damage, tmp_path: Path):
    """Also where the card was made anew, so that the SHA-256 does not tell."""
    path, card = tmp_path / "model.safetensors", tmp_path / "model.json"
    path.write_bytes(damage(fitted))
    assert f"{path} has SHA-256" in evaluate("--model", f"fitted:{path}")
    card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": bytes_sha256(path.read_bytes())}))
    said = evaluate("--model", f"fitted:{path}")
    assert f"error: {path}: " in said and "fit it again" in said


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, "{}", '{"masks": []}', '{"masks": "abc"}', '{"masks": {}}', '{"masks": null}'],
    ids=range(9),
)
def test_a_damaged_configuration_of_a_masked_set(evaluate, text: str, tmp_path: Path):
    path = tmp_path / "masked" / "synthesis.json"
    path.write_text(text)
    said = evaluate("--model", "dummy", "--completion", "telea", "--mask-source", "oracle")
    assert str(path) in said and "synthesize again" in said
