"""Hair: its arrays, its bounds, that it is drawn by chance but repeatably, and that it leaves the face free."""

from __future__ import annotations

import numpy as np
import pytest

from maskbench.people import hair, hair_kernels, hair_long, hair_scalp, hair_short, hair_strands
from maskbench.people.hair import COLOURS, STYLES, Hair, sample_colour, sample_style, strand_texture
from maskbench.people.model import GROUPS, load_model
from maskbench.people.rendering import rotation

NAMES = sorted(STYLES)
SEEDS = range(4)


@pytest.fixture(scope="module")
def template() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    model = load_model()
    return model.points, model.triangles, model.base


@pytest.fixture(scope="module")
def scalp(template: tuple) -> hair_scalp.Scalp:
    return load_model().scalp


def made(name: str, seed: int, template: tuple) -> Hair:
    return STYLES[name](np.random.default_rng(seed), load_model().scalp)


def places(grown: Hair, template: tuple) -> np.ndarray:
    return template[0][grown.bind] + grown.offset


@pytest.mark.parametrize("name", NAMES)
def test_arrays_agree_and_are_within_the_budget(name: str, template: tuple) -> None:
    for seed in SEEDS:
        h = made(name, seed, template)
        count = len(h.bind)
        assert (h.bind.dtype, h.triangles.dtype) == (np.int32, np.int32)
        for array, shape in (
            (h.offset, (count, 3)),
            (h.normals, (count, 3)),
            (h.tangents, (count, 3)),
            (h.uv, (count, 2)),
            (h.cut, (count,)),
            (h.shade, (count,)),
        ):
            assert array.shape == shape and array.dtype == np.float32 and np.isfinite(array).all()
        assert h.triangles.shape[1] == 3 and len(h.triangles) <= 4000
        assert strand_texture(h.kind).shape == (256, 256, 2)
        if count:
            assert h.bind.min() >= 0 and h.bind.max() < len(template[0])
            assert h.triangles.min() == 0 and h.triangles.max() == count - 1
            assert h.cut.min() >= 0 and h.cut.max() <= 1 and h.shade.min() >= 0 and h.shade.max() <= 1
            np.testing.assert_allclose(np.linalg.norm(h.normals, axis=1), 1, atol=1e-4)
            np.testing.assert_allclose(np.linalg.norm(h.tangents, axis=1), 1, atol=1e-4)
            assert h.uv[:, 1].min() >= 0 and h.uv[:, 1].max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_hair_and_another_gives_other_hair(name: str, template: tuple) -> None:
    first, again, other = made(name, 3, template), made(name, 3, template), made(name, 4, template)
    for field in ("bind", "offset", "normals", "tangents", "triangles", "uv", "cut", "shade"):
        assert getattr(first, field).tobytes() == getattr(again, field).tobytes()
    assert name == "bald" or first.offset.tobytes() != other.offset.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_eyes_nose_and_mouth_are_free(name: str, template: tuple) -> None:
    for seed in range(8):
        x, y, z = places(made(name, seed, template), template).T
        before = (np.abs(x) < 0.75) & (y > -0.1) & (y < 1.4) & (z < 0.6)
        assert not before.any(), (seed, np.column_stack([x, y, z])[before][:3])


@pytest.mark.parametrize(
    "name", ["bald", "buzz", "crew", "horseshoe", "receding", "side-parted", "swept-up", "tied-back"]
)
def test_short_and_tied_hair_leaves_the_ears_free(name: str, template: tuple) -> None:
    for seed in SEEDS:
        x, y, z = places(made(name, seed, template), template).T
        over = (np.abs(x) > 1.15) & (np.abs(y - 0.15) < 0.15) & (np.abs(z - 1.35) < 0.15)
        assert over.sum() <= 0.008 * len(x)


@pytest.mark.parametrize("name, low", [("long-straight", 2.2), ("long-wavy", 2.2), ("shoulder", 1.4), ("bob", 0.7)])
def test_long_hair_reaches_down_and_covers_the_ears(name: str, low: float, template: tuple) -> None:
    for seed in SEEDS:
        x, y, z = places(made(name, seed, template), template).T
        assert y.max() > low
        for side in (-1, 1):
            assert ((side * x > 1.1) & (np.abs(y - 0.1) < 0.4)).sum() > 10


def test_the_bald_have_no_hair_and_everyone_else_does(template: tuple) -> None:
    assert len(made("bald", 0, template).triangles) == 0
    assert all(len(made(name, 0, template).triangles) > 300 for name in NAMES if name != "bald")


