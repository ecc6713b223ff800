"""Hair of synthetic people: who wears which style and colour, and the styles themselves.

``STYLES[name](rng, scalp)`` gives a ``Hair`` for the template head; it follows any head that is a warp of the
template: vertex ``i`` lies at ``head[bind[i]] + offset[i]``.
"""

from __future__ import annotations

import numpy as np

from maskbench.people.hair_strands import Hair
from maskbench.people.hair_styles import STYLES
from maskbench.people.hair_texture import strand_texture

_WOMEN = {
    "long-straight": 20, "fringe": 8, "long-wavy": 17, "shoulder": 14, "bob": 10, "long-curly": 8, "tied-back": 13,
    "short-curly": 3, "side-parted": 3, "afro": 0,
}  # fmt: skip
_MEN = {
    "side-parted": 25, "swept-up": 17, "crew": 23, "buzz": 14, "short-curly": 8, "receding": 4, "bald": 3,
    "horseshoe": 1, "shoulder": 2, "tied-back": 1, "afro": 0,
}  # fmt: skip
_BLACK_WOMEN = {
    "afro": 26,
    "short-curly": 8,
    "long-curly": 14,
    "tied-back": 22,
    "long-straight": 10,
    "bob": 8,
    "buzz": 4,
}
_BLACK_MEN = {"buzz": 46, "crew": 6, "short-curly": 10, "afro": 16, "bald": 14, "receding": 4, "horseshoe": 2}
_STRAIGHT = ("asian",)  # groups in which curls are rare
# sRGB, middling light
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (49, 43, 41), "dark brown": (72, 55, 45), "brown": (96, 70, 52), "light brown": (128, 98, 71),
    "dark blond": (154, 124, 88), "blond": (190, 161, 117), "red": (132, 74, 46), "grey": (132, 129, 126),
    "white": (180, 176, 170),
}  # fmt: skip
_SHARES = {
    "white": {"black": 6, "dark brown": 28, "brown": 26, "light brown": 16, "dark blond": 12, "blond": 9, "red": 3},
    "black": {"black": 80, "dark brown": 17, "brown": 3},
    "asian": {"black": 66, "dark brown": 28, "brown": 6},
    "indian": {"black": 74, "dark brown": 24, "brown": 2},
    "other": {"black": 40, "dark brown": 38, "brown": 18, "light brown": 4},
}


def sample_style(rng: np.random.Generator, sex: str, age: int, group: str) -> str:
    """Name of a style that a person of this sex ("female" or "male"), age in years and UTKFace group may wear."""
    female = sex == "female"
    if group == "black":
        share = dict(_BLACK_WOMEN if female else _BLACK_MEN)
    else:
        share = dict(_WOMEN if female else _MEN)
    if group in _STRAIGHT:
        share = {name: weight * (0.15 if "curly" in name else 1) for name, weight in share.items()}
    old = float(np.clip((age - 35) / 35, 0, 1))
    if not female:  # older men have less of it in front and above; these shares, as all of them, are guesses
        for name, gain in (("receding", 40), ("horseshoe", 13), ("bald", 6)):
            share[name] = share.get(name, 0) + gain * old
    else:  # older women wear it shorter
        for name, factor in (
            ("bob", 2.5),
            ("side-parted", 7),
            ("short-curly", 5),
            ("long-straight", 0.3),
            ("fringe", 0.5),
        ):
            share[name] = share.get(name, 0) * (1 + (factor - 1) * old)
    return _drawn(rng, share)


def sample_colour(rng: np.random.Generator, age: int, group: str) -> tuple[str, np.ndarray]:
    """Name and sRGB colour (3,) float64, 0..255, of natural hair; it turns grey, then white, with age."""
    name = _drawn(rng, _SHARES[group])
    onset = rng.normal(54 if group in ("white", "other") else 58, 6)
    grey = float(np.clip((age - onset) / 18, 0, 1))
    goal = "white" if grey > 0.85 else "grey"
    colour = np.array(COLOURS[name]) * (1 - grey) + np.array(COLOURS[goal]) * grey
    colour = colour * np.exp(0.10 * rng.standard_normal())
    colour = colour * (1 + 0.02 * rng.standard_normal() * np.array([1.0, 0.2, -1.2]))
    return goal if grey > 0.5 else name, np.clip(colour, 10, 235)


def _drawn(rng: np.random.Generator, share: dict[str, float]) -> str:
    names, weight = list(share), np.array(list(share.values()), float)
    return names[int(rng.choice(len(names), p=weight / weight.sum()))]


__all__ = ["COLOURS", "Hair", "STYLES", "sample_colour", "sample_style", "strand_texture"]
