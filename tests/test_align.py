"""Alignment against independent solutions: least squares by numpy.linalg, Umeyama by SVD, known pictures."""

import numpy as np
import pytest

from maskbench.align import TEMPLATES, align_face, estimate_similarity, five_points, template_at, warp
from maskbench.errors import MaskbenchError
from maskbench.types import Landmarks

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Umeyama 1991, equations 34 to 43, for K points in the plane."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    p, q = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(q.T @ p / len(p))
    sign = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(singular) @ sign) / (p**2).sum(1).mean()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def face(points: np.ndarray, scheme: str) -> Landmarks:
    return Landmarks(np.asarray(points, np.float32), scheme, 1.0, "test")


# --- templates


def test_arcface_template_has_the_published_points():
    template = TEMPLATES["arcface112"]
    published = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    np.testing.assert_array_equal(template.points, published)
    assert template.size == (112, 112)


def test_dlib_template_puts_the_eyes_where_dlib_does():
    template = TEMPLATES["dlib150"]
    np.testing.assert_allclose(template.points[:2].mean(0), (74.0, 47.1), atol=1e-3)
    matrix = estimate_similarity(TEMPLATES["arcface112"].points, template.points)
    expected = [[1.4898, 0, 74 - 1.4898 * 55.9132], [0, 1.4898, 47.1 - 1.4898 * 51.59885]]
    np.testing.assert_allclose(matrix, expected, atol=1e-9)
    assert template.size == (150, 150)


def test_templates_cannot_be_changed_by_accident():
    with pytest.raises(ValueError):
        TEMPLATES["arcface112"].points[0, 0] = 0


def test_scaled_template_keeps_relative_position_of_pixel_edges():
    double = template_at("arcface112", (224, 224))
    # The left edge of the picture is at x = -0.5, so positions scale around it.
    np.testing.assert_allclose(double.points + 0.5, 2 * (TEMPLATES["arcface112"].points + 0.5))
    assert double.size == (224, 224)
    assert template_at("arcface112", (112, 112)) is TEMPLATES["arcface112"]
    assert template_at("dlib150") is TEMPLATES["dlib150"]


def test_template_errors_name_the_remedy():
    with pytest.raises(MaskbenchError, match='did you mean "arcface112"'):
        template_at("arcface12")
    with pytest.raises(MaskbenchError, match=r"\(112, 96\)"):
        template_at("arcface112", (112, 96))


# --- five points


def test_five_points_of_a_mesh_are_the_named_indices():
    rng = np.random.default_rng(1)
    mesh = rng.uniform(0, 200, (478, 3)).astype(np.float32)
    points = five_points(face(mesh, "mesh468"))
    expected = [
        mesh[[33, 133, 159, 145], :2].mean(0),
        mesh[[263, 362, 386, 374], :2].mean(0),
        mesh[1, :2],
        mesh[61, :2],
        mesh[291, :2],
    ]
    np.testing.assert_allclose(points, expected, rtol=1e-6)
    assert points.shape == (5, 2) and points.dtype == np.float64


def test_five_points_of_68_and_5():
    points = np.arange(136, dtype=np.float32).reshape(68, 2)
    expected = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    np.testing.assert_allclose(five_points(face(points, "68pt")), expected)
    np.testing.assert_array_equal(five_points(face(points[:5], "5pt")), points[:5])


def test_five_points_errors():
    with pytest.raises(MaskbenchError, match='did you mean "68pt"'):
        five_points(face(np.zeros((68, 2)), "68p"))
    with pytest.raises(MaskbenchError, match=r"\(468, 2\) points, not \(68, 2\)"):
        five_points(face(np.zeros((68, 2)), "mesh468"))
    with pytest.raises(MaskbenchError, match="5pt"):
        five_points(face(np.zeros((5, 1)), "5pt"))


# --- estimation


@pytest.mark.parametrize("degrees", [0, 17, -90, 180])
@pytest.mark.parametrize("scale", [0.05, 1, 7.5])
def test_exact_similarity_is_recovered(scale, degrees):
    matrix = similarity(scale, degrees, (31.0, -400.0))
    source = np.random.default_rng(0).uniform(0, 1000, (5, 2))
    np.testing.assert_allclose(estimate_similarity(source, apply(matrix, source)), matrix, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_noisy_points_give_the_least_squares_solution(seed):
    rng = np.random.default_rng(seed)
    target = TEMPLATES["arcface112"].points
    source = apply(similarity(2.2, 30, (50, 60)), target) + rng.normal(0, 8, (5, 2))
    found = estimate_similarity(source, target)
    rows = [row for x, y in source for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(found, [[a, -b, tx], [b, a, ty]], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found, umeyama(source, target), rtol=1e-8, atol=1e-8)


def test_mirrored_points_never_give_a_mirrored_crop():
    target = TEMPLATES["arcface112"].points
    mirrored = target * (-1, 1)
    found = estimate_similarity(mirrored, target)
    assert np.linalg.det(found[:, :2]) > 0
    np.testing.assert_allclose(found, umeyama(mirrored, target), atol=1e-8)


def test_estimation_is_the_same_every_time():
    rng = np.random.default_rng(5)
    source = rng.uniform(0, 500, (5, 2))
    first = estimate_similarity(source, TEMPLATES["dlib150"].points)
    assert all((estimate_similarity(source, TEMPLATES["dlib150"].points) == first).all() for _ in range(5))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((5, 2), 3.0), "coincide"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.zeros((4, 2)), r"\(4, 2\) and \(5, 2\)"),
        (np.zeros((5, 3)), r"\(5, 3\) and \(5, 2\)"),
    ],
)
def test_unusable_points_are_refused(points, message):
    with pytest.raises(MaskbenchError, match=message):
        estimate_similarity(points, TEMPLATES["arcface112"].points)


