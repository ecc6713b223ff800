"""G2D: what is read, what is not, its sizes, and what a configuration may say."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from network_weights import randomised

from maskbench.errors import MaskbenchError
from maskbench.models.export import onnx_bytes
from maskbench.models.flops import count_flops, count_parameters
from maskbench.models.g2d import (
    FeatureClassifier,
    G2DConfig,
    build_encoder,
    build_g2d,
    build_reformer,
    from_values,
)
from maskbench.models.g2d_config import ENCODER_OPTIONS, config_values, parse_config
from maskbench.models.ict import ICT
from maskbench.models.inpainter import compose
from maskbench.models.reformer import PictureTeacher, Reformer, TeacherReformer

SMALL = G2DConfig(32, 8, 16, 32, 2, 4, 0.125, 2, widths=(8, 12, 16, 20), depth=10, embedding=24)
KINDS = {
    "descriptor": SMALL,
    "first block": replace(SMALL, block=0),
    "picture": replace(SMALL, reads="picture"),
    "teacher": replace(SMALL, size=64, reformer="teacher", start=7),
    "whole teacher": replace(SMALL, size=104, reformer="teacher", reads="picture"),
    "tokens that divide nothing": replace(SMALL, size=36, tokens=5, fill="argmax"),
}


@pytest.fixture(params=KINDS)
def pair(request):
    """A small network with random weights, and its configuration."""
    config = KINDS[request.param]
    return randomised(build_g2d(config)), config


def scene(config, count=3):
    """Faces in [-1, 1] and masks: none, a rectangle, and scattered pixels."""
    generator = torch.Generator().manual_seed(5)
    faces = torch.rand(count, 3, config.size, config.size, generator=generator) * 2 - 1
    masks = torch.zeros(count, 1, config.size, config.size)
    masks[1::3, :, config.size // 2 :, 5:-4] = 1
    masks[2::3] = (torch.rand(masks[2::3].shape, generator=generator) < 0.1).float()
    return faces, masks


# ---------------------------------------------------------------- what is read


def test_vectors_follow_faces_and_masks(pair):
    network, config = pair
    faces, masks = scene(config)
    with torch.inference_mode():
        vectors, bare = network(faces, masks), network(faces, torch.zeros_like(masks))
    assert vectors.shape == (3, config.embedding_size) == (3, network.embedding_size) and vectors.dtype == torch.float32
    scale = vectors.abs().max()
    torch.testing.assert_close(vectors[0], bare[0], rtol=1e-5, atol=1e-5 * float(scale))
    assert (vectors[1:] - bare[1:]).abs().amax(1).min() > 1e-3 * scale  # masks matter
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3 * scale


def test_nothing_under_the_mask_is_read(pair):
    network, config = pair
    faces, masks = scene(config)
    hidden = masks.expand_as(faces) > 0.5
    with torch.inference_mode():
        expected = network(faces, masks)
        for other in (torch.full_like(faces, 0.25), -faces, torch.full_like(faces, float("nan"))):
            assert torch.equal(network(torch.where(hidden, other, faces), masks), expected)
        seen = faces.clone()
        seen[1, :, 0, 0] = -seen[1, :, 0, 0]
        assert not torch.equal(network(seen, masks)[1], expected[1])


def test_a_face_s_vector_does_not_depend_on_its_batch(pair):
    network, config = pair
    faces, masks = scene(config, 4)
    with torch.inference_mode():
        together = network(faces, masks)
        alone = torch.cat([network(faces[row : row + 1], masks[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5 * float(together.abs().max()))


def test_the_reformer_reads_the_encoder_s_block():
    network, (faces, masks) = randomised(build_g2d(SMALL)), scene(SMALL)
    with torch.inference_mode():
        for block in (0, 1, -1, -2):
            network.block = block
            expected = network.encoder.descriptor(faces, masks, block)
            assert expected.shape == (3, 32, 8, 8) and torch.equal(network.encode(faces, masks), expected)
            assert torch.equal(network(faces, masks), network.reformer(expected))
        network.block = -1
        last, first = network.encode(faces, masks), network.encoder.descriptor(faces, masks, 0)
        assert not torch.equal(last, first)


def test_the_picture_is_the_completed_one():
    config = KINDS["picture"]
    network, (faces, masks) = randomised(build_g2d(config)), scene(config)
    with torch.inference_mode():
        picture = network.encode(faces, masks)
        expected = compose(network.encoder(faces, masks)[-1], faces, masks)
    known = masks.expand_as(faces) == 0
    assert torch.equal(picture, expected) and torch.equal(picture[known], faces[known])
    assert not torch.equal(picture[~known], faces[~known])


def test_gradients_reach_encoder_and_reformer():
    network = build_g2d(SMALL)
    faces, masks = scene(SMALL)
    network(faces, masks).square().sum().backward()
    for part in (network.encoder.prior, network.encoder.upsampler.encoder, network.reformer):
        assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in part.parameters())
    assert all(weight.grad is None for weight in network.encoder.upsampler.decoder.parameters())  # not needed


def test_reading_something_else():
    with pytest.raises(MaskbenchError, match='a reformer that reads "masks"; give one of descriptor, picture'):
        build_g2d(replace(SMALL, reads="masks"))


def test_the_classifier_stands_apart():
    classifier = FeatureClassifier(24, 6)
    templates = torch.randn(5, 24)
    expected = templates @ classifier.fc.weight.T + classifier.fc.bias
    torch.testing.assert_close(classifier(templates), expected)
    assert count_parameters(FeatureClassifier(512, 10_177)) == 512 * 10_177 + 10_177
    assert not any("classifier" in name for name, _ in build_g2d(SMALL).named_modules())


# ---------------------------------------------------------------- sizes


def test_the_paper_s_size():
    with torch.device("meta"):
        network, encoder = build_g2d(G2DConfig()), ICT()
    assert count_parameters(network.encoder) == count_parameters(encoder) == 107_057_347
    assert count_parameters(network.reformer) == 72_252_496
    assert count_parameters(network) == 179_309_843 == pytest.approx(178.5e6, rel=0.01)
    assert network.size == 256 and network.embedding_size == 512


def test_parts_of_a_configuration():
    assert {name: type(build_reformer(config)) for name, config in KINDS.items()} == {
        "descriptor": Reformer, "first block": Reformer, "picture": Reformer, "teacher": TeacherReformer,
        "whole teacher": PictureTeacher, "tokens that divide nothing": Reformer,
    }  # fmt: skip
    network = build_g2d(SMALL)
    assert (network.encoder.tokens, network.encoder.fill, network.encoder.palette.shape) == (8, "expected", (16, 3))
    assert len(network.encoder.prior.layers) == len(network.encoder.upsampler.blocks) == 2
    assert network.reformer.conv.weight.shape == (8, 32, 3, 3) and network.reformer.fc.weight.shape == (24, 20)
    assert build_g2d(KINDS["teacher"]).reformer.start == 7


@pytest.mark.parametrize("name", KINDS)
def test_the_encoder_alone_is_the_network_s(name):
    """Of the same seed the same weights; and every size arrives where it belongs."""
    made = []
    for build in (build_encoder, lambda config: build_g2d(config).encoder):
        torch.manual_seed(8)
        made.append(build(KINDS[name]))
    one, other = (encoder.state_dict() for encoder in made)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    by_hand = ICT(36, 5, 16, 32, 2, 4, 0.125, 3, "argmax")
    encoder = build_encoder(replace(SMALL, size=36, tokens=5, blocks=3, fill="argmax"))
    assert {key: value.shape for key, value in encoder.state_dict().items()} == {
        key: value.shape for key, value in by_hand.state_dict().items()
    }
    assert (encoder.size, encoder.tokens, encoder.fill) == (36, 5, "argmax")
    assert encoder.prior.layers[0].attention.heads == 4


def test_flops_know_masks():
    """Counted on the real device and on meta alike; the picture's reading costs the rest of the encoder too."""
    counts = []
    for config in (SMALL, replace(SMALL, reads="picture", widths=(1, 1, 1, 1), embedding=1)):
        counts.append(count_flops(build_g2d(config), (32, 32), masks=True))
        with torch.device("meta"):
            network = build_g2d(config).to("meta")
        assert count_flops(network, (32, 32), masks=True) == counts[-1]
    decoder = count_flops(build_g2d(SMALL).encoder.upsampler.decoder, (8, 8), channels=32)
    reformers = [count_flops(build_reformer(SMALL), (8, 8), channels=32)]
    reformers.append(count_flops(Reformer(3, (1, 1, 1, 1), 10, 1), (32, 32)))
    assert counts[1] - reformers[1] == counts[0] - reformers[0] + decoder


