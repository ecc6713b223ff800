"""The table of networks: names, counts and facts against the published sources."""

import subprocess
import sys
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from network_names import CLASSIFIERS, PUBLISHED

from maskbench.align import TEMPLATES, estimate_similarity, template_at
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.models import dlib_resnet
from maskbench.models.checkpoints import load_state
from maskbench.models.flops import count_flops, count_parameters
from maskbench.models.g2d_config import G2DConfig, config_values
from maskbench.models.zoo import NETWORKS, card_values
from maskbench.recognizers.card import parse_card
from maskbench.scoring import COMPARATORS


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request):
    """A network of the table and its module without weights."""
    network = NETWORKS[request.param]
    return network, network.build(meta=True).to("meta")  # buffers as well


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(name):
    state = NETWORKS[name].build(meta=True).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == PUBLISHED[name]
    types = {True: torch.int64, False: torch.float32}
    assert all(value.dtype == types[key.endswith("tracked")] for key, value in state.items())


def test_every_network_has_its_published_names():
    assert set(NETWORKS) - set(PUBLISHED) == {"dlib-resnet", "g2d"}  # whose names are our own


def test_counts(pair):
    network, module = pair
    assert count_parameters(module) == network.parameters
    assert count_flops(module, network.input_size, masks=network.needs_mask) == network.flops


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_from_the_published_shapes(name):
    """What is learned, from the written-out list: neither running statistics nor counters."""
    learned = {key: shape for key, shape in PUBLISHED[name].items() if "running_" not in key and "tracked" not in key}
    assert sum(prod(shape) for shape in learned.values()) == NETWORKS[name].parameters


def by_hand_iresnet(blocks: tuple[int, ...]) -> int:
    """Parameters of an IResNet in closed form, the frozen scale of the last normalisation counted."""
    total = 3 * 64 * 9 + 2 * 64 + 64
    before = 64
    for planes, count in zip((64, 128, 256, 512), blocks, strict=True):
        first = 2 * before + 9 * before * planes + 2 * planes + planes + 9 * planes**2 + 2 * planes
        total += first + before * planes + 2 * planes
        total += (count - 1) * (18 * planes**2 + 7 * planes)
        before = planes
    return total + 2 * 512 + 512 * 49 * 512 + 512 + 2 * 512


@pytest.mark.parametrize(
    ("name", "blocks", "stated"),
    [
        ("iresnet18", (2, 2, 2, 2), 24_025_600),
        ("iresnet34", (3, 4, 6, 3), 34_139_328),
        ("iresnet50", (3, 4, 14, 3), 43_590_848),
        ("iresnet100", (3, 13, 30, 3), 65_156_160),
    ],
)
def test_parameters_of_iresnets_by_hand(name, blocks, stated):
    assert by_hand_iresnet(blocks) == NETWORKS[name].parameters == stated
    frozen = [p for p in NETWORKS[name].build(meta=True).parameters() if not p.requires_grad]
    assert [p.numel() for p in frozen] == [512]  # and nothing else is


def test_published_parameter_counts():
    """The figures that ``counted`` cites; those in millions to their last digit, or where they differ by what."""
    counts = {name: network.parameters for name, network in NETWORKS.items()}
    assert counts["mobilefacenet"] == 2_059_520
    assert round(counts["sphereface20"] / 1e6, 3) == 22.671
    heads = {name: sum(map(prod, shapes.values())) for name, shapes in CLASSIFIERS.items()}
    assert counts["vggface16"] + heads["vggface16"] == 145_002_878
    assert counts["senet50"] + 2048 * 1000 + 1000 == 28_088_024
    # OpenVINO's converted networks have normalisation merged into convolutions: a little less than ours.
    assert 0 < counts["iresnet34"] / 1e6 - 34.129 < 0.02
    assert 0 < counts["iresnet100"] / 1e6 - 65.131 < 0.03


def test_published_operations():
    """Multiply-adds as published, which are half of our operations; OpenVINO counts as we do."""
    adds = {name: network.flops / 2e9 for name, network in NETWORKS.items()}
    assert [round(adds[f"iresnet{depth}"], 1) for depth in (18, 50, 100)] == [2.6, 6.3, 12.1]
    assert adds["mobilefacenet"] * 1e3 == pytest.approx(437.55, rel=1e-3)
    assert adds["senet50"] == pytest.approx(3.877, rel=0.006)
    for name, stated in (("iresnet34", 8.934), ("iresnet100", 24.209), ("sphereface20", 3.504)):
        assert 2 * adds[name] == pytest.approx(stated, rel=2e-3)


def test_facts_hang_together(pair):
    network, module = pair
    assert template_at(network.template, network.input_size).size == network.input_size
    assert TEMPLATES[network.template].size == network.input_size or network.config
    assert network.comparator in COMPARATORS and network.colour_order in ("RGB", "BGR")
    with torch.no_grad():
        channels = (3, 1) if network.needs_mask else (3,)
        given = [torch.empty(2, count, *network.input_size, device="meta") for count in channels]
        assert module.eval()(*given).shape == (2, network.embedding_size)
    for text in (network.counted, network.state_dict, network.weights, network.terms):
        assert text.strip() and "\n" not in text


def test_optional_names_are_the_classifiers():
    for name, network in NETWORKS.items():
        assert set(network.optional) == set(CLASSIFIERS.get(name, {}))
        assert not set(network.optional) & set(network.build(meta=True).state_dict())


def test_dlib_facts_are_those_of_its_recognizer():
    network = NETWORKS["dlib-resnet"]
    assert (network.mean, network.std) == (dlib_resnet.MEAN, dlib_resnet.STD)


