"""The whole of masked LFW: figures that another implementation measured on the same files must come out again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import make_lfw
from maskbench.recognizers.card import draft_card
from maskbench.results import load_run
from maskbench.types import Status

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(data_root: Path, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("lfw")
    faces = data_root / "faces" / "lfw112"
    protocol = make_lfw(faces, data_root / "protocols" / "lfw_pairs.txt")
    summary = synthesize(faces, root / "masked", SynthesisConfig(), 2, cache=root / "cache")
    network = Path(shutil.copy(data_root / "weights" / "mobilefacenet128.onnx", root))
    network.chmod(0o644)
    network.with_suffix(".json").write_text(json.dumps(draft_card(network) | {"mean": 127.5, "std": 128.0}))
    models = ["dlib-resnet", f"onnx:{network}"]
    folders = evaluate(protocol, models, faces, root / "masked", root / "results", EvaluationOptions(), root / "cache")
    return protocol, summary, {folder.name: load_run(folder / "result.json") for folder in folders}


def test_every_crop_is_masked_and_no_comparison_is_lost(runs):
    protocol, summary, found = runs
    assert summary.counts == {"masked": 7701, "failed": 0, "skipped": 0}
    assert sum(n for name, n in summary.by_landmarks.items() if name.startswith("mediapipe")) > 7600
    for run in found.values():
        assert len(run.scores.scores) == len(protocol.pairs) == 18_000
        assert (run.scores.status == Status.OK).all() and np.isfinite(run.scores.scores).all()


@pytest.mark.parametrize(("model", "expected"), [("mobilefacenet128", 0.9933), ("dlib-resnet", 0.9887)])
def test_unmasked_accuracy_is_the_published_one(runs, model: str, expected: float):
    accuracy = runs[2][model].result.metrics["UMR-UMP"]["accuracy_10fold"]
    assert accuracy["mean"] == pytest.approx(expected, abs=0.003) and accuracy["std"] < 0.005


def test_masks_cost_accuracy_and_a_threshold_from_unmasked_faces_does_not_hold(runs):
    for name, run in runs[2].items():
        metrics = run.result.metrics
        plain = metrics["UMR-UMP"]["fmr100"]["fnmr_including_failures"]
        for condition in ("UMR-MP", "MR-MP"):
            assert metrics[condition]["fmr100"]["fnmr_including_failures"] > 5 * plain, (name, condition)
        # Masks make strangers look alike when both wear one; what one mask alone does differs between recognizers.
        assert metrics["MR-MP"]["transferred"]["fmr100"]["fmr"] > 0.05, name
