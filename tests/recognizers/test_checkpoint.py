"""Recognizers in checkpoints: "torch:PATH" on both engines, its card, its cache, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from network_weights import randomised

from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import RecognizerError
from maskbench.models.checkpoints import save_state
from maskbench.models.zoo import NETWORKS, card_values
from maskbench.recognizers import checkpoint
from maskbench.recognizers.base import checked_embed, load_recognizer, network_digest, spec_digest
from maskbench.recognizers.checkpoint import load_checkpoint
from maskbench.recognizers.exported import cached_onnx
from maskbench.recognizers.preprocess import preprocess


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache folder for this module, so that every network is exported once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MASKBENCH_CACHE", str(folder))
        yield folder


def write_card(path, of, /, **changes):
    """A card beside ``path``; changes to "absent" take a key away."""
    values = {"name": f"my-{of}", "sha256": file_sha256(path), "training_data": None, "licence": "CC0-1.0"}
    values = {**card_values(of), **values, **changes}
    card = path.with_suffix(".json")
    card.write_text(json.dumps({key: value for key, value in values.items() if value != "absent"}))
    return card


@pytest.fixture(scope="module")
def modules():
    """Three networks with random weights and statistics, in evaluation mode."""
    names = ("iresnet18", "mobilefacenet", "mobilefacenet-treb1en")
    return {name: randomised(NETWORKS[name].build()) for name in names}


@pytest.fixture(scope="module")
def places(modules, tmp_path_factory):
    """Their checkpoints with cards."""
    folder = tmp_path_factory.mktemp("checkpoints")
    found = {}
    for name, module in modules.items():
        found[name] = folder / f"{name}.safetensors"
        save_state(module, found[name])
        write_card(found[name], name)
    return found


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(4).integers(0, 256, (3, 112, 112, 3), np.uint8)


@pytest.fixture
def small(places, tmp_path):
    """A copy of a checkpoint in a folder of its own, with a card that may be spoilt."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes(places["mobilefacenet"].read_bytes())
    write_card(path, "mobilefacenet")
    return path


@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "mobilefacenet-treb1en"])
def test_engines_agree_with_the_module(modules, places, pictures, name):
    found = {engine: load_checkpoint(str(places[name]), None, "cpu", engine) for engine in ("onnxruntime", "torch")}
    with torch.inference_mode():
        expected = modules[name](torch.from_numpy(preprocess(pictures, found["torch"].spec))).numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * np.abs(expected).max()
    for engine, recognizer in found.items():
        vectors, status = checked_embed(recognizer, pictures)
        np.testing.assert_allclose(vectors, expected, atol=2e-4 * np.abs(expected).max(), err_msg=engine)
        assert not status.any()
    assert found["torch"].spec == replace(found["onnxruntime"].spec, engine="torch:cpu")
    assert found["onnxruntime"].spec.engine == "onnxruntime:CPUExecutionProvider"


def test_through_the_registry(places, pictures):
    recognizer = load_recognizer(f"torch:{places['mobilefacenet']}", device="cpu")
    spec = recognizer.spec
    assert (spec.name, spec.network, spec.licence) == ("my-mobilefacenet", "mobilefacenet", "CC0-1.0")
    assert (spec.parameters, spec.flops) == (2_059_520, 875_041_792)
    assert spec.weights_sha256 == file_sha256(places["mobilefacenet"])
    assert recognizer.embed(pictures)[0].shape == (3, 512)


def test_counts_come_from_the_network(small):
    write_card(small, "mobilefacenet", parameters=1, flops="absent")
    spec = load_checkpoint(str(small), None, "cpu", "torch", False).spec
    assert (spec.parameters, spec.flops) == (2_059_520, 875_041_792)


