"""Mask sources, the completing stage and evaluate --completion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from maskbench import completing, evaluation, manifest
from maskbench import mask_sources as sources
from maskbench.align import TEMPLATES, align_face, estimate_similarity, template_at
from maskbench.cli.evaluate import describe_failures, describe_overlap
from maskbench.completing import Occlusion, complete_inventory, put_in, read_completed
from maskbench.completions.base import load_completion
from maskbench.embed import alignment_points
from maskbench.errors import ImageError, MaskbenchError, ResultError
from maskbench.evaluation import EvaluationOptions, completion_label, evaluate
from maskbench.images import read_image, write_image
from maskbench.inventory import take_inventory
from maskbench.leaderboard import make_leaderboard
from maskbench.mask_sources import grown, in_crop, look_at, open_source, warp_mask
from maskbench.masking.assets import list_assets, load_asset
from maskbench.masking.engine import synthesize
from maskbench.masking.replay import masks_of_run, replay
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.protocols import make_folders
from maskbench.recognizers.base import RECOGNIZERS
from maskbench.recognizers.dummy import DummyRecognizer
from maskbench.results import load_results, load_run, read_result
from maskbench.types import Status

MASKS = "surgical,scarf-wool,sunglasses-aviator"


@pytest.fixture
def scene(crop_folder, tmp_path: Path):
    """Lossless faces of 8 subjects, their masked copies with alpha, and a protocol of them."""
    faces = crop_folder(16)
    names = [name for name in MASKS.split(",") if name in list_assets()] or sorted(list_assets())[:3]
    config = SynthesisConfig(mask=",".join(names), landmarks="aligned", save_alpha=True)
    synthesize(faces, tmp_path / "masked", config, 1)
    return make_folders(faces, 16), faces, tmp_path / "masked"


def inventory_of(scene):
    return take_inventory(*scene)


def alpha_of(masked: Path, path: str) -> np.ndarray:
    return read_image(masked / "_alpha" / f"{path}.png")[..., 0]


# ---------------------------------------------------------------- masks


def test_a_row_drawn_again_gives_the_very_picture_and_its_alpha(scene):
    _, faces, masked = scene
    assets = masks_of_run(masked)
    rows = manifest.read_manifest(masked / manifest.NAME)
    assert len(rows) == 16
    for row in rows:
        picture, alpha = replay(read_image(faces / row.source), row.placement, assets)
        assert np.array_equal(picture, read_image(masked / row.output))
        assert np.array_equal(alpha, alpha_of(masked, row.source)) and alpha.any()


def test_masks_that_changed_since_are_refused(scene, tmp_path: Path):
    masked = scene[2]
    record = masked / "synthesis.json"
    digest = next(iter(masks_of_run(masked).values())).sha256
    record.write_text(record.read_text().replace(digest, "0" * 64))
    with pytest.raises(MaskbenchError, match="has changed since; synthesize again"):
        masks_of_run(masked)
    with pytest.raises(MaskbenchError, match="not written by maskbench synthesize"):
        masks_of_run(tmp_path)


def test_replay_names_a_mask_that_is_not_installed(scene):
    row = manifest.read_manifest(scene[2] / manifest.NAME)[0]
    with pytest.raises(MaskbenchError, match="is not installed"):
        replay(np.zeros((112, 112, 3), np.uint8), row.placement, {})


def test_the_oracle_says_where_alpha_is_and_nothing_about_unmasked_pictures(scene):
    inventory = inventory_of(scene)
    oracle = open_source("oracle", inventory)
    template = TEMPLATES["arcface112"]
    looks = [look_at(item, read_image(item.path), template.points, template) for item in inventory.items]
    for look, mask in zip(looks, oracle.masks(looks), strict=True):
        path = inventory.protocol.samples[look.item.sample_id].path
        wanted = alpha_of(scene[2], path) > 0 if look.item.condition == "masked" else np.zeros((112, 112), bool)
        assert np.array_equal(mask > 0, wanted)
    keys = {oracle.key(look.item) for look in looks}
    assert "" in keys and len(keys) == 1 + sum(look.item.condition == "masked" for look in looks)


def test_the_segmenter_serves_crops_of_another_size(scene):
    inventory = inventory_of(scene)
    item = next(item for item in inventory.items if item.condition == "masked")
    image, points = read_image(item.path), TEMPLATES["arcface112"].points
    own, half = (template_at("wide128", (side, side)) for side in (128, 64))
    source = open_source("segmenter", inventory)
    large, small = source.masks([look_at(item, image, points, template) for template in (own, half)])
    assert large.shape == (128, 128) and small.shape == (64, 64)
    assert (cv2.resize(small, (128, 128), interpolation=cv2.INTER_NEAREST) != large).mean() < 0.05


def test_mask_files_are_found_by_either_name_and_a_missing_one_fails_its_picture(scene, tmp_path: Path):
    inventory = inventory_of(scene)
    template = TEMPLATES["arcface112"]
    masked = [item for item in inventory.items if item.condition == "masked"]
    paths = [inventory.protocol.samples[item.sample_id].path for item in masked]
    folder = tmp_path / "files"
    write_image(folder / f"{paths[0]}.png", alpha_of(scene[2], paths[0]))
    write_image(folder / Path(paths[1]).with_suffix(".png"), alpha_of(scene[2], paths[1]))
    write_image(folder / f"{paths[2]}.png", np.zeros((50, 60), np.uint8))
    source = open_source("file", replace(inventory, allow_missing=True), folder)
    looks = [look_at(item, read_image(item.path), template.points, template) for item in masked[:4]]
    first, second, third, fourth = source.masks(looks)
    assert np.array_equal(first > 0, alpha_of(scene[2], paths[0]) >= 128)
    assert np.array_equal(second > 0, alpha_of(scene[2], paths[1]) >= 128)
    assert "is 60x50, its picture 112x112" in third and fourth == "no mask file"
    assert len({source.key(item) for item in masked[:4]}) == 4 and source.key(masked[3]) == "missing"
    unmasked = next(item for item in inventory.items if item.condition == "unmasked")
    assert not source.masks([look_at(unmasked, read_image(unmasked.path), template.points, template)])[0].any()


def test_sources_that_lack_something_are_refused(scene, tmp_path: Path):
    inventory = inventory_of(scene)
    for call, said in (
        (lambda: open_source("orcale", inventory), 'did you mean "oracle"'),
        (lambda: open_source("file", inventory), "belong together"),
        (lambda: open_source("oracle", inventory, tmp_path), "belong together"),
        (lambda: open_source("file", inventory, tmp_path / "none"), "no such folder"),
        (lambda: open_source("oracle", take_inventory(scene[0], scene[1], None)), "needs the masked set"),
    ):
        with pytest.raises(MaskbenchError, match=said):
            call()


def test_a_mask_in_a_crop_covers_every_pixel_that_it_touches():
    """Against supersampling: each crop pixel whose square meets the mask."""
    rng = np.random.default_rng(0)
    mask = (cv2.resize(rng.uniform(0, 1, (8, 8)).astype(np.float32), (90, 90)) > 0.6).astype(np.uint8)
    for scale in (0.3, 0.7, 1.0, 1.6):
        matrix = np.array([[scale, 0, 3.0], [0, scale, -2.0]])
        found = warp_mask(mask, matrix, (100, 100))
        ys, xs = np.nonzero(found == 0)
        back_x, back_y = (xs - 3.0) / scale, (ys + 2.0) / scale
        inside = (back_x >= 0) & (back_x <= 89) & (back_y >= 0) & (back_y <= 89)
        # A pixel that is said to be free has a free source pixel at its centre.
        assert not mask[np.rint(back_y[inside]).astype(int), np.rint(back_x[inside]).astype(int)].any()
        assert found.sum() > 0.5 * mask.sum() * scale**2


def test_masks_grow_by_pixels_of_the_canvas():
    one = np.zeros((128, 128), np.uint8)
    one[60, 60] = 1
    assert grown(one, 2).sum() == cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)).sum()
    assert grown(one, 0) is one
    large = np.zeros((256, 256), np.uint8)
    large[100, 100] = 1
    assert np.ptp(np.nonzero(grown(large, 2))[0]) == 8
    assert not grown(np.zeros((128, 128), np.uint8), 3).any()


def test_a_mask_at_the_border_goes_on_where_the_border_is_repeated():
    template = template_at("wide128")
    item = SimpleNamespace(condition="masked")
    mask = np.zeros((112, 112), np.uint8)
    mask[80:] = 1
    look = look_at(item, np.zeros((112, 112, 3), np.uint8), TEMPLATES["arcface112"].points, template)
    found = in_crop(mask, look)
    assert found[90:].all() and not found[:80].any()


# ---------------------------------------------------------------- completing


@dataclass(frozen=True)
class Paint:
    """A completion that paints one colour over everything, which checked_complete must confine to the mask."""

    colour: int = 200
    spec: object = replace(load_completion("telea").spec, name="paint")

    @property
    def digest(self) -> str:
        return f"paint {self.colour}"

    def fit(self, training_faces):
        return self

    def complete(self, faces, masks):
        return np.full_like(faces, self.colour)


def stage(scene, root: Path, colour: int = 200, dilate: int = 0, refresh: bool = False, source="oracle"):
    inventory = inventory_of(scene)
    _, points = alignment_points(inventory, "auto", 1, None)
    occlusion = Occlusion(Paint(colour), open_source(source, inventory), dilate)
    return inventory, points, complete_inventory(inventory, points, occlusion, root, 1, refresh)


def test_completed_faces_change_inside_the_mask_only_and_keep_every_known_byte(scene, tmp_path: Path):
    inventory, points, files = stage(scene, tmp_path)
    assert set(files) == {(item.sample_id, item.condition) for item in inventory.items}
    wide = template_at("wide128")
    for item in inventory.items:
        where = points[item.sample_id, item.condition]
        path = files[item.sample_id, item.condition]
        inner, mask = read_completed(path)
        crop = align_face(read_image(item.path), where, wide)
        assert np.array_equal(inner[mask == 0], crop[mask == 0]) and (inner[mask > 0] == 200).all()
        for name in ("arcface112", "dlib150"):
            face = align_face(read_image(item.path), where, TEMPLATES[name])
            before = face.copy()
            after, here = put_in(face, path, wide, TEMPLATES[name])
            assert np.array_equal(face, before) and np.array_equal(after[here == 0], face[here == 0])
            assert here.any() == (item.condition == "masked")
            matrix = estimate_similarity(wide.points, TEMPLATES[name].points)
            wholly = cv2.warpAffine(mask * np.float32(1), matrix, TEMPLATES[name].size[::-1]) == 1
            assert (after[wholly] == 200).all() and wholly.any() == here.any()


def test_what_is_there_is_not_made_again_unless_asked_and_depends_on_the_completion(scene, tmp_path, monkeypatch):
    _, _, first = stage(scene, tmp_path)
    monkeypatch.setattr(completing, "checked_complete", lambda *_: pytest.fail("made again"))
    assert stage(scene, tmp_path)[2] == first
    monkeypatch.undo()
    assert set(stage(scene, tmp_path, colour=10)[2].values()).isdisjoint(first.values())
    assert set(stage(scene, tmp_path, dilate=1)[2].values()).isdisjoint(first.values())
    victim = next(path for path in first.values() if isinstance(path, Path))
    whole = victim.read_bytes()
    victim.write_bytes(b"damaged")
    with pytest.raises(ImageError, match="damaged or gone"):
        read_completed(victim)
    for damage in (b"damaged", b"", whole[:-1], whole[:200] + b"x" + whole[201:]):
        victim.write_bytes(damage)
        stage(scene, tmp_path)
        assert victim.read_bytes() == whole
    victim.write_bytes(whole[:-1])
    stage(scene, tmp_path, refresh=True)
    assert victim.read_bytes() == whole


@dataclass(frozen=True)
class Choosy(Paint):
    """Raises for some faces, or for all."""

    limit: float = 0.0

    def complete(self, faces, masks):
        if faces.mean(axis=(1, 2, 3)).max() > self.limit:
            raise np.linalg.LinAlgError("did not converge")
        return super().complete(faces, masks)


def test_a_completion_that_raises_fails_its_faces_and_one_that_always_does_is_an_error(scene, tmp_path: Path):
    inventory, points, files = stage(scene, tmp_path / "paint")
    brightness = sorted(
        float(align_face(read_image(item.path), points[item.sample_id, item.condition], template_at("wide128")).mean())
        for item in inventory.items if item.condition == "masked"
    )  # fmt: skip
    source = open_source("oracle", inventory)
    middle = Occlusion(Choosy(limit=brightness[len(brightness) // 2]), source, 0)
    found = complete_inventory(inventory, points, middle, tmp_path / "c", 1)
    reasons = [answer for answer in found.values() if isinstance(answer, str)]
    assert 0 < len(reasons) < len(brightness) and all("LinAlgError: did not converge" in r for r in reasons)
    inventory.items[:] = [item for item in inventory.items if item.condition == "masked"]
    with pytest.raises(MaskbenchError, match="gives nothing: the completion fails"):
        complete_inventory(inventory, points, Occlusion(Choosy(), source, 0), tmp_path / "d", 1)


def test_two_workers_give_the_same_files(scene, tmp_path: Path):
    inventory = inventory_of(scene)
    _, points = alignment_points(inventory, "auto", 1, None)
    made = []
    for workers in (1, 2):
        occlusion = Occlusion(load_completion("telea"), open_source("oracle", inventory), 1)
        files = complete_inventory(inventory, points, occlusion, tmp_path / str(workers), workers)
        made.append({key: path.read_bytes() for key, path in files.items()})
    assert made[0] == made[1] and len(made[0]) == len(inventory.items)


def test_a_picture_without_a_mask_file_fails_and_the_others_do_not(scene, tmp_path: Path):
    inventory = inventory_of(scene)
    (tmp_path / "empty").mkdir()
    _, points = alignment_points(inventory, "auto", 1, None)
    occlusion = Occlusion(Paint(), open_source("file", replace(inventory, allow_missing=True), tmp_path / "empty"), 0)
    files = complete_inventory(inventory, points, occlusion, tmp_path / "c", 1)
    for (_, condition), answer in files.items():
        if condition == "masked":
            assert isinstance(answer, str) and "no mask file" in answer
        else:
            assert isinstance(answer, Path)


# ---------------------------------------------------------------- evaluate


def run(scene, out: Path, models=("dummy",), store: Path | None = None, **options) -> list[Path]:
    protocol, faces, masked = scene
    return evaluate(protocol, models, faces, masked, out, EvaluationOptions(workers=1, **options), store)


def test_a_completion_is_part_of_result_folder_digest_and_leaderboard(scene, tmp_path: Path):
    store = tmp_path / "cache"
    run(scene, tmp_path / "r", store=store)
    (telea,) = run(scene, tmp_path / "r", store=store, completion="telea", mask_source="oracle")
    (navier,) = run(scene, tmp_path / "r", store=store, completion="navier-stokes", mask_source="oracle")
    assert telea.name == "dummy--telea-oracle" and navier.name == "dummy--navier-stokes-oracle"
    found = read_result(telea / "result.json")
    assert (found.completion, found.mask_source) == ("telea", "oracle") and len(found.digests["completion"]) == 64
    plain = read_result(tmp_path / "r" / scene[0].name / "dummy" / "result.json")
    assert (plain.completion, plain.mask_source) == ("none", "none") and "completion" not in plain.digests
    (table,) = make_leaderboard(load_results(tmp_path / "r"), "UMR-MP.eer")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["completion"], row["rank"]) for row in rows][0] == ("none", 1) and rows[1]["rank"] is None
    scores = [load_run(folder / "result.json").scores.scores for folder in (telea, navier)]
    assert not np.array_equal(*scores)


def test_completed_scores_are_those_of_completed_pictures(scene, tmp_path: Path):
    """The oracle's completion by hand, pair by pair, against the scores."""
    (folder,) = run(scene, tmp_path / "r", completion="telea", mask_source="oracle")
    found = load_run(folder / "result.json")
    inventory, points = inventory_of(scene), TEMPLATES["arcface112"].points
    occlusion = Occlusion(load_completion("telea"), open_source("oracle", inventory), sources.DILATE["oracle"])
    _, where = alignment_points(inventory, "auto", 1, None)
    files = complete_inventory(inventory, where, occlusion, tmp_path / "again", 1)
    vectors = {}
    for item in inventory.items:
        face = align_face(read_image(item.path), points, TEMPLATES["arcface112"])
        key = item.sample_id, item.condition
        face, _ = put_in(face, files[key], template_at("wide128"), TEMPLATES["arcface112"])
        vector = DummyRecognizer().embed(face[None])[0][0].astype(np.float64)
        vectors[key] = vector / np.linalg.norm(vector)
    pairs = scene[0].pairs
    for row in range(0, len(pairs), 3):
        left = vectors[pairs.reference_id[row], pairs.reference_condition[row]]
        right = vectors[pairs.probe_id[row], pairs.probe_condition[row]]
        assert found.scores.scores[row] == pytest.approx(left @ right, abs=1e-5)


