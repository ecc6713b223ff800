from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.images import decode, encode, is_grey
from maskbench.landmarks.aligned import AlignedLandmarker
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.assets import select_assets
from maskbench.masking.faces import covered_fraction
from maskbench.masking.grain import Grain, estimate_grain
from maskbench.masking.placement import Jitter, from_json, sample, still, to_json
from maskbench.masking.render import (
    SMALLEST_TEXTURE,
    draw_on,
    extra_blur,
    render,
    surface_of,
    texture_levels,
    tint_of,
    visible_window,
)
from maskbench.masking.space import control_points, scale_of

ASSETS = select_assets("all")
FACE_MASKS = {"surgical", "n95", "kn95", "kf94", "ffp2", "ffp3", "cup", "cloth"}
WORN = [asset for asset in ASSETS if asset.kind in FACE_MASKS and asset.regions == ("lower",)]
STRAIGHT = Jitter(0, 0, 0, 0)
PLAIN = select_assets("nist-wide-medium")[0]  # one flat tone: what varies on it is light, blur and noise
SIDE, SCALE = 256, 60.0
FACE = canonical_face() * SCALE + [128, 100, 0]


def each(assets):
    return pytest.mark.parametrize("asset", assets, ids=lambda asset: asset.asset_id)


def placed(asset, face=None, seed=0, jitter=None, **more):
    face = face or AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    return sample(generator(seed, "a", asset.asset_id), asset, face, seed, jitter, **more)


def scene(level: float = 128.0, noise: float = 0.0, blur: float = 0.0, seed: int = 0) -> np.ndarray:
    """A face-sized picture of squares, with the given noise after the given blur, (SIDE, SIDE, 3) uint8."""
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.uniform(-60, 60, (16, 16)), np.ones((16, 16))) + level
    picture = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
    picture = picture + rng.normal(size=picture.shape) * noise
    return np.repeat(np.clip(np.rint(picture), 0, 255).astype(np.uint8)[..., None], 3, -1)


@each(ASSETS)
def test_pixels_without_alpha_are_untouched_and_the_input_is_never_written(asset, make_crop):
    picture = make_crop(1)
    picture.flags.writeable = False
    drawn = render(picture, asset, placed(asset))
    assert drawn.alpha.dtype == np.uint8 and drawn.image.dtype == np.uint8
    assert drawn.alpha.shape == picture.shape[:2] and drawn.image.shape == picture.shape
    untouched = drawn.alpha == 0
    assert 0.005 < (drawn.alpha > 0).mean() < 0.95
    assert np.array_equal(drawn.image[untouched], picture[untouched])
    opaque = drawn.alpha > 128
    changed = (drawn.image != picture).any(-1)
    assert (changed & opaque).sum() >= 0.9 * opaque.sum()


@each(ASSETS)
def test_pixels_without_alpha_survive_blur_noise_and_compression(asset):
    picture = decode(encode(scene(120, 4, 1.5), ".jpg", 40))
    placement = placed(asset, mesh_landmarks(FACE, "test"), about={"jpeg": 40})
    drawn = render(picture, asset, placement)
    assert (drawn.alpha > 0).any()
    assert np.array_equal(drawn.image[drawn.alpha == 0], picture[drawn.alpha == 0])


@each(ASSETS)
def test_rendering_is_a_function_of_its_arguments_and_a_manifest_row_renders_again(asset, make_crop):
    placement = placed(asset, seed=3, style=asset.styles[-1], size=1.05)
    first = render(make_crop(2), asset, placement)
    again = render(make_crop(2), asset, from_json(to_json([placement]))[0])
    assert np.array_equal(first.image, again.image) and np.array_equal(first.alpha, again.alpha)


@each(ASSETS)
def test_to_say_that_a_picture_is_grey_changes_nothing(asset):
    picture = decode(encode(scene(120, 4, 0.7), ".jpg", 60))
    placement = placed(asset, mesh_landmarks(FACE, "test"), about={"jpeg": 60})
    said, unsaid = picture.copy(), picture.copy()
    alphas = draw_on(said, asset, placement, grey=True), draw_on(unsaid, asset, placement)
    assert np.array_equal(*alphas) and np.array_equal(said, unsaid)
    assert (said != picture).any() and is_grey(said)


