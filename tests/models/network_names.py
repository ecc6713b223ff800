"""What published checkpoints hold: names and shapes, written out from the public sources, apart from our modules.

Sources, read in November 2026: deepinsight/insightface recognition/arcface_torch/backbones/{iresnet,mobilefacenet}.py;
TreB1eN/InsightFace_Pytorch model.py; clcarwin/sphereface_pytorch net_sphere.py; ProgramComputer/VGGFace-pytorch
vgg_face_dag.py; cydonia999/VGGFace2-pytorch models/senet.py.
"""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def bn(name: str, channels: int) -> Shapes:
    """Batch normalisation as torch stores it."""
    parts = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**parts, f"{name}.num_batches_tracked": ()}


def conv(name: str, after: int, before: int, kernel: int) -> Shapes:
    """A convolution without bias; ``before`` is per group."""
    return {f"{name}.weight": (after, before, kernel, kernel)}


def biased(name: str, *shape: int) -> Shapes:
    """A layer with weight and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def iresnet(*blocks: int) -> Shapes:
    """IResNet: conv1 bn1 prelu layer1..4 bn2 fc features."""
    found = conv("conv1", 64, 3, 3) | bn("bn1", 64) | {"prelu.weight": (64,)}
    before = 64
    for stage, (planes, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), 1):
        for index in range(count):
            name = f"layer{stage}.{index}"
            found |= bn(f"{name}.bn1", before) | conv(f"{name}.conv1", planes, before, 3) | bn(f"{name}.bn2", planes)
            found |= {f"{name}.prelu.weight": (planes,)} | conv(f"{name}.conv2", planes, planes, 3)
            found |= bn(f"{name}.bn3", planes)
            if index == 0:  # every first block has stride 2
                found |= conv(f"{name}.downsample.0", planes, before, 1) | bn(f"{name}.downsample.1", planes)
            before = planes
    return found | bn("bn2", 512) | biased("fc", 512, 25088) | bn("features", 512)


def _mbf_conv(name: str, after: int, before: int, kernel: int = 1, prelu: bool = True) -> Shapes:
    found = conv(f"{name}.layers.0", after, before, kernel) | bn(f"{name}.layers.1", after)
    return found | ({f"{name}.layers.2.weight": (after,)} if prelu else {})


def _mbf_wise(name: str, before: int, after: int, groups: int) -> Shapes:
    return (
        _mbf_conv(f"{name}.layers.0", groups, before)
        | _mbf_conv(f"{name}.layers.1", groups, 1, 3)
        | _mbf_conv(f"{name}.layers.2", after, groups, prelu=False)
    )


def _mbf_residual(name: str, channels: int, count: int, groups: int) -> Shapes:
    found: Shapes = {}
    for index in range(count):
        found |= _mbf_wise(f"{name}.layers.{index}", channels, channels, groups)
    return found


def mobilefacenet(blocks: tuple[int, int, int, int] = (1, 4, 6, 2), scale: int = 2) -> Shapes:
    """arcface_torch's MobileFaceNet: layers.0..7 conv_sep features."""
    a, b = 64 * scale, 128 * scale
    found = _mbf_conv("layers.0", a, 3, 3)
    if blocks[0] == 1:
        found |= _mbf_conv("layers.1", a, a // 64, 3)  # 64 groups
    else:
        found |= _mbf_residual("layers.1", a, blocks[0], 128)
    found |= _mbf_wise("layers.2", a, a, 128) | _mbf_residual("layers.3", a, blocks[1], 128)
    found |= _mbf_wise("layers.4", a, b, 256) | _mbf_residual("layers.5", b, blocks[2], 256)
    found |= _mbf_wise("layers.6", b, b, 512) | _mbf_residual("layers.7", b, blocks[3], 256)
    found |= _mbf_conv("conv_sep", 512, b) | _mbf_conv("features.layers.0", 512, 1, 7, prelu=False)
    return found | {"features.layers.2.weight": (512, 512)} | bn("features.layers.3", 512)


def _treb1en_conv(name: str, after: int, before: int, kernel: int = 1, prelu: bool = True) -> Shapes:
    found = conv(f"{name}.conv", after, before, kernel) | bn(f"{name}.bn", after)
    return found | ({f"{name}.prelu.weight": (after,)} if prelu else {})


def _treb1en_wise(name: str, before: int, after: int, groups: int) -> Shapes:
    found = _treb1en_conv(f"{name}.conv", groups, before) | _treb1en_conv(f"{name}.conv_dw", groups, 1, 3)
    return found | _treb1en_conv(f"{name}.project", after, groups, prelu=False)


def mobilefacenet_treb1en() -> Shapes:
    """TreB1eN's MobileFaceNet."""
    found = _treb1en_conv("conv1", 64, 3, 3) | _treb1en_conv("conv2_dw", 64, 1, 3)
    found |= _treb1en_wise("conv_23", 64, 64, 128)
    for index in range(4):
        found |= _treb1en_wise(f"conv_3.model.{index}", 64, 64, 128)
    found |= _treb1en_wise("conv_34", 64, 128, 256)
    for index in range(6):
        found |= _treb1en_wise(f"conv_4.model.{index}", 128, 128, 256)
    found |= _treb1en_wise("conv_45", 128, 128, 512)
    for index in range(2):
        found |= _treb1en_wise(f"conv_5.model.{index}", 128, 128, 256)
    found |= _treb1en_conv("conv_6_sep", 512, 128) | _treb1en_conv("conv_6_dw", 512, 1, 7, prelu=False)
    return found | {"linear.weight": (512, 512)} | bn("bn", 512)


def sphereface() -> Shapes:
    """sphere20a with feature=True, whose checkpoint has its classifier too."""
    found: Shapes = {}
    widths = (
        "1_1 3 64, 1_2 64 64, 1_3 64 64, 2_1 64 128, 2_2 128 128, 2_3 128 128, 2_4 128 128, 2_5 128 128, "
        "3_1 128 256, 3_2 256 256, 3_3 256 256, 3_4 256 256, 3_5 256 256, 3_6 256 256, 3_7 256 256, 3_8 256 256, "
        "3_9 256 256, 4_1 256 512, 4_2 512 512, 4_3 512 512"
    )
    for layer in widths.split(", "):
        name, before, after = layer.split()
        found |= biased(f"conv{name}", int(after), int(before), 3, 3) | {f"relu{name}.weight": (int(after),)}
    return found | biased("fc5", 512, 512 * 7 * 6)


def vggface() -> Shapes:
    """vgg_face_dag without fc8."""
    found: Shapes = {}
    widths = (
        "1_1 3 64, 1_2 64 64, 2_1 64 128, 2_2 128 128, 3_1 128 256, 3_2 256 256, 3_3 256 256, "
        "4_1 256 512, 4_2 512 512, 4_3 512 512, 5_1 512 512, 5_2 512 512, 5_3 512 512"
    )
    for layer in widths.split(", "):
        name, before, after = layer.split()
        found |= biased(f"conv{name}", int(after), int(before), 3, 3)
    return found | biased("fc6", 4096, 25088) | biased("fc7", 4096, 4096)


def senet() -> Shapes:
    """VGGFace2-pytorch's senet50 without fc."""
    found = conv("conv1", 64, 3, 7) | bn("bn1", 64)
    before = 64
    for stage, (planes, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for index in range(count):
            name, after = f"layer{stage}.{index}", 4 * planes
            found |= conv(f"{name}.conv1", planes, before, 1) | bn(f"{name}.bn1", planes)
            found |= conv(f"{name}.conv2", planes, planes, 3) | bn(f"{name}.bn2", planes)
            found |= conv(f"{name}.conv3", after, planes, 1) | bn(f"{name}.bn3", after)
            found |= biased(f"{name}.conv4", after // 16, after, 1, 1)
            found |= biased(f"{name}.conv5", after, after // 16, 1, 1)
            if index == 0:  # also where only the channels differ
                found |= conv(f"{name}.downsample.0", after, before, 1) | bn(f"{name}.downsample.1", after)
            before = after
    return found


def resnet18() -> Shapes:
    """torchvision's resnet18, with an embedding layer of 128 in place of its classifier."""
    found = conv("conv1", 64, 3, 7) | bn("bn1", 64) | biased("fc", 128, 512)
    for stage, (before, after) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
        for index, inner in enumerate((before, after)):
            name = f"layer{stage}.{index}"
            found |= conv(f"{name}.conv1", after, inner, 3) | bn(f"{name}.bn1", after)
            found |= conv(f"{name}.conv2", after, after, 3) | bn(f"{name}.bn2", after)
        if before != after:
            name = f"layer{stage}.0.downsample"
            found |= conv(f"{name}.0", after, before, 1) | bn(f"{name}.1", after)
    return found


PUBLISHED: dict[str, Shapes] = {
    "resnet18": resnet18(),
    "iresnet18": iresnet(2, 2, 2, 2),
    "iresnet34": iresnet(3, 4, 6, 3),
    "iresnet50": iresnet(3, 4, 14, 3),
    "iresnet100": iresnet(3, 13, 30, 3),
    "mobilefacenet": mobilefacenet(),
    "mobilefacenet-large": mobilefacenet((2, 8, 12, 4), 4),
    "mobilefacenet-treb1en": mobilefacenet_treb1en(),
    "sphereface20": sphereface(),
    "vggface16": vggface(),
    "senet50": senet(),
}
CLASSIFIERS: dict[str, Shapes] = {
    "sphereface20": {"fc6.weight": (512, 10574)},
    "vggface16": biased("fc8", 2622, 4096),
    "senet50": biased("fc", 8631, 2048),
}
