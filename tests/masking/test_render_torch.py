"""``render_torch`` against ``render``, which is its oracle: the same arguments, the same picture."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from maskbench.digest import bytes_sha256, generator
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root
from maskbench.images import decode, read_bytes
from maskbench.landmarks.aligned import template_mesh
from maskbench.landmarks.base import mesh_landmarks
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking import lighting, torch_photo
from maskbench.masking.assets import select_assets
from maskbench.masking.grain import face_grain, looks_grey
from maskbench.masking.placement import sample
from maskbench.masking.preview import mannequins, read_faces
from maskbench.masking.render import render, surface_of
from maskbench.masking.render_torch import render_torch
from maskbench.masking.torch_pose import worn
from maskbench.masking.torch_raster import MOST_SAMPLES

ASSETS = select_assets("all")
TOLERANCE, SHARE = 2, 0.99
EQUAL = 0.99  # what remains is rounded otherwise, by 1 of 255


def turned(yaw=0.0, pitch=0.0, size=1.0, shift=(0.0, 0.0)):
    """The template mesh of 112x112 crops, turned by degrees, scaled about its middle and moved."""
    a, b = np.deg2rad([yaw, pitch])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    mesh = template_mesh()
    middle = mesh.mean(0)
    return mesh_landmarks((mesh - middle) @ (nod @ turn).T * size + middle + [*shift, 0], "test")


def placed(asset, face=None, seed=0, style="correct", size=1.0, colour=None):
    rng = generator(seed, asset.asset_id)
    return sample(rng, asset, face or turned(), seed, None, colour, style, size)


def batch(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def agree(pictures, assets, placements, device=None):
    """Assert that both renderers agree on every picture; return the share of masked pixels that are exactly equal."""
    before = batch(pictures)
    given = before.clone()
    drawn, alpha = render_torch(given, assets, placements, device)
    assert torch.equal(given, before) and drawn.dtype == alpha.dtype == torch.uint8
    drawn, alpha = drawn.cpu().permute(0, 2, 3, 1).numpy(), alpha.cpu().numpy()
    equal, masked = 0, 0
    for number, (picture, asset, placement) in enumerate(zip(pictures, assets, placements, strict=True)):
        expected = render(picture, asset, placement)
        covered = (expected.alpha > 0) | (alpha[number] > 0)
        apart = np.abs(drawn[number].astype(int) - expected.image).max(-1)
        apart = np.maximum(apart, np.abs(alpha[number].astype(int) - expected.alpha))[covered]
        assert (apart <= TOLERANCE).sum() >= SHARE * apart.size, f"{asset.asset_id}, picture {number}: {apart.max()}"
        untouched = alpha[number] == 0
        assert np.array_equal(drawn[number][untouched], picture[untouched])
        equal, masked = equal + (apart == 0).sum(), masked + apart.size
    return equal / max(masked, 1)


def test_every_mask_in_one_mixed_batch(make_crop):
    pictures = [make_crop(seed) for seed in range(len(ASSETS))]
    placements = [placed(asset, turned(seed % 5 * 4 - 8, seed % 3 * 8 - 8), seed) for seed, asset in enumerate(ASSETS)]
    assert agree(pictures, ASSETS, placements) > EQUAL


@pytest.mark.parametrize("yaw", [-75, -35, 60])
def test_turned_heads(yaw, make_crop):
    pictures = [make_crop(seed) for seed in range(len(ASSETS[::2]))]
    placements = [placed(asset, turned(yaw), seed) for seed, asset in enumerate(ASSETS[::2])]
    assert agree(pictures, ASSETS[::2], placements) > EQUAL


def test_every_colourway_style_and_size(make_crop):
    jobs = [(asset, {"colour": colour}) for asset in ASSETS[::3] for colour in asset.colourways]
    jobs += [(asset, {"style": style}) for asset in ASSETS for style in asset.styles[1:]]
    jobs += [(asset, {"size": size}) for asset in ASSETS[::5] for size in (0.6, 1.3)]
    jobs.append((ASSETS[0], {"colour": "#12c4ff"}))
    pictures = [make_crop(seed % 7) for seed in range(len(jobs))]
    placements = [placed(asset, seed=seed, **how) for seed, (asset, how) in enumerate(jobs)]
    assert agree(pictures, [asset for asset, _ in jobs], placements) > EQUAL


def test_colours_that_are_taken_from_the_face(make_crop):
    """The masks at hand may have none, so one is given both."""
    asset = replace(ASSETS[0], colourways={"own": "skin", "brow": "hair"})
    pictures = [make_crop(3), make_crop(4), make_crop(5)]
    assert agree(pictures, [asset] * 3, [placed(asset, colour=colour) for colour in ("own", "brow", "own")]) > EQUAL


def test_faces_cut_by_the_border_or_outside_of_the_picture(make_crop):
    shifts = [(-70, 0), (70, 5), (0, 60), (0, -80), (-50, 50), (300, 300), (0, 0), (-400, 0)]
    assets = [ASSETS[k % len(ASSETS)] for k in range(len(shifts))]
    placements = [placed(asset, turned(shift=shift)) for asset, shift in zip(assets, shifts, strict=True)]
    assert agree([make_crop(k) for k in range(len(shifts))], assets, placements) > EQUAL
    picture = batch([make_crop(1)])
    drawn, alpha = render_torch(picture, assets[:1], [placed(assets[0], turned(shift=(300, 300)))])
    assert torch.equal(drawn, picture) and not alpha.any()


@pytest.mark.parametrize("size", [0.15, 0.4, 1.5, 4.0])
def test_tiny_faces_and_faces_larger_than_the_picture(size, make_crop):
    assets = ASSETS[::6]
    placements = [placed(asset, turned(20, 0, size), seed) for seed, asset in enumerate(assets)]
    assert agree([make_crop(seed) for seed in range(len(assets))], assets, placements) > EQUAL


def test_a_batch_of_another_shape_with_small_and_large_faces(make_crop):
    """Both numbers of samples per pixel in one batch, on pictures that are not square."""
    wide = [cv2.resize(make_crop(seed), (300, 200), interpolation=cv2.INTER_CUBIC) for seed in range(6)]
    faces = [turned(10 * k, 0, 0.5 + 0.7 * k, (60, 30)) for k in range(6)]
    assets = [ASSETS[5 * k % len(ASSETS)] for k in range(6)]
    assert agree(wide, assets, [placed(asset, face) for asset, face in zip(assets, faces, strict=True)]) > EQUAL


def test_blur_noise_and_grey_follow_the_picture(make_crop):
    rng = np.random.default_rng(5)
    sharp = rng.integers(0, 2, (112, 112, 1)).repeat(3, 2).astype(np.uint8) * 180 + 30
    noisy = np.clip(make_crop(2) + rng.normal(0, 9, (112, 112, 3)), 0, 255).astype(np.uint8)
    soft = [cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (0.8, 1.4, 2.2)]
    grey = np.repeat(make_crop(1)[..., :1], 3, -1)
    pictures = [sharp, noisy, *soft, grey, np.full_like(sharp, 7), np.zeros_like(sharp)]
    placements = [placed(ASSETS[k], seed=k) for k in range(len(pictures))]
    grains = [face_grain(pictures[k], placements[k].control_points.astype(float)) for k in range(len(pictures))]
    assert max(grain.blur for grain in grains) > 1.2 and max(grain.noise for grain in grains) > 5
    assert agree(pictures, ASSETS[: len(pictures)], placements) > EQUAL
    grey, _ = render_torch(batch(pictures[5:6]), ASSETS[5:6], placements[5:6])
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])


def test_what_is_read_from_the_photograph_is_the_same_number(make_crop):
    """Each estimate on its own: an error of the light or of the grain is not to hide behind the tolerance of pixels."""
    rng = np.random.default_rng(8)
    sharp = rng.integers(0, 2, (112, 112, 1)).repeat(3, 2).astype(np.uint8) * 180 + 30
    pictures = [make_crop(seed) for seed in range(6)] + [np.zeros_like(sharp), np.repeat(make_crop(1)[..., :1], 3, -1)]
    pictures += [cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (0.5, 1.0, 2.0)]
    grains = [rng.normal(0, sigma, sharp.shape) for sigma in (3, 12)]
    pictures += [np.clip(make_crop(3) + grain, 0, 255).astype(np.uint8) for grain in grains]
    control = np.stack([placed(ASSETS[0], turned(8 * k, 0, 0.3 + 0.2 * k, (9 * k - 40, 0)), k).control_points
                        for k in range(len(pictures))]).astype(np.float64)  # fmt: skip
    images, points = batch(pictures), torch.from_numpy(control)
    gain, colour, coefficients = torch_photo.read_light(images, points)
    blur, noise = torch_photo.read_grain(images, points)
    grey = torch_photo.looks_grey(images)
    of_face = {name: torch_photo.face_colours(images, points, name) for name in ("skin", "hair")}
    lines = rng.uniform(-10, 120, (2 * len(pictures), 10, 3))
    sight = torch_photo.strap_sight(images, torch.from_numpy(lines), torch.arange(len(pictures)).repeat_interleave(2))
    for k, picture in enumerate(pictures):
        light, grain = lighting.estimate_light(picture, control[k]), face_grain(picture, control[k])
        assert np.allclose([gain[k], *colour[k], *coefficients[k]], [light.gain, *light.colour, *light.coefficients])
        assert np.allclose([blur[k], noise[k]], [grain.blur, grain.noise], atol=1e-9)
        assert bool(grey[k]) == looks_grey(picture)
        for name, found in of_face.items():
            assert np.allclose(found[k], lighting.face_colour(picture, control[k], name))
        assert np.allclose(sight[2 * k : 2 * k + 2], lighting.strap_sight(picture, lines[2 * k : 2 * k + 2]))
    assert len({round(float(value), 3) for value in blur}) > 3 and noise.max() > 10 and grey.any() and not grey.all()


def test_mannequins():
    faces = read_faces(mannequins())
    for face, asset in zip(faces, ASSETS[:: len(ASSETS) // len(faces)], strict=False):
        assert agree([face.image], [asset], [placed(asset, face.landmarks, 2)]) > EQUAL


def test_photographs(data_root):
    paths = sorted((data_root / "faces").rglob("*.jpg"))
    landmarker = CachedLandmarker("auto", root=cache_root())
    pictures, placements, assets = [], [], []
    for number, path in enumerate(paths[:: len(paths) // 40][:40]):
        data = read_bytes(path)
        picture = decode(data, str(path))
        for face in landmarker.detect(picture, bytes_sha256(data))[:1]:
            # As in training: a crop of 112 pixels, with the landmarks that belong to it.
            share = [112 / picture.shape[1], 112 / picture.shape[0]]
            points = face.points * [*share, np.sqrt(share[0] * share[1])]
            assets.append(ASSETS[7 * number % len(ASSETS)])
            pictures.append(cv2.resize(picture, (112, 112), interpolation=cv2.INTER_AREA))
            placements.append(placed(assets[-1], mesh_landmarks(points, "test"), number))
    assert len(pictures) > 20
    assert agree(pictures, assets, placements) > EQUAL


def test_what_the_batch_is_split_into_does_not_matter(make_crop, monkeypatch):
    count = 12
    pictures = batch([make_crop(seed) for seed in range(count)])
    assets = [ASSETS[3 * k % len(ASSETS)] for k in range(count)]
    placements = [placed(asset, turned(9 * k - 50), k) for k, asset in enumerate(assets)]
    whole = render_torch(pictures, assets, placements)
    again = render_torch(pictures, assets, placements)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))

    def close(drawn, alpha, expected):
        for values, others in zip((drawn, alpha), expected, strict=True):
            apart = (values.int() - others.int()).abs()
            assert apart.max() <= 1 and (apart > 0).float().mean() < 1e-3

    for k in (0, 5, 11):
        alone = render_torch(pictures[k : k + 1], assets[k : k + 1], placements[k : k + 1])
        close(*alone, [values[k : k + 1] for values in whole])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    drawn, alpha = render_torch(pictures[order], [assets[k] for k in order], [placements[k] for k in order])
    close(drawn, alpha, [values[order] for values in whole])
    monkeypatch.setattr("maskbench.masking.render_torch.SAMPLES_AT_ONCE", {"cpu": 1})
    monkeypatch.setattr("maskbench.masking.torch_raster.MOST_SAMPLES", MOST_SAMPLES // 2**13)
    close(*render_torch(pictures, assets, placements), whole)


def test_pictures_without_a_placement_stay_and_a_second_mask_is_a_second_call(make_crop):
    pictures, asset, other = [make_crop(1), make_crop(2), make_crop(3)], ASSETS[0], ASSETS[-1]
    placements = [placed(asset), None, None]
    drawn, alpha = render_torch(batch(pictures), [asset, None, asset], placements)
    assert alpha[0].any() and not alpha[1:].any() and torch.equal(drawn[1:], batch(pictures)[1:])
    twice, _ = render_torch(drawn, [other, None, None], [placed(other), None, None])
    first = render(pictures[0], asset, placements[0]).image
    apart = np.abs(twice[0].permute(1, 2, 0).numpy().astype(int) - render(first, other, placed(other)).image)
    assert (apart <= TOLERANCE).mean() > SHARE
    empty, none = render_torch(batch(pictures)[:0], [], [])
    assert empty.shape == (0, 3, 112, 112) and none.shape == (0, 112, 112)


def test_nothing_depends_on_the_callers_precision_settings(make_crop):
    pictures, assets = batch([make_crop(1), make_crop(2)]), [ASSETS[0], ASSETS[1]]
    placements = [placed(asset) for asset in assets]
    expected = render_torch(pictures, assets, placements)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
            drawn = render_torch(pictures, assets, placements)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(drawn, expected, strict=True))
    assert not drawn[0].requires_grad


def test_what_does_not_fit_together_is_refused(make_crop):
    pictures, asset = batch([make_crop(1)]), ASSETS[0]
    with pytest.raises(MaskbenchError, match=r"uint8 tensor is needed, not \(1, 3, 112, 112\) torch.float32"):
        render_torch(pictures.float(), [asset], [placed(asset)])
    with pytest.raises(MaskbenchError, match="needed, not ndarray"):
        render_torch(pictures.numpy(), [asset], [placed(asset)])
    with pytest.raises(MaskbenchError, match="1 pictures, 1 assets and 2 placements"):
        render_torch(pictures, [asset], [placed(asset)] * 2)
    with pytest.raises(MaskbenchError, match=f"0: a placement of {ASSETS[1].asset_id} .* for {asset.asset_id}"):
        render_torch(pictures, [asset], [placed(ASSETS[1])])
    with pytest.raises(MaskbenchError, match=r"control points \(5, 3\)"):
        render_torch(pictures, [asset], [replace(placed(asset), control_points=np.zeros((5, 3), np.float32))])
    with pytest.raises(MaskbenchError, match='no colour "beige-ish"'):
        render_torch(pictures, [asset], [replace(placed(asset), colour="beige-ish")])


def test_a_surface_is_carried_to_the_device_as_it_is():
    for asset in ASSETS[::4]:
        surface, there = surface_of(asset), worn(asset, "correct", 1.0, torch.device("cpu"))
        assert np.array_equal(there.triangles[:3].T.numpy(), surface.triangles)
        assert np.array_equal(there.vertices.T.numpy(), np.hstack([surface.normals, surface.uv]))
        for number, part in enumerate(surface.layers):
            assert (there.triangles[3, part.start : part.stop] == number).all()
        control = canonical_face()[: there.matrix.shape[0]]
        assert np.allclose(there.matrix.T.numpy()[: len(surface.nodes)] @ control, surface.binding @ control)


@pytest.mark.gpu
def test_the_gpu_draws_the_same(make_crop):
    assert torch.cuda.is_available()
    assets, seeds = [*ASSETS, *ASSETS], range(2 * len(ASSETS))
    pictures = [make_crop(seed) for seed in seeds]
    faces = [turned(seed % 13 * 10 - 60, 0, 0.3 + seed % 7 * 0.3, (seed % 5 * 20 - 40, 0)) for seed in seeds]
    placements = [placed(asset, face, seed) for seed, (asset, face) in enumerate(zip(assets, faces, strict=True))]
    assert agree(pictures, assets, placements, "cuda") > 0.99
    first, second = (render_torch(batch(pictures), assets, placements, "cuda") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
