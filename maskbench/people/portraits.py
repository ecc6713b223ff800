"""Portraits of nobody: a person and a shot, drawn by chance, rendered, and seen by a camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.landmarks.base import FACE_OVAL
from maskbench.people.camera import photographed
from maskbench.people.complexion import grain_of, plausible, steadied, typology_angle
from maskbench.people.config import SIZES
from maskbench.people.eyes import paint_eyes
from maskbench.people.hair import STYLES, Hair, strand_texture
from maskbench.people.model import MESH, FaceModel, load_model
from maskbench.people.rendering import Scene, harmonics, render, rotation, vertex_normals
from maskbench.people.sampling import Person, Shot, generator, sample_person, sample_shot
from maskbench.people.surroundings import background

KEPT_PERSONS = 32  # in memory: a person's pictures usually follow one another
FRONT = np.array([[0.0, 0.0, -1.0]])  # the normal of what faces the camera
OPEN_MOUTH, SMILE = 0.16, 0.03  # inter-ocular distances between the lips; that the corners lie above the middle


@dataclass(frozen=True)
class Portrait:
    """One picture and all that is known about it.

    ``image`` is (size, size, 3) uint8 RGB with the camera's blur and noise, not yet compressed; ``quality`` is the
    JPEG quality to store it with; ``landmarks`` (468, 3) float32 are pixels of the image, the first pixel's centre at
    0, z in pixels away from the viewer; ``attributes`` hold plain values under fixed names.
    """

    image: np.ndarray
    quality: int
    landmarks: np.ndarray
    attributes: dict[str, Any]


@dataclass(frozen=True)
class _Known:
    """What is worked out once for all pictures of a person: their skin is packed (D,), the grain (ROWS, COLUMNS)."""

    person: Person
    hair: Hair
    shape: np.ndarray
    skin: np.ndarray
    grain: np.ndarray
    eyes: float  # how bright they are
    attributes: dict[str, Any]


class Portraits:
    """A whole population, drawn person by person and picture by picture; a pure function of (seed, number, shot, size).

    Args:
        seed: names the population.
        size: pixels of a side, 64 to 512.
        model: another than the shipped one.

    Raises:
        MaskbenchError: a seed or a size that cannot be; from the methods, a negative number of a person or picture.
    """

    def __init__(self, seed: int = 0, size: int = 160, model: FaceModel | None = None) -> None:
        if seed < 0 or not SIZES[0] <= size <= SIZES[1]:
            raise MaskbenchError(f"seed {seed}, size {size}: give a seed from 0 and a size of {SIZES[0]} to {SIZES[1]}")
        self.seed, self.size = seed, size
        self._model = model or load_model()
        self.model_digest = self._model.digest
        self._person = lru_cache(KEPT_PERSONS)(self._make_person)

    def identity(self, number: int) -> dict[str, Any]:
        """What stays the same in all pictures of a person: group, sex, age, skin_ita, hair, hair_colour."""
        if number < 0:
            raise MaskbenchError(f"person {number}: numbers start at 0")
        who = self._person(number)
        return {"group": who.person.group, **who.attributes}

    def portrait(self, number: int, shot: int) -> Portrait:
        """One picture of a person; shots may be any numbers."""
        if min(number, shot) < 0:
            raise MaskbenchError(f"person {number}, picture {shot}: numbers start at 0")
        who = self._person(number)
        taken = sample_shot(self._model, self.seed, number, shot)
        rng = generator(self.seed, number, shot, 1)
        points = self._model.head(who.shape + taken.chance @ self._model.within_shapes, who.person.neck)
        turn = rotation(taken.yaw, taken.pitch, taken.roll).astype(np.float32)
        unit, centre = taken.unit * self.size, (taken.centre[0] * self.size, taken.centre[1] * self.size)
        scene = self._scene(who, taken, points, turn)
        picture = render(scene, self.size, unit, centre, background(taken.background, rng, self.size))
        landmarks = scene.points[:MESH] * unit + np.array([*centre, 0])
        attributes = {"identity": number, "shot": shot, **who.attributes, **shot_attributes(taken, expression(points))}
        image = photographed(picture, taken.blur, taken.noise, rng)
        return Portrait(image, taken.quality, landmarks.astype(np.float32), attributes)

    def _make_person(self, number: int) -> _Known:
        model = self._model
        person = sample_person(model, self.seed, number)
        hair = STYLES[person.style](np.random.default_rng(person.hair_seed), model.scalp)
        shape, texture = np.split(person.coefficients, [model.shape_count])
        skin = plausible(model, model.skin(texture))
        cheeks = model.cheeks(skin)
        attributes = {
            "sex": person.sex, "age": person.age, "skin_ita": round(typology_angle(cheeks), 1),
            "hair": person.style, "hair_colour": person.hair_name,
        }  # fmt: skip
        eyes = float(np.clip(0.58 + cheeks[0] / 400, 0.6, 1.0))
        return _Known(person, hair, shape, skin, grain_of(model, person.grain_seed), eyes, attributes)

    def _scene(self, who: _Known, taken: Shot, points: np.ndarray, turn: np.ndarray) -> Scene:
        model, hair = self._model, who.hair
        turned = points @ turn.T
        atlas = model.unpacked(who.skin + steadied(model, taken.chance @ model.within_textures), who.grain)
        paint_eyes(atlas, model, points, taken.gaze, who.person.iris, who.eyes)
        return Scene(
            points=turned,
            normals=welded(vertex_normals(turned, model.triangles), model.weld),
            triangles=model.triangles,
            corners=model.corners,
            openness=model.openness,
            base=model.base,
            neckline=taken.neckline,
            atlas=atlas,
            light=taken.light / max(0.3, float(harmonics(FRONT)[0] @ taken.light)),
            tone=taken.tone,
            cloth=taken.cloth,
            hair=hair,
            hair_points=turned[hair.bind] + hair.offset @ turn.T,
            turn=turn,
            hair_colour=who.person.hair_colour,
            strands=strand_texture(hair.kind),
        )


def shot_attributes(taken: Shot, mouth: str) -> dict[str, Any]:
    """What is known of one picture, as plain rounded values."""
    return {
        "yaw": round(taken.yaw, 2), "pitch": round(taken.pitch, 2), "roll": round(taken.roll, 2), "expression": mouth,
        "light": [round(float(v), 4) for v in taken.light], "background": taken.background,
        "blur": round(taken.blur, 2), "noise": round(taken.noise, 2), "quality": taken.quality,
    }  # fmt: skip


def welded(normals: np.ndarray, weld: np.ndarray) -> np.ndarray:
    """Normals (V, 3), the rim of the face's those of the head beside it, so that no edge is seen there."""
    normals[list(FACE_OVAL)] = normals[weld].mean(1)
    return normals


def expression(points: np.ndarray) -> str:
    """A word for the mouth of a head (V, 3): open, smile or neutral."""
    if np.linalg.norm(points[13] - points[14]) > OPEN_MOUTH:
        return "open"
    corners = (points[61, 1] + points[291, 1]) / 2
    return "smile" if corners < (points[13, 1] + points[14, 1]) / 2 - SMILE else "neutral"