def test_a_receding_hairline_lies_higher(template: tuple) -> None:
    def lowest(name: str) -> float:
        tops = []
        for seed in range(6):
            h = made(name, seed, template)
            x, y, z = places(h, template)[h.uv[:, 1] == 0].T  # roots
            front = (np.abs(np.abs(x) - 0.6) < 0.2) & (z < 1.0)
            tops.append(y[front].max())
        return float(np.mean(tops))

    assert lowest("receding") < lowest("crew") - 0.1


@pytest.mark.parametrize("kind", ["straight", "wavy", "curly", "coily", "stubble"])
def test_strand_textures(kind: str) -> None:
    texture = strand_texture(kind)
    bright, alpha = texture[..., 0], texture[..., 1]
    assert texture.dtype == np.float32 and bright.min() >= 0.5 and bright.max() <= 1.5
    assert abs(bright.mean() - 1) < 0.05 and bright.std() > 0.05
    np.testing.assert_allclose(np.quantile(alpha, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.01)
    seam = np.abs(bright[:, 0] - bright[:, -1]).mean()
    assert seam < 1.5 * np.abs(np.diff(bright, axis=1)).mean()  # it tiles across
    assert strand_texture(kind) is texture
    assert np.rint(alpha * 255).min() >= 1  # a cut of nought leaves no holes, in eight bits either


def test_an_unknown_texture_is_refused() -> None:
    with pytest.raises(ValueError):
        strand_texture("spaghetti")


def test_heights_above_the_hairline_by_hand() -> None:
    crown, brow, ear = [0, 8.4, 0.5], [0.3, 7.45, 1.3], [0.95, 7.13, 0.43]
    above = hair_scalp.hair_height(np.array([crown, brow, ear], float))
    assert above[0] > 0.5 and above[1] < -0.5 and above[2] < 0


def test_the_skull_is_where_the_template_is(scalp: hair_scalp.Scalp, template: tuple) -> None:
    points = template[0]
    top = points[np.abs(points[:, 0]) < 0.3]
    assert abs(scalp.surface(0.0, 0.0)[0][1] - top[:, 1].min()) < 0.03
    for vertex in points[hair_scalp.FACE :][points[hair_scalp.FACE :, 1] < -1.0][::20]:
        ray = vertex - hair_scalp.CENTRE
        azimuth, polar = np.arctan2(ray[0], -ray[2]), np.arccos(-ray[1] / np.linalg.norm(ray))
        found, _ = scalp.surface(azimuth, polar)
        assert np.linalg.norm(found - vertex) < 0.04


def test_distance_from_a_point_off_the_head(scalp: hair_scalp.Scalp, template: tuple) -> None:
    above = np.array([[0.0, template[0][:, 1].min() - 0.4, 1.0], [0.0, 0.0, 1.2]])
    distance, away = scalp.around(above)
    assert abs(distance[0] - 0.4) < 0.05 and distance[1] < -0.3
    assert away[0] @ [0, -1, 0] > 0.95
    bound = scalp.follow(above[:1])
    assert np.linalg.norm(template[0][bound[0]] - above[0]) < 0.6


def test_locks_stay_out_of_the_head(scalp: hair_scalp.Scalp, template: tuple) -> None:
    for name in ("long-straight", "side-parted", "tied-back", "fringe"):
        h = made(name, 1, template)
        distance, _ = scalp.around(places(h, template))
        assert np.mean(distance < -0.08) < 0.05, name


def test_knots_and_ramps_by_hand() -> None:
    np.testing.assert_allclose(hair_strands.knots(2, 2.0), [0, 0.25, 1])
    np.testing.assert_allclose(hair_strands.ramp(np.array([-1, 0.5, 2.0]), 0, 1), [0, 0.5, 1])
    np.testing.assert_allclose(hair_strands.unit(np.array([[3.0, 0, 4]])), [[0.6, 0, 0.8]])


def test_a_sheet_of_two_by_three_has_four_triangles() -> None:
    triangles = hair_strands.sheet(np.arange(6).reshape(2, 3))
    assert sorted(map(tuple, np.sort(triangles, 1))) == [(0, 1, 4), (0, 3, 4), (1, 2, 5), (1, 4, 5)]


def test_who_wears_what() -> None:
    rng = np.random.default_rng(5)
    for group in GROUPS:
        for sex in ("female", "male"):
            assert {sample_style(rng, sex, age, group) for age in range(18, 80) for _ in range(3)} <= set(STYLES)

    def share(sex: str, age: int, group: str, names: set[str]) -> float:
        return float(np.mean([sample_style(rng, sex, age, group) in names for _ in range(600)]))

    gone = {"receding", "horseshoe", "bald"}
    assert share("male", 70, "white", gone) > 0.3 > share("male", 25, "white", gone)
    assert share("female", 70, "white", gone) == 0
    assert share("female", 25, "asian", {"long-straight", "fringe"}) > 0.3
    assert share("male", 25, "black", {"buzz", "afro", "bald"}) > 0.5


def test_hair_turns_grey() -> None:
    rng = np.random.default_rng(6)
    for group in GROUPS:
        name, colour = sample_colour(rng, 25, group)
        assert name in COLOURS and colour.shape == (3,) and colour.min() >= 0 and colour.max() <= 255

    def grey(age: int) -> float:
        return float(np.mean([sample_colour(rng, age, "white")[0] in ("grey", "white") for _ in range(400)]))

    assert grey(25) == 0 and 0.02 < grey(55) < 0.9 and grey(75) > 0.85


def test_every_style_that_people_wear_can_be_made() -> None:
    for table in (hair._WOMEN, hair._MEN, hair._BLACK_WOMEN, hair._BLACK_MEN):
        assert set(table) <= set(STYLES)


GRID = (hair_scalp.LOW, hair_scalp.CELL)
OUTWARDS = np.array([[1.0, 0, 0]])  # of a field that grows with x


def slope_field() -> np.ndarray:
    """The distance from a wall at x = 0, on the grid about the head."""
    shape = np.ceil((hair_scalp.HIGH - hair_scalp.LOW) / hair_scalp.CELL).astype(int)
    field = np.zeros((*shape, 4), np.float32)
    field[..., 0] = (hair_scalp.LOW[0] + hair_scalp.CELL * np.arange(shape[0]))[:, None, None]
    field[..., 1] = 1
    return field


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_stays_within_bounds(name: str, template: tuple) -> None:
    for yaw in (0, 35):  # samples at 160 pixels, two by two a pixel
        areas = []
        for seed in range(6):
            h = made(name, seed, template)
            flat = (places(h, template) @ rotation(yaw, 0, 0).T)[:, :2] * 160 * 0.232 * 2
            a, b, c = flat[h.triangles].transpose(1, 0, 2)
            inside = (flat[h.triangles] / (160 * 0.232 * 2))[..., 1].max(1) < 2.4  # above the lower rim
            areas.append(np.abs(np.cross(b - a, c - a)[inside]).sum() / 2)
        assert np.mean(areas) < 345_000, (yaw, areas)


def test_the_compiled_skull_is_the_table(scalp: hair_scalp.Scalp) -> None:
    rng = np.random.default_rng(2)
    azimuth, polar = rng.uniform(-4, 4, 200), rng.uniform(0, 2.5, 200)
    points, height = hair_strands.surface(scalp, azimuth, polar)
    expected, expected_height = scalp.surface(azimuth, polar)
    np.testing.assert_allclose(points, expected, atol=1e-9)
    np.testing.assert_allclose(height, expected_height, atol=1e-9)


def test_the_compiled_distance_is_that_of_the_scalp(scalp: hair_scalp.Scalp) -> None:
    rng = np.random.default_rng(3)
    ends = rng.uniform([-1.6, -1.9, 0.2], [1.6, 1.0, 2.6], (300, 3))
    curve = np.stack([ends, ends], 1)
    moved = hair_strands.kept_out(scalp, curve, 0.1)
    distance, away = scalp.around(ends)
    expected = ends + away * np.maximum(0.1 - distance, 0)[:, None]
    np.testing.assert_allclose(moved[:, 1], expected, atol=2e-3)
    np.testing.assert_array_equal(moved[:, 0], ends)  # roots stay


def test_a_strand_beside_a_wall_by_hand() -> None:
    roots, start = np.zeros((2, 3)), np.tile([0.0, 1.0, 0.0], (2, 1))
    length, t, layer = np.full(2, 1.0), np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.2])
    fixed = (np.zeros((2, 3)), np.ones(2), np.zeros(2), np.zeros(2, bool))
    curve = hair_kernels.grow(slope_field(), *GRID, roots, start, length, t, layer, *fixed)
    np.testing.assert_allclose(curve[0], [[0, 0, 0], [0, 0.5, 0], [0, 1.0, 0]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(np.diff(curve, axis=1), axis=2), 0.5, atol=1e-9)  # as long as asked
    assert abs(curve[1, 1, 0] - 0.2) < 0.02 and abs(curve[1, 2, 0] - 0.2) < 0.02


def test_a_strand_before_the_face_is_moved_aside() -> None:
    field = slope_field()
    field[..., 0] = 9  # far from any skin
    roots, start = np.array([[0.3, -0.8, -0.4]]), np.array([[0.0, 1.0, 0.0]])
    for free in (False, True):
        curve = hair_kernels.grow(
            field, *GRID, roots, start, np.array([2.0]), np.linspace(0, 1, 9), np.array([0.1]),
            np.zeros((1, 3)), np.zeros(1), np.array([0.5]), np.array([free]),
        )  # fmt: skip
        low = curve[0, 4:]
        assert (low[:, 2] > 0).all() == free and (low[:, 0] > 0.6).all() == free


def test_strands_are_cut_off_at_a_height() -> None:
    line = np.stack([np.zeros(5), np.arange(5.0), np.zeros(5)], 1)
    curve = hair_strands.ended(np.stack([line, line, line]), np.array([2.0, 9.0, 3.5]))
    np.testing.assert_allclose(curve[0, :, 1], [0, 0.5, 1.0, 1.5, 2.0])
    np.testing.assert_array_equal(curve[1], line)  # it ends above
    np.testing.assert_allclose(curve[2, [0, -1], 1], [0, 3.5])


def test_a_ribbon_lies_flat_on_a_wall_by_hand() -> None:
    line = np.stack([np.full(3, 0.1), np.arange(3.0), np.zeros(3)], 1)[None]
    half = np.array([[0.1, 0.2, 0.3]])
    made_of = hair_kernels.ribbon(slope_field(), *GRID, line, half, np.zeros(1), 0.0, 0.5)
    points, normals, tangents = made_of
    np.testing.assert_allclose(np.abs(points[0, :, :, 2]), [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], atol=1e-6)
    np.testing.assert_allclose(points.mean(2)[0], line[0], atol=1e-9)
    np.testing.assert_allclose(normals.reshape(-1, 3), np.tile(OUTWARDS, (6, 1)), atol=1e-6)
    np.testing.assert_allclose(tangents.reshape(-1, 3), np.tile([0, 1, 0], (6, 1)), atol=1e-9)


def test_a_bun_is_closed_and_about_its_centre() -> None:
    centre, size = np.array([0.0, -2.0, 1.7]), np.array([0.4, 0.3, 0.3])
    bun = hair_strands.ball(np.random.default_rng(0), centre, size)
    off = (bun.points - centre) / size
    assert 0.8 < np.linalg.norm(off, axis=1).min() and np.linalg.norm(off, axis=1).max() < 1.25
    assert ((bun.normals * off).sum(1) > 0).all()
    np.testing.assert_allclose(bun.points[:7], bun.points[-7:], atol=1e-9)  # the seam


def test_noise_of_an_angle_wraps() -> None:
    noise = hair_strands.wobble(np.random.default_rng(1))
    values = noise(np.linspace(-np.pi, np.pi, 400))
    assert abs(values[0] - values[-1]) < 1e-9 and 0.3 < values.std() < 1.5 and abs(values.mean()) < 0.1


def test_the_hairline_is_where_hair_begins(scalp: hair_scalp.Scalp) -> None:
    azimuth = np.linspace(-2, 2, 15)
    polar = hair_strands.hairline(scalp, azimuth, np.full(15, 0.2))
    np.testing.assert_allclose(scalp.surface(azimuth, polar)[1], 0.2, atol=0.06)


def test_fewer_roots_near_the_hairline(scalp: hair_scalp.Scalp) -> None:
    def everywhere(azimuth: np.ndarray, polar: np.ndarray) -> np.ndarray:
        return np.ones_like(azimuth)

    edge = np.zeros_like
    *_, height, roots = hair_strands.scattered(np.random.default_rng(0), scalp, 4000, edge, everywhere, (0.0, 0.4))
    at_edge, inside = ((height > low) & (height < low + 0.1) for low in (0.0, 0.5))
    assert roots.shape == (len(height), 3) and at_edge.sum() < 0.4 * inside.sum()


def test_nothing_is_spent_on_the_back_of_the_head_or_below_the_picture(template: tuple) -> None:
    for name in ("long-straight", "long-wavy", "fringe", "long-curly"):
        for seed in SEEDS:
            h = made(name, seed, template)
            x, y, z = places(h, template).T
            assert y.max() < hair_long.LOWEST + 0.3
            hidden = (z > 2.3) & (y > -1.2) & (y < 0.0) & (np.abs(x) < 0.9)
            assert hidden.mean() < 0.12, (name, hidden.mean())


def test_a_tied_back_style_varies_in_what_shows_behind(template: tuple) -> None:
    tops = [places(made("tied-back", seed, template), template)[:, 1].min() for seed in range(16)]
    lows = [places(made("tied-back", seed, template), template)[:, 1].max() for seed in range(16)]
    assert min(tops) < -2.1 < max(tops)  # a bun on top of some
    assert max(lows) > 1.3 > min(lows)  # a tail beside the neck of some


def test_sides_of_short_hair_are_thinner_than_the_top() -> None:
    polar = np.array([0.2, 1.3])
    assert (hair_short._beside(np.array([1.5, 1.5]), polar) > 0.5).tolist() == [False, True]
    assert (hair_short._above(np.array([1.5, 1.5]), polar) > 0.5).tolist() == [True, False]
