"""The light in each picture, and its texture without it: skin under even light from the front.

Light is nine spherical harmonics (Ramamoorthi, Hanrahan 2001) that multiply the mean face's luma on plain skin. It is
found from a picture by robust ridge regression, in two rounds: the second sees a mean whose light has been taken out.
Textures keep with each texel how far it can be trusted: seen, and skin rather than hair, cloth or background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from fit_files import is_celeba, progress, say, table

from maskbench.landmarks.base import FACE_OVAL
from maskbench.people.atlas import COLUMNS, ROWS
from maskbench.people.eyes import LIDS
from maskbench.people.rendering import harmonics

FACE_ROWS, FACE_COLUMNS = slice(60, 150), slice(40, 136)  # of the atlas: brows to chin
GREYEST = 6.0  # mean |R - B| in grey levels: below it a photograph is black and white
BLURRED = 35.0  # percentile of the sharpness of utk144's pictures: those below it are upscaled
MOST = 6500  # pictures of utk144: as many as two sets of one size leave room for in memory
SEED = 0
SEEN = 60  # of 255: texels seen at least so well tell of the light
EVERY = 8  # in the first round, of which only a mean is kept
FIRST_RIDGE = (1, 150, 150, 150, 600, 600, 600, 600, 600)  # a picture: even light until proven otherwise
RIDGE = (1, 60, 60, 60, 250, 250, 250, 250, 250)  # after outliers have been left out
OUTLIER = 3.0  # times the median residual: beards, spectacles, highlights
DIMMEST = 0.05  # mean light on the skin, so that nothing is divided by zero
SHADE = (0.45, 2.2)  # light is taken out between these factors; beyond them it is noise
FLOOR = 8.0  # grey levels added before logarithms, so that noise in the dark does not count
OWN_SKIN, TOLERANCE = 0.12, 0.22  # log ratio to the cheeks: up to here skin; a Gaussian beyond
HUE = 2.0  # how much more a difference in R / B counts than one in brightness
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
CHEEKS = ((50, 205, 36, 101), (280, 425, 266, 330))
BROW_TOPS, ABOVE_BROWS = (107, 336, 66, 296), 3  # texels above them at which hair may hang


@dataclass(frozen=True)
class Regions:
    """Parts of the atlas (ROWS, COLUMNS): ``oval`` the face, ``skin`` what of it is plain, ``cheek``, all bool;
    ``doubt`` float32 0..1, where a texel may be hair or background rather than skin."""

    oval: np.ndarray
    skin: np.ndarray
    cheek: np.ndarray
    doubt: np.ndarray


def sampled(pixels: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Rows of the pictures to use, sorted: in colour; of ``utk144`` the sharper ones, and of these so many by chance.

    Args:
        pixels: (N, ROWS, COLUMNS, 4) uint8. names: (N,).
    """
    celeba, colour, sharpness = is_celeba(names), np.empty(len(names)), np.empty(len(names))
    for i in range(len(names)):
        face = pixels[i, FACE_ROWS, FACE_COLUMNS, :3]
        sharpness[i] = np.abs(np.diff(face.mean(-1), axis=1)).mean()
        colour[i] = np.abs(face[..., 0].astype(int) - face[..., 2]).mean()
        progress("light, sharpness", i, len(names))
    keep = (colour > GREYEST) & (celeba | (sharpness > np.percentile(sharpness[~celeba], BLURRED)))
    others = np.flatnonzero(keep & ~celeba)
    drawn = np.random.default_rng(SEED).choice(others, min(len(others), MOST), replace=False)
    return np.sort(np.concatenate([np.flatnonzero(keep & celeba), drawn]))


def regions(atlas: np.ndarray) -> Regions:
    """The parts of an atlas whose mesh points lie at (468 or more, 2) columns and rows."""
    oval = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.fillPoly(oval, [np.rint(atlas[list(FACE_OVAL)]).astype(np.int32)], 1)
    features = _hull(atlas, LIPS, 2) | _hull(atlas, BROWS[0], 2) | _hull(atlas, BROWS[1], 2)
    features |= _hull(atlas, LIDS[0], 4) | _hull(atlas, LIDS[1], 4)
    skin = (cv2.erode(oval, np.ones((9, 9), np.uint8)) > 0) & (features == 0)
    rim = 1 - cv2.erode(oval, np.ones((7, 7), np.uint8)).astype(np.float32)
    forehead = np.zeros((ROWS, COLUMNS), np.float32)
    forehead[: int(atlas[list(BROW_TOPS), 1].min()) - ABOVE_BROWS] = 1
    doubt = np.maximum(cv2.GaussianBlur(rim, (0, 0), 2), cv2.GaussianBlur(forehead, (0, 0), 2))
    cheek = (_hull(atlas, CHEEKS[0]) | _hull(atlas, CHEEKS[1])) > 0
    return Regions(oval > 0, skin, cheek, doubt)


def _hull(atlas: np.ndarray, points: tuple[int, ...], grow: int = 0) -> np.ndarray:
    """The convex hull of some mesh points, grown by texels: (ROWS, COLUMNS) uint8, 0 or 1."""
    out = np.zeros((ROWS, COLUMNS), np.uint8)
    cv2.fillConvexPoly(out, cv2.convexHull(np.rint(atlas[list(points)]).astype(np.int32)), 1)
    return cv2.dilate(out, np.ones((2 * grow + 1,) * 2, np.uint8)) if grow else out


def light_of(shading: np.ndarray, albedo: np.ndarray, luma: np.ndarray) -> np.ndarray:
    """The light (9,) under which a surface looks as it does.

    Args:
        shading: (n, 9) harmonics of the normals. albedo: (n,) its own brightness. luma: (n,) that of the picture; both
            in one unit, 0..255.
    """
    system = shading * albedo[:, None]
    first = _ridge(system, luma, FIRST_RIDGE)
    residual = np.abs(luma - system @ first)
    inliers = residual < np.median(residual) * OUTLIER
    return _ridge(system[inliers], luma[inliers], RIDGE)


