"""Sewn cloth masks, plain and printed. Drawings return the atlas, uint8 RGBA (512, 512, 4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import shapes
from canvas import (
    COLOUR_STEP,
    PRINT_STEP,
    SHAPE,
    axes,
    block,
    edge_roll,
    grey,
    line,
    noise,
    panel_and_strap,
    polygon,
    rounded,
    shade,
    step,
    strap,
)
from catalogue import COTTONS, Colours, Masks, described
from folds import bite, drape, hem, lumps, pleats, seam, stitches, tension
from prints import Print, painted, turned

FOAMS: Colours = {"black": [66, 66, 70], "grey": [126, 129, 134], "white": [236, 236, 234], "pink": [226, 168, 180],
                  "blue": [112, 142, 178]}  # fmt: skip
WHITE, DARK, CREAM = (236, 236, 234), (62, 62, 66), (226, 220, 208)


def weave(amount: float = 1.0, pitch: int = 4) -> np.ndarray:
    """A plain weave about 0; its pitch is a whole number of texels, so that files stay small."""
    x, y = axes()
    return amount * 0.016 * np.sign(np.sin(2 * np.pi * x / pitch + 0.1) * np.sin(2 * np.pi * y / pitch + 0.1))


def curved_outline() -> np.ndarray:
    """Two curved halves: high at the nose, deep at the chin, narrow at the ears."""
    half = [[0, 18], [60, 26], [130, 54], [238, 78], [238, 350], [130, 396], [60, 412], [0, 414]]
    return polygon(half + [[-x, y] for x, y in half[-2:0:-1]], round_off=7)


@lru_cache(maxsize=8)
def curved(seed: int, amount: float = 1.3) -> tuple[np.ndarray, np.ndarray]:
    """Relief and signed distance of a sewn two-part mask: centre seam, stitched hem, casings for the elastic."""
    x, y = axes()
    d = curved_outline()
    relief = hem(d, 13, 1.6) + seam(x + 1.2 * noise(seed, (4, 60)), 2.4, 3.4)
    relief += 1.4 * step(np.abs(x) - 206, 0, 4) - 1.0 * line(np.abs(x) - 203, 2.0)
    relief += amount * (tension(seed + 1, 2.6, 200) + drape(seed + 6, 1.9) + lumps(seed + 8, 1.3, 26))
    relief += amount * 1.6 * line(np.abs(x) - 26 - 10 * np.sin(y / 60.0), 12) * step(y, 90, 60) * step(360 - y, 0, 60)
    return relief, d


def mirrored(print_of: Print, relief: np.ndarray, tilt: float = 9.0, offset: float = 17.0) -> np.ndarray:
    """A print on two halves cut from the cloth at opposite slants: it breaks at the seam and follows the folds."""
    x, y = bite(relief, *axes())
    side = np.sign(axes()[0])
    right, left = turned(x, y, tilt), turned(x + offset, y + 0.7 * offset, -tilt)
    px, py = (np.where(side > 0, one, other) for one, other in zip(right, left, strict=True))
    return painted(print_of, px, py)


def two_part(print_of: Print | None, seed: int, grain: float = 1.0, thread: float = 0.10, elastic: str = "cord",
             colour: tuple[int, int, int] = CREAM) -> np.ndarray:  # fmt: skip
    """A two-part mask of any cloth; ``print_of`` None is plain white cloth for the colourway to dye."""
    relief, d = curved(seed)
    cloth = grey(np.full(SHAPE, 0.90)) if print_of is None else mirrored(print_of, relief)
    value = (
        shade(relief)
        + weave(grain if print_of is None else 0.5 * grain)
        + 0.010 * noise(seed + 11, 30)
        - thread * stitches(d - 10, 7, 1.1)
    )
    return panel_and_strap(
        block(cloth * value[..., None], d), strap(elastic, colour), PRINT_STEP if print_of else COLOUR_STEP
    )


@lru_cache(maxsize=4)
def pleated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Relief and signed distance of a home-sewn pleated mask with bound sides."""
    x, y = axes()
    d = rounded(radius=8)
    relief = pleats((122, 200, 278), (146, 204, 262), 4.6, seed) + hem(d, 12, 1.2)
    relief += tension(seed + 1, 2.0, 160) + drape(seed + 5, 1.3) + lumps(seed + 7, 1.2, 24)
    relief += 3.0 * step(np.abs(x) - 204, 0, 5) - 1.2 * line(np.abs(x) - 201, 2.4)
    return relief, d


def with_pleats(
    print_of: Print | None, seed: int, elastic: str = "cord", colour: tuple[int, int, int] = WHITE
) -> np.ndarray:
    """A pleated cotton mask; the print skips what lies hidden in each fold."""
    relief, d = pleated(seed)
    x, y = bite(relief, *axes())
    hidden = 13.0 * sum(step(y, at, 8) for at in (122, 200, 278))
    cloth = grey(np.full(SHAPE, 0.90)) if print_of is None else painted(print_of, x, y + hidden)
    binding = step(np.abs(axes()[0]) - 203, 0, 3)[..., None]
    plain = np.median(cloth.reshape(-1, 3), axis=0) * 0.94
    cloth = cloth * (1 - binding) + plain * binding
    value = shade(relief) + weave() + 0.010 * noise(seed + 11, 30)
    value -= 0.10 * stitches(d - 9, 7, 1.1) + 0.08 * stitches(np.abs(axes()[0]) - 207, 7, 1.1)
    return panel_and_strap(
        block(cloth * value[..., None], d), strap(elastic, colour), PRINT_STEP if print_of else COLOUR_STEP
    )


Figure = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def foam(figure: Figure | None, seed: int) -> np.ndarray:
    """A block: foam or neoprene cut in one piece with its ear loops: raw edge, glued centre seam, hardly a fold.

    With a ``figure``, which gives (RGB, weight), the foam is black; without, it is for the colourway to dye.
    """
    x, y = axes()
    half = [[0, 18], [54, 24], [124, 62], [190, 60], [238, 78], [238, 362], [150, 392], [66, 411], [0, 414]]
    d = polygon(half + [[-px, py] for px, py in half[-2:0:-1]], round_off=9)
    relief = edge_roll(d, 7, 3.4) - 2.4 * line(x, 2.0) + 1.6 * line(np.abs(x) - 7, 5)
    relief += tension(seed, 1.6, 220) + lumps(seed + 5, 1.6, 34) + 0.9 * drape(seed + 6, 1.6)
    colour = grey(0.89 * shade(relief, 0.8) + 0.008 * noise(seed + 9, 0.9) + 0.012 * noise(seed + 10, 40))
    if figure is not None:
        tone, weight = (part if part.ndim == 3 else part[..., None] for part in figure(*bite(relief, x, y)))
        colour = colour * 0.24 * (1 - weight) + tone * shade(relief, 0.8)[..., None] * weight
    return block(colour, d)


MASKS: Masks = {
    "cloth-pleated": lambda: described(
        "cloth-pleated", "Cotton mask, pleated", "cloth", COTTONS, shapes.pleated(), with_pleats(None, 421), "cotton.py"
    ),
    "sponge": lambda: described(
        "sponge",
        "Foam mask, one piece",
        "cloth",
        FOAMS,
        shapes.foam(),
        panel_and_strap(foam(None, 441), strap("foam", (222, 222, 222))),
        "cotton.py",
    ),
}
