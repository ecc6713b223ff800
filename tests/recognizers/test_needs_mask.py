"""Recognizers that read masks: both engines, cards, checkpoints, exports, and an evaluation."""

import io
import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from network_weights import randomised

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.masking.engine import synthesize
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.models.checkpoints import save_state
from maskbench.models.export import _without_onnx, onnx_bytes
from maskbench.models.flops import count_flops, count_parameters
from maskbench.models.g2d import G2DConfig, build_g2d, config_values
from maskbench.models.zoo import card_values
from maskbench.protocols import make_folders
from maskbench.recognizers.base import checked_embed, load_recognizer, network_digest, spec_digest
from maskbench.recognizers.card import draft_card, draft_checkpoint_card, parse_card
from maskbench.recognizers.check import FAILS, NOTE, OK, check_recognizer, demo_faces
from maskbench.recognizers.checkpoint import load_checkpoint
from maskbench.recognizers.exporting import export_recognizer
from maskbench.recognizers.flip import FlipSum
from maskbench.recognizers.onnx import OnnxRecognizer, describe
from maskbench.recognizers.preprocess import mask_planes, preprocess
from maskbench.recognizers.torch import TorchRecognizer
from maskbench.train.recipe import Student
from maskbench.train.running import build_network

SMALL = G2DConfig(32, 8, 16, 32, 2, 4, 0.125, 2, widths=(8, 12, 16, 20), depth=10, embedding=24)


