"""Draw the pictures of README and docs that show people: ``python tools/docs_pictures.py [docs/images]``.

All of them are of synthetic people, whom nobody is. ``people.jpg`` shows 32 of them, ``masks.jpg`` masks on four.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from maskbench.images import write_image
from maskbench.people.portraits import Portraits

ROWS, COLUMNS, SIZE, QUALITY = 4, 8, 160, 88
FIRST = 200  # identity numbers from here on, the first picture of each
LARGE = 320
WEARERS = ((28, 3), (55, 1), (27, 1), (59, 3))  # identity and picture
MASKS = (
    "surgical,n95,ffp3-valve,cloth-tartan,gaiter-camouflage,scarf-knit,half-mask,hand-mouth,sunglasses-aviator,"
    "face-shield"
)


def people(out: Path) -> None:
    """A sheet of people, each in another light, pose and place."""
    portraits = Portraits(0, SIZE)
    tiles = [portraits.portrait(FIRST + number, 1).image for number in range(ROWS * COLUMNS)]
    rows = [np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
    cv2.imwrite(str(out / "people.jpg"), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def masks(out: Path) -> None:
    """Masks on some of them, by ``maskbench masks preview``."""
    portraits = Portraits(0, LARGE)
    with tempfile.TemporaryDirectory() as folder:
        sheet = str(Path(folder) / "masks.png")
        command = [sys.executable, "-m", "maskbench", "masks", "preview", sheet, "--mask", MASKS, "--side", "200"]
        for number, shot in WEARERS:
            face = Path(folder) / f"{number}.png"
            write_image(face, portraits.portrait(number, shot).image)
            command += ["--face", str(face)]
        subprocess.run(command, check=True)
        cv2.imwrite(str(out / "masks.jpg"), cv2.imread(sheet), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs" / "images"
    people(target)
    masks(target)
