"""What the networks compute, against the published forward passes written down as functions of a state dictionary."""

import pytest

torch = pytest.importorskip("torch")

from network_weights import randomised
from torch.nn import functional as F

from maskbench.models import iresnet, mobilefacenet
from maskbench.models.zoo import NETWORKS


def picture(size, count=1, seed=5):
    """Random normalised pictures."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


class Reference:
    """Layers by their names in a state dictionary."""

    def __init__(self, module):
        self.state = module.state_dict()

    def conv(self, x, name, stride=1, padding=0, groups=1):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), stride, padding, 1, groups)

    def bn(self, x, name):
        mean, var, scale, shift = (self.state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        view = (1, -1) + (1,) * (x.dim() - 2)
        return (x - mean.view(view)) / (var.view(view) + 1e-5).sqrt() * scale.view(view) + shift.view(view)

    def prelu(self, x, name):
        return torch.where(x > 0, x, x * self.state[f"{name}.weight"].view(1, -1, 1, 1))

    def linear(self, x, name):
        bias = self.state.get(f"{name}.bias", torch.zeros(1))
        return x @ self.state[f"{name}.weight"].T + bias


def iresnet_reference(module, x, blocks):
    r = Reference(module)
    x = r.prelu(r.bn(r.conv(x, "conv1", 1, 1), "bn1"), "prelu")
    for stage, count in enumerate(blocks, 1):
        for index in range(count):
            name = f"layer{stage}.{index}"
            stride = 2 if index == 0 else 1
            out = r.prelu(r.bn(r.conv(r.bn(x, f"{name}.bn1"), f"{name}.conv1", 1, 1), f"{name}.bn2"), f"{name}.prelu")
            out = r.bn(r.conv(out, f"{name}.conv2", stride, 1), f"{name}.bn3")
            if index == 0:
                x = r.bn(r.conv(x, f"{name}.downsample.0", 2), f"{name}.downsample.1")
            x = out + x
    return r.bn(r.linear(r.bn(x, "bn2").reshape(len(x), -1), "fc"), "features")


def sphereface_reference(module, x):
    r = Reference(module)

    def layer(x, name):
        stride = 2 if name.endswith("_1") else 1
        return r.prelu(r.conv(x, f"conv{name}", stride, 1), f"relu{name}")

    for first, *pairs in (
        ("1_1", ("1_2", "1_3")),
        ("2_1", ("2_2", "2_3"), ("2_4", "2_5")),
        ("3_1", ("3_2", "3_3"), ("3_4", "3_5"), ("3_6", "3_7"), ("3_8", "3_9")),
        ("4_1", ("4_2", "4_3")),
    ):
        x = layer(x, first)
        for one, two in pairs:
            x = x + layer(layer(x, one), two)
    return r.linear(x.reshape(len(x), -1), "fc5")


def senet_reference(module, x):
    r = Reference(module)
    x = F.max_pool2d(F.relu(r.bn(r.conv(x, "conv1", 2, 3), "bn1")), 3, 2, 0, ceil_mode=True)
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for index in range(count):
            name = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            out = F.relu(r.bn(r.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            out = F.relu(r.bn(r.conv(out, f"{name}.conv2", 1, 1), f"{name}.bn2"))
            out = r.bn(r.conv(out, f"{name}.conv3"), f"{name}.bn3")
            gate = F.avg_pool2d(out, out.shape[2])
            gate = torch.sigmoid(r.conv(F.relu(r.conv(gate, f"{name}.conv4")), f"{name}.conv5"))
            if index == 0:
                x = r.bn(r.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = F.relu(gate * out + x)
    return F.avg_pool2d(x, 7, 1).reshape(len(x), -1)


def vggface_reference(module, x):
    r = Reference(module)
    for stage in ("1_1 1_2", "2_1 2_2", "3_1 3_2 3_3", "4_1 4_2 4_3", "5_1 5_2 5_3"):
        for name in stage.split():
            x = F.relu(r.conv(x, f"conv{name}", 1, 1))
        x = F.max_pool2d(x, 2, 2)
    return F.relu(r.linear(F.relu(r.linear(x.reshape(len(x), -1), "fc6")), "fc7"))


def mobilefacenet_reference(module, x):
    """TreB1eN's forward pass up to the normalisation of the vector."""
    r = Reference(module)

    def conv(x, name, stride=1, padding=0, groups=1):
        x = r.bn(r.conv(x, f"{name}.conv", stride, padding, groups), f"{name}.bn")
        return r.prelu(x, f"{name}.prelu") if f"{name}.prelu.weight" in r.state else x

    def wise(x, name, stride, groups):
        return conv(conv(conv(x, f"{name}.conv"), f"{name}.conv_dw", stride, 1, groups), f"{name}.project")

    x = wise(conv(conv(x, "conv1", 2, 1), "conv2_dw", 1, 1, 64), "conv_23", 2, 128)
    for stage, count, groups, then, wider in (("conv_3", 4, 128, "conv_34", 256), ("conv_4", 6, 256, "conv_45", 512)):
        for index in range(count):
            x = x + wise(x, f"{stage}.model.{index}", 1, groups)
        x = wise(x, then, 2, wider)
    for index in range(2):
        x = x + wise(x, f"conv_5.model.{index}", 1, 256)
    x = conv(conv(x, "conv_6_sep"), "conv_6_dw", groups=512)
    return r.bn(r.linear(x.reshape(len(x), -1), "linear"), "bn")


