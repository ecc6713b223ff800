"""Learned completions: cards, weights, engines, and what every completion promises."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from completion_weights import SMALL, write_completion

from maskbench.completions import base, builtin, catalogue, learned
from maskbench.completions.base import checked_complete, load_completion
from maskbench.completions.learned import FORMAT, NETWORKS, completion_card, load_learned, read_completion_card
from maskbench.digest import config_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.models.checkpoints import load_state, save_state

SIZE = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of each network."""
    folder = tmp_path_factory.mktemp("weights")
    return {name: write_completion(folder, name) for name in NETWORKS}


@pytest.fixture(scope="module")
def probes():
    """Five faces of noise; a box, scattered pixels, none, all but a rim, a corner."""
    rng = np.random.default_rng(3)
    faces = rng.integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    masks = np.zeros((5, SIZE, SIZE), np.uint8)
    masks[0, 12:26, 6:20] = masks[3, 2:30, 2:30] = masks[4, :9, :7] = 1
    masks[1] = rng.random((SIZE, SIZE)) > 0.7
    return faces, masks


def by_hand(path: Path, faces: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """What the network itself answers, put together with numpy: values, not rounded."""
    card = read_completion_card(path)
    network = NETWORKS[card.network](card.size, card.width, **card.options).eval()
    network.load_state_dict({name: value.float() for name, value in load_state(path).items()})
    pictures = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
    with torch.no_grad():
        answer = network(pictures, torch.from_numpy(masks)[:, None].float())[-1].clamp(-1, 1).numpy()
    return np.where(masks[..., None] == 1, (answer.transpose(0, 2, 3, 1) + 1) * 127.5, faces)


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_fills_the_hole_and_nothing_else(name, engine, weights, probes):
    faces, masks = probes
    given = faces.copy(), masks.copy()
    completion = load_completion(f"torch:{weights[name]}", "cpu", engine)
    result = completion.complete(*given)
    assert result.dtype == np.uint8 and (result[masks == 0] == faces[masks == 0]).all()
    assert np.abs(result - by_hand(weights[name], faces, masks)).max() < 0.51
    assert (result[0][masks[0] == 1] != faces[0][masks[0] == 1]).mean() > 0.5
    assert (given[0] == faces).all() and (given[1] == masks).all()
    assert (checked_complete(completion, faces, masks) == result).all()


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_face_depends_on_no_other_to_the_bit(name, engine, weights, probes):
    faces, masks = probes
    completion = load_learned(weights[name], "cpu", engine)
    want = completion.complete(faces, masks)
    order = [4, 1, 3, 0, 2, 1]
    assert (completion.complete(faces[order], masks[order]) == want[order]).all()
    for number in range(5):
        assert (completion.complete(faces[number][None], masks[number][None])[0] == want[number]).all()
    other = faces.copy()
    other[masks == 1] = (255, 0, 0)  # what the mask hides
    assert (completion.complete(other, masks) == want).all()
    assert completion.complete(faces[:0], masks[:0]).shape == (0, SIZE, SIZE, 3)


def test_grey_stays_grey_a_guard_hides_the_rim_and_nothing_seen_is_answered(weights, probes):
    faces, masks = probes
    grey = np.repeat(faces[..., :1], 3, axis=3)
    completion = load_learned(weights["ga"], "cpu")
    result = completion.complete(grey[:1], masks[:1])
    assert (result == result[..., :1]).all() and (result != grey[:1]).any()
    everything = np.ones((2, SIZE, SIZE), np.uint8)
    first, second = completion.complete(faces[:2], everything)
    assert (first == second).all()
    guarded = load_learned(weights["ga"], "cpu", guard=2)
    smeared = faces[:1].copy()
    smeared[0, 10:12, 6:20] = 0  # beside the hole
    hole = masks[0] == 1
    for one, same in ((guarded, True), (completion, False)):
        pair = [one.complete(given, masks[:1])[0][hole] for given in (smeared, faces[:1])]
        assert np.array_equal(*pair) == same
    assert guarded.digest != completion.digest


def test_what_it_says_of_itself(weights):
    completion = load_completion(f"torch:{weights['gfc']}", "cpu")
    spec = completion.spec
    assert (spec.name, spec.input_size, spec.template, spec.needs_fit) == ("gfc", (SIZE, SIZE), "wide128", False)
    assert spec.weights_sha256 == file_sha256(weights["gfc"]) and spec.licence == "CC0-1.0"
    network = NETWORKS["gfc"](SIZE, 0.125)
    assert spec.parameters == sum(weight.numel() for weight in network.parameters())
    assert dict(spec.settings) == {
        "network": "gfc", "size": SIZE, "width": 0.125, "guard": 0, "engine": "onnxruntime:CPUExecutionProvider",
    }  # fmt: skip
    assert completion.fit(np.zeros((1, SIZE, SIZE, 3), np.uint8)) is completion and len(completion.digest) == 64
    assert completion.training_subjects is None


def test_digests_tell_weights_and_engines_apart(weights, tmp_path):
    other = write_completion(tmp_path, "ga", seed=2)
    digests = [
        load_learned(weights["ga"], "cpu").digest, load_learned(weights["ga"], "cpu", "torch").digest,
        load_learned(other, "cpu").digest, load_learned(weights["ga-noattention"], "cpu").digest,
    ]  # fmt: skip
    assert len(set(digests)) == 4
    assert load_learned(weights["ga"], "cpu").digest == digests[0]
    other.with_suffix(".subjects.txt").write_text("Ann\n")
    assert load_learned(other, "cpu").training_subjects == {"Ann"}


def test_it_is_sent_to_other_processes_without_its_network(weights, probes):
    completion = load_learned(weights["ga"], "cpu")
    data = pickle.dumps(completion)
    again = pickle.loads(data)
    assert len(data) < 50_000 and again.digest == completion.digest
    assert (again.complete(*probes) == completion.complete(*probes)).all()


def test_a_file_that_changed_on_the_way_is_refused(tmp_path, probes):
    path = write_completion(tmp_path, "ga-noattention")
    again = pickle.loads(pickle.dumps(load_learned(path, "cpu")))
    write_completion(tmp_path, "ga-noattention", seed=5)
    with pytest.raises(MaskbenchError, match="has SHA-256"):
        again.complete(*probes)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_converted(name, tmp_path, probes):
    path = write_completion(tmp_path, name, half=True)
    assert {value.dtype for value in load_state(path).values()} == {torch.float16}
    result = load_learned(path, "cpu").complete(*probes)
    assert np.abs(result - by_hand(path, *probes)).max() < 0.51


def test_an_export_is_made_once_and_for_one_set_of_weights(tmp_path, monkeypatch):
    calls = []
    real = learned._exported
    monkeypatch.setattr(learned, "_exported", lambda *given: calls.append(1) or real(*given))
    path = write_completion(tmp_path, "ga-noattention", seed=77)
    load_learned(path, "cpu"), load_learned(path, "cpu")
    assert len(calls) == 1
    load_learned(write_completion(tmp_path, "ga-noattention", size=40, seed=77), "cpu")
    assert len(calls) == 2


# ---------------------------------------------------------------- cards


def card(**changes):
    values = {
        "format": FORMAT, "name": "mine", "network": "ga", "size": 128, "width": 0.5, "template": "wide128",
        "sha256": "0" * 64, "parameters": 5, "training_data": None, "licence": "MIT", "terms": "any", "source": "me",
    }  # fmt: skip
    return {**values, **changes}


def test_a_card_is_written_sorted_and_read_back(tmp_path):
    given = {key: value for key, value in card(training_data=["a", "b"], width=1).items() if key != "format"}
    written = completion_card(**given)
    assert list(written) == sorted(card()) and written["format"] == FORMAT
    (tmp_path / "mine.json").write_text(json.dumps(written))
    found = read_completion_card(tmp_path / "mine.safetensors")
    assert found.training_data == ("a", "b") and found.width == 1.0 and isinstance(found.width, float)
    assert (found.name, found.size, found.template, found.parameters) == ("mine", 128, "wide128", 5)
    with pytest.raises(MaskbenchError, match='the card of a b: "name" must be'):
        completion_card(**{**given, "name": "a b"})


@pytest.mark.parametrize("key", sorted(card()))
def test_every_key_is_needed(key, tmp_path):
    values = card()
    del values[key]
    (tmp_path / "mine.json").write_text(json.dumps(values))
    with pytest.raises(MaskbenchError, match=rf"mine\.json: missing {key}; see docs") as caught:
        read_completion_card(tmp_path / "mine.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key, value",
    [
        ("format", "maskbench-completion-2"), ("name", "../x"), ("name", "telea"), ("name", "none"), ("name", 3),
        ("network", "idgan"), ("network", ["ga"]), ("size", 128.0), ("size", 8), ("size", True), ("size", 4096),
        ("width", 0), ("width", "1"), ("width", float("nan")), ("width", 100), ("template", "arcface"),
        ("template", "sphereface96"), ("sha256", "A" * 64), ("parameters", 0), ("parameters", None),
        ("training_data", "LFW"), ("training_data", [""]), ("licence", ""), ("terms", None), ("source", " "),
        ("licnce", "MIT"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(key, value, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(card(**{key: value})))
    with pytest.raises(MaskbenchError, match=r"mine\.json: ") as caught:
        read_completion_card(tmp_path / "mine.safetensors")
    message = str(caught.value)
    assert "\n" not in message and (key in message or key == "template")


def test_a_card_is_an_object_beside_the_file(tmp_path):
    with pytest.raises(MaskbenchError, match=r"no card at .*mine\.json; write one"):
        read_completion_card(tmp_path / "mine.safetensors")
    for text, words in (("[]", "is a JSON object"), ("{", "mine.json:1: not valid JSON")):
        (tmp_path / "mine.json").write_text(text)
        with pytest.raises(MaskbenchError, match=words):
            read_completion_card(tmp_path / "mine.safetensors")


# ---------------------------------------------------------------- options of the network


def test_options_are_written_only_where_there_are_any(tmp_path):
    given = {key: value for key, value in card(network="ict").items() if key != "format"}
    assert list(completion_card(**given)) == list(completion_card(**given, options={})) == sorted(card())
    written = completion_card(**given, options={"tokens": 32, "fill": "argmax"})
    assert sorted({*card(), "options"}) == list(written)
    (tmp_path / "mine.json").write_text(json.dumps(written))
    assert read_completion_card(tmp_path / "mine.safetensors").options == {"tokens": 32, "fill": "argmax"}
    (tmp_path / "mine.json").write_text(json.dumps(card(options={})))  # as good as none
    assert read_completion_card(tmp_path / "mine.safetensors").options == {}


@pytest.mark.parametrize(
    "network, options, words",
    [
        ("ict", [], '"options" must be a table'), ("ict", None, '"options" must be a table'),
        ("ict", {"tokns": 4}, '"options": network "ict" has no "tokns"; did you mean "tokens"?'),
        ("ga", {"tokens": 4}, '"options": network "ga" has no "tokens"; known: none'),
        ("ict", {"size": 64}, 'network "ict" has no "size"'), ("ict", {"width": 1}, 'network "ict" has no "width"'),
        ("ict", {"tokens": 4.0}, '"tokens" must be a whole number from 4 to 128, not 4.0'),
        ("ict", {"layers": True}, '"layers" must be a whole number'), ("ict", {"blocks": 0}, '"blocks" must be'),
        ("ict", {"heads": "8"}, '"heads" must be'), ("ict", {"colours": 1}, '"colours" must be'),
        ("ict", {"prior_width": 10**9}, '"prior_width" must be'), ("ict", {"tokens": 10**400}, '"tokens" must be'),
        ("ict", {"fill": "sample"}, "\"fill\" must be one of expected, argmax, not 'sample'"),
        ("ict", {"fill": ["argmax"]}, '"fill" must be one of'),
    ],
)  # fmt: skip
def test_wrong_options_are_named(network, options, words, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(card(network=network, options=options)))
    with pytest.raises(MaskbenchError) as caught:
        read_completion_card(tmp_path / "mine.safetensors")
    assert str(caught.value).startswith(f"{tmp_path}/mine.json: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_options_that_a_card_may_have_are_the_network_s():
    import inspect

    from maskbench.models.g2d_config import ENCODER_OPTIONS
    from maskbench.models.ict import FILLS, ICT

    own = {*inspect.signature(ICT).parameters} - {"size", "width"}
    assert set(learned._OPTIONS["ict"]) == own and set(learned._OPTIONS) <= set(NETWORKS)
    assert learned._OPTIONS["ict"] is ENCODER_OPTIONS  # those of a recognizer that has it as its encoder
    accepted = [fill for fill in FILLS if learned._OPTIONS["ict"]["fill"][1](fill)]
    assert accepted == ["expected", "argmax"]


def test_options_make_the_network_and_count_in_digests(tmp_path, probes, monkeypatch):
    path = write_completion(tmp_path, "ict")
    first = load_learned(path, "cpu")
    assert dict(first.spec.settings)["options"] == SMALL["ict"]
    edit(path, options={**SMALL["ict"], "fill": "argmax"})
    second = load_learned(path, "cpu")  # other file of the cache, or the pixels were the same
    assert first.digest != second.digest
    assert (first.complete(*probes) != second.complete(*probes)).any()
    assert np.abs(second.complete(*probes) - by_hand(path, *probes)).max() < 0.51


def test_names_in_the_cache_are_those_of_before_the_key(tmp_path, monkeypatch):
    stems = []
    real = learned.cached_onnx
    monkeypatch.setattr(learned, "cached_onnx", lambda stem, make: stems.append(stem) or real(stem, make))
    path = write_completion(tmp_path, "ga-noattention", seed=78)
    load_learned(path, "cpu")
    found = read_completion_card(path)
    decides = config_sha256([found.sha256, "ga-noattention", SIZE, 0.125, found.parameters])
    assert stems == [f"completion-ga-noattention-{decides[:16]}-v{learned.VERSION}"]


def test_options_that_do_not_fit_are_told_with_the_size(tmp_path):
    path = write_completion(tmp_path, "ict")
    edit(path, options={**SMALL["ict"], "heads": 5})
    assert '"size" 32, "options" {' in refused(path) and "a width that 5 divides" in refused(path)
    edit(path, options={**SMALL["ict"], "layers": 3})
    assert "are missing" in refused(path)
    edit(path, options={**SMALL["ict"], "colours": 13})
    assert 'shape of "' in refused(path)
    edit(path, options=SMALL["ict"], size=34)
    assert '"size" 34' in refused(path) and "4 divides" in refused(path)


# ---------------------------------------------------------------- files


def edit(path: Path, **changes) -> None:
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **changes}))


def refused(path: Path) -> str:
    with pytest.raises(MaskbenchError) as caught:
        load_learned(path, "cpu")
    assert "\n" not in str(caught.value) and path.stem in str(caught.value)
    return str(caught.value)


def test_other_bytes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = write_completion(tmp_path, "ga")
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    monkeypatch.setattr(learned, "build", lambda *given: pytest.fail("was parsed"))
    assert "has SHA-256" in refused(path) and "get the right file" in refused(path)


def test_weights_of_another_network_are_refused(tmp_path):
    path = write_completion(tmp_path, "ga")
    edit(path, network="ga-noattention")
    assert "does not fit the network" in refused(path) and "unexpected" in refused(path)
    edit(path, network="gfc")
    assert "are missing" in refused(path)
    edit(path, network="ga", width=0.25)
    assert 'shape of "' in refused(path)
    edit(path, width=0.125, parameters=3)
    assert '"parameters" is 3, the network has' in refused(path)
    edit(path, size=36)
    assert '"size" 36: ' in refused(path) and "8 divides" in refused(path)


def test_weights_that_lack_one_or_are_not_finite_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = write_completion(tmp_path, "ga")
    state = load_state(path)
    first = sorted(state)[0]
    save_file({name: value for name, value in state.items() if name != first}, path)
    edit(path, sha256=file_sha256(path))
    assert f'1 of its weights are missing, the first "{first}"' in refused(path)
    save_file({**state, first: torch.full_like(state[first], float("nan"))}, path)
    edit(path, sha256=file_sha256(path))
    assert "not finite" in refused(path)


def test_files_that_are_no_weights(tmp_path, monkeypatch):
    path = write_completion(tmp_path, "ga-noattention")
    assert "cannot be read (No such file" in refused(tmp_path / "gone.safetensors")
    torch.save({}, tmp_path / "old.pth")
    assert "not .safetensors" in refused(tmp_path / "old.pth")
    monkeypatch.setattr(learned, "LARGEST", 1000)
    assert "more than the 1,000" in refused(path)
    monkeypatch.undo()
    path.write_bytes(b"nonsense")
    edit(path, sha256=file_sha256(path))
    assert "not safetensors, or damaged" in refused(path)


def test_devices_engines_and_settings(weights):
    path = f"torch:{weights['ga']}"
    for call, words in (
        (lambda: load_completion(path, engine="tensorrt"), 'no engine named "tensorrt"'),
        (lambda: load_completion(path, device="gpu"), 'no device named "gpu"'),
        (lambda: load_completion(path, radius=3), 'no setting "radius"'),
        (lambda: load_completion(path, guard=99), "setting guard must be"),
        (lambda: load_completion("torch:"), "names nothing"),
        (lambda: load_completion(str(weights["ga"])), 'did you mean "torch:'),
        (lambda: load_learned(weights["ga"], engine="x"), 'no engine named "x"'),
    ):
        with pytest.raises(MaskbenchError, match=words):
            call()
    if not torch.cuda.is_available():
        with pytest.raises(MaskbenchError, match="CUDA"):
            load_completion(path, "cuda")


# ---------------------------------------------------------------- names


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """An installation whose data hold weights for "ga" and "idgan"."""
    write_completion(tmp_path / "own", "ga", licence="LicenseRef-x")
    write_completion(tmp_path / "own", "ga-noattention", name="idgan")
    monkeypatch.setattr(builtin, "learned_folder", lambda: tmp_path / "own")
    monkeypatch.setattr(base, "COMPLETIONS", base.own_registry())
    monkeypatch.setattr(catalogue, "COMPLETIONS", base.COMPLETIONS)
    return tmp_path / "own"


def test_a_name_is_ready_when_its_weights_are_there(shipped):
    ready = base.COMPLETIONS.names(ready=True)
    assert {"ga", "idgan", "telea"} < set(ready) and not {"gfc", "ict"} & set(ready)
    assert load_completion("ga", "cpu").spec.settings["network"] == "ga"
    idgan = load_completion("idgan", "cpu", "torch", guard=1)
    assert (idgan.spec.name, idgan.spec.settings["engine"], idgan.guard) == ("idgan", "torch:cpu", 1)
    with pytest.raises(MaskbenchError, match='"ga" has no setting "gard"; did you mean "guard"'):
        load_completion("ga", gard=1)
    with pytest.raises(MaskbenchError, match='"gfc" has no weights'):
        load_completion("gfc")
    edit(shipped / "ga.safetensors", name="other")
    with pytest.raises(MaskbenchError, match='calls it "other"'):
        load_completion("ga")


def test_the_list_tells_parameters_and_licence_without_reading_weights(shipped):
    (shipped / "ga.safetensors").write_bytes(b"not read")
    rows = {entry.name: entry for entry in catalogue.entries()}
    assert rows["ga"].ready and rows["ga"].parameters > 10_000 and rows["ga"].licence == "LicenseRef-x"
    assert (rows["ga"].kind, rows["idgan"].kind, rows["rpca"].kind) == ("ga", "ga-noattention", "method")
    assert rows["gfc"].ready is False and "no weights" in rows["gfc"].remedy
    assert rows["rpca"].fitted and rows["telea"].fitted is False


def test_looking_up_names_and_cards_imports_no_engine():
    code = (
        "import sys, maskbench.completions.learned, maskbench.completions.catalogue as c; c.entries();"
        "print(sorted({'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_documented_card_is_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "completions.md").read_text(encoding="utf-8")
    documented = json.loads(text.split("```json\n")[1].split("```")[0])
    assert list(documented) == sorted(card())
    (tmp_path / "mine.json").write_text(json.dumps(documented))
    assert read_completion_card(tmp_path / "mine.safetensors").name == "mine"
    network = NETWORKS["ga"](128, 0.5)
    assert documented["parameters"] == sum(weight.numel() for weight in network.parameters())
    assert all(f"| `{name}` |" in text for name in NETWORKS)
    options = json.loads("{" + text.split("```json\n")[2].split("```")[0] + "}")
    assert learned.parse_completion_card(card(network="ict", **options), "docs").options == options["options"]
    assert all(f"`{name}`" in text for name in learned._OPTIONS["ict"])


def test_what_save_state_writes_is_what_is_loaded(tmp_path):
    path = write_completion(tmp_path, "gfc")
    network = learned.build(path, path.read_bytes(), read_completion_card(path))
    assert not network.training
    save_state(network, tmp_path / "again.safetensors")
    assert file_sha256(tmp_path / "again.safetensors") == file_sha256(path)
