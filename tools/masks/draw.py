"""Draw the shipped masks: ``python tools/masks/draw.py [OUT] [ID ...]`` writes mask_assets/ again, byte for byte.

Everything is computed from formulas and seeded noise; no photograph is used.
"""

from __future__ import annotations

import sys
from pathlib import Path

import body
import canvas
import cv2
import first
import glasses
import headwear
import hybrid
import manmade
import nist
import pen

MODULES = (first, manmade, nist, glasses, headwear, body, hybrid)
MASKS: pen.Masks = {asset_id: make for module in MODULES for asset_id, make in module.MASKS.items()}

if __name__ == "__main__":
    cv2.setNumThreads(canvas.THREADS)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "mask_assets"
    for chosen in sys.argv[2:] or MASKS:
        print(pen.write(target, MASKS[chosen]()))