def test_an_unknown_completion_or_source_is_named(scene, tmp_path: Path):
    with pytest.raises(MaskbenchError, match='did you mean "telea"'):
        run(scene, tmp_path / "r", completion="teela")
    with pytest.raises(MaskbenchError, match="did you mean"):
        run(scene, tmp_path / "r", mask_source="segmentor")
    with pytest.raises(MaskbenchError, match="--fit-on"):
        run(scene, tmp_path / "r", completion="mean-face", mask_source="oracle")
    assert not (tmp_path / "r").exists()


class Masked(DummyRecognizer):
    """A recognizer that wants masks and fails where half of the face is occluded."""

    def __init__(self) -> None:
        super().__init__("masked")
        self.spec = replace(self.spec, needs_mask=True)
        self.seen: list[np.ndarray] = []

    def embed(self, faces, masks=None):
        assert masks is not None and masks.shape == faces.shape[:3]
        self.seen += list(masks)
        return super().embed(faces)


def test_a_recognizer_that_needs_masks_gets_them_in_its_own_crop(scene, tmp_path: Path, monkeypatch):
    model = Masked()
    monkeypatch.setitem(RECOGNIZERS._entries, "wants-masks", lambda device, engine: model)
    (folder,) = run(scene, tmp_path / "r", models=["wants-masks"], mask_source="oracle", mask_dilate=0)
    result = read_result(folder / "result.json")
    assert (result.completion, result.mask_source) == ("none", "oracle") and folder.name == "masked--oracle"
    inventory = inventory_of(scene)
    assert len(model.seen) == len(inventory.items)
    for item, mask in zip(inventory.items, model.seen, strict=True):
        if item.condition == "unmasked":
            assert not mask.any()
            continue
        alpha = alpha_of(scene[2], inventory.protocol.samples[item.sample_id].path) > 0
        assert not (alpha & (mask == 0)).any() and mask.sum() < 1.25 * alpha.sum() + 200


