"""Loading recognizers by name, and the guard around ``embed``."""

import importlib
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.recognizers import base, engines
from maskbench.recognizers.base import (
    RECOGNIZERS,
    checked_embed,
    load_recognizer,
    network_digest,
    resolve_device,
    spec_defaults,
    spec_digest,
)
from maskbench.recognizers.builtin import PREFIXES
from maskbench.recognizers.dummy import dummy
from maskbench.recognizers.engines import import_engine, thread_count
from maskbench.registry import Registry
from maskbench.types import RecognizerSpec

SPEC = replace(dummy().spec, name="fake", input_size=(4, 6), embedding_size=2)
FACES = np.zeros((3, 4, 6, 3), np.uint8)


class Fake:
    """A recognizer that returns what it was told to."""

    def __init__(self, vectors=None, status=None, spec=SPEC):
        self.spec, self.vectors, self.status, self.calls = spec, vectors, status, []

    def embed(self, faces, masks=None):
        self.calls.append((faces, masks))
        vectors = np.ones((len(faces), 2), np.float32) if self.vectors is None else self.vectors
        return vectors, np.zeros(len(faces), np.int8) if self.status is None else self.status


# --- loading


def test_builtin_names():
    assert {"dlib-resnet", "dummy", "dummy-failing"} <= set(RECOGNIZERS.names())
    assert load_recognizer("dummy").spec.name == "dummy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dlib-resent"}, 'did you mean "dlib-resnet"'),
        ({"name": "dummy", "device": "gpu"}, 'no device named "gpu"; .*known: auto, cpu, cuda'),
        ({"name": "dummy", "engine": "onnx-runtime"}, 'did you mean "onnxruntime"'),
        ({"name": "dummy", "card": "x.json"}, 'recognizer "dummy" brings its own'),
        ({"name": "onnx:x.onnx", "engine": "torch"}, "x.onnx: an ONNX file runs on engine onnxruntime"),
        ({"name": "onnx:nowhere/x.onnx"}, "nowhere/x.onnx: cannot be read"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(arguments, message):
    with pytest.raises(RecognizerError, match=message) as caught:
        load_recognizer(**arguments)
    assert "\n" not in str(caught.value)


def test_plug_in_gets_device_and_engine(monkeypatch):
    seen = []
    registry = Registry("recognizer", None, {"broken": "no_such_module:factory", "hollow": "maskbench.errors:nothing"})
    registry.register("mine", lambda device, engine: seen.append((device, engine)) or Fake())
    registry.register("wrong", lambda device, engine: object())
    monkeypatch.setattr(base, "RECOGNIZERS", registry)
    assert load_recognizer("mine", "cpu", "torch").spec is SPEC
    assert seen == [("cpu", "torch")]
    with pytest.raises(RecognizerError, match='"wrong" returned no object with spec and embed'):
        load_recognizer("wrong")
    for name in ("broken", "hollow"):
        with pytest.raises(RecognizerError, match=f'"{name}" cannot be imported'):
            load_recognizer(name)


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(MaskbenchError, match="already registered"):
        RECOGNIZERS.register("dummy", "elsewhere:factory")


def test_importing_the_registry_loads_no_engine():
    code = (
        "import sys; from maskbench.recognizers.base import load_recognizer; load_recognizer('dummy');"
        "import maskbench.recognizers.card;"
        "print([m for m in ('torch', 'onnxruntime', 'mediapipe') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


# --- references


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onx:net.onnx", 'did you mean "onnx:net.onnx"'),
        ("pytorch:a.pth", 'did you mean "torch:a.pth"'),
        ("insghtface:buffalo_l", 'did you mean "insightface:buffalo_l"'),
        ("net.onnx", 'did you mean "onnx:net.onnx"'),
        ("nets/a.pth", 'did you mean "torch:nets/a.pth"'),
        ("a.PT", 'did you mean "torch:a.PT"'),
        ("a.safetensors", 'did you mean "torch:a.safetensors" or "fitted:a.safetensors"'),
        ("lab/faces@main/a.onnx", 'did you mean "hf:lab/faces@main/a.onnx"'),
        ("buffalo_l", 'did you mean "insightface:buffalo_l"'),
        ("onnx:", '"onnx:" names nothing; write onnx:PATH'),
        ("zzz:a", "known: deocclusion, dlib-resnet, .*; or a file or pack: onnx:PATH, torch:PATH, fitted:PATH, hf:"),
        ("", "known: deocclusion, dlib-resnet"),
    ],
)
def test_what_was_probably_meant(name, message):
    with pytest.raises(RecognizerError, match=message) as caught:
        load_recognizer(name)
    assert "\n" not in str(caught.value)


