"""Loading, guarding and naming completions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from maskbench import registry
from maskbench.completions import base
from maskbench.completions.base import (
    COMPLETIONS,
    CompletionRegistry,
    CompletionSpec,
    checked_complete,
    completion_digest,
    load_completion,
)
from maskbench.completions.builtin import BUILTIN, SLOTS, shipped_learned
from maskbench.errors import MaskbenchError

READY = ["graph-laplace", "mean-face", "navier-stokes", "none", "rpca", "telea"]
FITTED = {"graph-laplace", "mean-face", "rpca"}


class Careless:
    """A completion that writes everywhere, and returns whatever it is told to."""

    spec = CompletionSpec("careless", needs_fit=False)
    digest = completion_digest(spec)

    def __init__(self, answer=None):
        self.answer, self.calls = answer, []

    def fit(self, faces):
        return self

    def complete(self, faces, masks):
        self.calls.append(len(faces))
        return np.full_like(faces, 77) if self.answer is None else self.answer


def test_the_names_and_the_slots():
    assert sorted(BUILTIN) == READY
    assert COMPLETIONS.names(ready=True) == sorted([*READY, *shipped_learned()])
    assert set(COMPLETIONS.names()) == {*READY, "ga", "ga-noattention", "gfc", "idgan", "ict"}
    assert not set(BUILTIN) & set(SLOTS)


@pytest.mark.parametrize("name", READY)
def test_every_method_loads_and_says_what_it_is(name):
    completion = load_completion(name, "cpu")
    spec = completion.spec
    assert (spec.name, spec.input_size, spec.template) == (name, (128, 128), "wide128")
    assert spec.needs_fit == (name in FITTED)
    assert (spec.weights_sha256, spec.parameters, spec.licence) == ("", None, "no weights")
    assert len(completion.digest) == 64
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize("name", sorted(set(SLOTS) - set(shipped_learned())))
def test_a_slot_has_no_weights(name):
    with pytest.raises(MaskbenchError) as caught:
        load_completion(name)
    message = str(caught.value)
    assert message.startswith(f'completion "{name}" has no weights in this version of maskbench; ')
    assert "\n" not in message and "graph-laplace" in message


def test_misses_suggest_the_nearest():
    with pytest.raises(MaskbenchError, match='no completion named "rcpa"; did you mean "rpca"'):
        load_completion("rcpa")
    with pytest.raises(MaskbenchError, match='no device named "gpu"'):
        load_completion("rpca", "gpu")
    with pytest.raises(MaskbenchError, match='"telea" has no setting "radios"; did you mean "radius"'):
        load_completion("telea", radios=3)
    with pytest.raises(MaskbenchError, match='"none" has no setting "radius"'):
        load_completion("none", radius=3)


def entry_points_are(monkeypatch, **targets):
    points = [EntryPoint(name, value, base.GROUP) for name, value in targets.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == base.GROUP else [])


def their_factory(device, strength: float = 1.0):
    """What a package would supply."""
    completion = Careless()
    completion.device, completion.strength = device, strength
    return completion


def test_a_package_fills_a_slot(monkeypatch):
    entry_points_are(monkeypatch, ga=f"{__name__}:their_factory", own=f"{__name__}:their_factory")
    monkeypatch.setattr(base, "COMPLETIONS", CompletionRegistry(BUILTIN, SLOTS))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    assert {"ga", "own"} < set(base.COMPLETIONS.names(ready=True)) and "gfc" not in base.COMPLETIONS.names(ready=True)
    completion = load_completion("ga", "cpu", strength=2.0)
    assert (completion.device, completion.strength) == ("cpu", 2.0)
    with pytest.raises(MaskbenchError, match='"ga" has no setting "strenght"; did you mean "strength"'):
        load_completion("ga", strenght=1)
    with pytest.raises(MaskbenchError, match="no weights"):
        load_completion("gfc")


def their_engine(device, engine="none"):
    """A package's factory that wants to know the engine."""
    completion = Careless()
    completion.engine = engine
    return completion


def test_an_engine_is_told_to_those_that_ask(monkeypatch):
    entry_points_are(monkeypatch, own=f"{__name__}:their_engine", plain=f"{__name__}:their_factory")
    monkeypatch.setattr(base, "COMPLETIONS", CompletionRegistry(BUILTIN, SLOTS))
    assert load_completion("own", "cpu").engine == "onnxruntime"
    assert load_completion("own", "cpu", "torch").engine == "torch"
    assert not hasattr(load_completion("plain", "cpu", "torch"), "engine")
    assert load_completion("telea", "cpu", "torch").digest == load_completion("telea", "cpu").digest
    with pytest.raises(MaskbenchError, match='no engine named "onnx"; known: onnxruntime, torch'):
        load_completion("telea", engine="onnx")


def test_a_package_may_not_take_a_name_that_is_in_use(monkeypatch):
    entry_points_are(monkeypatch, rpca=f"{__name__}:their_factory")
    with pytest.raises(MaskbenchError, match='completion "rpca" is already registered'):
        CompletionRegistry(BUILTIN, SLOTS).names()