# ---------------------------------------------------------------- ONNX


def test_onnxruntime_agrees_with_torch(pair):
    onnxruntime = pytest.importorskip("onnxruntime")
    network, config = pair
    session = onnxruntime.InferenceSession(
        onnx_bytes(network, (config.size, config.size), masks=True), providers=["CPUExecutionProvider"]
    )
    assert [value.name for value in session.get_inputs()] == ["faces", "masks"]
    assert session.get_inputs()[1].shape == ["batch", 1, config.size, config.size]
    for count in (1, 3, 5):
        faces, masks = scene(config, count)
        with torch.inference_mode():
            expected = network(faces, masks)
        found = session.run(None, {"faces": faces.numpy(), "masks": masks.numpy()})[0]
        difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
        assert difference < 1e-4


def test_the_export_leaves_out_what_does_not_run():
    """The decoder and later blocks are no part of a file that reads an early descriptor."""
    networks = (build_g2d(replace(SMALL, blocks=8, block=block)) for block in (0, 7))
    early, late = (len(onnx_bytes(network, (32, 32), masks=True)) for network in networks)
    assert late - early > 7 * 2 * 9 * 32**2 * 4 * 0.9


# ---------------------------------------------------------------- configurations


@pytest.mark.parametrize("name", KINDS)
def test_a_configuration_comes_back(name):
    values = config_values(KINDS[name])
    assert parse_config(values) == replace(KINDS[name], **_defaults_of_others(KINDS[name]))
    assert config_values(parse_config(values)) == values
    assert isinstance(from_values(values).reformer, type(build_reformer(KINDS[name])))
    assert ("start" in values) != ("depth" in values)