@each(ASSETS)
def test_greyscale_pictures_stay_grey(asset, make_crop):
    grey = np.repeat(make_crop(4)[..., :1], 3, -1)
    for colour in sorted(asset.colourways):
        drawn = render(grey, asset, placed(asset, seed=1, colour=colour)).image
        assert np.array_equal(drawn[..., 0], drawn[..., 1]) and np.array_equal(drawn[..., 0], drawn[..., 2]), colour


@each(ASSETS)
def test_no_sheet_or_ribbon_ends_in_a_hard_edge(asset):
    """Rows and columns of the texture on the border of what is cut out of it are transparent. (What goes round the
    head may end in a pole, or at itself.)"""
    height, width = asset.texture.shape[:2]

    def border(part):
        u0, v0, u1, v1 = part["uv"]
        cut = asset.texture[round(v0 * height) : round(v1 * height), round(u0 * width) : round(u1 * width), 3]
        return [int(line.max()) for line in (cut[0], cut[-1], cut[:, 0], cut[:, -1])]

    for panel in asset.geometry["panels"]:
        if "profile" in panel:
            continue
        top, bottom, left, right = border(panel)
        assert max(top, bottom) <= 16
        if abs(panel["top"][-1][1] - panel["bottom"][-1][1]) > 0.12:
            assert max(left, right) <= 16
    for ribbon in asset.geometry.get("ribbons", ()):
        assert max(border(ribbon)[:2]) <= 16


@each(WORN)
def test_mouth_and_nose_are_covered_and_the_eyes_are_free(asset, make_crop):
    drawn = render(make_crop(1), asset, placed(asset, jitter=STRAIGHT))
    face = AlignedLandmarker().detect(make_crop(1))[0].points
    for index in (1, 13, 61, 291):
        x, y = np.rint(face[index, :2]).astype(int)
        assert drawn.alpha[y, x] > 200, index
    for index in (33, 133, 159, 263, 362, 386):
        x, y = np.rint(face[index, :2]).astype(int)
        assert drawn.alpha[y, x] == 0, index
    assert 0.3 < covered_fraction(drawn.alpha, face) < 0.7


def test_there_are_many_face_masks():
    assert len(WORN) >= 20


