"""Whom a recognizer was trained on, against a protocol's people."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_fixture import make_protocol

from maskbench.errors import RecognizerError
from maskbench.recognizers.dummy import DummyRecognizer
from maskbench.recognizers.flip import FlipSum
from maskbench.recognizers.training import read_training_subjects, subject_overlap


def test_the_list_beside_a_network(tmp_path: Path):
    network = tmp_path / "net.v2.onnx"
    assert read_training_subjects(network) is None
    (tmp_path / "net.v2.subjects.txt").write_text("# people of the training set\ns001\n\n  Zoë A. \ns001\n", "utf-8")
    assert read_training_subjects(network) == {"s001", "Zoë A."}
    (tmp_path / "net.v2.subjects.txt").write_text("# nobody\n")
    with pytest.raises(RecognizerError, match="net.v2.subjects.txt: lists no subject"):
        read_training_subjects(network)
    (tmp_path / "net.v2.subjects.txt").write_bytes(b"s1\n\xff\n")
    with pytest.raises(RecognizerError, match="subjects.txt:2: not UTF-8"):
        read_training_subjects(network)


def test_overlap_is_counted_or_unknown():
    recognizer, protocol = DummyRecognizer(), make_protocol(subjects=12)
    assert subject_overlap(recognizer, protocol) == "unknown"
    recognizer.training_subjects = frozenset({"s001", "s007", "somebody else"})
    assert subject_overlap(recognizer, protocol) == "2 of 12"
    assert subject_overlap(FlipSum(recognizer), protocol) == "2 of 12"
    recognizer.training_subjects = frozenset({"x"})
    assert subject_overlap(recognizer, protocol) == "0 of 12"
