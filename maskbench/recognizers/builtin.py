"""The recognizers that ship with maskbench, and the kinds of reference that name a file or a pack instead."""

from __future__ import annotations

from dataclasses import dataclass

# name -> "module:factory"; a factory takes (device, engine).
BUILTIN: dict[str, str] = {
    "dlib-resnet": "maskbench.recognizers.dlib_resnet:dlib_resnet",
    "maskinv": "maskbench.recognizers.shipped:maskinv",
    "deocclusion": "maskbench.recognizers.shipped:deocclusion",
    "g2d": "maskbench.recognizers.shipped:g2d",
    "dummy": "maskbench.recognizers.dummy:dummy",
    "dummy-failing": "maskbench.recognizers.dummy:dummy_failing",
}

# Trained for maskbench: name -> the weights in ``maskbench.data``, with a card beside them.
TRAINED: dict[str, str] = {
    "maskinv": "maskinv/maskinv.safetensors",
    "deocclusion": "deocclusion/deocclusion.safetensors",
    "g2d": "g2d/g2d.safetensors",
}

# What evaluate and grid fit by name on a folder of faces (maskbench.classical).
CLASSICAL = ("pca", "gpca", "lpp", "sr")

WITHOUT_WEIGHTS = ("dummy", "dummy-failing")


@dataclass(frozen=True)
class Prefix:
    """One kind of reference.

    Attributes:
        loader: "module:function"; it takes (what follows the prefix, card, device, engine, allow_pickle).
        form: how it is written.
        about: one line on what it loads.
    """

    loader: str
    form: str
    about: str


PREFIXES: dict[str, Prefix] = {
    "onnx": Prefix(
        "maskbench.recognizers.onnx:load_reference", "onnx:PATH", "an ONNX file with a JSON card beside it"
    ),
    "torch": Prefix(
        "maskbench.recognizers.checkpoint:load_checkpoint", "torch:PATH",
        "a checkpoint with a JSON card that names its network",
    ),
    "fitted": Prefix(
        "maskbench.recognizers.fitted:load_fitted", "fitted:PATH", "a classical method fitted by maskbench models fit"
    ),
    "hf": Prefix(
        "maskbench.recognizers.hub:load_hub", "hf:OWNER/REPO@COMMIT/FILE",
        "a file of the Hugging Face hub, fetched by maskbench models pull",
    ),
    "insightface": Prefix(
        "maskbench.recognizers.packs:load_pack", "insightface:PACK",
        "the recognizer of an InsightFace pack, fetched by maskbench models pull",
    ),
}  # fmt: skip


def shipped_recognizers() -> list[str]:
    """The recognizers that can be evaluated as they are installed: those of ``BUILTIN`` with weights, in its order."""
    return [name for name in BUILTIN if name not in WITHOUT_WEIGHTS]
