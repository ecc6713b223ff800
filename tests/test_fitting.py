"""Training faces and the options that make systems."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskbench import fitting, systems
from maskbench.align import template_at
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.fitting import refuse_shared_pictures, training_faces, training_files
from maskbench.inventory import take_inventory
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import make_folders
from maskbench.recognizers.dummy import DummyRecognizer
from maskbench.recognizers.training import overlap_with
from maskbench.results import read_result
from maskbench.systems import Bench, SystemOptions, check_completions, load_models, open_models


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


def test_pictures_of_the_protocol_are_never_fitted_on(crop_folder, tmp_path: Path):
    faces, others = crop_folder(8), crop_folder(16, "others")
    synthesize(faces, tmp_path / "masked", SynthesisConfig(landmarks="aligned"), 1)
    inventory = take_inventory(make_folders(faces, 8), faces, tmp_path / "masked")
    with pytest.raises(MaskbenchError, match="8 of its pictures belong to protocol .*fitted on what it is tested on"):
        refuse_shared_pictures(others, inventory)  # its first eight pictures are the same files
    with pytest.raises(MaskbenchError, match="fitted on what it is tested on"):
        refuse_shared_pictures(tmp_path / "masked", inventory)
    for number in range(4):
        shutil.rmtree(others / f"Subject_{number:03d}")
    refuse_shared_pictures(others, inventory)


def test_training_faces_are_read_once_and_again_when_a_file_changes(crop_folder, monkeypatch):
    folder = crop_folder(6)
    first = training_faces(folder, "arcface112", (112, 112))
    monkeypatch.setattr(fitting, "_read", lambda *_: pytest.fail("read again"))
    assert training_faces(folder, "arcface112", (112, 112)) is first
    assert not first.faces.flags.writeable
    monkeypatch.undo()
    (folder / "Subject_000" / "Subject_000_0001.png").unlink()
    assert len(training_faces(folder, "arcface112", (112, 112)).faces) == 5


def test_subjects_are_the_same_at_another_depth(crop_folder, tmp_path: Path):
    deep = tmp_path / "deep"
    deep.mkdir()
    shutil.move(crop_folder(6), deep / "people")
    found = training_faces(deep, "arcface112", (112, 112))
    assert set(found.subjects.tolist()) == {"Subject_000", "Subject_001", "Subject_002"}
    protocol = make_folders(crop_folder(8, "test"), 8)
    assert overlap_with(set(found.subjects.tolist()), protocol) == "3 of 4"
    assert overlap_with({"Subject_003"}, replace_subjects(protocol, "far/")) == "1 of 4"
    assert overlap_with(None, protocol) == "unknown"


def replace_subjects(protocol, prefix: str):
    samples = {key: replace(s, subject_id=prefix + s.subject_id) for key, s in protocol.samples.items()}
    return replace(protocol, samples=samples)


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
    inventory = take_inventory(protocol, faces, masked)
    (stored,) = (tmp_path / "cache" / "fitted").rglob("pca.safetensors")
    for damage in (None, b"", stored.read_bytes()[:-1]):
        if damage is not None:
            stored.write_bytes(damage)
        again = load_models(["pca"], Bench(options, inventory, tmp_path / "cache"))[0]
        assert again.spec.weights_sha256 == result.recognizer["weights_sha256"]
    assert load_models(["pca"], Bench(options, inventory))[0].spec == again.spec


def test_a_fitted_completion_differs_with_its_training_faces(scene, tmp_path: Path):
    protocol, faces, masked, others = scene
    digests = []
    for limit in (20, 40):
        options = EvaluationOptions(
            workers=1, fit_on=others, fit_limit=limit, completion="mean-face", mask_source="oracle"
        )
        (folder,) = evaluate(protocol, ["dummy"], faces, masked, tmp_path / str(limit), options, tmp_path / "cache")
        digests.append(read_result(folder / "result.json").digests["completion"])
        about = read_result(folder / "result.json").environment
        assert about["completion_fit_on"].startswith(f"others: {limit} faces") and about["mask_dilate"] == "1"
        assert about["completion_subject_overlap"] == "0 of 8" and '"match": "channels"' in about["completion_settings"]
    assert digests[0] != digests[1]
    with pytest.raises(MaskbenchError, match="fitted on what it is tested on"):
        evaluate(protocol, ["dummy"], faces, masked, tmp_path / "x", replace(options, fit_on=faces), None)


def test_what_lacks_faces_to_fit_on_is_told_at_once(tmp_path: Path):
    for call in (lambda o: open_models(["pca"], o), lambda o: check_completions(["telea", "mean-face"], o)):
        with pytest.raises(MaskbenchError, match="--fit-on"):
            call(SystemOptions())
    with pytest.raises(MaskbenchError, match="did you mean"):
        check_completions(["mean-fase"], SystemOptions())
    with pytest.raises(MaskbenchError, match="has no weights in this version"):
        check_completions(["gfc"], SystemOptions())


def test_the_folder_to_fit_on_is_compared_once_for_all_that_is_fitted(scene, tmp_path: Path, monkeypatch):
    protocol, faces, masked, others = scene
    calls = []
    monkeypatch.setattr(systems, "refuse_shared_pictures", lambda *given: calls.append(given))
    options = EvaluationOptions(workers=1, fit_on=others, completion="mean-face", mask_source="oracle")
    evaluate(protocol, ["pca", "sr", "dummy"], faces, masked, tmp_path / "r", options, tmp_path / "cache")
    assert [folder for folder, _ in calls] == [others]


def test_a_recognizer_that_is_loaded_is_as_good_as_its_name(scene, tmp_path: Path):
    protocol, faces, masked, _ = scene
    options, results = EvaluationOptions(workers=1), []
    for name, model in (("a", "dummy"), ("b", DummyRecognizer())):
        (folder,) = evaluate(protocol, [model], faces, masked, tmp_path / name, options, None)
        results.append(read_result(folder / "result.json"))
    assert results[0].metrics == results[1].metrics and results[0].digests == results[1].digests


def test_models_are_opened_by_name(tmp_path: Path):
    options = SystemOptions(fit_on=tmp_path)
    opened = open_models(["pca", "dummy"], options)
    assert list(opened) == ["pca", "dummy"] and opened["pca"] == "pca" and opened["dummy"].spec.name == "dummy"
    assert open_models(["nobody", "dummy"], options, all_of_them=False)["nobody"] == "nobody"
    with pytest.raises(MaskbenchError, match='no recognizer named "nobody"'):
        open_models(["nobody", "dummy"], options)
    with pytest.raises(MaskbenchError, match="model dummy is named twice"):
        open_models(["dummy", "pca", "dummy"], options)
