from __future__ import annotations

import cv2
import numpy as np
import pytest
from mask_photos import CORNERS, mask_photo, place

from maskbench.errors import ImageError, MaskbenchError
from maskbench.masking.anchors import ANCHORS, Warp, auto_anchors, outline_of

HALF, SIZE = (150, 90), (480, 420)
CENTRE = (240, 210)


def disc(radius: int = 100) -> np.ndarray:
    alpha = np.zeros((300, 320), np.uint8)
    cv2.circle(alpha, (160, 150), radius, 255, -1)
    return alpha


def shoelace(points: np.ndarray) -> float:
    """Signed area, positive when clockwise as seen."""
    x, y = points.T
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


@pytest.mark.parametrize("angle", [-40, -15, 0, 10, 40])
@pytest.mark.parametrize("loops", [False, True])
def test_corners_and_middles_of_a_turned_mask_are_found_with_and_without_loops(angle: float, loops: bool):
    outline = outline_of(mask_photo(angle, HALF, SIZE, loops)[..., 3])
    assert shoelace(outline) == pytest.approx(4 * HALF[0] * HALF[1], rel=0.03)
    anchors = auto_anchors(outline)
    assert tuple(anchors) == ANCHORS
    for name, (x, y) in CORNERS.items():
        assert np.hypot(*(place(x, y, angle, CENTRE, HALF) - anchors[name])) < 8, name
    for name, y in (("top", -1), ("bottom", 1)):
        assert np.hypot(*(place(0, y, angle, CENTRE, HALF) - anchors[name])) < 5, name


def test_an_outline_is_a_closed_smooth_chain_of_pixels():
    outline = outline_of(disc())
    steps = np.hypot(*(outline - np.roll(outline, 1, axis=0)).T)
    assert steps.max() < 1.6 and len(outline) > 500
    assert np.abs(np.hypot(*(outline - [160, 150]).T) - 100).max() < 1.0  # no stairs


def test_a_mask_that_touches_the_border_and_a_crumb_beside_it():
    alpha = np.zeros((200, 300), np.uint8)
    alpha[:150, :220] = 255
    alpha[180:190, 250:260] = 255
    outline = outline_of(alpha)
    assert outline.min(0) == pytest.approx([0, 0], abs=1) and outline.max(0) == pytest.approx([219, 149], abs=1)


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (np.full((50, 50), 100, np.uint8), "no pixel is opaque"),
        (np.hstack([disc(), disc(90)]), "two separate shapes"),
    ],
)
def test_no_mask_and_two_masks_are_refused(alpha: np.ndarray, message: str):
    with pytest.raises(ImageError, match=message):
        outline_of(alpha)


def test_a_round_mask_is_taken_as_upright_and_its_corners_lie_at_the_sides():
    anchors = {name: np.array(point) - [160, 150] for name, point in auto_anchors(outline_of(disc())).items()}
    for name, (x, y) in CORNERS.items():
        # The outermost point in the direction (1.5, 1) of a circle.
        assert anchors[name] == pytest.approx(np.array([1.5 * x, y]) / np.hypot(1.5, 1) * 100, abs=3)
    assert anchors["top"] == pytest.approx([0, -100], abs=2) and anchors["bottom"] == pytest.approx([0, 100], abs=2)


def test_the_warp_of_a_rectangle_is_the_affine_map():
    outline = outline_of(mask_photo(12, HALF, SIZE, False)[..., 3])
    exact = {name: tuple(place(x, y, 12, CENTRE, HALF)) for name, (x, y) in CORNERS.items()}
    exact |= {"top": tuple(place(0, -1, 12, CENTRE, HALF)), "bottom": tuple(place(0, 1, 12, CENTRE, HALF))}
    warp = Warp(outline, exact)
    u, v = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 7))
    expected = np.stack([place(2 * a - 1, 2 * b - 1, 12, CENTRE, HALF) for a, b in zip(u.flat, v.flat, strict=True)])
    assert warp(u, v).reshape(-1, 2) == pytest.approx(expected, abs=2.5)


def test_the_sides_of_the_warp_follow_the_outline_at_equal_steps():
    outline = outline_of(disc())
    warp = Warp(outline, auto_anchors(outline))
    u = np.linspace(0, 1, 41)
    for side in (warp(u, 0 * u), warp(u, 0 * u + 1), warp(0 * u, u), warp(0 * u + 1, u)):
        assert np.abs(np.hypot(*(side - [160, 150]).T) - 100).max() < 1.5
        steps = np.hypot(*np.diff(side, axis=0).T)
        assert steps.std() < 0.05 * steps.mean()
    assert (warp(u, 0 * u)[:, 1] < 150).all() and (warp(0 * u, u)[:, 0] < 160).all()


def test_an_anchor_off_the_outline_pulls_it():
    outline = outline_of(disc())
    anchors = auto_anchors(outline) | {"left-top": (90.0, 90.0), "top": (165.0, 60.0)}
    warp = Warp(outline, anchors)
    assert warp(np.array(0.0), np.array(0.0)) == pytest.approx([90, 90], abs=0.01)
    assert warp(np.array(0.5), np.array(0.0)) == pytest.approx([165, 60], abs=0.01)
    assert warp(np.array(1.0), np.array(1.0)) == pytest.approx(anchors["right-bottom"], abs=0.01)


def test_exchanged_anchors_and_a_warp_that_folds_are_refused():
    outline = outline_of(disc())
    anchors = auto_anchors(outline)
    with pytest.raises(MaskbenchError, match="do not follow the outline in the order left-top, top"):
        Warp(outline, anchors | {"left-top": anchors["right-top"], "right-top": anchors["left-top"]})
    with pytest.raises(MaskbenchError, match="folds over"):
        Warp(outline, anchors | {"top": (160.0, 149.0), "bottom": (160.0, 151.0)})
