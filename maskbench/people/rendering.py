"""Render a head, its hair and clothes over a background: arrays in, a picture out, the same for the same arrays."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskbench.people import kernels
from maskbench.people.hair import Hair

SAMPLES = 2  # per pixel and axis
HAIR_SHADOW = 0.34  # how much darker skin is close under hair
DARKEST = 0.3  # of the light that falls on the front: photographs of faces tell nothing of the light on a crown
WARMTH = np.array([0.9, 1.0, 1.04])  # red light comes round into the shadow of skin
SHINE = (20.0, 0.05)  # of 255, the highlight of black hair and what it gains by the hair's brightness
GLOSS = 24.0  # the exponent of the strands' highlight


@dataclass(frozen=True)
class Scene:
    """What is in front of the camera. Frame and units: inter-ocular distances, see ``maskbench.people.atlas``.

    points (V, 3) and normals (V, 3) of the head as it is turned: x right, y down, z away; triangles (T, 3); corners
    (T, 3, 2) atlas places; openness (V,) 0..1; base (V - 468, 3) and neckline for ``kernels.below_neckline``; atlas
    (R, C, 3) float32 0..255; light (9,) of ``harmonics``; tone (3,) colour of the light; cloth (3,) and hair_colour
    (3,) 0..255; hair, and its points (H, 3) as they are turned by ``turn`` (3, 3); strands (N, N, 2), brightness and
    alpha.
    """

    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    corners: np.ndarray
    openness: np.ndarray
    base: np.ndarray
    neckline: float
    atlas: np.ndarray
    light: np.ndarray
    tone: np.ndarray
    cloth: np.ndarray
    hair: Hair
    hair_points: np.ndarray
    turn: np.ndarray
    hair_colour: np.ndarray
    strands: np.ndarray


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) from the face's frame to the camera's; degrees. Yaw > 0 to the viewer's right, pitch > 0 up, roll > 0
    clockwise as seen; roll after yaw after pitch."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in np.radians([yaw, pitch, roll]))
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return tilt @ turn @ nod


def harmonics(normals: np.ndarray) -> np.ndarray:
    """Real spherical harmonics to order 2 of unit normals (N, 3), unnormalised: (N, 9) (Ramamoorthi, Hanrahan 2001).

    The axes are those of the picture with z towards the viewer, so that the third linear term is light from the front.
    """
    x, y, z = normals[:, 0], -normals[:, 1], -normals[:, 2]
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], 1)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit outward normals (V, 3) of triangles wound clockwise as seen from outside in a picture."""
    return kernels.sum_normals(points, triangles)


def render(scene: Scene, size: int, unit: float, centre: tuple[float, float], background: np.ndarray) -> np.ndarray:
    """Picture (size, size, 3) float32, 0..255.

    Args:
        unit: pixels an inter-ocular distance.
        centre: the pixel at which the frame's origin appears.
        background: (size, size, 3) float32.
    """
    side = size * SAMPLES
    head, strands = len(scene.points), len(scene.hair_points)
    points = np.empty((head + strands, 3), np.float32)
    points[:head], points[head:] = scene.points, scene.hair_points
    points *= unit * SAMPLES
    points[:, :2] += (np.array(centre) + 0.5) * SAMPLES - 0.5
    triangles = np.vstack([scene.triangles, scene.hair.triangles + head]).astype(np.int32)
    across = np.zeros((head + strands, 2), np.float32)
    across[head:] = scene.hair.uv
    cut = np.concatenate([np.zeros(head, np.float32), scene.hair.cut]).astype(np.float32)
    owner, weights, depth, out, label = kernels.empty(side)
    first = len(scene.triangles)
    alpha = np.rint(scene.strands[..., 1] * 255).astype(np.uint8)
    kernels.draw(points, triangles, first, across, cut * 255, alpha, owner, weights, depth)
    light, shine = _lights(scene)
    kernels.colour(
        owner, weights, triangles, first, scene.corners, across, light, shine, scene.base, scene.neckline, scene.atlas,
        scene.cloth.astype(np.float32), scene.strands, out, label,
    )  # fmt: skip
    return _composed(out, label, size, background, scene.light)


def _lights(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Factors (V, 3) for skin and cloth, lit colours for hair; and the strength of the strands' highlight (V,)."""
    skin = kernels.irradiance(scene.normals, scene.light, DARKEST, 1.9) * scene.openness
    skin = skin[:, None] ** WARMTH * scene.tone
    towards = _main_direction(scene.light)
    strands, glint = kernels.light_hair(
        scene.hair.normals, scene.hair.tangents, scene.hair.shade, scene.turn, scene.light, towards,
        _unit(towards + np.array([0.0, 0.0, -1.0])), GLOSS, scene.tone, scene.hair_colour,
        SHINE[0] + SHINE[1] * scene.hair_colour.mean(),
    )  # fmt: skip
    return np.vstack([skin, strands]).astype(np.float32), np.concatenate([np.zeros(len(skin), np.float32), glint])


def _main_direction(light: np.ndarray) -> np.ndarray:
    """Where most light comes from, a unit vector (3,) towards it in the frame x right, y down, z away."""
    return _unit(np.array([light[1], -light[2], -light[3]]) + np.array([0.0, -0.25, -0.35]))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _composed(out: np.ndarray, label: np.ndarray, size: int, background: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Shadows of hair on skin, then samples to pixels over the background."""
    hair = np.float32(label[::SAMPLES, ::SAMPLES] == kernels.HAIR)  # it is blurred anyway
    shift = np.float32([[1, 0, -light[1] * 0.015 * size], [0, 1, 0.006 * size]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(hair, shift, (size, size)), (0, 0), 0.014 * size)
    picture = np.empty((size, size, 3), np.float32)
    kernels.compose(out, label, shadow, HAIR_SHADOW, background.astype(np.float32), picture)
    return picture
