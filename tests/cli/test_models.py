"""maskbench models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maskbench.cli.main import main
from maskbench.digest import bytes_sha256
from maskbench.recognizers import catalogue, packs
from maskbench.recognizers.card import parse_card


@pytest.fixture
def call(capsys: pytest.CaptureFixture):
    """Run `maskbench models ...` in this process: (exit code, standard output, standard error)."""

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["models", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def refused(answer: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2 and one line with every part in it."""
    code, _, error = answer
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error, error
    for part in parts:
        assert part in error, error


@pytest.fixture
def plain_packs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An InsightFace home without packs."""
    for module in (packs, catalogue):
        monkeypatch.setattr(module, "packs_root", lambda: tmp_path / "home" / "models")
    return tmp_path / "home" / "models"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """An ONNX network that takes 16 x 16 pictures, with its card."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    from maskbench.models.export import onnx_bytes

    torch.manual_seed(3)
    data = onnx_bytes(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 8)), (16, 16))
    (tmp_path / "net.onnx").write_bytes(data)
    values = {
        "name": "net", "sha256": bytes_sha256(data), "input_size": [16, 16], "template": "arcface112",
        "colour_order": "RGB", "mean": 127.5, "std": 64, "embedding_size": 8, "comparator": "cosine",
        "parameters": 6152, "training_data": None, "licence": "CC0-1.0", "source": "a test", "terms": "any use",
    }  # fmt: skip
    (tmp_path / "net.json").write_text(json.dumps(values))
    return tmp_path / "net.onnx"


def test_the_list(call, plain_packs):
    code, text, _ = call("list")
    lines = text.splitlines()
    assert code == 0 and lines[0].split() == [
        "name",
        "input",
        "vector",
        "compare",
        "by",
        "parameters",
        "licence",
        "ready",
    ]
    dlib = next(line for line in lines if line.startswith("dlib-resnet"))
    assert dlib.split() == ["dlib-resnet", "150x150", "128", "negative-l2", "5,614,592", "CC0-1.0", "yes"]
    assert any(line.startswith("insightface:buffalo_l ") and "maskbench models pull" in line for line in lines)
    for form in ("onnx:PATH", "torch:PATH", "fitted:PATH", "hf:OWNER/REPO@COMMIT/FILE", "insightface:PACK"):
        assert any(line.startswith(form) for line in lines), form


def test_the_list_as_json(call, plain_packs):
    (plain_packs / "buffalo_s").mkdir(parents=True)
    found = json.loads(call("list", "--json")[1])
    rows = {row["name"]: row for row in found["recognizers"]}
    assert rows["dlib-resnet"]["input_size"] == [150, 150] and rows["dlib-resnet"]["ready"] is True
    assert rows["insightface:buffalo_s"]["ready"] is True and rows["insightface:buffalo_l"]["ready"] is False
    assert [kind["form"] for kind in found["references"]][0] == "onnx:PATH"
    completions = {row["name"]: row for row in found["completions"]}
    assert completions["rpca"]["fitted"] is True and completions["rpca"]["ready"] is True
    assert {"ga", "gfc", "telea", "none"} < set(completions)


def test_the_list_names_completions_too(call, plain_packs):
    lines = call("list")[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("completion "))
    assert lines[start].split() == ["completion", "what", "fitted", "parameters", "licence", "ready"]
    assert any(line.split()[:3] == ["rpca", "method", "yes"] and line.endswith("yes") for line in lines[start:])
    assert any(line.startswith("idgan ") and line.endswith("no weights in this version") for line in lines[start:])
    assert lines[-1].startswith("torch:PATH ")


def test_the_list_tells_what_is_missing(call, plain_packs, monkeypatch):
    from maskbench.errors import RecognizerError
    from maskbench.recognizers import dlib_resnet

    def nothing():
        raise RecognizerError("the weights of dlib-resnet are not installed; pip install face-recognition-models")

    monkeypatch.setattr(dlib_resnet, "weights_path", nothing)
    assert "pip install face-recognition-models" in call("list")[1]
    monkeypatch.setattr(catalogue, "find_spec", lambda module: None)
    assert "pip install 'maskbench[cpu]'" in call("list")[1]