def test_the_outline_is_antialiased(make_crop):
    asset = select_assets("surgical")[0]
    face = mesh_landmarks(canonical_face() * [90, 90, 90] + [200, 130, 0], "test")
    drawn = render(make_crop(1, 400), asset, placed(asset, face))
    partial = (drawn.alpha > 10) & (drawn.alpha < 245)
    outline = cv2.morphologyEx((drawn.alpha > 128).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    assert partial.sum() > 0.5 * outline.sum()


@pytest.mark.parametrize("shift", [(-80, 0), (80, 0), (0, 75), (0, -90), (300, 300)])
def test_a_face_cut_by_the_border_is_drawn_as_far_as_it_is_seen(shift, make_crop):
    asset = select_assets("n95")[0]
    face = AlignedLandmarker().detect(make_crop(1))[0].points + np.array([*shift, 0], np.float32)
    drawn = render(make_crop(1), asset, placed(asset, mesh_landmarks(face, "test"), jitter=STRAIGHT))
    wide = cv2.copyMakeBorder(make_crop(1), 100, 188, 150, 238, cv2.BORDER_REPLICATE)
    moved = mesh_landmarks(face + np.array([150, 100, 0], np.float32), "test")
    whole = render(wide, asset, placed(asset, moved, jitter=STRAIGHT)).alpha[100:212, 150:262]
    if shift == (300, 300):
        assert not drawn.alpha.any() and np.array_equal(drawn.image, make_crop(1))
        assert math.isnan(covered_fraction(drawn.alpha, face))
    else:
        inner = np.s_[8:-8, 8:-8]  # at the border itself the softening sees no more of the mask
        assert np.abs(drawn.alpha[inner].astype(int) - whole[inner]).mean() < 2


def test_the_window_holds_all_that_can_be_touched():
    points = np.array([[10.2, 5.5, 0], [30.9, 20.1, 3]])
    window = visible_window(points, (40, 50), 0)
    assert (window.x0, window.y0, window.x1, window.y1) == (10, 5, 32, 22)
    grown = visible_window(points, (40, 50), 6)
    assert (grown.x0, grown.y0, grown.x1, grown.y1) == (4, 0, 38, 28)
    assert visible_window(points, (40, 12), 9).x1 == 12
    for shift in ((60, 0), (-50, 0), (0, 60), (0, -50)):
        assert visible_window(points + [*shift, 0], (40, 50), 3) is None


@pytest.mark.parametrize("shape", [(512, 512), (432, 512), (100, 300), (64, 31), (16, 16), (5, 9)])
def test_texture_levels_lie_one_after_the_other_and_are_reductions_of_the_texture(shape):
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (*shape, 4)).astype(np.uint8)
    asset = replace(PLAIN, texture=texture)
    texels, levels = texture_levels(asset)
    premultiplied = texture.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255.0
    end = 0
    for number, (first, width, height) in enumerate(levels):
        assert first == end, "without gaps"
        end = first + width * height
        expected = cv2.resize(premultiplied, (width, height), interpolation=cv2.INTER_AREA)
        assert np.array_equal(texels[first:end].reshape(height, width, 4), np.rint(expected)), number
        assert abs(width - shape[1] / 2 ** (number / 2)) <= 0.5 and abs(height - shape[0] / 2 ** (number / 2)) <= 0.5
    assert end == len(texels) and texels.dtype == np.uint8
    assert min(levels[-1][1:]) >= min(SMALLEST_TEXTURE, *shape) - 1
    assert min(levels[-1][1:]) < 2 * SMALLEST_TEXTURE and texels.nbytes < 2.2 * texture.nbytes


# --- light and colour ----------------------------------------------------------------------------------------------


def luma(picture: np.ndarray, dx: float, dy: float, reach: int = 6) -> float:
    """Mean luma around a place in units of the inter-ocular distance from the middle of the mouth."""
    x, y = (FACE[13, :2] + SCALE * np.array([dx, dy])).astype(int)
    return float(picture[y - reach : y + reach, x - reach : x + reach].mean())


@pytest.mark.parametrize("asset", [PLAIN, select_assets("surgical")[0]], ids=lambda asset: asset.asset_id)
@pytest.mark.parametrize("flip", [False, True])
def test_the_mask_takes_the_side_light_of_the_face(asset, flip: bool):
    ramp = np.linspace(220, 40, SIDE) if flip else np.linspace(40, 220, SIDE)
    lit = np.repeat(np.broadcast_to(ramp.astype(np.uint8), (SIDE, SIDE))[..., None], 3, -1)
    drawn = render(lit, asset, placed(asset, mesh_landmarks(FACE, "test"), jitter=STRAIGHT, colour="white")).image
    left, right = luma(drawn, -0.55, 0), luma(drawn, 0.55, 0)
    assert (left > 1.2 * right) if flip else (right > 1.2 * left)


def test_the_mask_takes_the_light_from_above_and_below():
    sheet = {"top": [[0, 0.3], [0.9, 0.5]], "bottom": [[0, 1.75], [0.8, 1.3]], "uv": [0, 0, 1, 1], "cup": 0.35}
    cup = replace(PLAIN, geometry={"panels": [sheet]})
    fractions = []
    for ramp in (np.linspace(220, 60, SIDE), np.linspace(60, 220, SIDE)):
        lit = np.repeat(np.broadcast_to(ramp.astype(np.uint8)[:, None], (SIDE, SIDE))[..., None], 3, -1)
        drawn = render(lit, cup, still(FACE, cup, "white")).image
        fractions.append(luma(drawn, 0, -0.35) / luma(drawn, 0, 0.35))
    assert fractions[0] > 1.1 > 0.95 > fractions[1], "the cup's upper half is lit from above, its lower from below"