# --- warping


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose red is x and whose green is y (below 256)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], axis=-1).astype(np.uint8)


def test_identity_returns_an_unchanged_copy():
    image = np.random.default_rng(2).integers(0, 256, (112, 112, 3), np.uint8)
    points = TEMPLATES["arcface112"].points.astype(np.float32)  # as a landmark detector would store them
    crop = align_face(image, points, TEMPLATES["arcface112"])
    np.testing.assert_array_equal(crop, image)
    assert not np.shares_memory(crop, image)


def test_identity_of_another_size_is_not_taken_for_the_crop():
    assert warp(ramp(100, 120), IDENTITY, (50, 60)).shape == (50, 60, 3)


def test_whole_pixel_shift_and_border():
    image = ramp(40, 60)
    crop = warp(image, np.array([[1.0, 0, 5], [0, 1.0, -3]]), (40, 60))
    np.testing.assert_array_equal(crop[:37, 5:], image[3:, :55])
    np.testing.assert_array_equal(crop[:37, :5], np.repeat(image[3:, :1], 5, axis=1))  # replicated left column
    np.testing.assert_array_equal(crop[37:, 5:], np.repeat(image[-1:, :55], 3, axis=0))  # replicated last row


@pytest.mark.parametrize("scale", [0.9, 0.6, 0.45, 0.3, 0.21, 0.1])
def test_positions_survive_scaling_and_rotation(scale):
    """Red is x and green is y, so every pixel of the crop tells where it came from."""
    image = ramp(250, 240)
    matrix = similarity(scale, 20, (15.0, -4.0))
    size = (24, 20)
    crop = warp(image, matrix, size).astype(float)
    y, x = np.mgrid[: size[0], : size[1]]
    inverse = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    origin = apply(inverse, np.stack([x.ravel(), y.ravel()], -1).astype(float)).reshape(*size, 2)
    margin = 1 / scale + 1
    inner = ((origin > margin) & (origin < np.array([239, 249]) - margin)).all(-1)
    assert inner.sum() > 10
    np.testing.assert_allclose(crop[inner][:, :2], origin[inner], atol=1.2)


def test_fine_pattern_averages_out_instead_of_aliasing():
    y, x = np.mgrid[:600, :600]
    image = np.repeat(((x // 2 + y // 2) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)
    crop = warp(image, similarity(1 / 6.3, 0, (0.0, 0.0)), (90, 90))
    assert abs(crop.astype(float) - 127.5).max() < 30  # without reduction it swings over the whole range


def test_mask_stays_a_mask_and_follows_the_face():
    image = np.zeros((400, 300), np.uint8)
    image[200:, :] = 1
    points = apply(similarity(3.0, 0, (-10.0, 44.0)), TEMPLATES["arcface112"].points)
    mask = align_face(image, points, TEMPLATES["arcface112"])
    assert mask.shape == (112, 112) and mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    edge = (200 - 44.0) / 3.0
    np.testing.assert_array_equal(mask[: int(edge) - 1], 0)
    np.testing.assert_array_equal(mask[int(edge) + 2 :], 1)


def test_source_is_not_written_to():
    image = ramp(300, 300)
    before = image.copy()
    for scale in (1.0, 0.3):
        crop = warp(image, similarity(scale, 3, (1.0, 2.0)), (80, 80))
        crop[:] = 0
    np.testing.assert_array_equal(image, before)


def test_points_land_on_the_template():
    """Five dots drawn in a large picture come out where the template wants them."""
    template = TEMPLATES["arcface112"]
    points = apply(similarity(5.0, -12, (200.0, 300.0)), template.points)
    y, x = np.mgrid[:900, :900]
    image = np.zeros((900, 900, 3), np.uint8)
    for point in points:
        dot = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 7.0**2))
        image = np.maximum(image, dot[..., None].astype(np.uint8))
    crop = align_face(image, points, template)[..., 0].astype(float)
    v, u = np.mgrid[:112, :112]
    for point in template.points:
        weight = crop * (np.hypot(u - point[0], v - point[1]) < 8)
        centre = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
        np.testing.assert_allclose(centre, point, atol=0.1)
