"""The man-made masks: what is committed is what the generators draw, and what they draw is what it claims to be."""

from __future__ import annotations

import json
from pathlib import Path

import canvas
import catalogue
import cotton
import cv2
import figures
import folds
import manmade
import numpy as np
import prints
import pytest
import shapes
import shields

from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import load_asset
from maskbench.masking.placement import still
from maskbench.masking.render import render

FOLDERS = Path(__file__).resolve().parents[2] / "mask_assets"
IDS = sorted(manmade.MASKS)
QUICK = ["bandana", "cloth-dots", "cloth-sport", "face-shield", "half-mask", "scarf-knit", "sponge", "surgical-tie"]
WORN_LOOSE = ("gaiter", "bandana", "scarf")


@pytest.fixture(autouse=True)
def _threads_as_when_drawn():
    before = cv2.getNumThreads()
    cv2.setNumThreads(canvas.THREADS)
    yield
    cv2.setNumThreads(before)


def committed(asset_id: str) -> np.ndarray:
    bgra = cv2.imread(str(FOLDERS / asset_id / "texture.png"), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)


def same_as_committed(asset_id: str) -> None:
    description, texture = manmade.MASKS[asset_id]()
    stored = json.loads((FOLDERS / asset_id / "asset.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(description)) == stored
    assert np.array_equal(texture, committed(asset_id))


@pytest.mark.parametrize("asset_id", QUICK)
def test_the_generator_draws_what_is_committed(asset_id):
    same_as_committed(asset_id)


@pytest.mark.slow
@pytest.mark.parametrize("asset_id", sorted(set(IDS) - set(QUICK)))
def test_the_generator_draws_what_is_committed_all(asset_id):
    same_as_committed(asset_id)


def test_drawing_twice_gives_the_same_pixels():
    cotton.curved.cache_clear()
    first = manmade.MASKS["cloth-snout"]()
    cotton.curved.cache_clear()
    again = manmade.MASKS["cloth-snout"]()
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])


def test_there_are_enough_masks_of_both_categories():
    categories = [load_asset(FOLDERS / asset_id).category for asset_id in IDS]
    assert categories.count("simple") >= 11
    assert categories.count("complex") >= 14
    assert set(categories) == {"simple", "complex"}