@pytest.mark.parametrize(
    "target, message",
    [("no.such.module:f", "cannot be imported"), (f"{__name__}:nothing", "cannot be imported"),
     (f"{__name__}:READY_NONE", "returned no object with spec and digest")],
)  # fmt: skip
def test_a_broken_package_is_named(monkeypatch, target, message):
    entry_points_are(monkeypatch, own=target)
    monkeypatch.setattr(base, "COMPLETIONS", CompletionRegistry(BUILTIN, SLOTS))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    with pytest.raises(MaskbenchError, match=f'"own".*{message}|{message}'):
        load_completion("own")


def READY_NONE(device):  # noqa: N802  (a factory that returns nothing)
    return None


def test_digests_cover_settings_version_and_training_faces(training):
    digests = {
        load_completion("mean-face").digest,
        load_completion("mean-face", gain_limit=3.0).digest,
        load_completion("rpca").digest,
        load_completion("mean-face").fit(training).digest,
        load_completion("mean-face").fit(training[:59]).digest,
        load_completion("mean-face").fit(training[::-1]).digest,
        load_completion("mean-face", gain_limit=3.0).fit(training).digest,
    }
    assert len(digests) == 7
    assert load_completion("mean-face").fit(training).digest == load_completion("mean-face").fit(training.copy()).digest
    spec = load_completion("telea").spec
    others = [replace(spec, version=2), replace(spec, weights_sha256="0" * 64), replace(spec, template="arcface112")]
    assert len({completion_digest(each) for each in (spec, *others)}) == 4
    assert completion_digest(replace(spec, licence="MIT")) == completion_digest(spec)


def test_known_pixels_and_unmasked_faces_keep_their_bytes(probes):
    faces, masks, _ = probes
    completion = Careless()
    result = checked_complete(completion, faces, masks)
    assert completion.calls == [3]  # the face without a mask is not even shown
    assert (result[masks == 0] == faces[masks == 0]).all() and (result[masks == 1] == 77).all()
    assert result is not faces and not np.shares_memory(result, faces)
    assert len(checked_complete(completion, faces[3:], masks[3:])) == 1 and completion.calls == [3]


@pytest.mark.parametrize("name", READY)
def test_no_faces_give_no_faces(name, training):
    completion = load_completion(name).fit(training)
    empty = np.empty((0, 128, 128, 3), np.uint8), np.empty((0, 128, 128), np.uint8)
    assert checked_complete(completion, *empty).shape == (0, 128, 128, 3)
    assert completion.complete(*empty).shape == (0, 128, 128, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f, m: (f.astype(np.float32), m), "takes faces .* not .* float32"),
        (lambda f, m: (f[:, :64], m[:, :64]), "takes faces"),
        (lambda f, m: (f[..., 0], m), "takes faces"),
        (lambda f, m: (f.tolist(), m), "takes faces .* not list"),
        (lambda f, m: (f, m.astype(np.float32)), "masks must be .* not .* float32"),
        (lambda f, m: (f, m.astype(bool)), "masks must be .* not .* bool"),
        (lambda f, m: (f, m * 2), "masks must be .* not values up to 2"),
        (lambda f, m: (f, m * 255), "masks must be .* not values up to 255"),
        (lambda f, m: (f, m[:2]), "masks must be"),
        (lambda f, m: (f, m[..., None]), "masks must be"),
        (lambda f, m: (f, None), "masks must be .* not NoneType"),
    ],
)
def test_hostile_input_is_refused_in_one_line(probes, change, message):
    for completion in (Careless(), load_completion("telea")):
        with pytest.raises(MaskbenchError, match=message) as caught:
            checked_complete(completion, *change(*probes[:2]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [np.zeros((3, 128, 128), np.uint8), np.zeros((3, 128, 128, 3)), None])
def test_malformed_answers_are_refused(probes, answer):
    completion = Careless(answer)
    if answer is None:
        completion.complete = lambda faces, masks: faces[:1]
    with pytest.raises(MaskbenchError, match='completion "careless" returned'):
        checked_complete(completion, *probes[:2])


@pytest.mark.parametrize("name", sorted(FITTED))
def test_an_unfitted_method_is_refused(name, probes, training):
    completion = load_completion(name)
    with pytest.raises(MaskbenchError, match=f'completion "{name}" was not fitted'):
        checked_complete(completion, *probes[:2])
    fitted = completion.fit(training)
    assert fitted is not completion and completion.fill is None
    for wrong in (training.astype(float), training[:, :64], training[:0]):
        with pytest.raises(MaskbenchError, match="takes faces|needs training faces"):
            completion.fit(wrong)


def test_importing_the_package_is_light():
    code = (
        "import sys, maskbench.completions.base as base; base.COMPLETIONS.names();"
        "print(sorted({'torch', 'onnxruntime', 'mediapipe', 'tensorly', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
