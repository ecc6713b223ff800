"""The parts of ``render_torch`` on their own, against the slow oracles of tests/reference and against OpenCV."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reference import kernels as oracle

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking import torch_raster
from maskbench.masking.assets import select_assets
from maskbench.masking.grain import noise_tile
from maskbench.masking.kernels import paint_order
from maskbench.masking.pose import pose
from maskbench.masking.render import hide_straps, surface_of
from maskbench.masking.space import control_points, scale_of
from maskbench.masking.torch_photo import _interpolate, patches
from maskbench.masking.torch_pose import Crowd, worn
from maskbench.masking.torch_pose import pose as pose_all
from maskbench.masking.torch_raster import Canvas, Mesh, owners, pick, rasterise
from maskbench.masking.torch_shade import _atlas, blend, blur, packed_levels, shade, textures_of

HEIGHT, WIDTH = 14, 18
CPU = torch.device("cpu")
ASSETS = select_assets("surgical,n95,cloth-check")


def scene(seed: int, count: int):
    """Random triangles over and beyond the canvas: points (12, 3), triangles (count, 3), each one's layer."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-7, 26, 12), rng.uniform(-7, 22, 12), rng.uniform(-5, 5, 12)])
    triangles = np.stack([rng.choice(12, 3, replace=False) for _ in range(count)])
    return points, triangles, rng.integers(0, 2, count)


def mesh_of(scenes, samples: int) -> Mesh:
    """Scenes of two layers each as one mesh; the draws are numbered layer by layer."""
    counts, vertices = [len(triangles) for _, triangles, _ in scenes], len(scenes[0][0])
    picture = np.repeat(np.arange(len(scenes)), counts)
    corners = np.concatenate([triangles for _, triangles, _ in scenes]) + vertices * picture[:, None]
    layer = np.concatenate([layer for _, _, layer in scenes])
    points = np.concatenate([points for points, _, _ in scenes])
    x, y = (torch.from_numpy((points[:, axis] + 0.5) * samples - 0.5) for axis in (0, 1))
    return Mesh(
        corners=torch.from_numpy(corners.T.copy()), picture=torch.from_numpy(picture),
        draw=torch.from_numpy(layer * len(scenes) + picture),
        first=torch.from_numpy(np.cumsum(counts) - counts), most=max(counts),
        picture_of=torch.arange(len(scenes)).repeat(2), x=x, y=y, depth=torch.from_numpy(points[:, 2].copy()),
    )  # fmt: skip


def drawn_order(points, triangles, layers, layer):
    """The layer's triangles that face the camera, the farthest first."""
    order = paint_order(points, triangles.astype(np.int32))
    return order[layers[order] == layer]


