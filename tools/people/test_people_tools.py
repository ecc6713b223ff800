"""The privacy check and the measurements of synthetic people, on pictures and templates made up here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import agreement
import cv2
import gather
import measure
import measure_report
import nearness
import numpy as np
import privacy
import pytest
import spread
from gather import Templates

from maskbench.align import TEMPLATES
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.images import read_image, write_image
from maskbench.landmarks.base import inter_ocular_distance, mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.recognizers.base import load_recognizer

FACE = canonical_face() / inter_ocular_distance(canonical_face())


def picture(look: int, shot: int = 0, side: int = 112) -> np.ndarray:
    """A smooth random picture; those of one look differ by a little noise, so that "dummy" tells looks apart."""
    small = np.random.default_rng(look).uniform(40, 220, (7, 7, 3)).astype(np.float32)
    noise = np.random.default_rng([look, shot]).normal(0, 3, (side, side, 3))
    return np.clip(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC) + noise, 0, 255).astype(np.uint8)


def write_people(root: Path, looks: dict[str, int], shots: int = 2, first: int = 0) -> Path:
    """A folder PERSON/PERSON_0001.png and so on."""
    for (person, look), shot in itertools.product(looks.items(), range(first, first + shots)):
        write_image(root / person / f"{person}_{shot + 1:04d}.png", picture(look, shot))
    return root


def templates(people: str, vectors: np.ndarray | list, comparator: str = "negative-l2") -> Templates:
    names = np.array([f"{person}/{number}" for number, person in enumerate(people)])
    return Templates(names, np.array(list(people)), np.asarray(vectors, float), comparator)


# ---------------------------------------------------------------- gathering


def test_pictures_and_their_people(tmp_path: Path):
    write_people(tmp_path, {"a": 1, "b": 2})
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    write_image(tmp_path / "sheet.png", picture(9))
    assert gather.pictures_below(tmp_path) == ["a/a_0001.png", "a/a_0002.png", "b/b_0001.png", "b/b_0002.png"]
    assert gather.pictures_below(tmp_path, ["b"]) == ["b/b_0001.png", "b/b_0002.png"]
    assert [gather.person_of(name) for name in ("set/a/1.jpg", "a/1.jpg", "1.jpg")] == ["a", "a", "1.jpg"]
    with pytest.raises(MaskbenchError, match="none of the pictures wanted; check"):
        gather.pictures_below(tmp_path, ["c"])


def test_lists_of_people(tmp_path: Path):
    (tmp_path / "ids.txt").write_text("7\n12\n")
    (tmp_path / "empty.txt").write_text("\n")
    assert gather.read_ids(tmp_path / "ids.txt") == ["7", "12"]
    with pytest.raises(MaskbenchError, match="names nobody"):
        gather.read_ids(tmp_path / "empty.txt")
    with pytest.raises(MaskbenchError, match="absent.txt: cannot be read"):
        gather.read_ids(tmp_path / "absent.txt")


@pytest.mark.parametrize("key", ["names", "paths"])
def test_landmark_files_of_either_kind(tmp_path: Path, key: str):
    mesh = np.vstack([FACE * 40 + 80, np.zeros((10, 3))]).astype(np.float32)  # irises beyond the mesh
    names = np.array(["set/a/1.jpg", "other/b.jpg"])
    np.savez(tmp_path / "points.npz", **{key: names, "points": np.stack([mesh, mesh])})
    found = gather.read_landmarks([tmp_path / "points.npz"], "set/")
    assert list(found) == ["a/1.jpg"]
    eyes = found["a/1.jpg"][:2]
    assert np.allclose(eyes.mean(0), 80, atol=1) and np.isclose(np.ptp(eyes[:, 0]), 40, atol=0.5)


def test_landmark_files_that_are_none(tmp_path: Path):
    np.savez(tmp_path / "few.npz", names=np.array(["a"]), points=np.zeros((1, 68, 3)))
    (tmp_path / "torn.npz").write_bytes(b"PK\3\4")
    with pytest.raises(MaskbenchError, match=r"few.npz: points \(1, 68, 3\) for 1 names, expected"):
        gather.read_meshes(tmp_path / "few.npz")
    for name in ("torn.npz", "absent.npz"):
        with pytest.raises(MaskbenchError, match=f"{name}: no landmark file"):
            gather.read_meshes(tmp_path / name)


def test_embedding_by_template_by_file_and_as_a_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, dummy = write_people(tmp_path, {"a": 1, "b": 2}), load_recognizer("dummy")
    names = gather.pictures_below(root)
    plain = gather.embed_pictures(dummy, root, names)
    assert plain.names.tolist() == names and plain.people.tolist() == ["a", "a", "b", "b"] and plain.failed == 0
    five = TEMPLATES["arcface112"].points
    listed = gather.embed_pictures(dummy, root, names, landmarks={names[2]: five})
    assert listed.names.tolist() == [names[2]] and listed.failed == 3
    assert np.allclose(listed.vectors[0], plain.vectors[2])
    lost = lambda *_: ("detect", {(name, gather.UNMASKED): "no face found" for name in names})  # noqa: E731
    monkeypatch.setattr(gather, "alignment_points", lost)
    saved = gather.embed_pictures(dummy, root, names, fallback={names[0]: five})
    assert saved.names.tolist() == [names[0]] and np.allclose(saved.vectors[0], plain.vectors[0])


def test_a_second_embedding_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, dummy = write_people(tmp_path / "faces", {"a": 1}), load_recognizer("dummy")
    names = gather.pictures_below(root)
    first = gather.embed_pictures(dummy, root, names, cache=tmp_path / "cache")
    monkeypatch.setattr(type(dummy), "embed", lambda *_: pytest.fail("embedded again"))
    again = gather.embed_pictures(dummy, root, names, cache=tmp_path / "cache")
    assert np.array_equal(first.vectors, again.vectors)


@pytest.mark.parametrize("comparator", ["cosine", "negative-l2"])
def test_similarity_is_the_comparators(comparator: str):
    from maskbench.scoring import compare

    rng = np.random.default_rng(3)
    left, right = rng.normal(size=(gather.BLOCK + 7, 5)), rng.normal(size=(9, 5))
    if comparator == "cosine":
        left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (left, right))
    found = gather.similarity(templates("a" * len(left), left, comparator), templates("b" * 9, right, comparator))
    for column in range(9):
        wanted = compare(left, np.repeat(right[column : column + 1], len(left), 0), comparator)
        assert np.allclose(found[:, column], wanted, atol=1e-6)


def test_no_distance_is_imaginary():
    same = templates("ab", [[0.1, 0.7], [0.1, 0.7]])
    assert np.allclose(gather.similarity(same, same), 0, atol=1e-6)


# ---------------------------------------------------------------- nearness


def test_the_nearest_training_picture():
    training = templates("xyz", [[0, 0], [10, 0], [0, 10]])
    scores, rows = nearness.nearest(templates("ab", [[9, 0], [0, 4]]), training)
    assert rows.tolist() == [1, 0] and np.allclose(scores, [-1, -4])


def test_groups_are_disjoint_whole_and_in_order():
    found = nearness.groups(np.array(list("abababa" + "c")), 2)
    assert [(who, rows.tolist()) for who, rows in found] == [("a", [0, 2]), ("a", [4, 6]), ("b", [1, 3])]
    with pytest.raises(MaskbenchError, match="nobody has 9 pictures"):
        nearness.groups(np.array(["a"]), 9)


def test_the_statistic_is_over_a_groups_pictures():
    people, scores = np.array(list("aabb")), np.array([0.1, 0.5, 0.2, 0.3])
    assert nearness.statistics(scores, people, 2, "max")[0].tolist() == [0.5, 0.3]
    values, who = nearness.statistics(scores, people, 2, "mean")
    assert np.allclose(values, [0.3, 0.25]) and who.tolist() == ["a", "b"]


def test_the_limit_is_the_percentile_and_its_interval_is_over_people():
    values = np.linspace(0, 1, 101)
    alone = np.array([f"{number:03d}" for number in range(101)])
    value, low, high = nearness.limit(values, alone)
    assert np.isclose(value, 0.99) and 0.9 < low <= value <= high <= 1
    # The same values from four people: whether the one with the largest is drawn decides everything.
    few = np.array([str(number // 26) for number in range(101)])
    assert nearness.limit(values, few)[1] < low
    assert nearness.limit(values, few) == nearness.limit(values, few)


def test_strangers_who_are_none_are_found():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 16)) * 5
    people = np.repeat(list("abcd"), 5)
    real = templates("".join(people), np.repeat(centres, 5, axis=0) + rng.normal(size=(20, 16)) * 0.3)
    strangers = templates("x" * 50, rng.normal(size=(50, 16)) * 5)
    assert nearness.also_trained(real, strangers) == []
    leaked = gather.joined([strangers, templates("u", centres[2:3])])
    assert nearness.also_trained(real, leaked) == ["c"]
    assert nearness.also_trained(real.of([0, 5, 10]), leaked) == []  # nobody twice: no level to compare with


def test_the_threshold_is_between_different_people_only():
    real = templates("aabb", [[0.0], [0.1], [5.0], [5.2]])
    bound = nearness.recognised_at(real, 0.5)
    distances = [4.9, 5.0, 5.1, 5.2]
    assert bound is not None and np.mean([-d >= bound for d in distances]) <= 0.5 and bound < -4.9
    assert nearness.recognised_at(real, 0.001) is None  # four comparisons resolve no such rate


def test_the_level_of_one_person_is_a_quantile_of_mated_scores():
    real = templates("abab", [[0.0], [5.0], [1.0], [8.0]])
    assert nearness.same_person(real) == -2 and nearness.same_person(real, 1.0) == -1
    assert nearness.same_person(real.of([0, 1])) is None


def test_a_verdict_needs_every_recognizer():
    values, people = [np.array([0.5, 0.2]), np.array([0.1])], [np.array(["a", "b"]), np.array(["a"])]
    found = nearness.verdicts(values, people, [0.4, 0.3])
    assert list(found) == ["a"] and np.allclose(found["a"], [0.1, -0.2])


def test_histograms_share_their_bins():
    found = nearness.histograms({"real": np.array([0.0, 1.0, 1.0]), "synthetic": np.array([0.5])})
    assert len(found["edges"]) == nearness.BINS + 1 and sum(found["real"]) == 3 and sum(found["synthetic"]) == 1
    assert found["real"][0] == 1 and found["real"][-1] == 2


# ---------------------------------------------------------------- the privacy check as a whole

STRANGERS = {f"v{number:02d}": 100 + number for number in range(12)}
TRAINED = {f"t{number:02d}": 200 + number for number in range(30)}


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Options that name training pictures, real people outside of them and a recognizer."""
    train = write_people(tmp_path / "train", TRAINED)
    outside = write_people(tmp_path / "outside", STRANGERS, shots=4)
    return [
        "--train", str(train), "--outside", str(outside), "--recognizer", "dummy", "--pictures", "2",
        "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip


def test_a_copy_of_a_training_person_is_rejected(tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture):
    people = write_people(tmp_path / "people", {"P00000": 301, "P00001": 205, "P00002": 304}, first=10)
    write_image(people / "P00003" / "P00003_0001.png", picture(303))  # one picture of two
    options = ["--people", str(people), "--sheet", str(tmp_path / "sheet.png")]
    assert privacy.main([str(tmp_path / "out"), *options, *data]) == 0
    found = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert found["identities"]["taken"] == ["P00000", "P00002"] and found["identities"]["without_template"] == 1
    assert found["identities"]["judged"] == 4 and found["identities"]["rejected"] == 1
    part = found["recognizers"]["dummy"]
    assert part["real"]["people"] == 12 and part["real"]["count"] == 24 and part["training"]["pictures"] == 60
    assert part["nearest"][0]["identity"] == "P00001" and part["nearest"][0]["score"] > part["limit"]["value"]
    assert part["nearest_set"] == {"train": 6} and sum(part["histogram"]["synthetic"]) == 3
    assert part["same_person_median"]["score"] > 0.9 and part["same_person_median"]["real_share"] == 0
    assert part["same_person_median"]["synthetic_share"] == pytest.approx(1 / 3, abs=1e-4)
    assert "1 rejected, 1 not judged" in capsys.readouterr().out
    assert read_image(tmp_path / "sheet.png").shape == (640, 1280, 3)


def test_a_stranger_who_was_trained_on_does_not_raise_the_limit(tmp_path: Path, data: list[str]):
    people = write_people(tmp_path / "people", {"P00000": 301})
    limits = []
    for extra in ({}, {"leak": 107}):
        write_people(tmp_path / "train", extra, first=20)
        assert privacy.main([str(tmp_path / "out"), "--people", str(people), *data]) == 0
        found = json.loads((tmp_path / "out" / "privacy.json").read_text())
        limits.append(found["recognizers"]["dummy"]["limit"]["value"])
    assert found["real_people_left_out"]["also_in_training"] == ["v07"]
    assert limits[1] < 0.9 and abs(limits[1] - limits[0]) < 0.2


def test_the_search_takes_the_first_that_pass(tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch):
    def blocks(options: privacy.Options, folder: Path):
        for start in itertools.count(0, 4):
            looks = {f"P{number:05d}": 203 if number % 4 == 1 else 400 + number for number in range(start, start + 4)}
            write_people(folder / f"from{start}", looks, first=10)
            names = [f"from{start}/{name}" for name in gather.pictures_below(folder / f"from{start}")]
            yield names, {}

    monkeypatch.setattr(privacy, "candidates", blocks)
    monkeypatch.setattr(privacy, "model_digest", lambda _: "0" * 64)
    monkeypatch.setattr(privacy, "BLOCK", 4)
    demo = tmp_path / "demo.json"
    assert privacy.main([str(tmp_path / "out"), "--count", "5", "--demo", str(demo), *data]) == 0
    recipe = json.loads(demo.read_text())
    assert recipe["identities"][:1] == [0] and len(recipe["identities"]) == 5
    assert not {1, 5} & set(recipe["identities"]) and recipe["identities"] == sorted(recipe["identities"])
    assert set(recipe) == {"seed", "size", "pictures", "format", "quality", "identities", "judged_sha256"}
    shown = [path for path in (tmp_path / "out").rglob("P*/*.png") if int(path.parent.name[1:]) in recipe["identities"]]
    judged = [(f"{path.parent.name}/{path.name}", file_sha256(path)) for path in shown]
    assert len(judged) == 10 and recipe["judged_sha256"] == nearness.pictures_digest(judged)
    monkeypatch.setattr(privacy, "MOST", 1)
    monkeypatch.setattr(nearness, "limit", lambda *_: (-1.0, -1.0, -1.0))  # nobody passes
    assert privacy.main([str(tmp_path / "none"), "--count", "5", *data]) == 1


def test_candidates_are_made_as_the_command_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import maskbench.people.folder as folder

    asked = []

    def make(out: Path, config: folder.PeopleConfig, **_):
        asked.append(config)
        paths = sorted(folder.picture_path(*shot, config.format) for shot in config.shots())
        points = np.repeat(FACE[None] * 40 + 80, len(paths), 0).astype(np.float32)
        out.mkdir(parents=True)
        np.savez(out / "landmarks.npz", paths=np.array(paths), points=points)

    monkeypatch.setattr(folder, "make_people", make)
    options = privacy.Options(pictures=3, seed=5, size=128, first=2, format="webp", quality=80)
    first, second = itertools.islice(privacy.candidates(options, tmp_path), 2)
    assert len(first[0]) == 3 * privacy.BLOCK and first[0][0] == "from00002/P00002/P00002_0001.webp"
    assert set(first[0]) == set(first[1]) and gather.person_of(second[0][0]) == f"P{2 + privacy.BLOCK:05d}"
    assert (asked[0].seed, asked[0].size, asked[0].format, asked[0].quality) == (5, 128, "webp", 80)


def test_without_data_the_check_says_what_to_give(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.delenv("MASKBENCH_DATA", raising=False)
    assert privacy.main([str(tmp_path)]) == 1
    assert "give --train and --outside" in capsys.readouterr().err


# ---------------------------------------------------------------- landmarks


@pytest.fixture
def truth() -> np.ndarray:
    return (FACE * 40 + 80).astype(np.float32)


def test_errors_are_in_percent_of_the_distance_in_space(truth: np.ndarray):
    assert np.isclose(inter_ocular_distance(truth), 40, rtol=1e-4)
    shifted = truth + np.array([3, 4, 99], np.float32)  # depth does not count
    assert np.allclose(agreement.point_errors(shifted, truth), 100 * 5 / 40, rtol=1e-4)
    turned = truth @ np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float32)  # a profile: eyes coincide in the picture
    assert np.allclose(agreement.point_errors(turned + [1, 0, 0], turned), 2.5, rtol=1e-4)


def test_the_face_at_the_true_place_is_taken(truth: np.ndarray):
    here, there = mesh_landmarks(truth + 2, "x"), mesh_landmarks(truth + 60, "x")
    assert agreement.nearest_face([there, here], truth) is here
    assert agreement.nearest_face([there], truth) is None and agreement.nearest_face([], truth) is None


def test_regions_cover_the_mesh():
    found = agreement.regions()
    assert set().union(*found.values()) == set(range(468))
    assert 1 in found["nose"] and 61 in found["lips"] and {33, 263} <= set(found["eyes"]) and 10 in found["outline"]


def test_landmark_figures_by_yaw_and_region(truth: np.ndarray):
    nose = agreement.regions()["nose"]
    one = np.zeros(468)
    one[nose] = 10
    found = agreement.summarise([one, None, np.full(468, 4.0), np.full(468, 8.0)], [1, 0, 1, 2], [0, 20, -20, 44])
    assert found["found"] == 0.75 and found["of"] == 4 and found["several_faces"] == 1
    assert found["error"]["median"] == 4 and found["by_region"]["nose"]["median"] == 8
    turned = found["by_yaw"]["15 to 30"]
    assert (turned["of"], turned["found"], turned["median"]) == (2, 0.5, 4)
    assert found["by_yaw"]["30 and more"]["median"] == 8
    text = "\n".join(agreement.lines(found))
    assert "| all | 4 | 75.00% | 4.00 %" in text and "| nose | 3 |" in text


# ---------------------------------------------------------------- recognition, diversity, who


def test_all_pairs_once_whatever_the_order():
    shuffled = templates("abab", [[0.0], [10.0], [1.0], [12.0]])
    mated, different = spread.all_pairs(shuffled)
    assert sorted(mated.tolist()) == [-2, -1] and sorted(different.tolist()) == [-12, -11, -10, -9]
    figures = spread.recognition(shuffled)
    assert figures["eer"] == 0 and figures["auc"] == 1 and figures["fnmr_at_fmr_0.001"] is None
    assert (figures["mated"], figures["non_mated"]) == (2, 4)
    for alone in ("aaa", "abc"):
        with pytest.raises(MaskbenchError, match="two people"):
            spread.all_pairs(templates(alone, [[0.0], [1.0], [2.0]]))


def test_non_mated_pairs_are_thinned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spread, "PAIRS", 10)
    mated, different = spread.all_pairs(templates("aabbccdd", np.arange(8.0)[:, None]))
    assert len(mated) == 4 and len(different) == 8  # every third of 24