def test_the_list_loads_no_network():
    code = (
        "import sys; sys.argv = ['maskbench', 'models', 'list'];\n"
        "from maskbench.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'onnxruntime', 'insightface', 'huggingface_hub') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_show_the_whole_card(call, network):
    values = json.loads(call("show", f"onnx:{network}", "--json")[1])
    assert values["name"] == "net" and values["terms"] == "any use" and values["source"] == "a test"
    assert values["engine"].startswith("onnxruntime:") and len(values["spec_digest"]) == 64
    text = call("show", f"onnx:{network}")[1]
    lines = dict(line.split(None, 1) for line in text.splitlines())
    assert lines["training_data"] == "unknown" and lines["input_size"] == "16, 16" and lines["network"] == "-"
    assert lines["spec_digest"] == values["spec_digest"]
    refused(call("show", "onx:net.onnx"), 'did you mean "onnx:net.onnx"')


def test_show_with_a_card_elsewhere(call, network, tmp_path):
    network.with_suffix(".json").rename(tmp_path / "elsewhere.card")
    refused(call("show", f"onnx:{network}"), "no card at", "maskbench models card")
    assert call("show", f"onnx:{network}", "--card", tmp_path / "elsewhere.card")[0] == 0


@pytest.mark.filterwarnings("ignore:divide by zero")  # what the card asks for
def test_check_passes_and_fails_by_its_exit_code(call, network):
    code, text, _ = call("check", "dummy")
    assert code == 0 and [line.split()[0] for line in text.splitlines()][:3] == ["form", "templates", "input"]
    values = json.loads(network.with_suffix(".json").read_text())
    network.with_suffix(".json").write_text(json.dumps({**values, "std": 1e-300}))
    code, text, error = call("check", f"onnx:{network}", "--device", "cpu")
    assert code == 2 and "FAILS" in text and "NaN, infinity" in text
    assert error.startswith("error: onnx:") and "checks failed: templates" in error and error.count("\n") == 1
    network.with_suffix(".json").write_text(json.dumps({**values, "embedding_size": 9}))
    refused(call("check", f"onnx:{network}"), "gives vectors of 8 numbers, its card says 9")


def test_a_card_without_licence_and_one_of_another_file(call, network):
    values = json.loads(network.with_suffix(".json").read_text())
    network.with_suffix(".json").write_text(json.dumps({k: v for k, v in values.items() if k != "licence"}))
    refused(call("check", f"onnx:{network}"), "missing licence", "state the licence of the weights")
    network.with_suffix(".json").write_text(json.dumps({**values, "sha256": "0" * 64}))
    refused(call("check", f"onnx:{network}"), "has SHA-256", "get the right file")


def test_a_gpu_that_is_not_there(call, network, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    refused(call("check", f"onnx:{network}", "--device", "cuda"), "no CUDA device", "pip install 'maskbench[gpu]'")


def test_export_and_use(call, tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "dlib.onnx"
    code, text, _ = call("export", "dlib-resnet", out)
    assert code == 0 and text.splitlines()[-1] == f"use it as: onnx:{out}"
    assert json.loads(call("show", f"onnx:{out}", "--json")[1])["name"] == "dlib-resnet"
    refused(call("export", "dlib-resnet", out), "is there already")
    refused(call("export", "dummy", tmp_path / "x.onnx"), "nothing to export")


def test_pull_what_cannot_be_pulled(call, plain_packs, monkeypatch):
    refused(call("pull", "dlib-resnet"), "nothing to download")
    refused(call("pull", "hf:a/b@main/c.onnx"), 'revision "main" is not pinned')
    monkeypatch.setitem(sys.modules, "insightface", None)
    refused(call("pull", "insightface:buffalo_l"), "pip install 'maskbench[insightface]'")


def test_fit_a_classical_method(call, crop_folder, tmp_path):
    pytest.importorskip("maskbench.classical")
    faces, out = crop_folder(12), tmp_path / "pca.safetensors"
    code, text, error = call("fit", "pca", faces, out, "--workers", "1")
    assert code == 0, error
    assert "12 faces, people: 6" in text and text.splitlines()[-1] == f"use it as: fitted:{out}"
    shown = json.loads(call("show", f"fitted:{out}", "--json")[1])
    assert shown["name"] == "pca" and shown["training_data"] == [faces.name]
    refused(call("fit", "pcca", faces, out), "pcca", "pca")
    refused(call("export", f"fitted:{out}", tmp_path / "x.onnx"), "has no network to export")


def test_fit_with_options_a_licence_and_a_picture_that_is_lost(call, crop_folder, tmp_path):
    faces, out = crop_folder(12), tmp_path / "new" / "pca.safetensors"
    (faces / "Subject_000" / "Subject_000_0001.png").write_bytes(b"junk")
    asked = ("--workers", "1", "--set", "components=5", "--set", "comparator=negative-l2", "--licence", "CC0-1.0")
    code, text, _ = call("fit", "pca", faces, out, *asked)
    assert code == 0 and "11 faces, people: 6; 1 pictures gave no face" in text
    shown = json.loads(out.with_suffix(".json").read_text())
    assert (shown["embedding_size"], shown["comparator"], shown["licence"]) == (5, "negative-l2", "CC0-1.0")
    refused(call("fit", "pca", faces, out), "is there already", "--force")
    before = out.read_bytes()
    assert call("fit", "pca", faces, out, "--workers", "1", "--force")[0] == 0 and out.read_bytes() != before
    refused(call("fit", "pca", faces, tmp_path / "x.bin"), "choose such a name")
    refused(call("fit", "pca", faces, tmp_path / "y.safetensors", "--set", "componets=5"), "components")
    refused(call("fit", "pca", faces, tmp_path / "y.safetensors", "--set", "components"), "write KEY=VALUE")
    refused(call("fit", "pca", faces, tmp_path / "y.safetensors", "--set", "components=[1"), "cannot be read")
    (tmp_path / "file").write_text("in the way")
    refused(call("fit", "pca", faces, tmp_path / "file" / "z.safetensors"), "cannot be written")


def test_the_card_of_a_checkpoint(call, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"any bytes: only their digest counts here")
    code, text, said = call("card", path, "--network", "iresnet50")
    draft = json.loads(text)
    assert code == 0 and draft["sha256"] == bytes_sha256(path.read_bytes()) and draft["network"] == "iresnet50"
    assert (draft["licence"], draft["terms"], draft["source"]) == ("unknown",) * 3 and "To be checked" in said
    spec = parse_card(draft, path)
    assert spec.network == "iresnet50" and spec.name == "mine"
    refused(call("card", path, "--network", "iresnet5"), "did you mean", "iresnet50")
    refused(call("card", tmp_path / "none.pth", "--network", "iresnet50"), "no such file")