def test_owners_and_pick():
    owner, first = owners(torch.tensor([2, 0, 3, 1]))
    assert owner.tolist() == [0, 0, 2, 2, 2, 3] and first.tolist() == [0, 2, 2, 5]
    values, index = torch.arange(24).view(2, 3, 4), torch.tensor([[3, 0], [1, 1]])
    assert torch.equal(pick(values, index), values[..., index])
    assert pick(values, index[:0]).shape == (2, 3, 0, 2)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_every_pixel_sees_what_the_definition_says(seed: int, samples: int):
    scenes = [scene(10 * seed + k, count) for k, count in enumerate((9, 1, 14))]
    mesh = mesh_of(scenes, samples)
    pixels = rasterise(mesh, Canvas(HEIGHT, WIDTH, samples))
    assert (pixels.draw.diff() >= 0).all(), "draw by draw"
    for draw in range(2 * len(scenes)):
        layer, number = divmod(draw, len(scenes))
        points, triangles, layers = scenes[number]
        order = drawn_order(points, triangles, layers, layer)
        owner = oracle.owners(points[:, 0], points[:, 1], triangles, order, samples, HEIGHT, WIDTH)
        blocks = owner.reshape(HEIGHT, samples, WIDTH, samples).transpose(0, 2, 1, 3).reshape(-1, samples**2)
        count = (blocks >= 0).sum(1)
        mine = pixels.draw == draw
        assert np.array_equal(pixels.place[mine], np.flatnonzero(count))
        count, blocks = count[count > 0], blocks[count > 0]
        assert np.allclose(pixels.cover[mine], count / samples**2)
        full, middle = count == samples**2, samples // 2 * samples + samples // 2
        spot = np.where(full, middle, (blocks >= 0).argmax(1))
        assert np.array_equal(pixels.triangle[mine] - mesh.first[number], blocks[np.arange(len(spot)), spot])
        row, column = np.divmod(pixels.place[mine].numpy(), WIDTH)
        centre = (samples - 1) / 2
        assert np.array_equal(pixels.x[mine], column * samples + np.where(full, centre, spot % samples))
        assert np.array_equal(pixels.y[mine], row * samples + np.where(full, centre, spot // samples))


@pytest.mark.parametrize("most", [1, 40, 1000])
def test_working_in_parts_changes_nothing(most: int, monkeypatch: pytest.MonkeyPatch):
    mesh, canvas = mesh_of([scene(k, 12) for k in range(4)], 3), Canvas(HEIGHT, WIDTH, 3)
    whole = rasterise(mesh, canvas)
    monkeypatch.setattr(torch_raster, "MOST_SAMPLES", most)
    parts = rasterise(mesh, canvas)
    for name in ("draw", "place", "triangle", "x", "y", "cover"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
    assert len(whole.draw) > 500


def test_neighbours_leave_no_gap_and_level_edges_belong_to_the_picture():
    """A grid of triangles whose edges run through sample centres covers every sample."""
    columns, rows = np.meshgrid(np.linspace(-0.5, WIDTH - 0.5, 7), np.linspace(-0.5, HEIGHT - 0.5, 8))
    points = np.column_stack([columns.ravel(), rows.ravel(), np.zeros(columns.size)])
    index = np.arange(columns.size).reshape(columns.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    pixels = rasterise(mesh_of([(points, triangles, np.zeros(len(triangles), int))], 2), Canvas(HEIGHT, WIDTH, 2))
    assert np.array_equal(pixels.place, np.arange(HEIGHT * WIDTH)) and (pixels.cover == 1).all()


def test_the_nearest_triangle_wins_and_what_turns_away_is_not_drawn():
    points = np.array([[-9.0, -9, 1], [60, -9, 1], [-9, 60, 1], [-9, -9, -1], [60, -9, -1], [-9, 60, -1]])
    for triangles, seen in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 0), ([[0, 1, 2], [3, 5, 4]], 0)):
        pixels = rasterise(mesh_of([(points, np.array(triangles), np.zeros(2, int))], 2), Canvas(HEIGHT, WIDTH, 2))
        assert (pixels.triangle == seen).all() and len(pixels.triangle) == HEIGHT * WIDTH
    nothing = rasterise(mesh_of([(points, np.array([[0, 2, 1]]), np.zeros(1, int))], 2), Canvas(HEIGHT, WIDTH, 2))
    assert len(nothing.draw) == 0


def noise_asset(seed: int, shape: tuple[int, int]):
    """An asset whose texture is noise in colour and alpha."""
    texture = np.random.default_rng(seed).integers(0, 256, (*shape, 4)).astype(np.uint8)
    return replace(ASSETS[0], asset_id=f"noise-{seed}", texture=texture)


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize("size", [0.2, 1.0, 6.0])
def test_pixels_are_coloured_as_the_definition_says(size: float, samples: int):
    """Textures of several shapes in one batch, seen from near and from far."""
    assets = tuple(noise_asset(k, shape) for k, shape in enumerate(((40, 64), (130, 48), (32, 32))))
    scenes, rng = [scene(20 + k, 8) for k in range(4)], np.random.default_rng(3)
    mesh, kinds = mesh_of(scenes, samples), [0, 1, 1, 2]
    low, high = (0.5 - size / 12, 0.5 - size / 12, 0.4, 0.0), (0.5 + size / 12, 0.5 + size / 12, 1.8, 1.0)
    attributes = [rng.uniform(low, high, (12, 4)).T for _ in scenes]
    tint = rng.uniform(0.5, 1.2, (3, 8))
    pixels = rasterise(mesh, Canvas(HEIGHT, WIDTH, samples))
    textures = textures_of(assets, torch.tensor(kinds))
    together = torch.from_numpy(np.concatenate(attributes, 1))
    colour = shade(pixels, mesh, samples, together, textures, torch.from_numpy(tint))
    for draw in range(8):
        layer, number = divmod(draw, 4)
        points, triangles, layers = scenes[number]
        packed, places = packed_levels(assets[kinds[number]])
        levels = [packed[y0 : y0 + high, x0 : x0 + wide] for x0, y0, wide, high in places]
        order = drawn_order(points, triangles, layers, layer)
        args = points[:, 0], points[:, 1], triangles, order, attributes[number], levels, tint[:, draw], samples
        expected = oracle.draw(np.zeros((HEIGHT, WIDTH, 4)), *args).reshape(-1, 4)
        mine = pixels.draw == draw
        found = np.zeros_like(expected)
        found[pixels.place[mine]] = colour[:, mine].T
        assert np.abs(found - expected).max() < 1e-4


def test_the_atlas_holds_every_level_that_is_asked_for():
    assets = tuple(noise_asset(k, shape) for k, shape in enumerate(((64, 64), (200, 90))))
    for finest in (0, 2, 50):
        atlas, shift = _atlas(assets, finest, CPU)
        for number, asset in enumerate(assets):
            packed, levels = packed_levels(asset)
            for x0, y0, wide, high in levels[min(finest, len(levels) - 1) :]:
                left, top = (shift[:, number] + torch.tensor([x0, y0])).long().tolist()
                assert left >= 0 and top >= 0
                part = atlas[0, :, top : top + high, left : left + wide]
                assert np.array_equal(part.permute(1, 2, 0), packed[y0 : y0 + high, x0 : x0 + wide].astype(np.float32))
    assert _atlas(assets, 2, CPU)[0].numel() < _atlas(assets, 0, CPU)[0].numel()


def test_each_picture_is_blurred_as_opencv_does():
    rng = np.random.default_rng(0)
    canvas = rng.random((7, 20, 24, 4)).astype(np.float32)
    sigma = np.array([0.0, 0.25, 2.45, 0.6, 0.0, 1.13, 0.93])
    blurred = blur(torch.from_numpy(canvas).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(sigma))
    for picture, deviation, found in zip(canvas, sigma, blurred.permute(0, 2, 3, 1).numpy(), strict=True):
        expected = picture
        if deviation:
            expected = cv2.GaussianBlur(picture, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
        assert np.abs(found - expected).max() < 2e-6
    still = torch.rand(2, 4, 5, 6)
    assert torch.equal(blur(still.clone(), torch.zeros(2, dtype=torch.float64)), still)


def test_blending_as_the_definition_says_within_the_window():
    rng = np.random.default_rng(1)
    count, size, corner, window = 3, (20, 25), (5, 7), (7, 8, 27, 25)
    pictures = rng.integers(0, 256, (count, 40, 48, 3)).astype(np.uint8)
    alpha = np.where(rng.random((count, *size)) < 0.3, 0, rng.random((count, *size)))
    layers = np.concatenate([rng.random((count, *size, 3)) * alpha[..., None], alpha[..., None]], -1).astype(np.float32)
    noise, shift, grey = [0.0, 4.0, 9.0], [(0, 0), (250, 3), (17, 255)], [False, True, False]
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    marks = torch.zeros(count, 40, 48, dtype=torch.uint8)
    blend(
        images, marks, torch.from_numpy(layers).permute(0, 3, 1, 2), torch.tensor([corner] * count),
        torch.tensor([window] * count), torch.tensor(noise, dtype=torch.float64), torch.tensor(shift),
        torch.tensor(grey),
    )  # fmt: skip
    x0, y0, x1, y1 = window
    for k in range(count):
        inner = layers[k, y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]
        part, at = pictures[k, y0:y1, x0:x1], (x0 + shift[k][0], y0 + shift[k][1])
        expected, expected_marks = oracle.blended(part, inner, noise_tile(), noise[k], at, grey[k])
        found, found_marks = images[k].permute(1, 2, 0).numpy(), marks[k].numpy()
        assert np.array_equal(found_marks[y0:y1, x0:x1], expected_marks)
        apart = np.abs(found[y0:y1, x0:x1].astype(int) - expected)
        assert apart.max() <= 1 and (apart > 0).mean() < 0.001
        outside = np.ones((40, 48), bool)
        outside[y0:y1, x0:x1] = False
        assert np.array_equal(found[outside], pictures[k][outside]) and not found_marks[outside].any()


def faces(count: int) -> np.ndarray:
    """Control points (count, 60, 3) of the canonical face turned by -70 to 70 degrees, of several sizes."""
    found = []
    for k in range(count):
        angle = np.deg2rad(-70 + 140 * k / (count - 1))
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        found.append((control_points(canonical_face()) @ turn.T) * (12 + 4 * k) + [56, 40, 3])
    return np.stack(found)


def test_every_face_is_dressed_as_if_it_were_alone(make_crop):
    control = faces(5)
    which, sizes = np.array([0, 0, 1, 2, 2]), (1.0, 1.1, 1.0)
    kinds = [worn(asset, "correct", size, CPU) for asset, size in zip(ASSETS, sizes, strict=True)]
    scale = torch.tensor([scale_of(points) for points in control], dtype=torch.float64)
    crowd = Crowd(kinds, [(0, 2), (2, 3), (3, 5)], which, torch.from_numpy(control.transpose(0, 2, 1).copy()), scale)
    pictures = [make_crop(seed) for seed in range(5)]
    posed = pose_all(crowd, torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous())
    for number, (picture, points) in enumerate(zip(pictures, control, strict=True)):
        surface = surface_of(ASSETS[which[number]], "correct", sizes[which[number]])
        expected, opacity = pose(surface, points)
        hide_straps(picture, surface, expected, opacity)
        mine = posed.face == number
        assert np.allclose(posed.points[:, mine].T, expected, atol=1e-9)
        assert np.allclose(posed.opacity[mine], opacity, atol=1e-9)
        assert np.array_equal(posed.surface[:, mine].T, np.hstack([surface.normals, surface.uv]))
    assert (posed.opacity < 1).any()
    straps = [len(surface_of(asset, "correct", size).strap_width) for asset, size in zip(ASSETS, sizes, strict=True)]
    assert crowd.counts("straps").tolist() == [straps[kind] for kind in which]


def test_pictures_are_sampled_between_their_pixels_and_clamped_at_their_border():
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 256, (2, 9, 13, 3)).astype(np.uint8)
    x, y, radius = rng.uniform(-4, 17, 40), rng.uniform(-4, 13, 40), rng.uniform(1, 3, 40)
    which = rng.integers(0, 2, 40)
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    found = patches(images, *(torch.from_numpy(values) for values in (which, x, y, radius)))
    for n in range(40):
        cross = [(0, 0), (radius[n], 0), (-radius[n], 0), (0, radius[n]), (0, -radius[n])]
        expected = np.mean([oracle.bilinear(pictures[which[n]], x[n] + dx, y[n] + dy) for dx, dy in cross], 0) / 255
        assert np.allclose(found[n], expected)
    # A picture of one pixel has no neighbours.
    dot = torch.full((1, 3, 1, 1), 51, dtype=torch.uint8)
    zero = torch.zeros(1, dtype=torch.float64)
    assert np.allclose(patches(dot, torch.zeros(1, dtype=torch.int64), zero, zero, zero + 1), 0.2)


def test_interpolation_between_knots():
    knots, values = np.array([0.1, 0.4, 0.5, 2.0]), np.array([3.0, 1.0, 1.5, -2.0])
    x = np.array([-1.0, 0.1, 0.25, 0.4, 0.45, 1.9, 2.0, 7.0])
    found = _interpolate(*(torch.from_numpy(part) for part in (x, knots, values)))
    assert np.allclose(found, np.interp(x, knots, values))