def test_every_prefix_hands_on_what_it_was_given(monkeypatch):
    seen = []

    def loader(*given):
        seen.append(given)
        return Fake()

    monkeypatch.setattr(sys.modules[__name__], "loader", loader, raising=False)
    for name, prefix in PREFIXES.items():
        assert prefix.form.startswith(f"{name}:") and prefix.about
        monkeypatch.setitem(PREFIXES, name, replace(prefix, loader=f"{__name__}:loader"))
        load_recognizer(f"{name}:some:rest", "cpu", "torch", "card.json", True)
    assert seen == [("some:rest", "card.json", "cpu", "torch", True)] * len(PREFIXES)


def test_a_loader_that_is_not_installed_names_its_remedy(monkeypatch):
    missing = replace(PREFIXES["onnx"], loader="no_such_module:load")
    monkeypatch.setitem(PREFIXES, "onnx", missing)
    with pytest.raises(RecognizerError, match='"onnx:PATH" cannot be loaded here .*; install no_such_module'):
        load_recognizer("onnx:a.onnx")


# --- third-party packages


@pytest.fixture
def plug_in(monkeypatch, tmp_path):
    """A function that installs a package with the given module and loads its recognizer "theirs"."""
    monkeypatch.syspath_prepend(tmp_path)
    about = tmp_path / "their_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[maskbench.recognizers]\ntheirs = their_module:factory\n")
    monkeypatch.setattr(base, "RECOGNIZERS", Registry("recognizer", "maskbench.recognizers", {}))

    def load(code):
        (tmp_path / "their_module.py").write_text(code)
        monkeypatch.delitem(sys.modules, "their_module", raising=False)
        importlib.invalidate_caches()
        try:
            return load_recognizer("theirs")
        finally:
            sys.modules.pop("their_module", None)

    return load


def test_a_package_that_works(plug_in):
    code = "from maskbench.recognizers.dummy import DummyRecognizer as Theirs\n"
    code += "def factory(device, engine): return Theirs('theirs')"
    assert plug_in(code).spec.name == "theirs"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "cannot be imported .*ModuleNotFoundError.*; install no_such_module, or reinstall"),
        ("import torch.no_such_part", r"cannot be imported .*pip install 'maskbench\[cpu\]'"),
        ("factory = (", "cannot be imported .*SyntaxError"),
        ("x = 1", "cannot be imported .*AttributeError.*; reinstall their-package"),
        ("raise OSError('no\\nlicence')", r"cannot be imported \(OSError: no\)"),
        ("def factory(device, engine): raise KeyError('weights')", r"fails to load \(KeyError: 'weights'\)"),
        ("def factory(device, engine):\n  import insightface_missing", "fails to load .*; install insightface_missing"),
        ("def factory(device): pass", "fails to load .*TypeError"),
        ("def factory(device, engine): return 3", "returned no object with spec and embed"),
    ],
)
def test_a_broken_package_is_named_in_one_line(plug_in, code, message):
    with pytest.raises(RecognizerError, match=message) as caught:
        plug_in(code)
    assert "from their_module:factory of the package their-package" in str(caught.value)
    assert "theirs" in str(caught.value) and "\n" not in str(caught.value)


# --- devices


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_missing_engine_names_the_extra(monkeypatch, engine):
    monkeypatch.setitem(sys.modules, engine, None)
    for call in (lambda: import_engine(engine), lambda: resolve_device("auto", engine)):
        with pytest.raises(RecognizerError, match=rf"{engine} cannot be imported .*pip install 'maskbench\[cpu\]'"):
            call()


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
@pytest.mark.parametrize("has_cuda", [False, True])
def test_device_follows_what_the_engine_has(monkeypatch, engine, has_cuda):
    module = pytest.importorskip(engine)
    if engine == "torch":
        monkeypatch.setattr(module.cuda, "is_available", lambda: has_cuda)
    else:
        found = ["CUDAExecutionProvider"] * has_cuda + ["CPUExecutionProvider"]
        monkeypatch.setattr(module, "get_available_providers", lambda: found)
    assert resolve_device("cpu", engine) == "cpu"
    assert resolve_device("auto", engine) == ("cuda" if has_cuda else "cpu")
    if has_cuda:
        assert resolve_device("cuda", engine) == "cuda"
    else:
        with pytest.raises(RecognizerError, match=r"no CUDA device; pip install 'maskbench\[gpu\]'"):
            resolve_device("cuda", engine)


def test_unknown_device_and_engine():
    with pytest.raises(RecognizerError, match='no device named "tpu"'):
        resolve_device("tpu", "torch")
    with pytest.raises(RecognizerError, match='no engine named "tensorrt"'):
        resolve_device("cpu", "tensorrt")


def test_threads_are_few(monkeypatch):
    assert 1 <= thread_count() <= 8
    for processors, threads in ((1, 1), (3, 3), (64, 8)):
        monkeypatch.setattr(engines, "default_workers", lambda processors=processors: processors)
        assert thread_count() == threads


# --- digest


