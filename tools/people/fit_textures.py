"""Pictures of faces unwrapped to the texture atlas, with how well each texel is seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from fit_files import CELEBA, is_celeba, progress, table

from maskbench.errors import MaskbenchError
from maskbench.people.atlas import AXIS, COLUMNS, ROWS
from maskbench.people.rendering import vertex_normals

MESH = 468
WIDEST = 80  # columns: a triangle that spans more goes round the back of the head
AXIS_NEAR = 0.3  # inter-ocular distances: so near to the axis (the crown, the cut neck) azimuth means nothing
FACE_FIRST = 10.0  # added to the radius of the face mesh: it wins over the head under its rim
EDGE = 1e-6  # of a weight: texels on an edge belong to both sides
YAW, PITCH, PITCH_MIDDLE = 30.0, 18.0, -1.1  # degrees; the median pitch of the pictures is the middle
MISFIT = 0.088  # inter-ocular distances, root mean square: beyond it are grimaces and wrong detections
YOUNGEST = 15  # years: the model is of grown people
GRAZING, FULL = 0.12, 0.42  # cosine to the viewer at which a texel begins to be seen, and is seen fully
MARGIN = {True: 6, False: 1}  # pixels at a picture's border not to trust: celeba's are mirrored (True), utk's are not


@dataclass(frozen=True)
class AtlasMap:
    """Which triangle each texel shows. ``texels`` (M,) numbers in row order; ``corners`` (M, 3) vertices; ``weights``
    (M, 3) barycentric; ``normals`` (M, 3) unit, outwards, float32, in the face frame."""

    texels: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    normals: np.ndarray

    @property
    def have(self) -> np.ndarray:
        """Which texels show something: (ROWS, COLUMNS) bool."""
        flat = np.zeros(ROWS * COLUMNS, bool)
        flat[self.texels] = True
        return flat.reshape(ROWS, COLUMNS)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (V, C) of vertices as an atlas (ROWS, COLUMNS, C) float32; 0 where nothing is shown."""
        out = np.zeros((ROWS * COLUMNS, values.shape[1]), np.float32)
        out[self.texels] = np.einsum("mk,mkc->mc", self.weights, values[self.corners])
        return out.reshape(ROWS, COLUMNS, -1)

    def normal_atlas(self) -> np.ndarray:
        """Normals of all texels (ROWS * COLUMNS, 3) float32; 0 where nothing is shown."""
        out = np.zeros((ROWS * COLUMNS, 3), np.float32)
        out[self.texels] = self.normals
        return out


def atlas_map(points: np.ndarray, triangles: np.ndarray, atlas: np.ndarray) -> AtlasMap:
    """Draw the template into its atlas; of two triangles at a texel the one farther from the head's axis shows.

    Args:
        points: (V, 3) in the face frame.
        triangles: (T, 3), wound clockwise as seen from outside.
        atlas: (V, 2) column and row.
    """
    radius = np.hypot(points[:, 0], AXIS[1] - points[:, 2])
    reach = radius[triangles] + np.where(triangles.max(1) < MESH, FACE_FIRST, 0.0)[:, None]
    owner, weights = np.full((ROWS, COLUMNS), -1), np.zeros((ROWS, COLUMNS, 3))
    best = np.full((ROWS, COLUMNS), -1.0)
    drawn = (np.ptp(atlas[triangles][..., 0], axis=1) <= WIDEST) & (radius[triangles].min(1) >= AXIS_NEAR)
    for i in np.flatnonzero(drawn):
        rows, columns, inside = _covered(atlas[triangles[i]])
        depth = inside @ reach[i]
        wins = depth > best[rows, columns]
        rows, columns = rows[wins], columns[wins]
        owner[rows, columns], weights[rows, columns], best[rows, columns] = i, inside[wins], depth[wins]
    texels = np.flatnonzero(owner.ravel() >= 0)
    corners, weights = triangles[owner.ravel()[texels]], weights.reshape(-1, 3)[texels]
    normals = np.einsum("mk,mkc->mc", weights, vertex_normals(points, triangles)[corners])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
    return AtlasMap(texels, corners, weights, normals.astype(np.float32))


