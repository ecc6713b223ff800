"""Files of the hub, against a mirror of it on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

constants = pytest.importorskip("huggingface_hub.constants")
pytest.importorskip("onnxruntime")

from hub_mirror import Mirror, serving

from maskbench.digest import bytes_sha256
from maskbench.errors import RecognizerError
from maskbench.recognizers.base import checked_embed, load_recognizer
from maskbench.recognizers.hub import HubFile, parse_hub
from maskbench.recognizers.pulling import pull_recognizer

COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40
REFERENCE = f"hf:lab/faces@{COMMIT}/nets/tiny.onnx"


@pytest.fixture
def root(tmp_path: Path, tiny: bytes, card: dict) -> Path:
    """The mirror's folder: the tiny network and its card in one commit."""
    folder = tmp_path / "mirror" / "lab" / "faces" / COMMIT / "nets"
    folder.mkdir(parents=True)
    (folder / "tiny.onnx").write_bytes(tiny)
    (folder / "tiny.json").write_text(json.dumps({**card, "sha256": bytes_sha256(tiny)}))
    return tmp_path / "mirror"


@pytest.fixture
def network(root: Path) -> Path:
    """The network's file on the mirror."""
    return root / "lab" / "faces" / COMMIT / "nets" / "tiny.onnx"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A function that points huggingface_hub, already imported, at a server and at a cache of this test's own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def point(url: str, offline: bool = False) -> None:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    return point


@pytest.fixture
def mirror(root: Path, use):
    """The running mirror."""
    with serving(root) as server:
        use(server.url)
        yield server


def refused(reference: str = REFERENCE, force: bool = False, sha256: str | None = None) -> str:
    """The message of a pull that is refused, which is one line."""
    with pytest.raises(RecognizerError) as caught:
        pull_recognizer(reference, force, sha256, print)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the reference


def test_the_parts_of_a_reference():
    found = parse_hub(REFERENCE.removeprefix("hf:"))
    assert found == HubFile("lab/faces", COMMIT, "nets/tiny.onnx") and found.card == "nets/tiny.json"
    assert str(found) == REFERENCE


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("lab/faces@main/tiny.onnx", 'revision "main" is not pinned, .* full commit of 40 hexadecimal digits'),
        (f"lab/faces@{COMMIT[:12]}/tiny.onnx", f'revision "{COMMIT[:12]}" is not pinned'),
        (f"lab/faces@{COMMIT.upper()}/tiny.onnx", "is not pinned"),
        ("lab/faces/tiny.onnx", "names no revision, .* write hf:OWNER/REPO@COMMIT/FILE"),
        ("lab/faces@/tiny.onnx", "names no revision"),
        ("tiny.onnx", "write hf:OWNER/REPO@COMMIT/FILE"),
        (f"lab@{COMMIT}/tiny.onnx", "write hf:"),
        (f"../faces@{COMMIT}/tiny.onnx", "write hf:"),
        (f"lab/faces@{COMMIT}/../../tiny.onnx", "is not a path inside the repository"),
        (f"lab/faces@{COMMIT}/a/../../../tiny.onnx", "is not a path inside the repository"),
        (f"lab/faces@{COMMIT}//etc/tiny.onnx", "is not a path inside the repository"),
        (f"lab/faces@{COMMIT}/a\\..\\tiny.onnx", "is not a path inside the repository"),
        (f"lab/faces@{COMMIT}/a\n.onnx", "is not a path inside the repository"),
        (f"lab/faces@{COMMIT}/tiny.pth", "only .onnx and .safetensors files are loaded from the hub, never pickles"),
    ],
)
def test_what_is_no_pinned_file_is_refused(rest, message):
    for call in (lambda: load_recognizer(f"hf:{rest}"), lambda: pull_recognizer(f"hf:{rest}", False, None, print)):
        with pytest.raises(RecognizerError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


# --- pull and load


def test_pull_then_load_without_a_server(root, use, network, tiny, faces, tmp_path):
    lines: list[str] = []
    with serving(root) as server:
        use(server.url)
        with pytest.raises(RecognizerError, match=f"not here yet; pull it first: maskbench models pull {REFERENCE}"):
            load_recognizer(REFERENCE, "cpu")
        assert server.asked == []  # loading asks nobody
        path = pull_recognizer(REFERENCE, False, None, lines.append)
        fetched = list(server.asked)
    assert path.read_bytes() == tiny and tmp_path in path.parents
    report = "\n".join(lines)
    assert bytes_sha256(tiny) in report and f"{len(tiny)} bytes" in report and "licence CC0-1.0" in report
    files = [request for request in fetched if "/resolve/" in request]  # huggingface_hub asks for more, once a day
    assert {request.split("/")[-1] for request in files} == {"tiny.onnx", "tiny.json"}
    assert all(f"/lab/faces/resolve/{COMMIT}/nets/" in request for request in files)
    recognizer = load_recognizer(REFERENCE, "cpu")
    assert recognizer.spec.name == "tiny" and recognizer.spec.source == "made in this test"
    network.with_suffix(".json").rename(network.with_name("tiny.onnx.json"))
    expected = load_recognizer(f"onnx:{network}", "cpu")
    np.testing.assert_array_equal(checked_embed(recognizer, faces)[0], checked_embed(expected, faces)[0])
    assert pull_recognizer(REFERENCE, False, None, print) == path  # what is here needs no server


def test_a_card_of_ones_own(mirror: Mirror, tmp_path, network):
    pull_recognizer(REFERENCE, False, None, print)
    own = tmp_path / "own.json"
    own.write_text(json.dumps({**json.loads(network.with_suffix(".json").read_text()), "name": "mine"}))
    assert load_recognizer(REFERENCE, "cpu", card=own).spec.name == "mine"


def test_safetensors_go_to_the_loader_of_checkpoints(mirror: Mirror, network, monkeypatch):
    from maskbench.recognizers import checkpoint

    weights = network.rename(network.with_suffix(".safetensors"))
    reference = REFERENCE.replace(".onnx", ".safetensors")
    path = pull_recognizer(reference, False, None, print)
    assert path.read_bytes() == weights.read_bytes()
    seen = []
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda *given: seen.append(given) or "loaded")
    assert load_recognizer(reference, "cpu", "torch", allow_pickle=True) == "loaded"
    assert seen == [(str(path), path.with_suffix(".json"), "cpu", "torch", False)]  # never a pickle of the hub


