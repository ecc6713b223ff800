"""Hair styles by name: each draws its own lengths, volume, parting and fringe from a generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maskbench.people import hair_long, hair_short
from maskbench.people.hair_scalp import Scalp
from maskbench.people.hair_strands import Hair

Maker = Callable[[np.random.Generator, Scalp], Hair]

STYLES: dict[str, Maker] = {
    "bald": hair_short.bald,
    "horseshoe": hair_short.horseshoe,
    "receding": hair_short.receding,
    "buzz": hair_short.buzz,
    "crew": hair_short.crew,
    "side-parted": hair_short.side_parted,
    "swept-up": hair_short.swept_up,
    "short-curly": hair_short.short_curly,
    "long-straight": hair_long.long_straight,
    "fringe": hair_long.fringed,
    "long-wavy": hair_long.long_wavy,
    "shoulder": hair_long.shoulder,
    "bob": hair_long.bob,
    "long-curly": hair_long.long_curly,
    "tied-back": hair_long.tied,
    "afro": hair_short.afro,
}