def test_a_result_is_kept_only_if_the_same_system_made_it(scene, tmp_path: Path):
    store = tmp_path / "cache"
    (folder,) = run(scene, tmp_path / "r", store=store, keep=True)
    file = folder / "result.json"
    before = file.read_bytes(), file.stat().st_mtime_ns
    run(scene, tmp_path / "r", store=store, keep=True)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    (folder,) = run(scene, tmp_path / "r", store=store, keep=True, completion="telea", mask_source="oracle")
    first = read_result(folder / "result.json").digests["completion"]
    with pytest.raises(ResultError, match="of the same names, fitted on other faces or with other settings"):
        run(scene, tmp_path / "r", store=store, keep=True, completion="telea", mask_source="oracle", mask_dilate=4)
    assert read_result(folder / "result.json").digests["completion"] == first
    (folder / "scores.npz").unlink()
    run(scene, tmp_path / "r", store=store, keep=True, completion="telea", mask_source="oracle")
    assert (load_run(folder / "result.json").scores.status == Status.OK).all()


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(scene, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(evaluation, "alignment_points", lambda *_: pytest.fail("began"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MaskbenchError, match="cannot be written"):
        run(scene, tmp_path / "file" / "out")


def test_missing_mask_files_stop_the_run_unless_they_are_counted(scene, tmp_path: Path):
    inventory = inventory_of(scene)
    path = next(inventory.protocol.samples[i.sample_id].path for i in inventory.items if i.condition == "masked")
    folder = tmp_path / "files"
    write_image(folder / f"{path}.png", alpha_of(scene[2], path))
    asked = {"completion": "telea", "mask_source": "file", "mask_files": folder}
    with pytest.raises(MaskbenchError, match="masked pictures have no mask file, first .*--allow-missing"):
        run(scene, tmp_path / "r", **asked)
    (result,) = run(scene, tmp_path / "r", **asked, allow_missing=True)
    assert read_result(result / "result.json").metrics["UMR-MP"]["ftx"]["probe"] > 0.5
    assert "no mask: no mask file" in describe_failures(result / "failures.csv")


def test_people_that_a_recognizer_has_seen_are_told():
    result = SimpleNamespace(recognizer={"name": "mine"}, environment={"subject_overlap": "3 of 8"})
    assert "mine: the recognizer has seen 3 of 8 people" in describe_overlap(result)
    result.environment = {"subject_overlap": "unknown", "completion_subject_overlap": "0 of 8"}
    assert describe_overlap(result) == ""
    result.environment["completion_subject_overlap"] = "8 of 8"
    assert "the completion has seen 8 of 8" in describe_overlap(result)


def test_thresholds_come_from_results_of_the_very_same_system(scene, tmp_path: Path):
    run(scene, tmp_path / "plain")
    asked = {"completion": "telea", "mask_source": "oracle"}
    with pytest.raises(MaskbenchError, match="holds 0 results of dummy with telea"):
        run(scene, tmp_path / "r", threshold_from=str(tmp_path / "plain"), **asked)
    run(scene, tmp_path / "plain", **asked)  # the folder now holds both systems
    (folder,) = run(scene, tmp_path / "r", threshold_from=str(tmp_path / "plain"), **asked)
    assert read_result(folder / "result.json").metrics["UMR-MP"]["transferred"]["from"].startswith(scene[0].name)


def test_a_kept_result_answers_what_is_asked_now(scene, tmp_path: Path):
    (folder,) = run(scene, tmp_path / "r", keep=True)
    run(scene, tmp_path / "r", keep=True, threshold=0.5)
    assert read_result(folder / "result.json").metrics["UMR-UMP"]["at_threshold"]["threshold"] == 0.5


@pytest.mark.parametrize(
    ("completion", "source", "label"),
    [("none", "none", "none"), ("rpca", "segmenter", "rpca"), ("rpca", "oracle", "rpca-oracle"),
     ("none", "oracle", "oracle"), ("none", "segmenter", "none")],
)  # fmt: skip
def test_labels_of_folders(completion: str, source: str, label: str):
    assert completion_label(completion, source) == label


def test_assets_load_by_id():
    name, folder = next(iter(list_assets().items()))
    assert load_asset(folder).asset_id == name
