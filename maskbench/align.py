"""Five points to an aligned crop: the similarity is estimated here, the pixels are moved there.

Coordinates are pixels with the centre of the top-left pixel at (0, 0); sizes are (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import FIVE_POINTS, MESH_POINTS, five_point_rows
from maskbench.registry import nearest
from maskbench.types import Landmarks

# Landmark indices whose mean is each of the five points: left eye, right eye, nose, left and right mouth corner,
# "left" as seen in the image.
_FIVE_OF: dict[str, tuple[tuple[int, ...], ...]] = {
    "mesh468": FIVE_POINTS,
    "68pt": (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
    "5pt": ((0,), (1,), (2,), (3,), (4,)),
}
_POINTS_NEEDED = {"mesh468": MESH_POINTS, "68pt": 68, "5pt": 5}
# cv2.warpAffine places samples on a grid of 1/32 pixel; a shift far below that changes nothing but costs a copy.
_STILL = 1e-3


@dataclass(frozen=True)
class Template:
    """Where the five points of an aligned face lie.

    Attributes:
        name: key in ``TEMPLATES``.
        points: (5, 2) float64, x, y: left eye, right eye, nose, left and right mouth corner as seen in the image.
        size: (height, width) of the crop.
    """

    name: str
    points: np.ndarray
    size: tuple[int, int]


# The points of the public ArcFace alignment (Deng et al., CVPR 2019) for crops of 112 x 112.
_ARCFACE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
# dlib's face chip (25 % padding, 150 x 150) as an image of the ArcFace crop: scale 1.4898, and the middle of the eyes
# (55.9132, 51.59885) moves to (74, 47.1). Found by trial on LFW.
_DLIB = 1.4898 * (_ARCFACE - (55.9132, 51.59885)) + (74.0, 47.1)

# The ArcFace crop with a margin at its own scale: all that either of the two shows, and what masks and completions need
# around it.
_WIDE = _ARCFACE + (8.0, 4.0)
# SphereFace's crop of 112 x 96 (Liu et al., CVPR 2017), as clcarwin/sphereface_pytorch aligns: ArcFace's crop without 8
# columns on either side.
_SPHEREFACE = _ARCFACE - (8.0, 0.0)
# Our reading of VGGFace2's loose crop (Cao et al., FG 2018): MTCNN's box extended by a factor of 0.3, its shorter side
# scaled to 256, the middle 224 x 224. That is no five-point alignment: this is the similarity of the ArcFace points
# nearest to where MTCNN's points lie in such crops (medians over 878 CelebA photographs).
_VGGFACE = 2.505 * (_ARCFACE - _ARCFACE.mean(axis=0)) + (112.56, 132.89)

_ARCFACE.setflags(write=False)
_DLIB.setflags(write=False)
_WIDE.setflags(write=False)
_SPHEREFACE.setflags(write=False)
_VGGFACE.setflags(write=False)

TEMPLATES: dict[str, Template] = {
    "arcface112": Template("arcface112", _ARCFACE, (112, 112)),
    "dlib150": Template("dlib150", _DLIB, (150, 150)),
    "wide128": Template("wide128", _WIDE, (128, 128)),
    "sphereface96": Template("sphereface96", _SPHEREFACE, (112, 96)),
    "vggface224": Template("vggface224", _VGGFACE, (224, 224)),
}


def template_at(name: str, size: tuple[int, int] | None = None) -> Template:
    """The template ``name``, scaled to crops of ``size`` (height, width) if that is not its own size.

    Raises:
        MaskbenchError: no such template, or ``size`` has another shape than the template's crop.
    """
    if name not in TEMPLATES:
        raise MaskbenchError(f'no alignment template named "{name}"; {nearest(name, TEMPLATES)}')
    template = TEMPLATES[name]
    if size is None or tuple(size) == template.size:
        return template
    scale = size[0] / template.size[0]
    if abs(size[1] / template.size[1] - scale) > 1e-9:
        raise MaskbenchError(f'template "{name}" is {template.size}, which does not scale to {tuple(size)}')
    return Template(name, (template.points + 0.5) * scale - 0.5, (int(size[0]), int(size[1])))


def five_points(landmarks: Landmarks) -> np.ndarray:
    """The five alignment points of a face: (5, 2) float64, in the order of ``Template.points``.

    Raises:
        MaskbenchError: the scheme is unknown or has too few points.
    """
    if landmarks.scheme not in _FIVE_OF:
        raise MaskbenchError(f'no five points in landmarks "{landmarks.scheme}"; {nearest(landmarks.scheme, _FIVE_OF)}')
    points = np.asarray(landmarks.points, np.float64)
    needed = _POINTS_NEEDED[landmarks.scheme]
    if points.ndim != 2 or len(points) < needed or points.shape[1] < 2:
        raise MaskbenchError(f'landmarks "{landmarks.scheme}" need ({needed}, 2) points, not {points.shape}')
    return five_point_rows(points[:, :2], _FIVE_OF[landmarks.scheme])


def estimate_similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that takes ``points`` to ``template`` with the least squared error.

    The proper (unmirrored) solution of Umeyama, IEEE TPAMI 13(4), 1991. In the plane it is linear: with points as
    complex numbers around their means, the factor is sum(conj(p) q) / sum(|p|^2). No random sampling, so the same
    points always give the same matrix.

    Args:
        points: (K, 2) pixels in the source image.
        template: (K, 2) pixels in the crop.

    Returns:
        (2, 3) float64, source to crop, as cv2.warpAffine takes it.

    Raises:
        MaskbenchError: the points are not finite, coincide, or match the template in no orientation.
    """
    source, target = np.asarray(points, np.float64), np.asarray(template, np.float64)
    if source.ndim != 2 or source.shape[1] != 2 or source.shape != target.shape:
        raise MaskbenchError(f"alignment needs two (K, 2) point sets, not {source.shape} and {target.shape}")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise MaskbenchError("alignment points are not finite")
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    p, q = ((values - mean) @ (1, 1j) for values, mean in ((source, source_mean), (target, target_mean)))
    spread = float(np.vdot(p, p).real)
    factor = np.vdot(p, q) / spread if spread > 1e-12 else 0j
    if abs(factor) < 1e-9:
        raise MaskbenchError("alignment points coincide or have no likeness to a face")
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def _reduced(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smaller image by whole-number area averages, and the matrix that starts from it, when it shrinks by > 2."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if not 0 < scale < 0.5:
        return image, matrix
    step = int(1 / scale)
    height, width = (max(1, round(length / step)) for length in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    grow = np.array([image.shape[1] / width, image.shape[0] / height])
    # Pixel centres: x_source = (x_small + 0.5) * grow - 0.5.
    linear = matrix[:, :2] * grow
    return small, np.column_stack([linear, matrix[:, 2] + matrix[:, :2] @ (0.5 * grow - 0.5)])


def _is_still(matrix: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the matrix moves no corner of the crop by more than ``_STILL`` pixels."""
    corners = np.array([(0, 0, 1), (size[1], 0, 1), (0, size[0], 1), (size[1], size[0], 1)], np.float64)
    return bool(np.abs(corners @ matrix.T - corners[:, :2]).max() < _STILL)


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut the aligned crop: linear interpolation, the image's border repeated outside it.

    Where the crop is less than half as large as its source, the source is first reduced by area averages, because
    linear interpolation alone would skip pixels (aliasing). A source that already is the crop comes back unchanged.

    Args:
        image: (H, W, 3) or (H, W) uint8; a mask of 0 and 1 stays one.
        matrix: (2, 3), source to crop.
        size: (height, width) of the crop.

    Returns:
        (height, width, 3) or (height, width) uint8, a new array.
    """
    matrix = np.asarray(matrix, np.float64)
    if image.shape[:2] == tuple(size) and _is_still(matrix, size):
        return image.copy()
    source, matrix = _reduced(image, matrix)
    return cv2.warpAffine(
        source, matrix, (int(size[1]), int(size[0])), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def align_face(image: np.ndarray, points: np.ndarray, template: Template) -> np.ndarray:
    """The crop of ``template.size`` in which the five ``points`` (5, 2) of ``image`` lie nearest to the template."""
    return warp(image, estimate_similarity(points, template.points), template.size)