def test_no_mask_glows_on_a_dark_face_in_the_dark():
    for level, limit in ((25, 100), (60, 170), (200, 256)):
        picture = scene(level)[..., :] // 4 + level * 3 // 4
        drawn = render(picture.astype(np.uint8), PLAIN, still(FACE, PLAIN, "white")).image
        assert level < luma(drawn, 0, 0) < limit


@pytest.mark.parametrize("skin", [(224, 172, 145), (150, 100, 75), (70, 45, 35)])
def test_skin_and_hair_colourways_take_the_colour_of_the_face(skin):
    picture = np.full((SIDE, SIDE, 3), skin, np.uint8)
    hair = np.array([40, 28, 22])
    for index in (70, 63, 105, 66, 107, 300, 293, 334, 296, 336, 46, 53, 52, 65, 276, 283, 282, 295):
        cv2.circle(picture, tuple(int(v) for v in FACE[index, :2]), 5, hair.tolist(), -1)
    asset = replace(PLAIN, colourways={"own": "skin", "locks": "hair"})
    for colour, expected in (("own", skin), ("locks", hair)):
        drawn = render(picture, asset, still(FACE, asset, colour)).image
        middle = drawn[150:170, 115:140].reshape(-1, 3).mean(0)
        assert np.allclose(middle, np.array(expected) * 247 / 255, rtol=0.12, atol=6), colour


def test_a_free_colour_multiplies_the_tinted_parts_only():
    panel = PLAIN.geometry["panels"][0]
    tinted = replace(PLAIN, geometry={"panels": [panel]})
    hidden = replace(PLAIN, geometry={"panels": [panel, panel | {"tinted": False}]})
    picture = scene(110)
    picture[..., 0] ^= 64  # not a greyscale picture
    grey, red = (render(picture, tinted, still(FACE, tinted, colour)).image for colour in ("#808080", "#802000"))
    solid = render(picture, tinted, still(FACE, tinted, "#808080")).alpha == 255
    grey, red = grey[solid].astype(float), red[solid].astype(float)
    assert solid.sum() > 1000 and np.allclose(red[:, 0], grey[:, 0], atol=1)
    assert np.allclose(red[:, 1], grey[:, 1] / 4, atol=1.5) and (red[:, 2] <= 1).all()
    over = [render(picture, hidden, still(FACE, hidden, colour)).image for colour in ("#808080", "#802000")]
    assert np.allclose(over[0][solid], over[1][solid].astype(int), atol=1), "the untinted panel hides the tinted one"


def test_a_colourway_and_the_same_colour_in_digits_are_one():
    assert PLAIN.colourways["red"] == (178, 42, 44)
    picture = np.dstack([scene(150)[..., 0], scene(110)[..., 0], scene(90)[..., 0]])
    named, given = (render(picture, PLAIN, still(FACE, PLAIN, colour)).image for colour in ("red", "#b22a2c"))
    assert np.array_equal(named, given)


@pytest.mark.parametrize("colour", ["mauve", "#12345", "#12345g", "#1234567", "b22a2c", ""])
def test_an_unknown_colour_is_refused_with_those_there_are(colour: str):
    message = f'mask nist-wide-medium: no colour "{colour}"; use one of black, light-blue, red, white, or #rrggbb'
    with pytest.raises(MaskbenchError) as caught:
        tint_of(scene(), control_points(FACE), PLAIN, colour, None)
    assert str(caught.value) == message


# --- blur, noise and compression like the photograph's -------------------------------------------------------------


