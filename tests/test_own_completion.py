"""Recognizers whose cards name the completion that belongs before them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from completion_weights import write_completion

from maskbench import evaluation
from maskbench.cli.main import main
from maskbench.completing import read_completed
from maskbench.digest import bytes_sha256
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.models.export import onnx_bytes
from maskbench.protocols import make_folders, write_protocol
from maskbench.recognizers.base import load_recognizer, spec_digest
from maskbench.recognizers.card import card_of, own_completion, parse_card, read_card
from maskbench.recognizers.dlib_resnet import SPEC
from maskbench.recognizers.dummy import DummyRecognizer
from maskbench.recognizers.flip import FlipSum
from maskbench.recognizers.shipped import trained_weights
from maskbench.results import load_run, read_result
from maskbench.systems import SystemOptions, completion_of
from maskbench.types import RecognizerSpec


@pytest.fixture
def scene(crop_folder, tmp_path: Path):
    """Faces of 6 subjects, their masked copies, and a protocol of them."""
    faces = crop_folder(12)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(mask="surgical", landmarks="aligned"), 1)
    return make_folders(faces, 12), faces, tmp_path / "masked"


def recognizer(folder: Path, name: str, completion: str | None = None) -> str:
    """A reference to a small network whose card names a completion."""
    torch.manual_seed(4)
    data = onnx_bytes(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 8)), (16, 16))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(data)
    values = {
        "name": name, "sha256": bytes_sha256(data), "input_size": [16, 16], "template": "arcface112",
        "colour_order": "RGB", "mean": 127.5, "std": 64, "embedding_size": 8, "comparator": "cosine",
        "parameters": 6152, "training_data": None, "licence": "CC0-1.0", "source": "a test",
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(values | ({"completion": completion} if completion else {})))
    return f"onnx:{folder / name}.onnx"


def run(scene, out: Path, models, store: Path | None = None, **options) -> list[Path]:
    wanted = EvaluationOptions(workers=1, mask_source="oracle", **options)
    return evaluate(scene[0], models, scene[1], scene[2], out, wanted, store)


def scores(folder: Path) -> np.ndarray:
    return load_run(folder / "result.json").scores.scores


# ---------------------------------------------------------------- digests


def test_digests_of_recognizers_are_those_of_before_the_key():
    """Literal digests from before ``completion`` was a part of the specification: caches and results stay valid."""
    weights = "f6cc50066bf6dd8af5e9d0dd772d52340ba2e5089962466dbae4914622eeeecf"  # those that shipped then
    shipped = replace(read_card(trained_weights("maskinv"))[0], weights_sha256=weights)
    plain = RecognizerSpec(
        "x", "0" * 64, (112, 112), "arcface112", "RGB", (127.5,) * 3, (127.5,) * 3, 512, "cosine"
    )
    assert spec_digest(SPEC) == "ebf4eb86b457628b0ee2e9207da9ba8877feb5850ac5f4888410b9085eb62d90"
    assert spec_digest(shipped) == "da804f91ba766b654c0aba8460f93ec8a9a82b6132e39b50d73dfb4de590561d"
    assert spec_digest(plain) == "a43b609e82553084a403d5f180a23faafdd14c79a1fa07d3758619ec8ec939c5"
    # The network's vectors do not depend on it; what is put before it has a digest of its own in every result.
    assert spec_digest(replace(plain, completion="ga")) == spec_digest(plain)


def test_a_result_from_before_the_key_is_still_taken_for_what_it_is(scene, tmp_path):
    folder = run(scene, tmp_path / "out", ["dummy"])[0]
    path = folder / "result.json"
    values = json.loads(path.read_text())
    assert values["recognizer"].pop("completion") == ""
    path.write_text(json.dumps(values))
    run(scene, tmp_path / "out", ["dummy"], keep=True)
    assert "completion" not in json.loads(path.read_text())["recognizer"]


# ---------------------------------------------------------------- cards


def test_a_cards_path_is_its_own_folders(tmp_path):
    write_completion(tmp_path / "a" / "nets", "ga")
    reference = recognizer(tmp_path / "a", "mine", "torch:nets/ga.safetensors")
    found = load_recognizer(reference, "cpu")
    assert found.spec.completion == "torch:nets/ga.safetensors"
    assert found.own_completion == f"torch:{tmp_path / 'a' / 'nets' / 'ga.safetensors'}"
    assert parse_card(card_of(found.spec, found.spec.weights_sha256, "a test"), tmp_path / "x.json").completion == (
        found.spec.completion
    )
    assert FlipSum(found).own_completion == found.own_completion
    spec, card = read_card(tmp_path / "a" / "mine.onnx")
    assert own_completion(replace(spec, completion="telea"), card) == "telea"
    assert own_completion(replace(spec, completion=""), card) == ""


def test_a_checkpoint_knows_its_completion_too(tmp_path):
    from maskbench.models.checkpoints import save_state
    from maskbench.models.zoo import NETWORKS
    from maskbench.recognizers.card import draft_checkpoint_card

    path = tmp_path / "net.safetensors"
    save_state(NETWORKS["mobilefacenet"].build(), path)
    values = draft_checkpoint_card(path, "mobilefacenet")
    path.with_suffix(".json").write_text(json.dumps({**values, "completion": "torch:c.safetensors"}))
    assert load_recognizer(f"torch:{path}", "cpu").own_completion == f"torch:{tmp_path / 'c.safetensors'}"


def test_what_is_put_before_a_recognizer(tmp_path):
    plain = load_recognizer("dummy")
    assert completion_of(plain, SystemOptions()) == "none"
    assert completion_of(plain, SystemOptions(completion="telea")) == "telea"
    named = DummyRecognizer()
    named.spec = replace(named.spec, completion="telea")
    assert completion_of(named, SystemOptions()) == "telea"
    assert completion_of(named, SystemOptions(completion="none")) == "none"
    named.spec = replace(named.spec, completion="torch:c.safetensors")
    with pytest.raises(MaskbenchError, match="nobody knows where its torch:c.safetensors is"):
        completion_of(named, SystemOptions())


# ---------------------------------------------------------------- evaluation


@pytest.fixture
def models(tmp_path):
    """Three recognizers of one network: behind a network, behind telea, behind nothing."""
    home = tmp_path / "models"
    write_completion(home, "ga-noattention", name="mine", size=64, licence="MIT").with_suffix(
        ".subjects.txt"
    ).write_text("Subject_000\n")
    return [
        recognizer(home, "first", "torch:mine.safetensors"), recognizer(home, "second", "telea"),
        recognizer(home, "third"),
    ]  # fmt: skip


def test_every_model_has_its_own_completion(scene, models, tmp_path):
    folders = run(scene, tmp_path / "out", models)
    assert [folder.name for folder in folders] == ["first--mine-oracle", "second--telea-oracle", "third"]
    results = [read_result(folder / "result.json") for folder in folders]
    assert [result.completion for result in results] == ["mine", "telea", "none"]
    assert [result.mask_source for result in results] == ["oracle", "oracle", "none"]
    assert [result.recognizer["completion"] for result in results] == ["torch:mine.safetensors", "telea", ""]
    told = results[0].environment
    assert told["completion_licence"] == "MIT" and len(told["completion_weights"]) == 64
    assert told["completion_subject_overlap"] == "1 of 6"
    assert '"network": "ga-noattention"' in told["completion_settings"]
    assert "completion_weights" not in results[1].environment and "completion_settings" not in results[2].environment
    # The same as when it is asked for, and the three differ in what is before them alone.
    (asked,) = run(scene, tmp_path / "asked", models[2:], completion=f"torch:{tmp_path}/models/mine.safetensors")
    assert asked.name == "third--mine-oracle"
    assert np.array_equal(scores(asked), scores(folders[0]))
    (other,) = run(scene, tmp_path / "asked", models[2:], completion="telea")
    assert np.array_equal(scores(other), scores(folders[1]))
    assert len({scores(folder).tobytes() for folder in folders}) == 3
    assert read_result(asked / "result.json").digests["completion"] == results[0].digests["completion"]


def test_a_completion_of_another_crop_is_carried_into_the_recognizers(scene, models, tmp_path):
    """Faces of dlib's template at a size that is not its own, and a network with options."""
    path = write_completion(tmp_path / "models", "ict", size=144, template="dlib150")
    (plain, folder) = (
        run(scene, tmp_path / name, models[2:], tmp_path / "store", completion=completion)[0]
        for name, completion in (("plain", "none"), ("out", f"torch:{path}"))
    )
    assert folder.name == "third--ict-oracle"
    assert '"prior_width": 16' in read_result(folder / "result.json").environment["completion_settings"]
    assert not np.array_equal(scores(folder), scores(plain)) and np.isfinite(scores(folder)).all()
    crops = [read_completed(file) for file in sorted((tmp_path / "store").rglob("completed/*/*/*.png"))]
    assert crops and {crop.shape for crop, _ in crops} == {(144, 144, 3)}
    covered = [mask.mean() for _, mask in crops]
    assert 0.1 < max(covered) < 0.6  # the surgical mask, carried into this crop