def _ridge(system: np.ndarray, goal: np.ndarray, weights: tuple[int, ...]) -> np.ndarray:
    """Least squares with a penalty on each unknown, in proportion to the number of equations."""
    normal = system.T @ system + np.diag(weights) * len(system)
    return np.linalg.lstsq(normal, system.T @ goal, rcond=None)[0]


def shade(shading: np.ndarray, light: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """By which factor (M,) the light brightens each texel, relative to its mean over ``skin`` (M,) bool."""
    factor = shading @ light
    return np.clip(factor / max(factor[skin].mean(), DIMMEST), *SHADE)


def likeness(colour: np.ndarray, cheek: np.ndarray) -> np.ndarray:
    """How much colours (M, 3) look like the skin of the cheeks (M,) bool: (M,) 0..1."""
    own = np.median(colour[cheek], 0) + 1
    brightness = np.abs(np.log((colour + FLOOR) / (own + FLOOR))).mean(-1)
    hue = np.log((colour[:, 0] + FLOOR) / (colour[:, 2] + FLOOR)) - np.log((own[0] + FLOOR) / (own[2] + FLOOR))
    distance = brightness + HUE * np.abs(hue)
    return np.exp(-((np.maximum(distance - OWN_SKIN, 0) / TOLERANCE) ** 2))


class _Mean:
    """A weighted mean of textures."""

    def __init__(self) -> None:
        self.total, self.weight = np.zeros((ROWS * COLUMNS, 3)), np.zeros(ROWS * COLUMNS)

    def add(self, colour: np.ndarray, weight: np.ndarray) -> None:
        """One texture: colour (M, 3), weight (M,)."""
        self.total += colour * weight[:, None]
        self.weight += weight

    def luma(self, least: float) -> np.ndarray:
        """Mean of the mean's three channels (M,) float32; ``least`` weight to divide by."""
        return (self.total / np.maximum(self.weight, least)[:, None]).astype(np.float32).mean(-1)


@dataclass(frozen=True)
class Views:
    """The pictures that are used. pixels: (P, ROWS, COLUMNS, 4) uint8. rows: (N,) of them. rotation: (N, 3, 3) from the
    face frame to the pictures'. normals: (ROWS * COLUMNS, 3) float32 in it. skin: (ROWS * COLUMNS,) bool."""

    pixels: np.ndarray
    rows: np.ndarray
    rotation: np.ndarray
    normals: np.ndarray
    skin: np.ndarray

    def colour(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """A picture's texels: colour (M, 3) float32 0..255 and how well each is seen (M,) uint8."""
        texture = self.pixels[self.rows[i]].reshape(-1, 4)
        return texture[:, :3].astype(np.float32), texture[:, 3]

    def unlit(self, i: int, albedo: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A picture's light (9,) float32 by the luma of the mean face (M,), its colour without it, how well seen."""
        colour, seen = self.colour(i)
        shading = harmonics(self.normals @ self.rotation[i].T.astype(np.float32))
        used = self.skin & (seen > SEEN)
        light = light_of(shading[used], albedo[used], colour.mean(-1)[used]).astype(np.float32)
        return light, colour / shade(shading, light, self.skin)[:, None], seen


def mean_luma(views: Views) -> np.ndarray:
    """Luma of the mean face (ROWS * COLUMNS,) float32 from every so many pictures, the light taken out."""
    raw, even = _Mean(), _Mean()
    some = range(0, len(views.rows), EVERY)
    for i in some:
        colour, seen = views.colour(i)
        raw.add(colour, seen > SEEN)
    albedo = raw.luma(1.0)
    for i in some:
        _, colour, seen = views.unlit(i, albedo)
        even.add(colour, seen / 255.0)
    return even.luma(1e-3)


def unlit(
    out: Path, pixels: np.ndarray, rows: np.ndarray, rotation: np.ndarray, normals: np.ndarray, atlas: np.ndarray
) -> dict[str, np.ndarray]:
    """Take the light out of pictures and write their colours to ``out``, (N, ROWS, COLUMNS, 3) float16, 0..255.

    Args:
        pixels, rows, rotation, normals: see ``Views``.
        atlas: (V, 2) columns and rows of the template's vertices.

    Returns:
        ``light`` (N, 9) float32; ``trust`` (N, ROWS, COLUMNS) uint8; ``skin`` and ``oval`` (ROWS, COLUMNS) bool.
    """
    parts = regions(atlas)
    views = Views(pixels, rows, rotation, normals.astype(np.float32), parts.skin.ravel())
    albedo, cheek, doubt = mean_luma(views), parts.cheek.ravel(), parts.doubt.ravel()
    lights, trust = np.zeros((len(rows), 9), np.float32), np.zeros((len(rows), ROWS * COLUMNS), np.uint8)
    with table(out, (len(rows), ROWS, COLUMNS, 3), np.float16) as colours:
        for i in range(len(rows)):
            lights[i], colour, seen = views.unlit(i, albedo)
            colour = np.clip(colour, 0, 255)
            skin = 1 - doubt * (1 - likeness(colour, cheek))
            trust[i] = np.rint(255 * np.clip(seen / 255.0 * skin, 0, 1))
            colours[i] = colour.reshape(ROWS, COLUMNS, 3)
            progress("light", i, len(rows))
    say("light", f"mean {lights.mean(0).round(3)}, deviation {lights.std(0).round(3)}")
    return {"light": lights, "trust": trust.reshape(-1, ROWS, COLUMNS), "skin": parts.skin, "oval": parts.oval}