def edge_deviation(alpha: np.ndarray) -> float:
    """The Gaussian deviation, pixels, of the upper outline's fall-off at the midline, by its 16 and 84 % places."""
    column = alpha[:, 126:131].astype(float).mean(1) / 255.0
    first = int(np.argmax(column > 0.97))
    rising = column[: first + 1]
    rising = rising[np.argmax(rising > 0.005) - 1 :]
    low, high = np.interp([0.1587, 0.8413], rising, np.arange(len(rising)))
    return float((high - low) / 2)


@pytest.mark.parametrize("blur", [0.0, 0.8, 1.5, 2.2])
def test_the_mask_is_as_soft_as_the_photograph(blur: float):
    face = canonical_face() * 100 + [200, 150, 0]
    rng = np.random.default_rng(1)
    picture = np.kron(rng.uniform(40, 220, (25, 25)), np.ones((16, 16)))
    picture = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
    picture = np.repeat(np.rint(picture).astype(np.uint8)[..., None], 3, -1)
    asset = select_assets("nist-round-medium")[0]
    alpha = render(picture, asset, still(face, asset, "black")).alpha[:, 72:328]
    if blur:
        assert edge_deviation(alpha) == pytest.approx(blur, rel=0.3, abs=0.1)
    else:
        assert 0.3 < edge_deviation(alpha) < 0.95, "what antialiasing and the texture's own soft edge leave"


def test_extra_blur_completes_the_renderers_own():
    assert extra_blur(Grain(0.0, 0)) == extra_blur(Grain(0.5, 9)) == extra_blur(Grain(0.54, 0)) == 0
    for blur in (0.7, 1.0, 2.0):
        assert np.hypot(extra_blur(Grain(blur, 0)), 0.5) == pytest.approx(blur)


@pytest.mark.parametrize("noise", [0.0, 2.0, 4.0, 8.0])
def test_the_mask_is_as_noisy_as_the_photograph(noise: float):
    for seed in range(3):
        picture = scene(128, noise, 0.6, seed)
        drawn = render(picture, PLAIN, still(FACE, PLAIN, "light-blue"))
        inside = drawn.image[130:190, 100:156]
        assert (drawn.alpha[130:190, 100:156] == 255).all()
        measured = estimate_grain(inside).noise
        assert measured == pytest.approx(noise, rel=0.2, abs=0.5)


def test_the_grain_differs_from_face_to_face_and_not_from_run_to_run():
    picture = scene(128, 6.0)
    here = render(picture, PLAIN, still(FACE, PLAIN, "white")).image
    assert np.array_equal(here, render(picture, PLAIN, still(FACE, PLAIN, "white")).image)
    moved = render(np.roll(picture, 7, 1), PLAIN, still(FACE + [7, 0, 0], PLAIN, "white")).image
    inside = np.s_[130:190, 100:150, 0]
    first, second = here[inside].astype(float), np.roll(moved, -7, 1)[inside].astype(float)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.3


def blockiness(picture: np.ndarray, where: np.ndarray) -> float:
    """How much larger steps between neighbours are across the borders of 8x8 blocks than within the blocks."""
    values = picture[..., 1].astype(float)
    border, within = [], []
    for axis, image, mask in ((1, values, where), (1, values.T, where.T)):
        step = np.abs(np.diff(image, axis=axis))
        valid = mask[:, 1:] & mask[:, :-1]
        at_border = np.arange(step.shape[1]) % 8 == 7
        border.append(step[:, at_border][valid[:, at_border]])
        within.append(step[:, ~at_border][valid[:, ~at_border]])
    return float(np.concatenate(border).mean() / max(np.concatenate(within).mean(), 1e-3))


