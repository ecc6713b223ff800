"""The mannequins: named shapes with their colours. Invented settings; none imitates a person."""

from __future__ import annotations

from head import Mesh, Shape, build_head
from paint import Look
from render import dress

# Subdivision parts the lips and narrows the eyes a little; these actions undo it and ease the corners of the mouth.
REST = {"eyeWideLeft": 0.3, "eyeWideRight": 0.3, "mouthClose": 0.06, "mouthSmileLeft": 0.12, "mouthSmileRight": 0.12}

SHAPES: dict[str, tuple[dict, dict]] = {
    "ash": ({"gender": 0.2, "age": 0.05, "mix": (1, 1, 2)},
            {"skin": "#e3b79b", "hair": "#4a3426", "cloth": "#66788a"}),
    "birch": ({"gender": 0.9, "age": 0.15, "mix": (0, 1, 3), "details": {"head/head-rectangular": 0.4}},
              {"skin": "#dba888", "hair": "#6b4e33", "cloth": "#59695c", "stubble": 0.5}),
    "cedar": ({"gender": 0.1, "age": 0.1, "mix": (4, 0, 1), "details": {"head/head-oval": 0.5}},
              {"skin": "#8a5a40", "hair": "#1d1613", "bun": 0.30, "lips": "#7d4138", "iris": "#2f2018",
               "cloth": "#a1743f"}),
    "elm": ({"gender": 0.85, "age": 0.2, "mix": (0, 4, 1), "details": {"head/head-round": 0.4}},
            {"skin": "#d2a27c", "hair": "#1b1817", "iris": "#33241a", "cloth": "#72566b"}),
    "fir": ({"gender": 0.8, "age": 0.1, "mix": (4, 0, 0.5), "details": {"head/head-square": 0.3}},
            {"skin": "#70492f", "hair": "#16120f", "lips": "#6b3a31", "iris": "#2a1c14", "cloth": "#5b7a80"}),
    "hazel": ({"gender": 0.1, "age": 0.05, "mix": (0.3, 3, 0.5), "details": {"head/head-oval": 0.3}},
              {"skin": "#e0b590", "hair": "#241d1b", "bun": 0.26, "iris": "#3b281d", "cloth": "#8a8f6a"}),
    "larch": ({"gender": 0.5, "age": 0.5, "mix": (1, 1, 1)},
              {"skin": "#b98463", "hair": "#6d6a68", "lips": "#9c5b50", "cloth": "#59606e"}),
    "maple": ({"gender": 0.6, "age": 0.05, "mix": (1, 1, 1), "weight": 0.7},
              {"skin": "#a8714f", "hair": "#2a1d16", "lips": "#8d4c42", "iris": "#3a281b", "cloth": "#7c4f48"}),
}


def mannequin(name: str, levels: int = 2, **actions: float) -> tuple[Mesh, Look]:
    """A mannequin's mesh, dressed, and its colours. `actions` are facial actions on top of REST (`jawOpen=0.5`)."""
    shape, look = SHAPES[name]
    return dress(build_head(Shape(**shape, actions=REST | actions), levels), Look(**look)), Look(**look)
