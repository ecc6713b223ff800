"""The recognizers that were trained for maskbench: weights of half precision in the package, each with its card."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from maskbench.errors import RecognizerError
from maskbench.recognizers.builtin import TRAINED
from maskbench.recognizers.checkpoint import load_checkpoint
from maskbench.types import Recognizer


def trained_weights(name: str) -> Path:
    """The file of a key of ``TRAINED``.

    Raises:
        RecognizerError: the package was installed without it.
    """
    path = Path(str(files("maskbench.data"))) / TRAINED[name]
    if not path.is_file():
        raise RecognizerError(f"{path}: no such file; reinstall maskbench")
    return path


def maskinv(device: str = "auto", engine: str = "onnxruntime") -> Recognizer:
    """MaskInv (Huber et al., FG 2021): dlib-resnet, trained to see through masks; see docs/methods/maskinv.md.

    Raises:
        RecognizerError: weights, engine or device are missing.
    """
    return load_checkpoint(str(trained_weights("maskinv")), None, device, engine)


def deocclusion(device: str = "auto", engine: str = "onnxruntime") -> Recognizer:
    """De-occlusion distillation (Li et al., ACM Multimedia 2020): a student of dlib-resnet that reads completed faces.

    An evaluation puts the completion "ga" before it; see docs/methods/deocclusion.md.

    Raises:
        RecognizerError: weights, engine or device are missing.
    """
    return load_checkpoint(str(trained_weights("deocclusion")), None, device, engine)


def g2d(device: str = "auto", engine: str = "onnxruntime") -> Recognizer:
    """G2D (Ge et al., ICML 2024): a reformer of dlib-resnet's blocks behind the encoder of the completion "ict".

    It reads the mask of every face; see docs/methods/g2d.md.

    Raises:
        RecognizerError: weights, engine or device are missing.
    """
    return load_checkpoint(str(trained_weights("g2d")), None, device, engine)