class Visible(torch.nn.Module):
    """(N, 3, 16, 16) and (N, 1, 16, 16) to (N, 8): a linear layer over what is seen."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(768, 8)

    def forward(self, faces, masks):
        return self.fc((faces * (1 - masks)).flatten(1))


class Blind(Visible):
    """The same, which looks under the masks."""

    def forward(self, faces, masks):
        return self.fc((faces * (1 - 0.5 * masks)).flatten(1))


class Deaf(Visible):
    """The same, which ignores them."""

    def forward(self, faces, masks):
        return self.fc((faces + 0 * masks).flatten(1))


@pytest.fixture(scope="module")
def visible():
    torch.manual_seed(3)
    return Visible().eval()


@pytest.fixture(scope="module")
def onnx(visible):
    return onnx_bytes(visible, (16, 16), masks=True)


@pytest.fixture
def masks(faces):
    """None on the first face, halves and noise on the others."""
    found = np.zeros(faces.shape[:3], np.uint8)
    found[1:, 8:] = 1
    found[4:] = np.random.default_rng(1).integers(0, 2, found[4:].shape)
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def network():
    return randomised(build_g2d(SMALL))


@pytest.fixture
def checkpoint(network, tmp_path):
    """A function that writes the small G2D network and its card, with changed keys; "absent" takes one away."""
    path = tmp_path / "small.safetensors"
    save_state(network, path)

    def write(**changes):
        known = {"name": "small-g2d", "sha256": file_sha256(path), "training_data": None, "licence": "CC0-1.0"}
        sizes = {"input_size": [32, 32], "embedding_size": 24, "config": config_values(SMALL)}
        values = {**card_values("g2d"), **known, **sizes, **changes}
        path.with_suffix(".json").write_text(json.dumps({k: v for k, v in values.items() if v != "absent"}))
        return path

    write()
    return write


def pictures(count=4):
    """Faces of noise for the small G2D network, and masks over their lower halves, none on the first."""
    faces = np.random.default_rng(4).integers(0, 256, (count, 32, 32, 3), np.uint8)
    found = np.zeros(faces.shape[:3], np.uint8)
    found[1:, 18:, 3:-3] = 1
    return faces, found


# ---------------------------------------------------------------- engines


def by_hand(module, faces, masks):
    """The vectors of a mask-reading network for faces normalised by (127.5, 128, 64)."""
    x = torch.tensor((faces.astype(np.float64) - 127.5) / (127.5, 128.0, 64.0), dtype=torch.float32)
    hidden = torch.tensor(masks[:, None].astype(np.float32))
    with torch.inference_mode():
        return module(x.permute(0, 3, 1, 2), hidden).numpy()


def test_masks_reach_the_network(place, onnx, visible, faces, masks):
    path = place(onnx, needs_mask=True)
    found = {"onnxruntime": load_recognizer(f"onnx:{path}", device="cpu")}
    found["torch"] = TorchRecognizer(visible, found["onnxruntime"].spec, "cpu")
    expected = by_hand(visible, faces, masks)
    for recognizer in found.values():
        assert recognizer.spec.needs_mask
        vectors, status = checked_embed(recognizer, faces, masks)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        assert vectors.dtype == np.float32 and not status.any()
        # Without any mask nothing is occluded.
        np.testing.assert_allclose(recognizer.embed(faces)[0], by_hand(visible, faces, 0 * masks), atol=1e-5)
        with pytest.raises(RecognizerError, match="needs a mask for every face"):
            checked_embed(recognizer, faces)
        assert recognizer.embed(faces[:0], masks[:0])[0].shape == (0, 8)


@pytest.mark.parametrize("lanes", [1, 3])
def test_masks_stay_with_their_faces_among_threads(place, onnx, faces, masks, monkeypatch, lanes):
    monkeypatch.setattr("maskbench.recognizers.onnx.thread_count", lambda: lanes)
    recognizer = load_recognizer(f"onnx:{place(onnx, needs_mask=True)}", device="cpu")
    singly = [recognizer.embed(faces[i : i + 1], masks[i : i + 1])[0] for i in range(len(faces))]
    np.testing.assert_allclose(recognizer.embed(faces, masks)[0], np.concatenate(singly), atol=1e-6)


@pytest.mark.parametrize("batch", [2, 10])
def test_fixed_batch_sizes(place, visible, faces, masks, batch):
    stream, example = io.BytesIO(), (torch.zeros(batch, 3, 16, 16), torch.zeros(batch, 1, 16, 16))
    with _without_onnx(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(visible, example, stream, dynamo=False, input_names=["x", "hidden"], output_names=["y"])
    recognizer = load_recognizer(f"onnx:{place(stream.getvalue(), needs_mask=True)}", device="cpu")
    np.testing.assert_allclose(recognizer.embed(faces, masks)[0], by_hand(visible, faces, masks), atol=1e-5)


def test_mirrored_faces_have_mirrored_masks(place, onnx, visible, faces, masks):
    recognizer = FlipSum(load_recognizer(f"onnx:{place(onnx, needs_mask=True)}", device="cpu"))
    expected = by_hand(visible, faces, masks) + by_hand(visible, faces[:, :, ::-1], masks[:, :, ::-1])
    np.testing.assert_allclose(checked_embed(recognizer, faces, masks)[0], expected, atol=2e-5)


def test_others_do_not_see_masks(place, tiny, tiny_module, faces, masks):
    recognizer = load_recognizer(f"onnx:{place(tiny)}", device="cpu")
    np.testing.assert_array_equal(recognizer.embed(faces, masks)[0], recognizer.embed(faces)[0])
    other = TorchRecognizer(tiny_module, recognizer.spec, "cpu")
    np.testing.assert_array_equal(other.embed(faces, masks)[0], other.embed(faces)[0])


def test_planes(faces, masks):
    planes = mask_planes(faces, masks)
    assert planes.shape == (7, 1, 16, 16) and planes.dtype == np.float32
    np.testing.assert_array_equal(planes[:, 0], masks)
    assert not mask_planes(faces, None).any() and mask_planes(faces, None).shape == planes.shape


# ---------------------------------------------------------------- cards and files


def test_the_export_names_its_inputs(onnx, visible):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in session.get_inputs()] == [
        ("faces", ["batch", 3, 16, 16]), ("masks", ["batch", 1, 16, 16]),
    ]  # fmt: skip
    assert onnx_bytes(visible, (16, 16), masks=True) == onnx


def test_card_and_file_must_agree_on_masks(place, onnx, tiny):
    with pytest.raises(RecognizerError, match='instead of one float32 image batch.*set "needs_mask" in its card'):
        load_recognizer(f"onnx:{place(onnx)}")
    with pytest.raises(RecognizerError, match=r"instead of one float32 image batch .* and its masks \[N, 1, H, W\]"):
        load_recognizer(f"onnx:{place(tiny, needs_mask=True)}")
    with pytest.raises(RecognizerError, match="takes images .*its card says .24, 24"):
        load_recognizer(f"onnx:{place(onnx, needs_mask=True, input_size=[24, 24])}")


def test_a_draft_says_that_masks_are_read(place, onnx, tiny):
    path = place(onnx)
    assert describe(path) == ((16, 16), 8, True)
    draft = draft_card(path)
    assert draft["needs_mask"] is True and parse_card(draft, path).needs_mask
    other = place(tiny, "other.onnx")
    assert not describe(other).takes_masks and "needs_mask" not in draft_card(other)


def test_masks_and_sizes_in_digests(card, tmp_path):
    plain, path = parse_card(card, tmp_path / "x.json"), tmp_path / "x.json"
    assert not plain.needs_mask and plain.config == {}
    assert spec_digest(parse_card({**card, "needs_mask": False}, path)) == spec_digest(plain)
    digests = [
        spec_digest(parse_card({**card, "needs_mask": masks, "config": config}, path))
        for masks in (False, True) for config in ({"size": 1}, {"size": 2}, {"size": [1, 2]}, {"side": 1})
    ]  # fmt: skip
    assert len({spec_digest(plain), *digests}) == 9


# ---------------------------------------------------------------- checkpoints of a network whose sizes a card states


def test_engines_agree_with_the_module(network, checkpoint):
    found = {engine: load_checkpoint(str(checkpoint()), None, "cpu", engine) for engine in ("onnxruntime", "torch")}
    faces, hidden = pictures()
    spec = found["torch"].spec
    with torch.inference_mode():
        expected = network(torch.from_numpy(preprocess(faces, spec)), torch.from_numpy(hidden[:, None]).float()).numpy()
    scale = np.abs(expected).max()
    for engine, recognizer in found.items():
        vectors, status = checked_embed(recognizer, faces, hidden)
        np.testing.assert_allclose(vectors, expected, atol=1e-4 * scale, err_msg=engine)
        assert not status.any()
        # Masks matter, and what is under them does not.
        assert np.abs(recognizer.embed(faces)[0][1:] - vectors[1:]).max(axis=1).min() > 1e-3 * scale
        other = np.where(hidden[..., None] == 1, 255 - faces, faces)
        assert recognizer.embed(other, hidden)[0].tobytes() == recognizer.embed(faces, hidden)[0].tobytes()
    assert found["torch"].spec == replace(found["onnxruntime"].spec, engine="torch:cpu")
    assert spec.needs_mask and spec.config == config_values(SMALL) and spec.input_size == (32, 32)
    assert spec.parameters == count_parameters(network)
    assert spec.flops == count_flops(network, (32, 32), masks=True)


def test_other_sizes_of_the_same_weights_are_other_networks(checkpoint, cache):
    """Heads and block change no weight: export and digest know them."""
    faces, hidden = pictures()
    vectors, digests = [], set()
    for changes in ({}, {"heads": 2}, {"block": 0}, {"fill": "argmax"}):
        path = checkpoint(config={**config_values(SMALL), **changes})
        for engine in ("onnxruntime", "torch"):
            recognizer = load_checkpoint(str(path), None, "cpu", engine)
            digests.add(network_digest(recognizer))
        vectors.append(recognizer.embed(faces, hidden)[0])
    assert len(digests) == 8 and len(list((cache / "onnx").glob("g2d-*.onnx"))) == 4
    assert all(np.abs(one - vectors[0]).max() > 1e-4 * np.abs(vectors[0]).max() for one in vectors[1:])


def test_the_export_is_kept(checkpoint, monkeypatch):
    first = load_checkpoint(str(checkpoint()), None, "cpu")
    monkeypatch.setattr("maskbench.recognizers.checkpoint.build", lambda *a: pytest.fail("built again"))
    again = load_checkpoint(str(checkpoint()), None, "cpu")
    assert again.network_id == first.network_id


@pytest.mark.parametrize(("changes", "message"), [
    ({"config": "absent"}, 'small.json: "config": network g2d needs one'),
    ({"config": {**config_values(SMALL), "depth": 11}}, 'small.json: "config": "depth" must be one of 10, 22, 34'),
    ({"config": {**config_values(SMALL), "layers": 3}}, "does not fit the network: .*weights are missing"),
    ({"needs_mask": "absent"}, 'network g2d reads masks; write "needs_mask": true'),
    ({"input_size": [64, 64]}, r"g2d takes \[32, 32\], the card says \[64, 64\]"),
    ({"embedding_size": 512}, "g2d gives vectors of 24 numbers, the card says 512"),
    ({"network": "iresnet18"}, '"config": network iresnet18 has none; take it out'),
    ({"network": "iresnet18", "config": "absent"}, 'network iresnet18 reads no masks; take out "needs_mask": true'),
])  # fmt: skip
def test_cards_that_do_not_fit(checkpoint, changes, message):
    with pytest.raises(RecognizerError, match=message) as caught:
        load_checkpoint(str(checkpoint(**changes)), None, "cpu", "torch")
    assert "\n" not in str(caught.value)


def test_export_and_back(checkpoint, tmp_path):
    faces, hidden = pictures()
    expected = load_checkpoint(str(checkpoint()), None, "cpu", "torch").embed(faces, hidden)[0]
    for name in ("a.onnx", "a-copy.safetensors"):
        out, card, reference = export_recognizer(f"torch:{checkpoint()}", tmp_path / name)
        values = json.loads(card.read_text())
        assert values["needs_mask"] is True and ("config" in values) == ("network" in values) == (out.suffix != ".onnx")
        recognizer = load_recognizer(reference, "cpu")
        np.testing.assert_allclose(recognizer.embed(faces, hidden)[0], expected, atol=1e-4 * np.abs(expected).max())
    assert (tmp_path / "a-copy.safetensors").read_bytes() == checkpoint().read_bytes()


def test_a_draft_has_the_paper_s_sizes(checkpoint, tmp_path):
    draft = draft_checkpoint_card(checkpoint(), "g2d")
    assert draft["needs_mask"] is True and draft["config"] == config_values(G2DConfig())
    assert parse_card(draft, tmp_path / "x.json").config == draft["config"]


def test_no_other_training_takes_it_as_its_student():
    with pytest.raises(MaskbenchError, match="recipe mine: network g2d reads masks and is trained by stages"):
        build_network(Student(network="g2d", start="random"), "dlib-resnet", "mine", 0)


# ---------------------------------------------------------------- check


@pytest.mark.parametrize(("kind", "verdict", "detail"), [
    (Visible, OK, "what is under them 0.0e"), (Blind, NOTE, "what is under them [1-9]"), (Deaf, NOTE, "change 0.0e"),
])  # fmt: skip
def test_check_tries_masks(kind, verdict, detail, card, tmp_path):
    torch.manual_seed(3)
    spec = parse_card({**card, "needs_mask": True}, tmp_path / "x.json")
    recognizer = TorchRecognizer(kind(), spec, "cpu")
    found = {one.check: one for one in check_recognizer(recognizer, *demo_faces(spec))}
    assert list(found)[:6] == ["form", "templates", "input", "repeat", "batches", "masks"]
    assert found["masks"].verdict == verdict and re.search(detail, found["masks"].detail), found["masks"].detail
    assert FAILS not in {one.verdict for one in found.values()}


def test_check_finds_masks_that_break_it(card, tmp_path):
    class Fragile(TorchRecognizer):
        def embed(self, faces, masks=None):
            if masks.any():
                raise ValueError("masks")
            return super().embed(faces, masks)

    spec = parse_card({**card, "needs_mask": True}, tmp_path / "x.json")
    found = {one.check: one for one in check_recognizer(Fragile(Visible(), spec, "cpu"), *demo_faces(spec))}
    assert found["masks"].verdict == FAILS and "over the lower half: fails on 48 faces" in found["masks"].detail


# ---------------------------------------------------------------- evaluation


def test_an_evaluation_gives_it_the_masks(checkpoint, crop_folder, tmp_path, monkeypatch):
    """Bare faces with empty masks, masked ones with theirs; the result says where masks are from and what ran."""
    seen, embed = [], OnnxRecognizer.embed

    def recorded(self, faces, masks=None):
        seen.extend(zip(faces, masks, strict=True))
        return embed(self, faces, masks)

    monkeypatch.setattr(OnnxRecognizer, "embed", recorded)
    faces = crop_folder(12)
    synthesize(faces, tmp_path / "masked", SynthesisConfig(mask="surgical", landmarks="aligned"), 1)
    options = EvaluationOptions(workers=1, mask_source="oracle")
    reference = f"torch:{checkpoint()}"
    folder = evaluate(make_folders(faces, 12), [reference], faces, tmp_path / "masked", tmp_path / "out", options)[0]
    shares = [mask.mean() for _, mask in seen]
    assert len(seen) == 24 and sum(share == 0 for share in shares) == 12
    assert sum(0.1 < share < 0.9 for share in shares) == 12
    said = json.loads((folder / "result.json").read_text())
    assert said["recognizer"]["needs_mask"] is True and said["recognizer"]["config"] == config_values(SMALL)
    assert folder.name == "small-g2d--oracle"