def test_a_corrupted_download_is_refused_until_it_is_fetched_again(mirror: Mirror, network, tiny):
    network.write_bytes(tiny[:-1] + bytes([tiny[-1] ^ 1]))  # of the right length
    message = refused()
    assert bytes_sha256(tiny) in message and f"maskbench models pull --force {REFERENCE}" in message
    with pytest.raises(RecognizerError, match="a corrupted download, .*--force"):
        load_recognizer(REFERENCE, "cpu")
    network.write_bytes(tiny)
    assert "--force" in refused()  # the file that is here is still the wrong one
    pull_recognizer(REFERENCE, True, None, print)
    assert load_recognizer(REFERENCE, "cpu").spec.name == "tiny"


def test_a_wrong_sha256(mirror: Mirror, tiny):
    assert f"instead of {'0' * 64}" in refused(sha256="0" * 64)
    assert "64 lower-case hexadecimal digits" in refused(sha256="abc")
    pull_recognizer(REFERENCE, False, bytes_sha256(tiny), print)


def test_without_a_card_the_sha256_must_be_given(mirror: Mirror, network, tiny, tmp_path):
    card = network.with_suffix(".json")
    card.rename(tmp_path / "later.json")
    assert "no card nets/tiny.json at that commit" in refused()
    assert not any(request.startswith("GET") for request in mirror.asked)
    lines: list[str] = []
    pull_recognizer(REFERENCE, False, bytes_sha256(tiny), lines.append)
    assert "no card" in lines[-1]
    with pytest.raises(RecognizerError, match="no card nets/tiny.json was pulled with it; give one with --card"):
        load_recognizer(REFERENCE, "cpu")
    assert load_recognizer(REFERENCE, "cpu", card=tmp_path / "later.json").spec.name == "tiny"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f"hf:lab/nothing@{COMMIT}/nets/tiny.onnx", "no such repository, or it wants a login"),
        (f"hf:lab/faces@{OTHER}/nets/tiny.onnx", "the repository has no such commit"),
        (f"hf:lab/faces@{COMMIT}/nets/other.onnx", "no card nets/other.json at that commit"),
    ],
)
def test_what_the_hub_does_not_have(mirror: Mirror, reference, message):
    assert message in refused(reference)


def test_a_file_that_the_hub_does_not_have(mirror: Mirror, network):
    network.unlink()
    assert "no file nets/tiny.onnx at that commit" in refused()


def test_a_hub_that_cannot_be_reached(root, use):
    with serving(root) as server:
        use(server.url)
    assert "the hub cannot be reached" in refused() and "HF_ENDPOINT" in refused()
    use("http://127.0.0.1:9", offline=True)
    assert "the hub cannot be reached" in refused() and "HF_HUB_OFFLINE" in refused()


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: load_recognizer(REFERENCE), lambda: pull_recognizer(REFERENCE, False, None, print)):
        with pytest.raises(RecognizerError, match=r"needs huggingface_hub .*pip install 'maskbench\[hub\]'"):
            call()


def test_the_command_line_follows_hf_endpoint(root, tmp_path):
    """In a process of its own, where huggingface_hub reads its environment."""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "maskbench", "models", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    with serving(root) as server:
        environment["HF_ENDPOINT"] = server.url
        pulled = call("pull", REFERENCE)
    assert pulled.returncode == 0 and "tiny.onnx" in pulled.stdout, pulled.stderr
    shown = call("show", REFERENCE, "--json")
    assert json.loads(shown.stdout)["name"] == "tiny"
    again = call("pull", REFERENCE, "--force")
    assert again.returncode == 2 and again.stderr.splitlines()[-1].startswith("error: hf:lab/faces@"), again.stderr
    assert "the hub cannot be reached" in again.stderr and "Traceback" not in again.stderr
