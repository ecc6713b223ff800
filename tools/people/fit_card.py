"""The card beside a model file: what it holds, what it was fitted to, its terms and its limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from maskbench.digest import file_sha256
from maskbench.files import write_bytes

WHAT = (
    "A statistical model of adult faces: mean head, components of shape and of unlit skin texture, how both vary "
    "between persons and between pictures of one person, their means by sex, age and group, and the light in "
    "photographs. maskbench draws synthetic people from it. It holds means, components and covariances, no pictures."
)
SETS = {
    "celeba256": "pictures and identity list of CelebA (Liu et al., ICCV 2015), 188 people of a train split; no person "
    "of the validation split was used for anything",
    "utk144": "face crops of UTKFace (Zhang, Song, Qi, CVPR 2017) with age, sex and group labels, without identities",
    "landmarks": "mediapipe face mesh, 478 points; its first 468 are used",
    "head": "MakeHuman base mesh (CC0) for the head's geometry beyond the face",
}
TERMS = (
    "Non-commercial research only, as CelebA and UTKFace ask of what is made from them; the head's geometry beyond the "
    "face is CC0. See LICENSE.txt."
)
LIMITS = [
    "Adults only: pictures labelled under 15 years are left out of the texture, under 16 of the means by age.",
    "Skin tones, ages and groups are those of the two sets and of their labels, which strangers guessed from pictures; "
    "light and skin tone are told apart only on average.",
    "The spread between pictures of one person comes from photographs of well-known people, made up and well lit.",
    "Poses within about 25 degrees of the front were seen; the sides of the head are carried on from them.",
    "Spectacles, beards and hair are left out or averaged away; eyes and hair are drawn by other means.",
    "Pictures that a recognizer found alike to pictures of LFW and other test sets had been removed from both sets; "
    "some of their people may remain.",
    "A face drawn from it may by chance look like somebody; tools/people/privacy.py measures how often.",
]
ARRAYS = {
    "points": "mean head, inter-ocular distances: x right in the picture, y down, z away; first the face mesh's 468",
    "shapes": "shape components, as differences of points",
    "triangles": "clockwise as seen from outside",
    "corners": "columns and rows of the triangles' corners in the texture atlas",
    "weld": "vertices of the head nearest to the rim of the face",
    "base": "coordinates of the head's vertices on the base mesh, decimetres",
    "openness": "share of light that reaches a vertex",
    "texture": "mean texture, grey levels 0..255, packed: luma where fine, then R - Y and B - Y where coarse",
    "textures": "texture components, in steps of textures_scale",
    "textures_scale": "grey levels a step of each row of textures",
    "fine": "texels with luma",
    "coarse": "texels with colour differences, at half the size",
    "trust": "how far a texel is to be believed",
    "source": "plain skin, which is carried on where trust ends",
    "grain": "deviation, grey levels, of the luma that the components leave out, fine and less fine",
    "tan": "R - Y and B - Y of cheeks, each offset and slope over their luma",
    "traits": "features of sex, age and group to the coefficients' mean",
    "between": "standard normal vector to a difference of coefficients between persons",
    "within_shapes": "standard normal vector to a difference of shape coefficients between pictures of a person",
    "within_textures": "the same to a difference of textures, in steps of within_textures_scale",
    "within_textures_scale": "grey levels a step of each row of within_textures",
    "light": "mean light, spherical harmonics to order 2, unnormalised, 1 from the front",
    "lights": "standard normal vector to a difference of lights",
    "scalp_skull": "radius and height above the hairline by azimuth and angle from the crown",
    "scalp_distance": "signed distance from the skin on a grid about the head",
    "scalp_follow": "vertex that hair at a place of the grid follows",
}


def card(arrays: dict[str, np.ndarray], counts: dict[str, dict[str, int]], sha256: str) -> dict[str, object]:
    """The card's fields."""
    described = {
        name: {"dtype": str(value.dtype), "shape": list(value.shape), "what": ARRAYS[name]}
        for name, value in sorted(arrays.items())
    }
    return {
        "name": "faces", "what": WHAT, "sha256": sha256, "sources": SETS, "fitted_on": counts, "licence": TERMS,
        "limits": LIMITS, "made_by": "tools/people/fit.py", "arrays": described,
    }  # fmt: skip


def write_card(model: Path, arrays: dict[str, np.ndarray], counts: dict[str, dict[str, int]]) -> None:
    """Write the card of a model file beside it, ``faces.json`` for ``faces.safetensors``."""
    text = json.dumps(card(arrays, counts, file_sha256(model)), indent=1, ensure_ascii=False) + "\n"
    write_bytes(model.with_suffix(".json"), text.encode())
