"""The recognizers that were trained for maskbench, as they are installed."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from maskbench import RandomMask
from maskbench.align import align_face, five_points, template_at
from maskbench.digest import file_sha256
from maskbench.images import read_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.builtin import TRAINED
from maskbench.recognizers.catalogue import entries
from maskbench.recognizers.exporting import export_recognizer
from maskbench.recognizers.shipped import trained_weights

PEOPLE = Path(str(files("maskbench.data") / "demo-people"))


@pytest.fixture(scope="module")
def faces():
    """Sixteen aligned faces, and the same with masks."""
    template, landmarker, masks = template_at("dlib150"), CachedLandmarker("auto"), RandomMask("worn", p=1.0, seed=9)
    bare, masked = [], []
    for path in sorted(PEOPLE.glob("*/*_0001.jpg"))[:16]:
        picture = read_image(path)
        face = landmarker.detect(picture, "")[0]
        bare.append(align_face(picture, five_points(face), template))
        masked.append(align_face(masks(picture, path.name, face), five_points(face), template))
    return np.stack(bare), np.stack(masked)


@pytest.mark.parametrize("name", TRAINED)
def test_weights_card_and_licence(name):
    path = trained_weights(name)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["name"] == name and card["sha256"] == file_sha256(path)
    assert card["licence"].startswith("LicenseRef-maskbench-") and "on-commercial" in card["terms"]
    assert "on-commercial" in (path.parent / "LICENSE.txt").read_text()
    assert path.stat().st_size <= 12_000_000
    about = json.loads((path.parent / "training.json").read_text())
    assert about["training"]["command"] and about["training"]["runs"] and about["metrics"]
    assert all(run["seconds"] > 0 and run["recipe"]["method"] == name for run in about["training"]["runs"])


def test_maskinv_is_listed_and_knows_whom_it_was_trained_on():
    assert next(entry for entry in entries() if entry.name == "maskinv").ready
    assert len(load_recognizer("maskinv", "cpu").training_subjects) == 188


def test_the_engines_agree(faces):
    engines = "onnxruntime", "torch"
    first, second = (load_recognizer("maskinv", "cpu", engine).embed(faces[1])[0] for engine in engines)
    np.testing.assert_allclose(first, second, atol=2e-5)


def test_a_mask_moves_the_template_less_than_the_teachers(faces):
    """On people who do not exist, distances from masked to bare templates in units of those between people."""

    def moved(name: str) -> float:
        bare, masked = (load_recognizer(name, "cpu").embed(pictures)[0] for pictures in faces)
        apart = np.linalg.norm(bare[:, None] - bare[None], axis=2)[~np.eye(len(bare), dtype=bool)].mean()
        return float(np.linalg.norm(bare - masked, axis=1).mean() / apart)

    assert moved("maskinv") < 0.9 * moved("dlib-resnet")


@pytest.mark.parametrize("suffix", ["onnx", "safetensors"])
def test_export_gives_the_same_network(faces, tmp_path, suffix):
    *_, reference = export_recognizer("maskinv", tmp_path / f"student.{suffix}")
    again, ours = load_recognizer(reference, "cpu"), load_recognizer("maskinv", "cpu")
    np.testing.assert_allclose(again.embed(faces[0])[0], ours.embed(faces[0])[0], atol=1e-5)