def _defaults_of_others(config):
    """What a configuration forgets: the other reformer's keys."""
    keys = ("widths", "depth", "embedding") if config.reformer == "teacher" else ("start", "adapter")
    return {key: getattr(G2DConfig(), key) for key in keys}


@pytest.mark.parametrize(("changes", "message"), [
    ({"size": 30}, '"size" must be a multiple of 4 from 16 to 1024, not 30'),
    ({"size": 32.0}, '"size" must be'),
    ({"tokens": 33}, '"tokens" must be at most "size", 32, not 33'),
    ({"heads": 3}, '"prior_width" must be a multiple of "heads", 3, not 32'),
    ({"colours": 1}, '"colours" must be a whole number from 2'),
    ({"layers": True}, '"layers" must be'),
    ({"width": float("inf")}, '"width" must be a number from 0.01 to 4'),
    ({"width": float("nan")}, '"width" must be a number from 0.01 to 4'),
    ({"width": 10**400}, '"width" must be a number from 0.01 to 4'),
    ({"fill": "sample"}, '"fill" must be one of expected, argmax'),
    ({"block": 2}, '"block" must name one of 2 residual blocks, not 2'),
    ({"block": -3}, '"block" must name one of 2 residual blocks, not -3'),
    ({"reads": "hole"}, '"reads" must be one of descriptor, picture'),
    ({"reformer": "vit"}, '"reformer" must be one of residual, teacher'),
    ({"reformer": ["teacher"]}, '"reformer" must be one of residual, teacher'),
    ({"widths": [8, 8, 8]}, '"widths" must be four whole numbers'),
    ({"depth": 18}, '"depth" must be one of 10, 22, 34, not 18'),
    ({"embeding": 8}, 'unknown key "embeding"; did you mean "embedding"'),
    ({"start": 0}, 'unknown key "start"'),
    ({"reformer": "teacher"}, 'unknown key "widths"'),
    ({"embedding": None}, "missing embedding; see docs/methods/g2d.md"),
])  # fmt: skip
def test_malformed_configurations(changes, message):
    values = {**config_values(SMALL), **changes}
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(MaskbenchError, match=message) as caught:
        parse_config(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "least", "most"), [
    ("tokens", 4, 128), ("colours", 2, 4096), ("prior_width", 4, 4096), ("layers", 1, 96), ("heads", 1, 64),
    ("blocks", 1, 32),
])  # fmt: skip
def test_limits_of_the_encoder_can_be_built(key, least, most):
    wanted, is_valid = ENCODER_OPTIONS[key]
    assert wanted == f"a whole number from {least} to {most}"
    assert not any(map(is_valid, (least - 1, most + 1, float(least), True, str(least), 10**400)))
    for value in (least, most):
        values = config_values(replace(SMALL, **{"size": 128, "prior_width": 64, key: value}))
        with torch.device("meta"):
            build_encoder(parse_config(values))


def test_the_default_keeps_the_limits():
    assert parse_config(config_values(G2DConfig())) == G2DConfig()
    assert all(is_valid(getattr(G2DConfig(), key)) for key, (_, is_valid) in ENCODER_OPTIONS.items())


@pytest.mark.parametrize(("key", "wanted"), [("start", 0), ("adapter", 1)])
def test_a_whole_teacher_starts_at_its_first_block_and_has_no_adapter(key, wanted):
    values = {**config_values(KINDS["whole teacher"]), key: 3}
    with pytest.raises(MaskbenchError, match=f'"{key}" must be {wanted} where the reformer reads the picture, not 3'):
        parse_config(values)


@pytest.mark.parametrize("value", [0, 2, 5, True, 3.0])
def test_adapters_that_there_are_none_of(value):
    with pytest.raises(MaskbenchError, match='"adapter" must be 1 or 3'):
        parse_config({**config_values(KINDS["teacher"]), "adapter": value})


def test_sizes_that_do_not_fit_each_other_are_told():
    with pytest.raises(MaskbenchError, match="a descriptor of 8 x 8 is too small"):
        from_values({**config_values(KINDS["teacher"]), "size": 32, "start": 0})