def agree(module, expected, x):
    with torch.inference_mode():
        found, wanted = module(x), expected(module, x)
    assert wanted.std() > 1e-4  # and they say something
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_iresnet():
    module = randomised(iresnet.IResNet((1, 2, 1, 1), embedding_size=32))
    agree(module, lambda m, x: iresnet_reference(m, x, (1, 2, 1, 1)), picture((112, 112), 2))


def test_sphereface():
    agree(randomised(NETWORKS["sphereface20"].build()), sphereface_reference, picture((112, 96)))


def test_senet():
    agree(randomised(NETWORKS["senet50"].build()), senet_reference, picture((224, 224)))


@pytest.mark.slow
def test_vggface():
    agree(randomised(NETWORKS["vggface16"].build()), vggface_reference, picture((224, 224)))


def test_mobilefacenet_under_treb1en_s_names():
    module = randomised(NETWORKS["mobilefacenet-treb1en"].build())
    agree(module, lambda m, x: F.normalize(mobilefacenet_reference(m, x)), picture((112, 112), 2))


def test_both_mobilefacenets_are_one_network_at_scale_1():
    """insightface's module with TreB1eN's weights, carried over in order, gives TreB1eN's vectors."""
    theirs = randomised(NETWORKS["mobilefacenet-treb1en"].build())
    ours = mobilefacenet.MobileFaceNet(scale=1).eval()
    names = list(ours.state_dict())
    values = list(theirs.state_dict().values())
    assert [value.shape for value in values] == [value.shape for value in ours.state_dict().values()]
    ours.load_state_dict(dict(zip(names, values, strict=True)))
    x = picture((112, 112), 2)
    with torch.inference_mode():
        torch.testing.assert_close(F.normalize(ours(x)), theirs(x), rtol=1e-4, atol=1e-5)


def test_scale_widens_and_the_first_stage_may_be_residual():
    large = mobilefacenet.mobilefacenet_large()
    assert isinstance(large.layers[1], mobilefacenet.Residual)
    assert large.layers[1].layers[0].layers[0].layers[0].weight.shape == (128, 256, 1, 1)
    with torch.inference_mode():
        assert large.eval()(picture((112, 112))).shape == (1, 512)


@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "mobilefacenet-treb1en"])
def test_a_face_s_vector_does_not_depend_on_its_batch(name):
    module = randomised(NETWORKS[name].build())
    x = picture((112, 112), 3)
    with torch.inference_mode():
        together, alone = module(x), module(x[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
    assert (together[0] - together[1]).abs().max() > 0.01 * float(together.abs().max())


def test_vectors_of_treb1en_have_length_1():
    module = randomised(NETWORKS["mobilefacenet-treb1en"].build())
    with torch.inference_mode():
        torch.testing.assert_close(module(picture((112, 112), 2)).norm(dim=1), torch.ones(2))


def resnet18_reference(module, x):
    r = Reference(module)
    x = F.max_pool2d(torch.relu(r.bn(r.conv(x, "conv1", 2, 3), "bn1")), 3, 2, 1)
    for stage in range(1, 5):
        for index in range(2):
            name, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            out = torch.relu(r.bn(r.conv(x, f"{name}.conv1", stride, 1), f"{name}.bn1"))
            out = r.bn(r.conv(out, f"{name}.conv2", 1, 1), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in r.state:
                x = r.bn(r.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = torch.relu(out + x)
    return r.linear(x.mean(dim=(2, 3)), "fc")


def test_resnet18():
    agree(randomised(NETWORKS["resnet18"].build()), resnet18_reference, picture((150, 150)))
