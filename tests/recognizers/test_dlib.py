"""The default recognizer: engines against each other, against dlib itself, and its cache."""

from importlib import metadata

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from maskbench.align import TEMPLATES, align_face
from maskbench.digest import file_sha256
from maskbench.errors import RecognizerError
from maskbench.models.dlib_weights import read_dlib_weights
from maskbench.recognizers import dlib_resnet
from maskbench.recognizers.base import checked_embed, load_recognizer, network_digest


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache folder for this module, so that the network is exported once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MASKBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    """Ten smooth random pictures of 150 x 150."""
    rng = np.random.default_rng(8)
    coarse = rng.integers(0, 256, (10, 12, 12, 3), np.uint8)
    return np.stack([cv2.resize(picture, (150, 150), interpolation=cv2.INTER_CUBIC) for picture in coarse])


@pytest.fixture(scope="module")
def recognizer():
    return load_recognizer("dlib-resnet", device="cpu")


def test_spec_and_installed_weights(recognizer):
    path = dlib_resnet.weights_path()
    assert path.stat().st_size == 22_466_066
    weights = read_dlib_weights(path)
    assert sum(value.size for value in weights.values()) == recognizer.spec.parameters == 5_614_592
    assert recognizer.spec.weights_sha256 == file_sha256(path)
    assert recognizer.spec.comparator == "negative-l2" and recognizer.spec.licence == "CC0-1.0"
    assert TEMPLATES[recognizer.spec.template].size == recognizer.spec.input_size == (150, 150)
    assert all(value.std() > 1e-4 for name, value in weights.items() if name.endswith("weight"))


def test_operations_are_those_that_torch_counts(recognizer):
    from maskbench.models.dlib_resnet import DlibResNet
    from maskbench.models.flops import count_flops

    assert recognizer.spec.flops == count_flops(DlibResNet(), recognizer.spec.input_size)
    assert "public domain" in recognizer.spec.terms and "dlib-models" in recognizer.spec.source


def test_engines_agree(recognizer, chips):
    other = load_recognizer("dlib-resnet", device="cpu", engine="torch")
    first, second = checked_embed(recognizer, chips)[0], checked_embed(other, chips)[0]
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.linalg.norm(first[0] - first[1]) > 0.01  # and they say something
    assert (recognizer.spec.engine, other.spec.engine) == ("onnxruntime:CPUExecutionProvider", "torch:cpu")


def test_embeddings_belong_to_the_bytes_that_run(recognizer, cache, monkeypatch):
    (path,) = cache.glob("onnx/*.onnx")
    assert recognizer.network_id == file_sha256(path) != recognizer.spec.weights_sha256
    torch_digests = set()
    for number in (1, 2):
        monkeypatch.setattr(dlib_resnet, "EXPORT_VERSION", number)
        torch_digests.add(network_digest(load_recognizer("dlib-resnet", device="cpu", engine="torch")))
    assert len(torch_digests) == 2


def test_damaged_cache_is_made_again(recognizer, cache, chips):
    (path,) = cache.glob("onnx/*.onnx")
    good, vectors = path.read_bytes(), recognizer.embed(chips[:1])[0]
    for damaged in (good[:1000], good[:-5000] + b"\0" * 5000, b""):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(load_recognizer("dlib-resnet", device="cpu").embed(chips[:1])[0], vectors)
        assert path.read_bytes() == good
    path.with_name(path.name + ".sha256").unlink()
    load_recognizer("dlib-resnet", device="cpu")
    assert path.with_name(path.name + ".sha256").is_file()
    assert len(list(path.parent.iterdir())) == 2


def test_a_good_cache_needs_no_torch(recognizer, monkeypatch):
    def fail():
        raise AssertionError("exported again")

    monkeypatch.setattr(dlib_resnet, "_export", fail)
    assert load_recognizer("dlib-resnet", device="cpu").spec.name == "dlib-resnet"


def test_a_cache_that_cannot_be_written_to_does_no_harm(monkeypatch, tmp_path, recognizer, chips):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MASKBENCH_CACHE", str(tmp_path / "file"))
    again = load_recognizer("dlib-resnet", device="cpu")
    np.testing.assert_array_equal(again.embed(chips[:1])[0], recognizer.embed(chips[:1])[0])


def test_other_weights_are_refused(monkeypatch, tmp_path):
    other = tmp_path / dlib_resnet.FILE
    other.write_bytes(b"something else")
    monkeypatch.setattr(dlib_resnet, "weights_path", lambda: other)
    with pytest.raises(RecognizerError, match=r"has SHA-256 \w{64} instead of 55533b28\w{56}; pip install"):
        load_recognizer("dlib-resnet", engine="torch")


def test_missing_package_is_named(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(dlib_resnet, "files", nothing)
    with pytest.raises(RecognizerError, match="not installed; pip install face-recognition-models"):
        dlib_resnet.weights_path()
    monkeypatch.setattr(dlib_resnet, "files", lambda name: [])
    with pytest.raises(RecognizerError, match="has no dlib_face_recognition_resnet_model_v1.dat"):
        dlib_resnet.weights_path()


def dlib_vectors(pictures: np.ndarray) -> np.ndarray:
    """The vectors of dlib's own implementation."""
    dlib = pytest.importorskip("dlib")
    network = dlib.face_recognition_model_v1(str(dlib_resnet.weights_path()))
    return np.array([network.compute_face_descriptor(np.ascontiguousarray(picture)) for picture in pictures])


@pytest.mark.slow
def test_dlib_itself_gives_the_same_on_patterns(recognizer, chips):
    np.testing.assert_allclose(checked_embed(recognizer, chips)[0], dlib_vectors(chips), atol=1e-5)


@pytest.mark.slow
def test_dlib_itself_gives_the_same_on_faces(recognizer, data_root):
    paths = sorted((data_root / "faces" / "lfw112").glob("*/*_0001.jpg"))[::300]
    points = TEMPLATES["arcface112"].points
    crops = [align_face(cv2.imread(str(path))[..., ::-1], points, TEMPLATES["dlib150"]) for path in paths]
    assert len(crops) > 10
    np.testing.assert_allclose(checked_embed(recognizer, np.stack(crops))[0], dlib_vectors(crops), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_gpu_agrees_with_the_processor(recognizer, chips, engine):
    on_gpu = load_recognizer("dlib-resnet", device="cuda", engine=engine)
    np.testing.assert_allclose(on_gpu.embed(chips)[0], recognizer.embed(chips)[0], atol=1e-4)