def test_diversity_compares_equally_many_pictures():
    people = "aaabbbc"
    rows = [[0.0], [2.0], [99.0], [10.0], [14.0], [99.0], [4.0]]
    found = spread.diversity(templates(people, rows), 2)
    assert found["one_picture"]["people"] == 3 and np.isclose(found["one_picture"]["mean"], (10 + 4 + 6) / 3, atol=1e-4)
    assert found["mean_template"] | {"p5": 0} == {
        "people": 2, "mean": 11.0, "p5": 0, "nearest": 11.0, "nearest_among": 2, "pictures": 2
    }  # fmt: skip
    assert np.isclose(found["one_picture"]["nearest"], (4 + 6 + 4) / 3, atol=1e-4)
    ratios = spread.relative(found, spread.diversity(templates(people, np.array(rows) * 2), 2))
    assert ratios["one_picture.mean"] == 0.5 and ratios["mean_template.nearest"] == 0.5
    assert spread.diversity(templates("aab", rows[:3]), 2)["mean_template"]["mean"] is None


def test_who_counts_people_once():
    columns = {
        "identity": ["0", "0", "1", "2"], "sex": ["female", "female", "male", "male"], "age": ["4", "4", "31", "80"],
        "skin_ita": ["60", "60", "20", "-50"], "hair": ["short"] * 4, "hair_colour": ["brown"] * 4,
        "expression": ["smile", "neutral", "smile", "smile"], "background": ["plain"] * 4,
        "yaw": ["0", "-16", "31", "2"],
    }  # fmt: skip
    found = spread.who(columns)
    assert found["sex"] == {"female": 1, "male": 2} and found["age"]["0-12"] == 1 and found["age"]["70+"] == 1
    assert found["skin"] == {"dark": 1, "tan": 1, "very light": 1} and found["expression"]["smile"] == 3
    assert found["yaw_beyond_15_30"] == [0.5, 0.25] and found["people"] == 3