@pytest.mark.parametrize("name", NETWORKS)
def test_card_values_are_most_of_a_card(name, tmp_path):
    values = card_values(name)
    rest = {"name": "mine", "sha256": "0" * 64, "training_data": None, "licence": "unknown"}
    spec = parse_card({**values, **rest}, tmp_path / "card.json")
    network = NETWORKS[name]
    assert (spec.network, spec.parameters, spec.flops) == (name, network.parameters, network.flops)
    assert (spec.mean, spec.std, spec.input_size) == (network.mean, network.std, network.input_size)
    assert (spec.needs_mask, spec.config) == (network.needs_mask, network.config)
    assert network.weights in spec.source and network.terms in spec.terms
    assert values["source"].startswith("unknown")  # whoever has the file must say where it is from


def test_card_values_of_another_network():
    with pytest.raises(RecognizerError, match='no network named "iresnet51"; did you mean "iresnet50"'):
        card_values("iresnet51")


def test_facts_of_other_sizes_are_counted():
    small = config_values(G2DConfig(32, 8, 16, 32, 2, 4, 0.125, 2, widths=(8, 16, 24, 32), depth=10, embedding=24))
    network = NETWORKS["g2d"].configured(small)
    module = network.build()
    assert (network.config, network.input_size, network.embedding_size) == (small, (32, 32), 24)
    assert network.parameters == count_parameters(module)
    assert network.flops == count_flops(module, (32, 32), masks=True)
    assert NETWORKS["g2d"].configured(NETWORKS["g2d"].config) is NETWORKS["g2d"]
    assert NETWORKS["iresnet18"].configured({}) is NETWORKS["iresnet18"]


def test_facts_of_other_sizes_are_counted_once(monkeypatch):
    """Whichever way the same sizes are written; malformed ones are still refused."""
    small = config_values(G2DConfig(28, 7, 16, 32, 2, 4, 1.0, 2, widths=(8, 16, 24, 32), depth=10, embedding=24))
    network = NETWORKS["g2d"].configured(small)
    monkeypatch.setattr("maskbench.models.flops.count_flops", lambda *a, **k: pytest.fail("counted again"))
    assert NETWORKS["g2d"].configured(dict(small)) == network
    other = {**small, "width": 1, "widths": tuple(small["widths"])}
    found = NETWORKS["g2d"].configured(other)
    assert found == replace(network, config=other) and type(found.config["width"]) is int
    with pytest.raises(MaskbenchError, match='"layers" must be a whole number'):
        NETWORKS["g2d"].configured({**small, "layers": 2.0})


@pytest.mark.parametrize(("name", "config", "message"), [
    ("iresnet18", {"size": 32}, "network iresnet18 has none; take it out"),
    ("g2d", {}, "network g2d needs one"),
    ("g2d", {"siz": 32}, 'unknown key "siz"; did you mean "size"'),
    ("g2d", {**NETWORKS["g2d"].config, "size": 30}, '"size" must be a multiple of 4'),
])  # fmt: skip
def test_sizes_that_are_none(name, config, message):
    with pytest.raises(MaskbenchError, match=message):
        NETWORKS[name].configured(config)


def test_the_table_needs_no_torch():
    code = "import sys, maskbench.models.zoo as zoo; zoo.card_values('g2d'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documentation_states_the_same_facts():
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 10}
    assert set(rows) - {"network"} == set(NETWORKS)  # the head of the table is a row too
    for name, network in NETWORKS.items():
        height, width = network.input_size
        cells = [cell.strip() for cell in rows[name].split("|")[2:-1]]
        assert cells[:3] == [f"{height} × {width}", f"`{network.template}`", network.colour_order]
        assert cells[4:7] == [str(network.embedding_size), f"{network.parameters:,}", f"{network.flops / 1e9:.2f} G"]
        mean, std = cells[3].split(", ")
        stated = [float(number) for number in mean.split()]
        assert (stated * 3 if len(stated) == 1 else stated) == pytest.approx(network.mean, abs=5e-5)
        assert float(std) == network.std[0]


def test_templates_of_the_networks():
    """SphereFace's own five points, and a crop of VGGFace2 that shows nothing that ArcFace's crop does not."""
    own = [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)]
    np.testing.assert_allclose(TEMPLATES["sphereface96"].points, own, atol=1e-9)
    loose, arcface = TEMPLATES["vggface224"], TEMPLATES["arcface112"]
    matrix = estimate_similarity(loose.points, arcface.points)
    assert np.hypot(*matrix[0, :2]) == pytest.approx(1 / 2.505) and abs(matrix[0, 1]) < 1e-9
    corners = np.array([(-0.5, -0.5, 1), (223.5, 223.5, 1)]) @ matrix.T
    assert (corners > 0).all() and (corners < 111).all()
    # MTCNN's points in such crops, medians over 878 CelebA photographs: eyes, nose, mouth.
    seen = [(65.85, 83.68), (159.27, 82.38), (112.12, 140.06), (71.22, 179.58), (154.33, 178.75)]
    assert np.abs(loose.points - seen).max() < 8
    again = estimate_similarity(arcface.points, np.array(seen))  # free to turn, which they do by less than a degree
    assert np.hypot(*again[0, :2]) == pytest.approx(2.505, rel=1e-3)


def test_the_conversion_of_the_documentation_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    (code,) = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    module = NETWORKS["mobilefacenet"].build()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "backbone.pth")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("iresnet50", "mobilefacenet"), "networks.md", "exec"), {})
    state = load_state(tmp_path / "backbone.safetensors")
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
