"""The default recognizer: dlib's network, with the weights that the package face-recognition-models installs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers.engines import import_engine
from maskbench.recognizers.exported import cached_onnx
from maskbench.recognizers.onnx import OnnxRecognizer, open_session
from maskbench.recognizers.torch import TorchRecognizer
from maskbench.types import Recognizer, RecognizerSpec

PACKAGE = "face-recognition-models"
FILE = "dlib_face_recognition_resnet_model_v1.dat"
WEIGHTS_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
# Raise when the network or its export changes: older files and embeddings in the cache are then left alone.
EXPORT_VERSION = 1

# Preprocessing as dlib stores it in the file; training data, licence and the absence of LFW's people from the
# training set as its author states them in github.com/davisking/dlib-models.
SPEC = RecognizerSpec(
    name="dlib-resnet",
    weights_sha256=WEIGHTS_SHA256,
    input_size=(150, 150),
    template="dlib150",
    colour_order="RGB",
    mean=(122.782, 117.001, 104.298),
    std=(256.0, 256.0, 256.0),
    embedding_size=128,
    comparator="negative-l2",
    parameters=5_614_592,
    training_data=("FaceScrub", "VGG Face", "web images collected by the author"),
    licence="CC0-1.0",
    flops=541_708_288,
    terms="public domain, says their author; how the training pictures were licensed is not stated",
    source="github.com/davisking/dlib-models, by the package face-recognition-models 0.3.0",
)


def weights_path() -> Path:
    """Where the package keeps dlib's file. The package itself is not imported: that needs an old setuptools.

    Raises:
        RecognizerError: the package is not installed, or lacks the file.
    """
    remedy = f"pip install --force-reinstall {PACKAGE}"
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        raise RecognizerError(f"the weights of dlib-resnet are not installed; pip install {PACKAGE}") from None
    for entry in listed:
        if entry.name == FILE:
            path = Path(str(entry.locate()))
            if path.is_file():
                return path
            raise RecognizerError(f"{path}: no such file; {remedy}")
    raise RecognizerError(f"the package {PACKAGE} has no {FILE}; {remedy}")


def checked_weights() -> Path:
    """``weights_path`` after comparing the file's SHA-256.

    Raises:
        RecognizerError: it is missing or another file.
    """
    path = weights_path()
    if (found := file_sha256(path)) != WEIGHTS_SHA256:
        raise RecognizerError(
            f"{path} has SHA-256 {found} instead of {WEIGHTS_SHA256}; pip install --force-reinstall {PACKAGE}==0.3.0"
        )
    return path


def _cached_onnx() -> tuple[bytes, Path]:
    """The network as ONNX bytes, exported on first use, and the file that keeps them."""
    return cached_onnx(f"dlib-resnet-{WEIGHTS_SHA256[:16]}-v{EXPORT_VERSION}", lambda: _export())


def _export() -> bytes:
    """The network with dlib's weights as the bytes of an ONNX file."""
    import_engine("torch")
    from maskbench.models.dlib_resnet import load_dlib_resnet
    from maskbench.models.export import onnx_bytes

    return onnx_bytes(load_dlib_resnet(checked_weights()), SPEC.input_size)


def dlib_resnet(device: str = "auto", engine: str = "onnxruntime") -> Recognizer:
    """dlib's face recognition network on either engine.

    Raises:
        RecognizerError: weights, engine or device are missing.
    """
    if engine == "torch":
        import_engine("torch")
        from maskbench.models.dlib_resnet import load_dlib_resnet

        return TorchRecognizer(load_dlib_resnet(checked_weights()), SPEC, device, f"export {EXPORT_VERSION}")
    import_engine("onnxruntime")
    data, path = _cached_onnx()
    return OnnxRecognizer(open_session(data, path, device), SPEC, path, bytes_sha256(data))