@pytest.mark.parametrize(("angle", "name"), [(55.1, "very light"), (55, "light"), (28, "tan"), (-30, "dark")])
def test_skin_classes(angle: float, name: str):
    assert spread.ita_class(angle) == name


# ---------------------------------------------------------------- measuring as a whole


def people_folder(root: Path, truth: np.ndarray) -> Path:
    write_people(root, {"P00000": 1, "P00001": 2, "P00002": 3})
    names = gather.pictures_below(root)
    np.savez(root / measure.POINTS, paths=np.array(names), points=np.repeat(truth[None], len(names), 0))
    cells = {name: "0" for name in measure.ATTRIBUTES} | {"sex": "male", "age": "30"}
    rows = [",".join([name, *({**cells, "identity": name[1:6]}).values()]) for name in names]
    (root / measure.TABLE).write_text("\n".join([",".join(["path", *cells]), *rows]) + "\n")
    return root


def test_measuring_a_folder(tmp_path: Path, truth, monkeypatch, capsys: pytest.CaptureFixture):
    class Finder:
        def __init__(self, *_, **__): ...

        def detect(self, *_):
            return [mesh_landmarks(truth + np.array([1, 0, 0], np.float32), "mediapipe")]

    monkeypatch.setattr(measure, "CachedLandmarker", Finder)
    folder = people_folder(tmp_path / "people", truth)
    write_measured = [str(folder), "--recognizer", "dummy", "--per-person", "2", "--cache", str(tmp_path / "cache")]
    assert measure.main([*write_measured, "--out", str(tmp_path / "one.json")]) == 0
    figures = json.loads((tmp_path / "one.json").read_text())
    assert figures["landmarks"]["error"]["median"] == 2.5 and figures["landmarks"]["found"] == 1
    assert figures["recognition"]["dummy"]["eer"] == 0 and figures["people"]["people"] == 3
    assert measure.main([*write_measured, "--reference", str(tmp_path / "one.json")]) == 0
    assert "| dummy, one picture | 3 |" in (text := capsys.readouterr().out) and "| 1.000 |" in text


