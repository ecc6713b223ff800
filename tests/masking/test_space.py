from __future__ import annotations

import numpy as np

from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.space import CONTROL, control_canonical, control_points, face_axes, operator, scale_of


def similarity(seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """A random rotation, shift and scale in space."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation)), rng.normal(size=3) * 100, float(rng.uniform(20, 90))


def test_control_points_are_distinct_mesh_points():
    assert len(set(CONTROL)) == len(CONTROL) and max(CONTROL) < 468
    assert np.array_equal(control_points(canonical_face()), control_canonical())


def test_affine_motions_are_reproduced_exactly_everywhere_even_far_from_the_face():
    nodes = np.random.default_rng(0).normal(size=(50, 3)) * 3
    binding = operator(nodes)
    assert np.allclose(binding.sum(1), 1)
    for seed in range(5):
        rotation, shift, scale = similarity(seed)
        moved = scale * control_canonical() @ rotation.T + shift
        assert np.allclose(binding @ moved, scale * nodes @ rotation.T + shift, atol=1e-6)


def test_landmarks_are_followed_closely_when_the_face_deforms():
    rng = np.random.default_rng(1)
    smooth = control_canonical() + 0.06 * np.sin(2 * control_canonical()[:, [1, 2, 0]] + rng.normal(size=3))
    error = np.linalg.norm(operator(control_canonical()) @ smooth - smooth, axis=1)
    assert error.max() < 0.02  # of the inter-ocular distance


def test_one_moved_landmark_moves_its_neighbourhood_only():
    moved = control_canonical().copy()
    chin = CONTROL.index(152)
    moved[chin, 1] += 0.1
    shift = (operator(canonical_face()) @ moved - operator(canonical_face()) @ control_canonical())[:, 1]
    assert shift[152] > 0.03 and abs(shift[10]) < 0.005 and abs(shift[168]) < 0.005


def test_scale_and_axes_of_a_turned_face():
    rotation, shift, scale = similarity(3)
    moved = scale * control_canonical() @ rotation.T + shift
    assert np.isclose(scale_of(moved), scale)
    across, down, away = face_axes(moved)
    assert np.allclose(np.stack([across, down, away]) @ np.stack([across, down, away]).T, np.eye(3))
    assert np.allclose(across, rotation[:, 0], atol=1e-6)
    assert away @ rotation[:, 2] > 0.9