def _covered(corner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n,), columns (n,) and barycentric weights (n, 3) of the texels in a triangle of corners (3, 2)."""
    low = np.maximum(np.ceil(corner.min(0) - EDGE).astype(int), 0)
    high = np.minimum(np.floor(corner.max(0) + EDGE).astype(int), [COLUMNS - 1, ROWS - 1])
    a, b, c = corner
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if (high < low).any() or abs(area) < 1e-9:
        return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3))
    rows, columns = (part.ravel() for part in np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1])
    second = ((columns - a[0]) * (c[1] - a[1]) - (rows - a[1]) * (c[0] - a[0])) / area
    third = ((b[0] - a[0]) * (rows - a[1]) - (b[1] - a[1]) * (columns - a[0])) / area
    weights = np.stack([1 - second - third, second, third], -1)
    inside = (weights > -EDGE).all(1)
    return rows[inside], columns[inside], weights[inside]


def chosen(names: np.ndarray, turned: np.ndarray, shapes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Rows of the pictures to unwrap: not far from the front, well fitted, of grown people.

    Args:
        names: (N,); a ``utk144`` name begins with the age.
        turned: (N, 3) yaw, pitch, roll in degrees.
        shapes: (N, 468, 3); mean: (468, 3).
    """
    misfit = np.sqrt(((shapes - mean) ** 2).sum(2).mean(1))
    grown = np.array([celeba or _age(name) >= YOUNGEST for name, celeba in zip(names, is_celeba(names), strict=True)])
    facing = (np.abs(turned[:, 0]) < YAW) & (np.abs(turned[:, 1] - PITCH_MIDDLE) < PITCH)
    return np.flatnonzero(facing & (misfit < MISFIT) & grown)


def _age(name: str) -> int:
    return int(name.split("/")[1].split("_")[0])


def unwrapped(
    image: np.ndarray, places: np.ndarray, rotation: np.ndarray, on: AtlasMap, normals: np.ndarray, margin: int
) -> np.ndarray:
    """A picture in the atlas: (ROWS, COLUMNS, 4) uint8, RGB and how well it is seen, 0..255.

    Args:
        image: (H, W, 3) uint8 RGB.
        places: (V, 2) pixels at which the template's vertices lie.
        rotation: (3, 3) from the face frame to the picture's.
        normals: (ROWS * COLUMNS, 3) of ``AtlasMap.normal_atlas``.
        margin: pixels at the border not to trust.
    """
    where = on.spread(places)
    height, width = image.shape[:2]
    colour = cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    towards = -(normals @ rotation[2].astype(np.float32)).reshape(ROWS, COLUMNS)  # z of the picture goes away
    seen = np.clip((towards - GRAZING) / (FULL - GRAZING), 0, 1) * on.have
    x, y = where[..., 0], where[..., 1]
    seen = seen * ((x > margin) & (x < width - 1 - margin) & (y > margin) & (y < height - 1 - margin))
    return np.dstack([colour, np.rint(seen * 255).astype(np.uint8)])


def unwrap_all(
    out: Path, paths: list[Path], points: np.ndarray, rotation: np.ndarray, operator: np.ndarray, on: AtlasMap
) -> None:
    """Unwrap N pictures to ``out``, an array (N, ROWS, COLUMNS, 4) uint8.

    Args:
        points: (N, 468, 2) pixels. rotation: (N, 3, 3). operator: (V, 468) from those points to all vertices.
    """
    normals = on.normal_atlas()

    def one(i: int) -> np.ndarray:
        image = cv2.imread(str(paths[i]))
        if image is None:
            raise MaskbenchError(f"{paths[i]}: not a picture that can be read; restore it")
        margin = MARGIN[CELEBA in paths[i].parts]
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return unwrapped(rgb, operator @ points[i], rotation[i], on, normals, margin)

    cv2.setNumThreads(1)
    with table(out, (len(paths), ROWS, COLUMNS, 4), np.uint8) as textures, ThreadPoolExecutor(2) as pool:
        for first in range(0, len(paths), 500):  # bounded, so that finished pictures do not pile up
            for i, texture in enumerate(pool.map(one, range(first, min(first + 500, len(paths)))), first):
                textures[i] = texture
                progress("textures", i, len(paths))