def test_a_strongly_compressed_photograph_gives_the_mask_its_blocks():
    rng = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 14)
    smooth = np.repeat(np.clip(128 + 25 * smooth / smooth.std(), 0, 255).astype(np.uint8)[..., None], 3, -1)
    picture = decode(encode(smooth, ".jpg", 25))
    asset = replace(PLAIN, geometry={"panels": [PLAIN.geometry["panels"][0] | {"cup": 0.3}]})
    plain = still(FACE, asset, "light-blue")
    marked = replace(plain, parameters={**plain.parameters, "jpeg": 25})
    drawn = {name: render(picture, asset, p) for name, p in (("plain", plain), ("jpeg", marked))}
    solid = cv2.erode((drawn["jpeg"].alpha == 255).astype(np.uint8), np.ones((9, 9))) > 0
    around = drawn["jpeg"].alpha == 0
    surroundings = blockiness(picture, around)
    assert surroundings > 1.6, "the photograph shows its blocks"
    assert blockiness(drawn["plain"].image, solid) < 1.25
    assert blockiness(drawn["jpeg"].image, solid) > 1.4
    difference = np.abs(drawn["jpeg"].image.astype(int) - drawn["plain"].image)[solid]
    assert 0.2 < difference.mean() < 12 and np.array_equal(drawn["jpeg"].alpha, drawn["plain"].alpha)


@pytest.mark.parametrize("quality", [0, 93, 95, 100])
def test_fine_compression_leaves_no_grain(quality: int):
    picture = scene(128)
    plain = still(FACE, PLAIN, "white")
    marked = replace(plain, parameters={**plain.parameters, "jpeg": quality})
    assert np.array_equal(render(picture, PLAIN, plain).image, render(picture, PLAIN, marked).image)


def test_compression_follows_the_block_grid_of_the_whole_picture():
    """Inside the mask, where nothing else is changed, the result is a fixed point of the same compression, nearly."""
    picture = decode(encode(scene(128, 0, 2.0), ".jpg", 30))
    placement = still(FACE + [3, 5, 0], PLAIN, "light-blue")
    drawn = render(picture, PLAIN, replace(placement, parameters={**placement.parameters, "jpeg": 30}))
    solid = cv2.erode((drawn.alpha == 255).astype(np.uint8), np.ones((19, 19))) > 0
    again = decode(encode(drawn.image, ".jpg", 30)).astype(int)
    shifted = np.roll(decode(encode(np.roll(drawn.image, 4, (0, 1)), ".jpg", 30)), -4, (0, 1)).astype(int)
    same, other = (np.abs(p - drawn.image)[solid].mean() for p in (again, shifted))
    assert same < 0.6 * other, "on any other grid it is not"


# --- placements ----------------------------------------------------------------------------------------------------


def test_surfaces_are_made_once_for_each_style_and_size():
    asset = select_assets("surgical")[0]
    assert surface_of(asset) is surface_of(asset)
    worn = surface_of(asset, "under-nose", 1.0)
    assert worn is surface_of(asset, "under-nose", 1.0) and worn is not surface_of(asset)
    assert worn.nodes[:, 1].min() > surface_of(asset).nodes[:, 1].min() + 0.1


def test_placements_are_drawn_within_their_limits():
    asset, face = select_assets("surgical")[0], AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    jitter = Jitter()
    drawn = [sample(generator(k, "p"), asset, face, k) for k in range(200)]
    for name, spread, middle in (
        ("across", jitter.across, 0),
        ("down", jitter.down, 0),
        ("scale", jitter.scale, 1),
        ("roll", jitter.roll, 0),
    ):
        values = np.array([p.parameters[name] for p in drawn])
        assert np.abs(values - middle).max() <= spread + 1e-9 and np.ptp(values) > 1.7 * spread
    assert {p.colour for p in drawn} == set(asset.colourways)
    base = control_points(face.points)
    down = next(p for p in drawn if p.parameters["down"] > 0.02)
    shift = (down.control_points - base).mean(0)
    assert shift[1] > 0.01 * scale_of(base)
    assert abs(scale_of(down.control_points.astype(float)) / scale_of(base) - 1) < 0.04


def test_still_jitter_leaves_the_control_points_where_they_are():
    asset, face = ASSETS[0], AlignedLandmarker().detect(np.zeros((112, 112, 3), np.uint8))[0]
    for straight in (placed(asset, face, jitter=STRAIGHT), still(face.points, asset, "white")):
        assert np.abs(straight.control_points - control_points(face.points)).max() <= 0.0051
