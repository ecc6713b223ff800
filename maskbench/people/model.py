"""The statistical model of faces: read from its file, and turned from coefficients into points and textures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import MESH_POINTS
from maskbench.people import kernels
from maskbench.people.atlas import COLUMNS, ROWS
from maskbench.people.hair_scalp import Scalp, restored

MESH = MESH_POINTS
SEXES = ("female", "male")
GROUPS = ("white", "black", "asian", "indian", "other")  # the words of UTKFace, whose labels the model was fitted on
ADULT, OLD = 18, 80
CHEEK_ROWS, CHEEKS = (92, 112), ((52, 66), (110, 124))  # of the atlas: rows; first and last columns
NECK = (1.3, 3.6)  # heights between which it is made wider or narrower
FILL = 4  # skin is carried on at a quarter of the size
REACHES = ((2.0, 1.0), (5.0, 0.02), (14.0, 0.0005))  # by blurs of these texels, with these weights
PAIRS = (
    (81, 178),
    (82, 87),
    (13, 14),
    (312, 317),
    (311, 402),
    (80, 88),
    (310, 318),
    (191, 95),
    (415, 324),
)  # inner lips


@dataclass(frozen=True, eq=False)  # by identity, so that what is worked out from it can be kept
class FaceModel:
    """Mean, components and covariances; see ``tools/people`` for how they were fitted.

    A coefficient vector (K,) holds ``shape_count`` shape coefficients, then those of the texture. ``traits`` (F, K)
    maps ``features`` to the coefficients' mean; ``between`` (R, K) turns a standard normal vector into a difference
    between persons, ``within_shapes`` (Q, shape_count) and ``within_textures`` (Q, D) one into a difference between
    two pictures of a person. Textures are packed (D,): luma where ``fine``, then R - Y and B - Y at half the size where
    ``coarse``.
    """

    points: np.ndarray  # (V, 3) float32
    shapes: np.ndarray  # (shape_count, V, 3) float32
    triangles: np.ndarray  # (T, 3) int32
    corners: np.ndarray  # (T, 3, 2) float32, places in the atlas
    weld: np.ndarray  # (36, 3) int32: the head's vertices nearest to those of FACE_OVAL
    base: np.ndarray  # (V - 468, 3) float32, the head's vertices on the base mesh, decimetres
    openness: np.ndarray  # (V,) float32
    texture: np.ndarray  # (D,) float32
    textures: np.ndarray  # (texture_count, D) float32
    fine: np.ndarray  # (ROWS, COLUMNS) bool: texels with luma
    coarse: np.ndarray  # (ROWS / 2, COLUMNS / 2) bool: texels with colour differences
    trust: np.ndarray  # (ROWS, COLUMNS) 0..1: how often photographs show skin there
    source: np.ndarray  # (ROWS, COLUMNS) 0..1: plain skin, which is carried on where trust ends
    tan: np.ndarray  # (2, 2): R - Y and B - Y of cheeks, each offset and slope over luma
    grain: np.ndarray  # (2, ROWS, COLUMNS): deviation of what the components leave out, fine and less fine
    traits: np.ndarray
    between: np.ndarray
    within_shapes: np.ndarray
    within_textures: np.ndarray
    light: np.ndarray  # (9,) mean
    lights: np.ndarray  # (9, 9) factor
    scalp_skull: np.ndarray  # this and the next two: see hair_scalp.stored
    scalp_distance: np.ndarray
    scalp_follow: np.ndarray
    digest: str

    @property
    def shape_count(self) -> int:
        """How many of the coefficients are of the shape."""
        return len(self.shapes)

    @cached_property
    def scalp(self) -> Scalp:
        """Where hair grows on the template head."""
        return restored(self.scalp_skull, self.scalp_distance, self.scalp_follow, self.points)

    def head(self, coefficients: np.ndarray, neck: float = 1.0) -> np.ndarray:
        """Points (V, 3) float32 of a head from shape coefficients (shape_count,), lips never through one another.

        ``neck`` is the neck's width, of the mean's; faces tell little of it.
        """
        points = closed_lips(self.points + np.tensordot(coefficients.astype(np.float32), self.shapes, 1))
        height = self.points[:, 1]
        share = np.clip((height - NECK[0]) / 0.6, 0, 1) * np.clip((NECK[1] - height) / 0.9, 0, 1)
        share[:MESH] = 0
        points[:, 0] *= 1 - (1 - neck) * share
        return points

    def skin(self, coefficients: np.ndarray) -> np.ndarray:
        """A packed texture (D,) float32 from texture coefficients."""
        return self.texture + coefficients.astype(np.float32) @ self.textures

    def cheeks(self, packed: np.ndarray) -> np.ndarray:
        """Mean luma, R - Y and B - Y of the cheeks of a packed texture: (3,)."""
        return np.array([packed[at].mean() for at in self._cheeks])

    def unpacked(self, packed: np.ndarray, grain: np.ndarray | None = None) -> np.ndarray:
        """A packed texture as an atlas (ROWS, COLUMNS, 3) float32 RGB 0..255, unlit; plain skin is carried on
        to where photographs show hair, ears or nothing. ``grain`` (ROWS, COLUMNS) float32 is added to all of it."""
        count, few = int(self.fine.sum()), int(self.coarse.sum())
        luma = spread(packed[:count], self.fine, self._near_fine)
        red = spread(packed[count : count + few], self.coarse, self._near_coarse)
        blue = spread(packed[count + few :], self.coarse, self._near_coarse)
        near = kernels.gather_skin(luma, red, blue, self.source, FILL)
        far = sum(np.float32(part) * cv2.GaussianBlur(near, (0, 0), sigma) for sigma, part in REACHES)
        grain = np.zeros((ROWS, COLUMNS), np.float32) if grain is None else grain
        size = (COLUMNS, ROWS)
        far, red, blue = (
            cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
            for plane in (far / self._reached, red, blue)
        )
        return kernels.blend_atlas(luma, red, blue, far, self.trust, grain)

    @cached_property
    def _near_fine(self) -> np.ndarray:
        return nearest(self.fine)

    @cached_property
    def _near_coarse(self) -> np.ndarray:
        return nearest(self.coarse)

    @cached_property
    def _reached(self) -> np.ndarray:
        """How much skin the blurs of ``unpacked`` gather at each place (ROWS / FILL, COLUMNS / FILL, 1)."""
        weight = cv2.resize(self.source, (COLUMNS // FILL, ROWS // FILL), interpolation=cv2.INTER_AREA)
        return (sum(part * cv2.GaussianBlur(weight, (0, 0), sigma) for sigma, part in REACHES) + 1e-9)[..., None]

    @cached_property
    def _cheeks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the cheeks lie in a packed texture: its luma, R - Y and B - Y."""
        found = []
        for where, by in ((self.fine, 1), (self.coarse, 2)):
            chosen = np.zeros_like(where)
            for first, last in CHEEKS:
                chosen[CHEEK_ROWS[0] // by : CHEEK_ROWS[1] // by, first // by : last // by] = True
            found.append(np.flatnonzero(chosen[where]))
        count, few = int(self.fine.sum()), int(self.coarse.sum())
        return found[0], found[1] + count, found[1] + count + few


def spread(values: np.ndarray, where: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Values (n,) put where ``where`` is true, and everywhere else the nearest of them."""
    return values[near].reshape(where.shape)


def nearest(where: np.ndarray) -> np.ndarray:
    """For every texel the number of the nearest true one, counted among the true ones in row order."""
    from scipy.ndimage import distance_transform_edt

    number = np.cumsum(where).reshape(where.shape) - 1
    at = distance_transform_edt(~where, return_distances=False, return_indices=True)
    return number[tuple(at)].ravel().astype(np.int64)


def closed_lips(points: np.ndarray) -> np.ndarray:
    """The points, with lower inner lips that would lie above the upper ones moved to meet them half way."""
    points = points.copy()
    for upper, lower in PAIRS:
        if points[lower, 1] < points[upper, 1]:
            points[[upper, lower]] = (points[upper] + points[lower]) / 2
    return points


def features(sex: str, age: float, group: str) -> np.ndarray:
    """What ``traits`` multiplies: 1, sex, a smooth age, group, and sex with age."""
    male = 1.0 if sex == "male" else -1.0
    young = (np.clip(age, ADULT, OLD) - 45) / 25
    member = [float(group == name) for name in GROUPS[1:]]
    return np.array([1.0, male, young, young**2, male * young, *member, *(male * m for m in member)])


def load_model(path: Path | None = None) -> FaceModel:
    """The shipped model, or that of a file.

    Raises:
        MaskbenchError: the file cannot be read, or is not such a model.
    """
    return _load(str(path) if path else str(files("maskbench") / "data" / "people" / "faces.safetensors"))


@lru_cache(maxsize=2)
def _load(path: str) -> FaceModel:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, Any] = load_file(path)
        for name in ("textures", "within_textures"):
            arrays[name] = arrays[name].astype(np.float32) * arrays.pop(f"{name}_scale")[:, None]
        arrays["fine"], arrays["coarse"] = arrays["fine"].astype(bool), arrays["coarse"].astype(bool)
        for name in ("triangles", "scalp_follow"):
            arrays[name] = arrays[name].astype(np.int32)
        floats = {
            name: value if value.dtype in (bool, np.int32) else value.astype(np.float32)
            for name, value in arrays.items()
        }
        return FaceModel(**floats, digest=file_sha256(Path(path)))
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise MaskbenchError(f"{path}: no model of faces ({json.dumps(str(error))}); reinstall maskbench") from error
