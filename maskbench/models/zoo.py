"""The networks whose checkpoints ``torch:PATH`` loads: how to build them, and what is known of them.

Only facts and the names of factories are here; torch is imported when a network is built. docs/networks.md says the
same for readers, and which published figures the counts were compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.models.g2d_config import G2DConfig, config_values, parse_config
from maskbench.registry import nearest

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]
_HALF: Triple = (127.5, 127.5, 127.5)
_ONE: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Network:
    """A network and the conventions of its published weights.

    Attributes:
        name: as a card's "network" names it.
        factory: "module:function" in ``maskbench.models``, without arguments, or with ``config`` where there is one.
        input_size, template, colour_order, mean, std, embedding_size, comparator: as in ``RecognizerSpec``.
        parameters: all of them, frozen ones too; no running statistics and no classifier.
        flops: for one face, a multiply-add counted as two; convolutions and matrix products.
        counted: the published figure that ``parameters`` was compared with, or "derived".
        state_dict: the public source whose names and shapes the network has.
        weights: where published weights are to be had.
        terms: what those may be used for.
        optional: patterns of names that a published checkpoint may have beyond the network's: its classifier.
        needs_mask: whether it takes masks (N, 1, H, W), 1 = occluded, beside the faces.
        config: of a network whose sizes are not fixed, those that the other facts are of.
    """

    name: str
    factory: str
    input_size: tuple[int, int]
    template: str
    colour_order: str
    mean: Triple
    std: Triple
    embedding_size: int
    parameters: int
    flops: int
    counted: str
    state_dict: str
    weights: str
    terms: str
    comparator: str = "cosine"
    optional: tuple[str, ...] = ()
    needs_mask: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    def build(self, meta: bool = False) -> nn.Module:
        """The network with random weights, or with none on ``torch.device("meta")``."""
        import torch

        module, _, name = self.factory.partition(":")
        factory = getattr(import_module(f"maskbench.models.{module}"), name)
        with torch.device("meta" if meta else "cpu"):
            return factory(self.config) if self.config else factory()

    def configured(self, config: Mapping[str, Any]) -> Network:
        """The network of the sizes in a card's "config", and the facts that follow from them; else itself.

        Raises:
            MaskbenchError: the network's sizes are fixed and there are some, or they are not and there are none; or
                they are malformed, or do not fit each other.
        """
        if bool(config) != bool(self.config):
            raise MaskbenchError(f"network {self.name} " + ("needs one" if self.config else "has none; take it out"))
        if config == self.config:
            return self
        size, embedding_size, parameters, flops = _counted(self.name, parse_config(config))
        return replace(
            self, config=dict(config), input_size=(size, size), embedding_size=embedding_size, parameters=parameters,
            flops=flops,
        )  # fmt: skip


@lru_cache(maxsize=64)  # counting takes up to a second; a card that is loaded again is not counted again
def _counted(name: str, config: G2DConfig) -> tuple[int, int, int, int]:
    """Side of the faces, numbers in a template, parameters and operations of a network of other sizes."""
    from maskbench.models.flops import count_flops, count_parameters

    network = replace(NETWORKS[name], config=config_values(config))
    module: Any = network.build(meta=True).to("meta")  # buffers too, which may be elsewhere
    flops = count_flops(module, (module.size, module.size), masks=network.needs_mask)
    return module.size, module.embedding_size, count_parameters(module), flops


_ARCFACE_TORCH = "deepinsight/insightface, recognition/arcface_torch"
_ARCFACE_TERMS = "non-commercial research only (insightface's model zoo)"


def _iresnet(depth: int, parameters: int, flops: int, counted: str) -> Network:
    also = "; fdbtrs/ElasticFace and fdbtrs/Masked-Face-Recognition-KD (MaskInv)" if depth == 100 else ""
    licences = "; ElasticFace: CC BY-NC-SA 4.0" if depth == 100 else ""
    return Network(
        name=f"iresnet{depth}",
        factory=f"iresnet:iresnet{depth}",
        input_size=(112, 112),
        template="arcface112",
        colour_order="RGB",
        mean=_HALF,
        std=_HALF,
        embedding_size=512,
        parameters=parameters,
        flops=flops,
        counted=counted,
        state_dict=f"{_ARCFACE_TORCH}/backbones/iresnet.py",
        weights=f"the model zoo of {_ARCFACE_TORCH} (r{depth}){also}",
        terms=f"{_ARCFACE_TERMS}{licences}",
    )


def _mobilefacenet(name: str, parameters: int, flops: int, counted: str, weights: str) -> Network:
    return Network(
        name=name,
        factory=f"mobilefacenet:{name.replace('-', '_')}",
        input_size=(112, 112),
        template="arcface112",
        colour_order="RGB",
        mean=_HALF,
        std=_HALF,
        embedding_size=512,
        parameters=parameters,
        flops=flops,
        counted=counted,
        state_dict=f"{_ARCFACE_TORCH}/backbones/mobilefacenet.py",
        weights=weights,
        terms=_ARCFACE_TERMS,
    )


_ALL = (
    _iresnet(18, 24_025_600, 5_219_909_632, "derived; insightface: 2.6 G multiply-adds"),
    _iresnet(34, 34_139_328, 8_919_285_760, "derived; OpenVINO, LResNet34E-IR: 34.129 million, 8.934 GFLOPs"),
    _iresnet(50, 43_590_848, 12_618_661_888, "derived; insightface: 6.3 G multiply-adds"),
    _iresnet(100, 65_156_160, 24_179_212_288, "derived; OpenVINO, LResNet100E-IR: 65.131 million, 24.209 GFLOPs"),
    _mobilefacenet(
        "mobilefacenet",
        2_059_520,
        875_041_792,
        "2,059,520 and 437.55 M multiply-adds (vinhtq115/arcface_repvgg); insightface: 0.45 G",
        f"the model zoo of {_ARCFACE_TORCH} (mbf)",
    ),
    _mobilefacenet("mobilefacenet-large", 6_314_880, 3_632_965_632, "derived", "none known to us (mbf_large)"),
    Network(
        name="mobilefacenet-treb1en",
        factory="mobilefacenet:mobilefacenet_treb1en",
        input_size=(112, 112),
        template="arcface112",
        colour_order="BGR",  # pictures unpacked by OpenCV were trained on, and are shown to it, as they are
        mean=_HALF,
        std=_HALF,
        embedding_size=512,
        parameters=1_200_512,
        flops=442_323_968,
        counted="derived; the paper: 0.99 million with another last layer and vectors of 128 numbers",
        state_dict="TreB1eN/InsightFace_Pytorch, model.py, MobileFaceNet",
        weights="TreB1eN/InsightFace_Pytorch (mobilefacenet)",
        terms="none stated for the weights; trained on MS1M, whose pictures were for non-commercial research only",
    ),
    Network(
        name="sphereface20",
        factory="sphereface:sphereface20",
        input_size=(112, 96),
        template="sphereface96",
        colour_order="BGR",
        mean=_HALF,
        std=(128.0, 128.0, 128.0),
        embedding_size=512,
        parameters=22_670_656,
        flops=3_499_474_944,
        counted="OpenVINO, Sphereface: 22.671 million, 3.504 GFLOPs",
        state_dict="clcarwin/sphereface_pytorch, net_sphere.py, sphere20a",
        weights="clcarwin/sphereface_pytorch (sphere20a_20171020)",
        terms="none stated for the weights; trained on CASIA-WebFace, which is for non-commercial research only",
        optional=("fc6.weight",),
    ),
    Network(
        name="vggface16",
        factory="vggface:vggface16",
        input_size=(224, 224),
        template="vggface224",
        colour_order="RGB",
        mean=(129.186279296875, 104.76238250732422, 93.59396362304688),
        std=_ONE,
        embedding_size=4096,
        parameters=134_260_544,
        flops=30_932_336_640,
        counted="145,002,878 with the classifier's 10,742,334 (Keras summaries of the published weights)",
        state_dict="vgg_face_dag.py, as in ProgramComputer/VGGFace-pytorch",
        weights="www.robots.ox.ac.uk/~albanie/pytorch-models.html (vgg_face_dag)",
        terms="see www.robots.ox.ac.uk/~vgg/software/vgg_face; taken as non-commercial by projects that use them",
        optional=("fc8.weight", "fc8.bias"),
    ),
    Network(
        name="senet50",
        factory="senet:senet50",
        input_size=(224, 224),
        template="vggface224",
        colour_order="BGR",
        mean=(91.4953, 103.8827, 131.0912),
        std=_ONE,
        embedding_size=2048,
        parameters=26_039_024,
        flops=7_716_880_384,
        counted="28,088,024 with ImageNet's classifier of 2,049,000, 3.88 G multiply-adds (osmr/imgclsmob)",
        state_dict="cydonia999/VGGFace2-pytorch, models/senet.py, senet50",
        weights="cydonia999/VGGFace2-pytorch (senet50_ft, senet50_scratch), converted from ox-vgg/vgg_face2",
        terms="as the VGGFace2 data, CC BY-SA 4.0, according to one of its authors",
        optional=("fc.weight", "fc.bias"),
    ),
    Network(
        name="resnet18",
        factory="resnet:resnet18",
        input_size=(150, 150),
        template="dlib150",
        colour_order="RGB",
        mean=_HALF,
        std=_HALF,
        embedding_size=128,
        parameters=11_242_176,
        flops=1_749_220_736,
        counted="11,689,512 with ImageNet's classifier in place of the embedding layer (torchvision)",
        state_dict="torchvision, models/resnet.py, resnet18; fc is the embedding layer",
        weights="none known to us (the student of recipe deocclusion-hard and deocclusion-soft)",
        terms="whatever those of the weights are",
    ),
    Network(
        name="dlib-resnet",
        factory="dlib_resnet:DlibResNet",
        input_size=(150, 150),
        template="dlib150",
        colour_order="RGB",
        mean=(122.782, 117.001, 104.298),
        std=(256.0, 256.0, 256.0),
        embedding_size=128,
        parameters=5_614_592,
        flops=541_708_288,
        counted="derived",
        state_dict="maskbench.models.dlib_resnet",
        weights="the package face-recognition-models; recognizer dlib-resnet runs them without a card",
        terms="public domain (CC0-1.0)",
        comparator="negative-l2",
    ),
    Network(
        name="g2d",
        factory="g2d:from_values",
        input_size=(256, 256),
        template="wide128",
        colour_order="RGB",
        mean=_HALF,
        std=_HALF,
        embedding_size=512,
        parameters=179_309_843,
        flops=885_299_281_920,
        counted="178.5 million (the paper)",
        state_dict="maskbench.models.g2d",
        weights="none known to us",
        terms="whatever those of the weights are",
        needs_mask=True,
        config=config_values(G2DConfig()),
    ),
)

NETWORKS: dict[str, Network] = {network.name: network for network in _ALL}


def card_values(network: str) -> dict[str, Any]:
    """What a card of a checkpoint of ``network`` can say before anybody has looked at the checkpoint.

    Template, order of colours and normalisation are those of the published weights. Name, SHA-256, training data and
    licence are left out: only whoever has the file knows them.

    Args:
        network: a key of ``NETWORKS``.

    Raises:
        RecognizerError: no such network.
    """
    if network not in NETWORKS:
        raise RecognizerError(f'no network named "{network}"; {nearest(network, NETWORKS)}')
    facts = NETWORKS[network]
    return {
        "network": facts.name,
        "input_size": list(facts.input_size),
        "template": facts.template,
        "colour_order": facts.colour_order,
        "mean": _short(facts.mean),
        "std": _short(facts.std),
        "embedding_size": facts.embedding_size,
        "comparator": facts.comparator,
        "parameters": facts.parameters,
        "flops": facts.flops,
        "source": f"unknown; published weights: {facts.weights}",
        "terms": f"unknown; published weights: {facts.terms}",
        **({"needs_mask": True} if facts.needs_mask else {}),
        **({"config": dict(facts.config)} if facts.config else {}),
    }


def _short(values: Triple) -> float | list[float]:
    """Three numbers as a card states them: one, if they are equal."""
    return values[0] if len(set(values)) == 1 else list(values)