def test_what_is_asked_for_is_taken_for_all(scene, models, tmp_path):
    folders = run(scene, tmp_path / "out", models, completion="none")
    assert [folder.name for folder in folders] == ["first", "second", "third"]
    assert len({scores(folder).tobytes() for folder in folders}) == 1
    folders = run(scene, tmp_path / "out", models, completion="telea")
    assert [folder.name for folder in folders] == [f"{name}--telea-oracle" for name in ("first", "second", "third")]
    assert len({scores(folder).tobytes() for folder in folders}) == 1


def test_models_with_one_completion_share_its_work(scene, models, tmp_path, monkeypatch):
    calls = []
    real = evaluation.complete_inventory

    def counted(inventory, points, occlusion, *rest):
        calls.append(occlusion.completion.spec.name)
        return real(inventory, points, occlusion, *rest)

    monkeypatch.setattr(evaluation, "complete_inventory", counted)
    more = [*models, recognizer(tmp_path / "models", "fourth", "telea")]
    folders = run(scene, tmp_path / "out", more)
    assert calls == ["mine", "telea"]
    assert np.array_equal(scores(folders[1]), scores(folders[3]))
    assert run(scene, tmp_path / "out", more, keep=True) == folders and calls == ["mine", "telea"]


def test_the_engine_is_the_completions_too(scene, models, tmp_path):
    """A recognizer in an ONNX file has one engine; a classical or a dummy one does not mind."""
    completion = f"torch:{tmp_path}/models/mine.safetensors"
    (folder,) = run(scene, tmp_path / "out", ["dummy"], completion=completion, engine="torch")
    assert '"engine": "torch:cpu"' in read_result(folder / "result.json").environment["completion_settings"]


