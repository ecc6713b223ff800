"""All man-made masks, wraps and shields of these modules by id; each entry draws its asset: (asset.json, texture)."""

from __future__ import annotations

import cotton
import figures
import medical
import printed
import respirators
import shields
import wraps
from catalogue import Masks

MASKS: Masks = {
    **medical.MASKS,
    **respirators.MASKS,
    **cotton.MASKS,
    **printed.MASKS,
    **figures.MASKS,
    **wraps.MASKS,
    **shields.MASKS,
}
