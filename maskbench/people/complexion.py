"""The colour of skin and its finest detail, on top of what the model of faces gives."""

from __future__ import annotations

import cv2
import numpy as np

from maskbench.people.atlas import COLUMNS, ROWS
from maskbench.people.camera import noise_window
from maskbench.people.model import FaceModel
from maskbench.pixels import LUMA

DARK, BRIGHT = 62.0, 200.0  # luma of cheeks beyond which the light, not the skin, must have been unusual
CAST = 0.7  # the share of a colour cast that is taken from a person's skin
BALANCED = 0.6  # the share of a change of overall colour that a camera's white balance takes away
GRAIN = (0.7, 0.2)  # how much of the two measured bands of fine detail is drawn


def plausible(model: FaceModel, skin: np.ndarray) -> np.ndarray:
    """A packed texture whose mean colour is drawn towards that of skin as bright: casts belong to photographs."""
    luma, red, blue = model.cheeks(skin)
    moved = float(np.clip(luma, DARK, BRIGHT)) - luma
    return _tinted(model, skin, moved, *(CAST * (model.tan[:, 0] + model.tan[:, 1] * (luma + moved) - [red, blue])))


def steadied(model: FaceModel, change: np.ndarray) -> np.ndarray:
    """A packed difference between two pictures with less of its change of overall colour: cameras balance white."""
    _, red, blue = model.cheeks(change)
    return _tinted(model, change, 0.0, -BALANCED * red, -BALANCED * blue)


def _tinted(model: FaceModel, packed: np.ndarray, luma: float, red: float, blue: float) -> np.ndarray:
    count, few = int(model.fine.sum()), int(model.coarse.sum())
    return packed + np.repeat(np.float32([luma, red, blue]), [count, few, few])


def grain_of(model: FaceModel, seed: int) -> np.ndarray:
    """Pores and hairs that the components leave out: noise (ROWS, COLUMNS) float32, as strong as measured."""
    white = noise_window(np.random.default_rng(seed), ROWS, COLUMNS)
    fine = white[..., 0] - cv2.GaussianBlur(np.ascontiguousarray(white[..., 0]), (0, 0), 1.0)
    broad = cv2.GaussianBlur(np.ascontiguousarray(white[..., 1]), (0, 0), 1.3)
    # Where photographs show no skin none was measured: there it is as strong as where skin is plain.
    known, plain = model.trust > 0.5, model.source > 0.5
    bands = [np.where(known, band, np.median(band[plain])) for band in model.grain]
    return GRAIN[0] * fine / fine.std() * bands[0] + GRAIN[1] * broad / broad.std() * bands[1]


def typology_angle(cheeks: np.ndarray) -> float:
    """Individual typology angle in degrees of cheeks (3,) given as luma, R - Y and B - Y, from CIE L*a*b* under D65
    (Chardon et al. 1991): above 55 very light, 41 light, 28 intermediate, 10 tan, -30 brown, below dark."""
    (luma, red, blue), weights = cheeks, LUMA.tolist()
    colour = luma + np.array([red, -(weights[0] * red + weights[2] * blue) / weights[1], blue])
    colour = np.clip(colour, 0, 255).astype(np.float32).reshape(1, 1, 3) / 255
    lightness, _, yellow = cv2.cvtColor(colour, cv2.COLOR_RGB2LAB)[0, 0]
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))
