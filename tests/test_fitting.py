"""Training faces and the options that make systems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskbench.align import template_at
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.fitting import refuse_shared_pictures, training_faces, training_files
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import make_folders
from maskbench.results import read_result
from maskbench.systems import SystemOptions, check_completions, check_models, load_models


def test_training_faces_are_the_aligned_pictures_in_order(crop_folder):
    folder = crop_folder(6)
    found = training_faces(folder, "arcface112", (112, 112))
    assert found.faces.shape == (6, 112, 112, 3) and found.faces.dtype == np.uint8 and found.failures == 0
    assert found.subjects.tolist() == [f"Subject_{n // 2:03d}" for n in range(6)]
    again = training_faces(folder, "arcface112", (112, 112))
    assert again.digest == found.digest and np.array_equal(again.faces, found.faces)
    wide = training_faces(folder, "wide128", (128, 128))
    assert wide.digest != found.digest
    shift = template_at("wide128").points[0] - template_at("arcface112").points[0]
    x, y = (int(v) for v in shift)
    inner = wide.faces[:, y : y + 112, x : x + 112]
    assert np.array_equal(inner, found.faces)


def test_a_limit_takes_pictures_evenly_and_a_bad_one_is_left_out(crop_folder, tmp_path: Path):
    folder = crop_folder(10)
    names = training_files(folder, None)
    assert training_files(folder, 5) == names[::2] and training_files(folder, 50) == names
    with pytest.raises(MaskbenchError, match="at least 1"):
        training_files(folder, 0)
    (folder / names[2]).write_bytes(b"no picture")
    found = training_faces(folder, "arcface112", (112, 112))
    assert len(found.faces) == 9 and found.failures == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MaskbenchError, match="no pictures to fit on"):
        training_faces(empty, "arcface112", (112, 112))
    (empty / "a.png").write_bytes(b"no picture")
    with pytest.raises(MaskbenchError, match="none of 1 pictures shows a face"):
        training_faces(empty, "arcface112", (112, 112))


def test_pictures_of_the_protocol_are_never_fitted_on(crop_folder):
    faces, others = crop_folder(8), crop_folder(16, "others")
    protocol = make_folders(faces, 8)
    training = training_faces(others, "arcface112", (112, 112))
    with pytest.raises(MaskbenchError, match="clean originals nothing may be fitted on"):
        refuse_shared_pictures(training, protocol, others)  # its first eight pictures are the same files
    strangers = replace(training, sha256=tuple("f" * 64 for _ in training.sha256))
    refuse_shared_pictures(strangers, protocol, others)


@pytest.fixture
def scene(crop_folder, tmp_path: Path):
    """Faces, their masked copies, a protocol, and a folder of other people."""
    faces = crop_folder(16)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    pictures = crop_folder(60, "others")
    for number in range(8):
        for picture in (pictures / f"Subject_{number:03d}").iterdir():
            picture.unlink()
        (pictures / f"Subject_{number:03d}").rmdir()
    return make_folders(faces, 16), faces, tmp_path / "masked", pictures


def test_classical_recognizers_are_fitted_where_they_are_named(scene, tmp_path: Path):
    protocol, faces, masked, others = scene
    options = EvaluationOptions(workers=1, fit_on=others)
    folders = evaluate(protocol, ["pca", "dummy"], faces, masked, tmp_path / "r", options, tmp_path / "cache")
    result = read_result(folders[0] / "result.json")
    assert result.recognizer["name"] == "pca" and result.recognizer["training_data"] == ["others"]
    assert result.environment["subject_overlap"].startswith("0 of ")
    assert result.metrics["UMR-UMP"]["eer"]["value"] < 0.3
    again = load_models(["pca"], options, protocol, tmp_path / "cache")[0]
    assert again.spec.weights_sha256 == result.recognizer["weights_sha256"]


def test_a_fitted_completion_differs_with_its_training_faces(scene, tmp_path: Path):
    protocol, faces, masked, others = scene
    digests = []
    for limit in (20, 40):
        options = EvaluationOptions(
            workers=1, fit_on=others, fit_limit=limit, completion="mean-face", mask_source="oracle"
        )
        (folder,) = evaluate(protocol, ["dummy"], faces, masked, tmp_path / str(limit), options, tmp_path / "cache")
        digests.append(read_result(folder / "result.json").digests["completion"])
    assert digests[0] != digests[1]
    with pytest.raises(MaskbenchError, match="clean originals"):
        evaluate(protocol, ["dummy"], faces, masked, tmp_path / "x", replace(options, fit_on=faces), None)


def test_what_lacks_faces_to_fit_on_is_told_at_once(tmp_path: Path):
    for call in (lambda o: check_models(["pca"], o), lambda o: check_completions(["telea", "mean-face"], o)):
        with pytest.raises(MaskbenchError, match="--fit-on"):
            call(SystemOptions())
    with pytest.raises(MaskbenchError, match="did you mean"):
        check_completions(["mean-fase"], SystemOptions())
    with pytest.raises(MaskbenchError, match="has no weights in this version"):
        check_completions(["gfc"], SystemOptions())
