"""InsightFace's packs, with tiny networks in the places of the real ones."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from maskbench.digest import bytes_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers import packs
from maskbench.recognizers.base import checked_embed, load_recognizer
from maskbench.recognizers.onnx_nodes import first_nodes
from maskbench.recognizers.packs import FILES, KNOWN, find_recognizer
from maskbench.recognizers.pulling import pull_recognizer


class Network(torch.nn.Module):
    """Colour means of a picture, turned into a vector; ``inner`` normalises the pixels first."""

    def __init__(self, size: int, inner: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.weight = torch.nn.Parameter(torch.randn(3 * 16, size, generator=torch.Generator().manual_seed(size)))

    def forward(self, x):
        if self.inner:
            x = (x - 127.5) * 0.0078125
        return torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1) @ self.weight


@pytest.fixture(scope="module")
def networks(export) -> dict[str, bytes]:
    """What packs hold: a recognizer, one that normalises within, and other networks by their input."""
    return {
        "recognizer": export(Network(512), (1, 3, 112, 112)),
        "inner": export(Network(512, inner=True), (1, 3, 112, 112)),
        "landmarks": export(Network(24), (1, 3, 192, 192)),
        "gender": export(Network(24), (1, 3, 96, 96)),
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, networks) -> Path:
    """An InsightFace home in which the tiny network is what its file names promise."""
    monkeypatch.setattr(packs, "packs_root", lambda: tmp_path / "insightface" / "models")
    digest = bytes_sha256(networks["recognizer"])
    for name, known in FILES.items():
        monkeypatch.setitem(FILES, name, replace(known, sha256=digest))
    return tmp_path / "insightface" / "models"


@pytest.fixture
def pack(home: Path, networks):
    """A function that lays out a pack: file name -> which network."""

    def write(name: str, **files: str) -> Path:
        folder = home / name
        folder.mkdir(parents=True, exist_ok=True)
        for stem, which in files.items():
            (folder / f"{stem}.onnx").write_bytes(networks[which])
        return folder

    return write


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (3, 112, 112, 3), np.uint8)


@pytest.mark.parametrize(("name", "file"), KNOWN.items())
def test_known_packs_state_their_facts(pack, crops, name, file):
    pack(name, **{Path(file).stem: "recognizer", "genderage": "gender", "1k3d68": "landmarks"})
    recognizer = load_recognizer(f"insightface:{name}", "cpu")
    spec = recognizer.spec
    assert (spec.name, spec.template, spec.input_size, spec.embedding_size) == (name, "arcface112", (112, 112), 512)
    assert spec.colour_order == "RGB" and spec.mean == spec.std == (127.5,) * 3 and spec.comparator == "cosine"
    assert spec.training_data == ({"antelopev2": "Glint360K"}.get(name, "WebFace600K"),)
    assert spec.licence == "non-commercial research" and "non-commercial research purposes only" in spec.terms
    assert name in spec.source and len(spec.weights_sha256) == 64
    vectors, status = checked_embed(recognizer, crops)
    x = torch.tensor((crops.astype(np.float64) - 127.5) / 127.5, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.inference_mode():
        np.testing.assert_allclose(vectors, Network(512)(x).numpy(), atol=1e-5)
    assert not status.any()


def test_published_digests_look_like_digests():
    assert len({known.sha256 for known in FILES.values()}) == len(FILES) == 3 and set(KNOWN.values()) == set(FILES)
    assert all(len(known.sha256) == 64 and not known.sha256.strip("0123456789abcdef") for known in FILES.values())


def test_a_pack_one_folder_too_deep(home, pack):
    pack("antelopev2/antelopev2", glintr100="recognizer")
    assert load_recognizer("insightface:antelopev2", "cpu").spec.name == "antelopev2"


def test_a_folder_anywhere(pack, home, tmp_path):
    folder = pack("buffalo_s", w600k_mbf="recognizer").rename(tmp_path / "my pack")
    recognizer = load_recognizer(f"insightface:{folder}", "cpu")
    assert recognizer.spec.name == "my-pack" and recognizer.spec.training_data == ("WebFace600K",)


def test_an_unknown_pack_is_read_by_insightfaces_rule(pack):
    pack("custom", alpha="landmarks", beta="recognizer", gamma="gender")
    spec = load_recognizer("insightface:custom", "cpu").spec
    assert spec.name == "custom" and spec.licence == "unknown" and spec.training_data is None
    assert spec.terms == "unknown" and "beta.onnx" in spec.source


def test_networks_that_normalise_within_get_plain_pixels(pack, crops, networks):
    """The rule is about names that the exporter gives: "/Sub" is none of them, so the first nodes are renamed."""
    named = networks["inner"].replace(b"\x1a\x04/Sub", b"\x1a\x04Sub0").replace(b"\x1a\x04/Mul", b"\x1a\x04Mul0")
    assert first_nodes(named, 8)[:2] != first_nodes(networks["inner"], 8)[:2]
    folder = pack("custom")
    (folder / "model.onnx").write_bytes(named)
    recognizer = load_recognizer("insightface:custom", "cpu")
    assert recognizer.spec.mean == (0.0,) * 3 and recognizer.spec.std == (1.0,) * 3
    (folder / "model.onnx").write_bytes(networks["inner"])
    assert load_recognizer("insightface:custom", "cpu").spec.std == (127.5,) * 3


def test_node_names_of_damaged_files(networks):
    data = networks["inner"]
    assert len(first_nodes(data, 3)) == 3 and first_nodes(data, 8) == first_nodes(data, 100)[:8]
    for damaged in (b"", data[: len(data) // 2], data[:7], b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f"):
        assert isinstance(first_nodes(damaged, 8), list)


def test_an_own_card_wins(pack, card, networks):
    folder = pack("buffalo_l", w600k_r50="inner")
    message = "has SHA-256 .* instead of .*corrupted download, .*pull --force insightface:buffalo_l"
    with pytest.raises(RecognizerError, match=message):
        load_recognizer("insightface:buffalo_l", "cpu")
    values = {**card, "name": "mine", "sha256": bytes_sha256(networks["inner"]), "input_size": [112, 112]}
    (folder / "w600k_r50.json").write_text(json.dumps({**values, "embedding_size": 512, "licence": "mine"}))
    spec = load_recognizer("insightface:buffalo_l", "cpu").spec
    assert (spec.name, spec.licence, spec.training_data) == ("mine", "mine", ("noise",))
    (folder / "w600k_r50.json").write_text(json.dumps({**values, "sha256": "0" * 64}))
    with pytest.raises(RecognizerError, match="describes 0{64}; get the right file"):
        load_recognizer("insightface:buffalo_l", "cpu")


def test_a_manifest_names_the_recognizer(pack, networks):
    folder = pack("raccoon", alpha="recognizer", beta="recognizer")
    entry = {"file": "beta.onnx", "preprocessing": {"mean": 127.5, "std": 128.0}}
    manifest = {"manifest_version": 2, "tasks": {"recognition": entry}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert find_recognizer(folder).path.name == "beta.onnx"
    assert load_recognizer("insightface:raccoon", "cpu").spec.std == (128.0,) * 3
    entry |= {"preprocessing": "embedded", "sha256": bytes_sha256(networks["recognizer"])}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load_recognizer("insightface:raccoon", "cpu").spec.std == (1.0,) * 3
    entry["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecognizerError, match="instead of 0{64}"):
        load_recognizer("insightface:raccoon", "cpu")
    (folder / "manifest.json").write_text(json.dumps({"manifest_version": 2, "tasks": {"detection": {}}}))
    with pytest.raises(RecognizerError, match="manifest.json: names no recognition file"):
        load_recognizer("insightface:raccoon", "cpu")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"alpha": "recognizer", "beta": "recognizer"}, "files may be the recognizer: alpha.onnx, beta.onnx"),
        ({"w600k_mbf": "recognizer", "glintr100": "recognizer"}, "recognizer: glintr100.onnx, w600k_mbf.onnx"),
        ({"alpha": "landmarks", "beta": "gender"}, "none of its files is a recognizer: alpha.onnx, beta.onnx"),
        ({}, "none of its files is a recognizer: no ONNX file at all"),
    ],
)  # fmt: skip
def test_which_file_is_the_recognizer_must_be_clear(pack, files, message):
    pack("custom", **files)
    with pytest.raises(RecognizerError, match=message) as caught:
        load_recognizer("insightface:custom", "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("buffalo_l", "no such pack; fetch it: maskbench models pull insightface:buffalo_l"),
        ("bufalo_l", 'no such pack; did you mean "buffalo_l"'),
        ("./nowhere", "nowhere: no such pack; give the folder of a pack"),
        ("a b", '"a b" is no name of a pack'),
        ("..", "none of its files is a recognizer|no such pack"),
    ],
)
def test_packs_that_are_not_there(home, name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecognizerError, match=message):
        load_recognizer(f"insightface:{name}", "cpu")


def test_only_onnxruntime_runs_them():
    with pytest.raises(RecognizerError, match="insightface:buffalo_l: an ONNX file runs on engine onnxruntime"):
        load_recognizer("insightface:buffalo_l", engine="torch")


# --- pulling


@pytest.fixture
def downloader(monkeypatch: pytest.MonkeyPatch, home: Path, networks):
    """insightface's downloader, which lays out a pack instead; returns its calls."""
    calls: list[tuple] = []

    def download(sub_dir: str, name: str, force: bool = False, root: str = "") -> str:
        calls.append((sub_dir, name, force, root))
        if name == "buffalo_m":
            raise RuntimeError("Failed downloading url https://example.org/buffalo_m.zip\nand more")
        folder = Path(root) / sub_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        which = "inner" if name == "buffalo_sc" and not force else "recognizer"
        (folder / KNOWN.get(name, "model.onnx")).write_bytes(networks[which])
        return str(folder)

    package, utils = ModuleType("insightface"), ModuleType("insightface.utils")
    package.utils, utils.download = utils, download
    monkeypatch.setitem(sys.modules, "insightface", package)
    monkeypatch.setitem(sys.modules, "insightface.utils", utils)
    return calls