def test_without_true_landmarks_only_finding_is_told(tmp_path: Path):
    root = write_people(tmp_path, {"a": 1})
    assert measure.landmark_figures(root, gather.pictures_below(root), {}, None)["found"] == 0  # no faces at all


def test_a_table_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    root = write_people(tmp_path, {"a": 1})
    (root / measure.TABLE).write_text("path,identity\na,1\n")
    assert measure.main([str(root), "--recognizer", "dummy"]) == 1
    assert "people.csv:1: has no column shot" in capsys.readouterr().err


def test_masked_results_and_their_ranking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from types import SimpleNamespace

    def result(name: str, value: float, protocol: str = "p"):
        metrics = {"UMR-MP": {"eer": {"value": value}, "fmr100": {"fnmr": None}, "auc": 0.9}}
        return SimpleNamespace(recognizer={"name": name}, metrics=metrics, protocol={"name": protocol})

    monkeypatch.setattr(measure, "load_results", lambda _: [result("b", 0.1), result("a", 0.2), result("c", 0.3)])
    found = measure.masked_figures(tmp_path)
    assert found["ranking"] == ["b", "a", "c"] and found["recognizers"]["a"]["UMR-MP"]["eer"] == 0.2
    assert measure.same_ranking(["b", "a", "c"], ["a", "c", "b", "d"]) == {"recognizers": 3, "pairs": 3, "agreeing": 1}
    text = measure_report.tables({"masked": found, "same_ranking": {"pairs": 3, "agreeing": 1}})
    assert "| a | UMR-MP | 20.00% | - | 0.9000 |" in text and "1 of 3" in text
    monkeypatch.setattr(measure, "load_results", lambda _: [result("b", 0.1), result("b", 0.2, "q")])
    with pytest.raises(MaskbenchError, match="results of p and q; give the folder of one"):
        measure.masked_figures(tmp_path)
    monkeypatch.setattr(measure, "load_results", lambda _: [])
    with pytest.raises(MaskbenchError, match="holds no results"):
        measure.masked_figures(tmp_path)


def test_speed_counts_pictures(monkeypatch: pytest.MonkeyPatch):
    made = []

    def worker(*_):
        return lambda shot: made.append(shot) or measure.time.sleep(0.01) or 1

    monkeypatch.setattr(measure, "_speed_worker", worker)
    found = measure.speed(13, 160, 1)
    assert made[0] == (1, 1) and made[6] == (2, 1) and len(made) == 13
    assert 5 < found["steady"] <= 100 and 5 < found["with_start"] <= 100 and found["load_before"] >= 0
    assert "speed, 1 worker(s)" in measure_report.tables({"speed": {"1": found}})