@pytest.mark.parametrize("asset_id", IDS)
def test_the_folder_is_a_valid_asset(asset_id):
    asset = load_asset(FOLDERS / asset_id)
    assert asset.asset_id == asset_id
    assert asset.regions == (("upper",) if asset_id == "face-shield" else ("lower",))
    rigid = asset.kind in (*WORN_LOOSE, "face-shield", "half-mask")
    assert asset.styles == (("correct",) if rigid else catalogue.FACE_STYLES)
    assert len(asset.colourways) >= 2
    assert asset.source.startswith("drawn by tools/masks/")
    assert (Path(__file__).parent / asset.source.rsplit("/", 1)[1]).is_file()
    assert "Apache License" in (FOLDERS / asset_id / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("asset_id", IDS)
def test_textures_are_small_and_transparent_around_the_cloth(asset_id):
    texture, asset = committed(asset_id), load_asset(FOLDERS / asset_id)
    side = texture.shape[0]
    assert texture.shape == (side, side, 4) and side in (canvas.SIZE, canvas.PRINT_SIZE)
    assert (FOLDERS / asset_id / "texture.png").stat().st_size < 200 * 1024
    assert (texture[texture[..., 3] == 0] == 0).all()
    for panel in asset.geometry["panels"]:
        u0, v0, u1, v1 = np.rint(np.array(panel["uv"]) * side).astype(int)
        alpha = texture[v0:v1, u0:u1, 3]
        assert alpha.max() > 50  # something is there
        assert max(alpha[0].max(), alpha[-1].max()) <= 24, "the panel would show its upper or lower edge"
        if "profile" not in panel:  # the ends of a lathe are behind the head
            assert max(alpha[:, 0].max(), alpha[:, -1].max()) <= 24, "the panel would show its side"
    for ribbon in asset.geometry["ribbons"]:
        u0, v0, u1, v1 = np.rint(np.array(ribbon["uv"]) * side).astype(int)
        strap = texture[v0:v1, u0:u1, 3]
        assert max(strap[0].max(), strap[-1].max()) <= 24
        assert strap[strap.shape[0] // 2, : strap.shape[1] // 2].min() > 250  # whole where it leaves the mask
        assert strap[:, -1].max() < 40  # gone behind the ear


@pytest.mark.parametrize("asset_id", IDS)
def test_straps_start_under_the_mask_and_end_behind_the_ear(asset_id):
    geometry = load_asset(FOLDERS / asset_id).geometry
    sheets = [panel for panel in geometry["panels"] if "profile" not in panel]
    for ribbon in geometry["ribbons"]:
        x, y, _ = ribbon["points"][0]
        top, bottom = (np.array(sheets[0][edge]) for edge in ("top", "bottom"))
        assert x < min(top[-1, 0], bottom[-1, 0])
        assert np.interp(x, *top.T) < y < np.interp(x, *bottom.T)
        assert ribbon["points"][-1][2] > 1.2


@pytest.mark.parametrize("asset_id", IDS)
def test_on_a_face_the_mouth_is_hidden_and_the_eyes_are_free(asset_id):
    asset = load_asset(FOLDERS / asset_id)
    face = mesh_landmarks(canonical_face() * 60 + [150, 130, 0], "test")
    picture = np.full((320, 300, 3), 128, np.uint8)
    alpha = render(picture, asset, still(face.points, asset, sorted(asset.colourways)[0])).alpha

    def at(x, y):
        return alpha[round(130 + 60 * y), round(150 + 60 * x)]

    eyes = [at(x, 0) for x in (-0.5, 0.5)]
    mouth = [at(x, 1.06) for x in (-0.3, 0, 0.3)]
    if asset_id == "face-shield":
        assert max(mouth) < 90 and max(eyes) < 90  # it is clear
        assert min(at(x, -0.65) for x in (-0.5, 0, 0.5)) > 200
    else:
        assert min(mouth) > 250
        assert max(eyes) == 0
        assert at(0, 0.70) > 250  # the tip of the nose
        assert at(0, 1.62) > 250  # the chin
    assert alpha[:20].max() == 0  # nothing above the head


def test_valves_sit_on_their_masks():
    for asset_id in ("ffp2-valve", "ffp3-valve", "cup-valve", "cloth-filter", "cloth-logo"):
        mask, patch = load_asset(FOLDERS / asset_id).geometry["panels"]
        assert not patch["tinted"] and mask["tinted"]
        for edge in ("top", "bottom"):
            for x, y in patch[edge]:
                assert np.interp(abs(x), *np.array(mask["top"]).T) < y < np.interp(abs(x), *np.array(mask["bottom"]).T)


# --------------------------------------------------------------------------------------------- the tools


@pytest.mark.parametrize("sigma", [(30.0, 30.0), (120.0, 13.0), (2.0, 40.0), (1.0, 0.0)])
@pytest.mark.parametrize("shape", [(96, 130), (1, 200)])
def test_the_fast_blur_is_opencvs(sigma, shape):
    field = np.random.default_rng(5).normal(size=shape)
    expected = cv2.GaussianBlur(field, (0, 0), sigma[0], sigmaY=max(sigma[1], 0.01))
    assert np.allclose(canvas.blurred(field, *sigma), expected, atol=1e-12)


def test_noise_is_seeded_and_of_unit_deviation():
    one = canvas.noise(3, (12, 2))
    assert np.array_equal(one, canvas.noise(3, (12, 2)))
    assert not np.allclose(one, canvas.noise(4, (12, 2)))
    assert one.std() == pytest.approx(1)
    rough = [np.abs(np.diff(one, axis=axis)).mean() for axis in (1, 0)]
    assert rough[0] < 0.4 * rough[1]  # smoother across


def test_slanted_noise_runs_along_its_direction():
    field = canvas.slanted(9, 30, 60, 6)
    down, across = np.gradient(cv2.GaussianBlur(field, (0, 0), 2))
    angle = 0.5 * np.degrees(np.arctan2(2 * (down * across).sum(), (across**2 - down**2).sum()))
    assert (angle + 90) % 180 == pytest.approx(30, abs=6)


def test_outlines_are_distances():
    x, y = canvas.axes()
    square = canvas.rounded(radius=10, margin=18)
    assert square[216, 256] == pytest.approx(216 - 18, abs=1)
    assert square[216, 4] == pytest.approx(x[216, 4] + 256 - 18)
    circle = canvas.oval((400, 400), 2.0, margin=20)
    cx, cy = canvas.axes((400, 400))
    ring = np.abs(180 - np.hypot(cx, cy - 200))
    assert np.abs(circle - (180 - np.hypot(cx, cy - 200)))[ring < 40].max() < 1.5
    box = canvas.polygon([[-100, 100], [100, 100], [100, 300], [-100, 300]], round_off=2)
    assert box[200, 256] == pytest.approx(100, abs=2)
    assert box[200, 456] == pytest.approx(-100, abs=2)
    path = canvas.polyline([[-50, 100], [50, 100]])
    assert path[140, 256] == pytest.approx(40, abs=1) and path[100, 256] < 1.5


def test_relief_is_lit_from_above():
    x, y = canvas.axes()
    assert np.allclose(canvas.shade(np.zeros(canvas.SHAPE)), 1)
    roof = 40 - 0.4 * np.abs(y - 216)  # a ridge: one side looks up, the other down
    lit = canvas.shade(roof)
    assert lit[100, 256] > 1.1 and lit[330, 256] < 0.9
    groove = canvas.shade(-6 * canvas.line(x, 6), contrast=0)
    assert groove[216, 256] < 0.95 and groove[216, 20] == pytest.approx(1, abs=0.01)
    assert canvas.shade(50 * canvas.noise(1, 2)).min() >= 0.45


def test_a_block_is_cloth_with_a_black_shadow_that_is_deeper_below():
    part = canvas.block(np.ones((*canvas.SHAPE, 3)), canvas.rounded())
    assert part[216, 256].tolist() == [1, 1, 1, 1]
    above, below = part[12, 256], part[-12, 256]
    assert above[:3].max() < 0.05 and below[:3].max() < 0.05
    assert 0 < above[3] < below[3] < 0.5
    assert part[0, :, 3].max() < 0.02


def test_reducing_a_block_keeps_the_colours_beside_clear_texels():
    part = np.zeros((64, 64, 4))
    part[:, :33] = (0.8, 0.4, 0.2, 1)
    small = canvas.fit(part, 32, 32)
    assert small[10, 16].tolist() == pytest.approx([0.8, 0.4, 0.2, 0.5])
    assert small[10, 20, 3] == 0


@pytest.mark.parametrize("kind", ["cord", "flat", "tie", "rubber", "foam"])
def test_straps_are_clear_at_their_sides_and_foam_tapers(kind):
    part = canvas.strap(kind, (200, 100, 50))
    assert part[[0, -1], :, 3].max() < 0.06
    assert part[24, 100, 0] > part[24, 100, 1] > part[24, 100, 2]
    width = (part[..., 3] > 0.5).sum(0)
    assert (width[380] < 0.75 * width[10]) == (kind == "foam")


def test_pleats_fall_below_their_edge_and_meet_at_the_sides():
    relief = folds.pleats((200,), (240,), 5.0, 1)
    rise = np.gradient(cv2.GaussianBlur(relief, (0, 0), 1.0))[0]
    assert rise[:, 256].argmin() == pytest.approx(200, abs=9)
    assert rise[:, 18].argmin() == pytest.approx(240, abs=9)


def test_stitches_are_dashes_beside_the_edge():
    d = canvas.rounded(radius=8)
    weight = folds.stitches(d - 10, pitch=8)
    run = weight[28, 100:400]  # the row 10 texels inside the upper edge
    assert 0.35 < (run > 0.5).mean() < 0.8
    assert weight[216, 256] < 1e-6


# -------------------------------------------------------------------------------------------- the prints


def plane() -> tuple[np.ndarray, np.ndarray]:
    return canvas.axes((240, 240))


def test_gingham_is_white_half_and_full_squares():
    x, y = plane()
    cloth = prints.gingham(x, y, 12, (0.8, 0.1, 0.1), (1, 1, 1))[..., 1]
    smooth = cv2.blur(cloth, (5, 5))
    centres = smooth[6::12, 6::12]
    levels = np.sort(np.unique(np.round(centres, 1)))
    assert levels.min() < 0.2 and levels.max() > 0.95
    assert ((centres > 0.4) & (centres < 0.7)).mean() == pytest.approx(0.5, abs=0.1)


def test_stripes_have_the_widths_of_their_sett():
    x, y = plane()
    cloth = prints.stripes(x, y, [((1, 1, 1), 18), ((0, 0, 0), 6)])
    assert cloth.mean() == pytest.approx(0.75, abs=0.02)
    assert np.allclose(cloth[:, 24:], cloth[:, :-24], atol=1e-9)
    assert np.allclose(cloth, cloth[:1])


def test_a_tartan_is_symmetric_and_the_same_both_ways():
    x, y = np.meshgrid(np.arange(200) + 0.5, np.arange(200) + 0.5)
    sett = [((1, 0, 0), 10), ((0, 0, 1), 6), ((0, 1, 0), 4)]
    cloth = cv2.blur(prints.tartan(x, y, sett), (4, 4))
    assert np.allclose(cloth[40:160, 40:160], cloth.transpose(1, 0, 2)[40:160, 40:160], atol=0.3)
    period = 10 + 6 + 4 + 6
    assert np.allclose(cloth[20:100, 20:100], cloth[20 + 2 * period : 100 + 2 * period, 20:100], atol=0.3)


def test_dots_cover_their_share():
    x, y = plane()
    cloth = prints.dots(x, y, 30, 6, (1, 1, 1), (0, 0, 0))[..., 0]
    assert cloth.mean() == pytest.approx(np.pi * 36 / (30 * 30 * 0.866), rel=0.08)


def test_houndstooth_is_half_dark_and_repeats():
    x, y = plane()
    cloth = prints.houndstooth(x, y, 24, (0, 0, 0), (1, 1, 1))[..., 0]
    assert cloth.mean() == pytest.approx(0.5, abs=0.03)
    assert np.allclose(cloth[24:200, 30:200], cloth[48:224, 30:200], atol=1e-6)


def test_camouflage_uses_all_its_colours():
    x, y = canvas.axes()
    colours = [(0.9, 0, 0), (0, 0.9, 0), (0, 0, 0.9), (0.1, 0.1, 0.1)]
    cloth = prints.camouflage(x, y, 5, colours)
    for colour in colours:
        assert 0.05 < (np.abs(cloth - colour).max(-1) < 0.05).mean() < 0.6


@pytest.mark.parametrize(
    "cloth",
    [
        lambda x, y: prints.floral(x, y, 1, (0.1, 0.1, 0.3), [(0.9, 0.4, 0.5)], (0.3, 0.5, 0.3)),
        lambda x, y: prints.paisley(x, y, 60, (0.5, 0.1, 0.1), (0.9, 0.9, 0.9), (0.2, 0.1, 0.2)),
        lambda x, y: prints.geometric(x, y, 30, [(0.1, 0.5, 0.6)], (0.9, 0.9, 0.9), 1),
        lambda x, y: prints.batik_dots(x, y, (0.2, 0.2, 0.4), (0.9, 0.9, 0.8)),
        lambda x, y: prints.wax(x, y, 90, [(0.9, 0.7, 0.1), (0.1, 0.2, 0.4), (0.8, 0.2, 0.1), (1, 1, 0.8)], 1),
        figures.monogram,
    ],
    ids=["floral", "paisley", "geometric", "batik", "wax", "monogram"],
)
def test_prints_are_figures_on_a_ground_with_motifs_of_millimetres(cloth):
    x, y = canvas.axes()
    grey = prints.painted(cloth, x, y).mean(-1)
    assert 0.03 <= grey.min() and grey.max() <= 0.98 and grey.std() > 0.04
    change = [np.abs(grey[:, step:] - grey[:, :-step]).mean() for step in (1, 12)]
    assert change[1] > 2 * change[0]  # figures, not grain


def test_a_print_breaks_at_the_seam_and_follows_the_folds():
    flat = np.zeros(canvas.SHAPE)
    cloth = cotton.mirrored(lambda x, y: np.dstack([x / 1000 + 0.5, y / 1000 + 0.3, 0 * x + 0.5]), flat)
    jump = np.abs(cloth[200, 256] - cloth[200, 255]).max()
    assert jump > 5 * np.abs(cloth[200, 300] - cloth[200, 299]).max()
    x, y = canvas.axes()
    moved, _ = folds.bite(8 * canvas.line(x, 20), x, y)
    assert np.abs(moved - x)[216, 226:286].max() > 0.5 and np.abs(moved - x)[216, 20] < 1e-6


def test_the_grin_has_white_teeth_in_two_rows():
    x, y = canvas.axes()
    tone, weight = figures.grin(x, y)
    white = (tone.min(-1) > 0.6) & (weight > 0.9)
    column = white[:, 256 + 10]  # the middle of a tooth of one row or the other
    assert 15 < column.sum() < 70
    assert not white[:, :100].any() and not white[:, -100:].any()
    assert weight[40].max() == 0


def test_the_visor_is_clear_but_for_edges_and_reflections():
    alpha = shields.visor()[..., 3]
    middle = alpha[60:330, 100:412]
    assert np.median(middle) < 0.12 and 0.1 < middle.max() < 0.8
    assert alpha[200, 10:30].max() > 0.35  # its cut edge


def test_patches_are_upright_boxes_and_ties_part():
    patch = shapes.patch(-0.4, 1.2, (0.1, 0.2), 0.1, [0, 0, 1, 1], tinted=False)
    assert patch["top"] == [[-0.5, 1.0], [-0.4, 1.0], [-0.3, 1.0]] and patch["bottom"][0] == [-0.5, 1.4]
    upper, lower = shapes.ties([0.98, 0.66, 0.47], [0.96, 1.10, 0.53])
    assert upper["points"][-1][1] < upper["points"][0][1] and lower["points"][-1][1] > lower["points"][0][1]
    assert upper["tinted"] and lower["tinted"]