def test_networks_of_one_specification_are_told_apart():
    plain, first, second = Fake(), Fake(), Fake()
    first.network_id, second.network_id = "1", "2"
    assert len({network_digest(recognizer) for recognizer in (plain, first, second)}) == 3
    assert network_digest(Fake()) == network_digest(plain)
    assert network_digest(Fake(spec=replace(SPEC, comparator="negative-l2"))) != network_digest(plain)


@pytest.mark.parametrize(
    ("field", "value", "changes"),
    [
        ("name", "other", False),
        ("licence", "other", False),
        ("training_data", ("other",), False),
        ("parameters", 5, False),
        ("weights_sha256", "1" * 64, True),
        ("input_size", (6, 4), True),
        ("template", "dlib150", True),
        ("colour_order", "BGR", True),
        ("mean", (0.0, 0.0, 1.0), True),
        ("std", (1.0, 1.0, 2.0), True),
        ("embedding_size", 3, True),
        ("comparator", "negative-l2", True),
        ("needs_mask", True, True),
        ("engine", "torch:cpu", True),
    ],
)
def test_digest_covers_what_decides_the_vectors(field, value, changes):
    assert getattr(SPEC, field) != value
    assert (spec_digest(SPEC) != spec_digest(replace(SPEC, **{field: value}))) == changes


# --- guarded embedding


def test_what_an_older_result_does_not_say_is_the_default():
    """A specification is what its required fields and the defaults say; each call has its own empty configuration."""
    required = {"name", "weights_sha256", "input_size", "template", "colour_order", "mean", "std", "embedding_size",
                "comparator"}  # fmt: skip
    found = spec_defaults()
    assert {field.name for field in fields(RecognizerSpec)} == required | found.keys()
    assert found["completion"] == "" and found["parameters"] is None and found["needs_mask"] is False
    told = {name: getattr(SPEC, name) for name in required}
    assert RecognizerSpec(**told, **found) == RecognizerSpec(**told)
    assert found["config"] == {} and found["config"] is not spec_defaults()["config"]


def test_good_vectors_pass():
    vectors, status = checked_embed(Fake(np.arange(1, 7).reshape(3, 2)), FACES)
    np.testing.assert_array_equal(vectors, [[1, 2], [3, 4], [5, 6]])
    assert vectors.dtype == np.float32 and status.dtype == np.int8 and not status.any()


def test_useless_vectors_become_failures():
    given = np.array([[np.nan, 1], [0, 0], [3, 4]], np.float32)
    vectors, status = checked_embed(Fake(given), FACES)
    np.testing.assert_array_equal(status, [1, 1, 0])
    np.testing.assert_array_equal(vectors, [[np.nan] * 2, [np.nan] * 2, [3, 4]])
    assert given[1, 0] == 0  # the recognizer's own array is left alone
    assert checked_embed(Fake(np.full((3, 2), np.inf)), FACES)[1].all()


def test_reported_failures_have_no_vector():
    vectors, status = checked_embed(Fake(status=np.array([0, 1, 0])), FACES)
    np.testing.assert_array_equal(status, [0, 1, 0])
    assert np.isnan(vectors[1]).all() and np.isfinite(vectors[[0, 2]]).all()


def test_no_faces_no_call():
    recognizer = Fake()
    vectors, status = checked_embed(recognizer, FACES[:0])
    assert vectors.shape == (0, 2) and status.shape == (0,) and recognizer.calls == []


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (Fake(np.ones((3, 5))), r"vectors \(3, 5\)"),
        (Fake(np.ones((2, 2))), r"vectors \(2, 2\)"),
        (Fake(status=np.zeros(4)), r"status \(4,\)"),
        (Fake(status=np.array([0, 2, 0])), "status other than"),
    ],
)
def test_malformed_output_is_the_recognizers_fault(fake, message):
    with pytest.raises(RecognizerError, match=f'recognizer "fake" returned .*{message}'):
        checked_embed(fake, FACES)


@pytest.mark.parametrize("faces", [FACES[0], FACES.astype(np.float32), np.zeros((3, 6, 4, 3), np.uint8)])
def test_malformed_faces_never_reach_it(faces):
    with pytest.raises(RecognizerError, match=r"takes faces \(N, 4, 6, 3\) uint8"):
        checked_embed(Fake(), faces)


def test_masks_go_only_where_they_are_needed():
    masks = np.zeros((3, 4, 6), np.uint8)
    masks[0] = 1
    plain, needy = Fake(), Fake(spec=replace(SPEC, needs_mask=True))
    checked_embed(plain, FACES, masks)
    checked_embed(needy, FACES, masks)
    assert plain.calls[0][1] is None and needy.calls[0][1] is masks
    with pytest.raises(RecognizerError, match="needs a mask for every face"):
        checked_embed(needy, FACES)
    for wrong in (masks * 255, masks[:2], masks.astype(bool), masks[..., None]):
        with pytest.raises(RecognizerError, match="1 = occluded"):
            checked_embed(needy, FACES, wrong)