def test_export_is_kept_and_known_by_its_bytes(places, cache, pictures, monkeypatch):
    first = load_checkpoint(str(places["mobilefacenet-treb1en"]), None, "cpu")
    (path,) = cache.glob("onnx/mobilefacenet-treb1en-*.onnx")
    digest = file_sha256(places["mobilefacenet-treb1en"])[:16]
    assert path.name.startswith(f"mobilefacenet-treb1en-{digest}-v1-torch{torch.__version__.split('+')[0]}")
    assert first.network_id == file_sha256(path)

    def fail(*arguments):
        raise AssertionError("built again")

    monkeypatch.setattr(checkpoint, "build", fail)
    again = load_checkpoint(str(places["mobilefacenet-treb1en"]), None, "cpu")
    np.testing.assert_array_equal(again.embed(pictures)[0], first.embed(pictures)[0])


def test_cached_export_that_was_damaged_is_made_again(places, cache, pictures):
    name = str(places["mobilefacenet"])
    vectors = load_checkpoint(name, None, "cpu").embed(pictures)[0]
    (path,) = (p for p in cache.glob("onnx/mobilefacenet-*.onnx") if "treb1en" not in p.name)
    good = path.read_bytes()
    path.write_bytes(good[:-500] + b"\0" * 500)
    np.testing.assert_array_equal(load_checkpoint(name, None, "cpu").embed(pictures)[0], vectors)
    assert path.read_bytes() == good


def test_other_weights_other_digests(places, small, monkeypatch):
    """Two checkpoints of one network, and two versions of the export, are never taken for each other."""
    other = NETWORKS["mobilefacenet"].build()
    save_state(other, small)
    write_card(small, "mobilefacenet")
    one, two = (load_checkpoint(str(path), None, "cpu", "torch") for path in (places["mobilefacenet"], small))
    assert spec_digest(one.spec) != spec_digest(two.spec)
    monkeypatch.setattr(checkpoint, "EXPORT_VERSION", 2)
    three = load_checkpoint(str(small), None, "cpu", "torch")
    assert spec_digest(two.spec) == spec_digest(three.spec) and network_digest(two) != network_digest(three)


def test_a_card_elsewhere_and_a_list_of_subjects(small, tmp_path):
    card = small.with_suffix(".json").rename(tmp_path / "elsewhere.json")
    small.with_suffix(".subjects.txt").write_text("Ann\nBob\n")
    with pytest.raises(RecognizerError, match="no card at"):
        load_checkpoint(str(small), None, "cpu", "torch")
    for engine in ("torch", "onnxruntime"):
        assert load_checkpoint(str(small), card, "cpu", engine).training_subjects == {"Ann", "Bob"}


def test_another_file_is_refused_before_it_is_parsed(small, monkeypatch):
    small.write_bytes(b"not what the card describes")
    monkeypatch.setattr("maskbench.models.checkpoints.load_state", lambda *a: pytest.fail("parsed"))
    with pytest.raises(RecognizerError, match=r"has SHA-256 \w{64}, but .*mine.json describes \w{64}"):
        load_checkpoint(str(small), None, "cpu")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"network": "absent"}, 'mine.json: missing "network".*known: dlib-resnet, g2d, iresnet100, iresnet18'),
        ({"network": "iresnet5"}, 'no network named "iresnet5"; did you mean "iresnet50"'),
        ({"embedding_size": 128}, "mobilefacenet gives vectors of 512 numbers, the card says 128"),
        ({"input_size": [128, 128]}, r"mobilefacenet takes \[112, 112\], the card says \[128, 128\]"),
        ({"licence": "absent"}, "missing licence"),
        ({"network": "mobilefacenet-treb1en"}, "does not fit the network: .* of its weights are missing"),
    ],
)
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_cards_that_do_not_fit(small, changes, match, engine):
    write_card(small, "mobilefacenet", **changes)
    with pytest.raises(RecognizerError, match=match) as caught:
        load_checkpoint(str(small), None, "cpu", engine)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_named(small, modules):
    state = modules["mobilefacenet"].state_dict()
    from safetensors.torch import save_file

    save_file({**state, "conv_sep.layers.0.weight": torch.zeros(512, 128, 1, 1)}, small)
    write_card(small, "mobilefacenet")
    with pytest.raises(RecognizerError, match=r'shape of "conv_sep.layers.0.weight" is \(512, 128, 1, 1\) instead of'):
        load_checkpoint(str(small), None, "cpu")


