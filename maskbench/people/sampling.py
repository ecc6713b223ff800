"""Who a person is and how a picture of them came about: all that is drawn by chance, from (seed, person, shot)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from maskbench.people.hair import sample_colour, sample_style
from maskbench.people.model import GROUPS, OLD, SEXES, FaceModel, features

SHARES = (0.32, 0.2, 0.2, 0.18, 0.1)  # of GROUPS
BETWEEN, WITHIN = 0.86, 0.42  # of the measured spread, between persons and between pictures of one
# The fitted means of sex and age are drawn together by the many pictures that tell little of either; of features().
EMPHASIS = np.array([1.0, 1.3, 1.5, 1.5, 1.5, 1, 1, 1, 1, 1, 1, 1, 1])
OWN = 0.8  # the share of what chance would make of a person's sex and age that is left out: traits decide them
SEX_AND_AGE = (1, 2, 3, 4)  # their places among the features
OVERHEAD = np.array([0.0, 0, 0.10, 0, 0, 0, 0, 0, 0])  # most light comes from above
LIGHTS = 0.6  # of the measured spread of light: extremes are also the detector's and the fit's errors
MAX_YAW, MAX_PITCH = 45.0, 20.0
TURNED = 0.2  # the share of pictures whose yaw is uniform over all of it; the others are nearly frontal
UNIT, EYES = 0.232, (0.5, 0.485)  # inter-ocular distance and the place between the eyes, of the picture's side
YOUNGEST, OLDEST = 23, OLD - 5  # nobody should be taken for a child
NECKS = {"female": 0.86, "male": 0.97}  # mean width, of the template's
CLOTH = ((40, 44, 52), (70, 74, 82), (235, 232, 226), (30, 45, 80), (120, 30, 36), (60, 90, 70), (150, 160, 175),
         (196, 178, 150), (92, 60, 90), (190, 90, 60), (20, 20, 22), (110, 140, 170))  # fmt: skip
IRIS_DARK = ((58, 38, 26), (44, 30, 22), (74, 50, 32), (36, 26, 22))
IRIS_LIGHT = ((96, 110, 120), (104, 116, 112), (100, 104, 78), (90, 100, 112), (112, 92, 60))
BACKGROUNDS = ("plain", "gradient", "blurred", "outdoors")


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of a person."""

    number: int
    sex: str
    age: int
    group: str
    coefficients: np.ndarray  # (K,)
    style: str
    hair_seed: int
    hair_name: str
    hair_colour: np.ndarray  # (3,) sRGB 0..255
    iris: np.ndarray  # (3,) sRGB 0..255
    neck: float  # its width, of the mean's
    grain_seed: int


@dataclass(frozen=True)
class Shot:
    """What belongs to one picture: pose in degrees, light, clothes, background, camera."""

    chance: np.ndarray  # (Q,) float32, how it differs from the person's mean, standard normal
    gaze: tuple[float, float]  # inter-ocular distances that the irises are off their mean place
    yaw: float
    pitch: float
    roll: float
    light: np.ndarray  # (9,)
    tone: np.ndarray  # (3,) colour of the light
    cloth: np.ndarray  # (3,) sRGB 0..255
    neckline: float
    background: str
    unit: float  # inter-ocular distance, share of the picture's side
    centre: tuple[float, float]  # of the eyes, shares of the side
    blur: float  # pixels
    noise: float  # of 255
    quality: int  # JPEG


def generator(seed: int, *path: int) -> np.random.Generator:
    """A generator of its own for everything that (seed, path) names."""
    return np.random.default_rng([seed, len(path), *path])


def sample_person(model: FaceModel, seed: int, number: int) -> Person:
    """The person of that number."""
    rng = generator(seed, number)
    sex = SEXES[int(rng.random() < 0.5)]
    age = int(round(YOUNGEST + (OLDEST - YOUNGEST) * rng.beta(1.2, 1.8)))
    group = str(rng.choice(GROUPS, p=SHARES))
    chance = np.clip(rng.normal(size=len(model.between)), -2.2, 2.2)
    towards = trait_directions(model)
    chance -= OWN * (chance @ towards.T) @ towards
    style = sample_style(rng, sex, age, group)
    hair_name, hair_colour = sample_colour(rng, age, group)
    return Person(
        number=number,
        sex=sex,
        age=age,
        group=group,
        coefficients=EMPHASIS * features(sex, age, group) @ model.traits + BETWEEN * chance @ model.between,
        style=style,
        hair_seed=int(rng.integers(2**31)),
        hair_name=hair_name,
        hair_colour=hair_colour,
        iris=sample_iris(rng, group, hair_name),
        neck=float(rng.normal(NECKS[sex], 0.03)),
        grain_seed=int(rng.integers(2**31)),
    )


@lru_cache(maxsize=2)
def trait_directions(model: FaceModel) -> np.ndarray:
    """Orthonormal directions (4, R) of chance that come nearest to what sex and age do to a face."""
    directions = np.linalg.lstsq(model.between.T, model.traits[list(SEX_AND_AGE)].T, rcond=None)[0]
    return np.linalg.qr(directions)[0].T


def sample_iris(rng: np.random.Generator, group: str, hair: str) -> np.ndarray:
    """sRGB colour (3,) of the irises; light ones are drawn for some of the group that has them."""
    light = {"white": 0.55, "other": 0.12}.get(group, 0.0) * (1.3 if "blond" in hair else 0.3 if hair == "black" else 1)
    tones = IRIS_LIGHT if rng.random() < light else IRIS_DARK
    return np.array(tones[rng.integers(len(tones))]) * rng.uniform(0.85, 1.15)


def sample_shot(model: FaceModel, seed: int, number: int, shot: int) -> Shot:
    """One picture's circumstances."""
    rng = generator(seed, number, shot)
    wide = rng.random() < TURNED
    yaw = rng.uniform(-MAX_YAW, MAX_YAW) if wide else np.clip(rng.normal(0, 12), -MAX_YAW, MAX_YAW)
    chance = np.clip(rng.normal(size=len(model.within_shapes)), -2, 2)
    warmth, green = rng.normal(0, 0.035), rng.normal(0, 0.012)
    cloth = np.array(CLOTH[rng.integers(len(CLOTH))]) * rng.uniform(0.8, 1.15)
    return Shot(
        chance=(WITHIN * chance).astype(np.float32),
        gaze=(float(rng.normal(0, 0.018)), float(rng.normal(0, 0.006))),
        yaw=float(yaw),
        pitch=float(np.clip(rng.normal(0, 6), -MAX_PITCH, MAX_PITCH)),
        roll=float(rng.normal(0, 3.5)),
        light=model.light + OVERHEAD + LIGHTS * np.clip(rng.normal(size=9), -2, 2) @ model.lights,
        tone=np.array([1 + warmth, 1 + green, 1 - warmth]),
        cloth=np.clip(cloth, 8, 245),
        neckline=float(rng.uniform(-0.9, 0.3)),
        background=str(rng.choice(BACKGROUNDS, p=(0.25, 0.25, 0.3, 0.2))),
        unit=float(UNIT * rng.uniform(0.93, 1.07)),
        centre=(float(EYES[0] + rng.normal(0, 0.012)), float(EYES[1] + rng.normal(0, 0.012))),
        blur=float(rng.uniform(0.6, 0.95)),
        noise=float(rng.uniform(0.5, 1.8)),
        quality=int(rng.integers(78, 96)),
    )