def test_a_completion_that_is_gone_is_told_before_anything_runs(scene, models, tmp_path, monkeypatch):
    (tmp_path / "models" / "mine.safetensors").unlink()
    monkeypatch.setattr(evaluation, "alignment_points", lambda *given: pytest.fail("ran"))
    with pytest.raises(MaskbenchError, match=r"mine\.safetensors: cannot be read") as caught:
        run(scene, tmp_path / "out", models)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_flip_trick_keeps_it(scene, models, tmp_path):
    (folder,) = run(scene, tmp_path / "out", models[:1], flip_sum=True)
    assert folder.name == "first-flip-sum--mine-oracle"


def test_the_command_line(scene, models, tmp_path, capsys):
    protocol, faces, masked = scene
    write_protocol(protocol, tmp_path / "protocol")
    call = ["evaluate", "--protocol", str(tmp_path / "protocol"), "--faces", str(faces), "--masked", str(masked)]
    call += ["--workers", "1", "--mask-source", "oracle", "--out", str(tmp_path / "out")]
    for extra, name in (([], "first--mine-oracle"), (["--completion", "none"], "first")):
        with pytest.raises(SystemExit) as ended:
            main([*call, "--model", models[0], *extra])
        assert not ended.value.code and f"/{name}/result.json" in capsys.readouterr().out
    result = read_result(tmp_path / "out" / protocol.name / "first" / "result.json")
    assert asdict(result)["completion"] == "none"


def test_the_grid_asks_no_card(scene, models, tmp_path):
    from maskbench.grid import GridSet, run_grid

    own = f"torch:{tmp_path}/models/mine.safetensors"
    options = EvaluationOptions(workers=1, mask_source="oracle")
    where = [GridSet("set", *scene)]
    cells = run_grid(where, models[:2], ["none", own], tmp_path / "grid", options, None, lambda line: None)
    assert [(cell.completion, cell.result.completion, cell.reason) for cell in cells] == [
        ("none", "none", ""), ("none", "none", ""), (own, "mine", ""), (own, "mine", ""),
    ]  # fmt: skip


def test_a_grid_with_two_completions_of_one_name_is_refused(tmp_path):
    from maskbench.systems import check_completions

    paths = [write_completion(tmp_path / name, "ga-noattention", seed=seed) for seed, name in enumerate("ab")]
    with pytest.raises(MaskbenchError, match='both call themselves "ga-noattention"'):
        check_completions([f"torch:{path}" for path in paths], SystemOptions())