def test_pickles_need_a_word(places, modules, pictures, tmp_path):
    path = tmp_path / "backbone.pth"
    state = {f"module.{name}": value for name, value in modules["mobilefacenet"].state_dict().items()}
    torch.save({"state_dict_backbone": state, "epoch": 20}, path)
    write_card(path, "mobilefacenet")
    with pytest.raises(RecognizerError, match="a pickle, which can run any code"):
        load_recognizer(f"torch:{path}", device="cpu")
    found = load_recognizer(f"torch:{path}", device="cpu", engine="torch", allow_pickle=True)
    expected = load_checkpoint(str(places["mobilefacenet"]), None, "cpu", "torch")
    np.testing.assert_array_equal(found.embed(pictures)[0], expected.embed(pictures)[0])
    load_recognizer(f"torch:{path}", device="cpu", allow_pickle=True)
    with pytest.raises(RecognizerError, match="a pickle"):  # also where the export is in the cache
        load_recognizer(f"torch:{path}", device="cpu")


def test_missing_files(tmp_path):
    for name in ("none.safetensors", "none.pth"):
        with pytest.raises(RecognizerError, match=f"{name}: cannot be read"):
            load_checkpoint(str(tmp_path / name), None, "cpu")


def test_a_network_that_is_not_square(tmp_path, cache):
    """SphereFace's 112 x 96 through template, card, export and session."""
    path = tmp_path / "sphere.safetensors"
    module = randomised(NETWORKS["sphereface20"].build())
    save_state(module, path)
    write_card(path, "sphereface20")
    recognizer = load_checkpoint(str(path), None, "cpu")
    faces = np.random.default_rng(1).integers(0, 256, (2, 112, 96, 3), np.uint8)
    batch = (faces[..., ::-1].astype(np.float64) - 127.5) / 128  # BGR
    with torch.inference_mode():
        expected = module(torch.tensor(batch.transpose(0, 3, 1, 2), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(recognizer.embed(faces)[0], expected, atol=1e-4 * np.abs(expected).max())


def test_cached_onnx_calls_export_only_when_it_must(monkeypatch, tmp_path):
    monkeypatch.setenv("MASKBENCH_CACHE", str(tmp_path))
    calls = []

    def export():
        calls.append(1)
        return b"network"

    data, path = cached_onnx("some-v1", export)
    assert (data, len(calls)) == (b"network", 1) and path.name.startswith("some-v1-torch")
    assert path.with_name(path.name + ".sha256").read_text().strip() == bytes_sha256(b"network")
    assert cached_onnx("some-v1", export)[0] == b"network" and len(calls) == 1
    path.write_bytes(b"networl")
    assert cached_onnx("some-v1", export)[0] == b"network" and len(calls) == 2
    cached_onnx("some-v2", export)
    assert len(calls) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"iresnet18", "mobilefacenet", "mobilefacenet-treb1en", "g2d"}))
def test_larger_networks_agree_on_both_engines(tmp_path, name):
    network = NETWORKS[name]
    path = tmp_path / "network.safetensors"
    save_state(randomised(network.build()), path)
    write_card(path, name)
    faces = np.random.default_rng(2).integers(0, 256, (1, *network.input_size, 3), np.uint8)
    one, two = (load_checkpoint(str(path), None, "cpu", engine).embed(faces)[0] for engine in ("torch", "onnxruntime"))
    np.testing.assert_allclose(one, two, atol=1e-3 * np.abs(one).max())


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_gpu_agrees_with_the_processor(places, pictures, engine):
    on_gpu, off = (load_checkpoint(str(places["iresnet18"]), None, device, engine) for device in ("cuda", "cpu"))
    expected = off.embed(pictures)[0]
    np.testing.assert_allclose(on_gpu.embed(pictures)[0], expected, atol=1e-3 * np.abs(expected).max())