def test_pull_calls_insightfaces_downloader(downloader, home, networks):
    lines: list[str] = []
    path = pull_recognizer("insightface:buffalo_l", False, None, lines.append)
    assert downloader == [("models", "buffalo_l", False, str(home.parent))]
    assert path == home / "buffalo_l" / "w600k_r50.onnx"
    assert bytes_sha256(networks["recognizer"]) in lines[0] and "non-commercial" in lines[0]
    assert load_recognizer("insightface:buffalo_l", "cpu").spec.name == "buffalo_l"


def test_a_corrupted_pack_is_refused_until_it_is_fetched_again(downloader):
    for call in (
        lambda: pull_recognizer("insightface:buffalo_sc", False, None, print),
        lambda: load_recognizer("insightface:buffalo_sc", "cpu"),
    ):
        with pytest.raises(RecognizerError, match="a corrupted download.* models pull --force insightface:buffalo_sc"):
            call()
    pull_recognizer("insightface:buffalo_sc", True, None, print)
    assert load_recognizer("insightface:buffalo_sc", "cpu").spec.name == "buffalo_sc"


def test_every_download_has_a_known_digest(downloader, networks):
    with pytest.raises(RecognizerError, match='no known SHA-256 for pack "custom"; .*or give --sha256'):
        pull_recognizer("insightface:custom", False, None, print)
    with pytest.raises(RecognizerError, match="instead of 0{64}"):
        pull_recognizer("insightface:custom", False, "0" * 64, print)
    pull_recognizer("insightface:custom", False, bytes_sha256(networks["recognizer"]), print)
    with pytest.raises(RecognizerError, match="no known SHA-256"):
        pull_recognizer("insightface:../elsewhere", False, None, print)


def test_a_failed_download_is_one_line(downloader):
    with pytest.raises(
        RecognizerError, match=r"cannot be fetched \(RuntimeError: Failed .*unpack buffalo_m.zip"
    ) as caught:
        pull_recognizer("insightface:buffalo_m", False, None, print)
    assert "\n" not in str(caught.value)


def test_without_insightface_the_extra_is_named(monkeypatch, home):
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(RecognizerError, match=r"needs insightface .*pip install 'maskbench\[insightface\]'"):
        pull_recognizer("insightface:buffalo_l", False, None, print)


@pytest.mark.parametrize("name", ["dlib-resnet", "onnx:x.onnx", "hf", "hf:", "insightface:"])
def test_what_is_nothing_to_download(name):
    with pytest.raises(
        RecognizerError, match="is nothing to download; write hf:OWNER/REPO@COMMIT/FILE or insightface:PACK"
    ):
        pull_recognizer(name, False, None, print)
