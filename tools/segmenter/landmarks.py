"""Landmarks of the pictures that masks are drawn on, for make.py: an npz with names (N,) and points (N, 478, 3).

The people of the train split and ``utk144``, or, with --split val, the people of the validation split.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "people"))
from fit_files import CELEBA, split_ids  # noqa: E402
from fit_landmarks import detected, pictures  # noqa: E402

from maskbench.files import atomic_write


def main() -> None:
    """Parse the options and run."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("out", type=Path, help="the npz; one that is there is left alone")
    parse.add_argument("--data", type=Path, required=True, help="holds faces/ and splits/")
    parse.add_argument("--split", choices=["train", "val"], default="train")
    parse.add_argument("--workers", type=int, default=2)
    given = parse.parse_args()
    if given.out.exists():
        return
    names = pictures(given.data)
    if given.split == "val":
        people = split_ids(given.data, "val")
        found = sorted((given.data / "faces" / CELEBA).glob("*/*"))
        names = [f"{CELEBA}/{path.parent.name}/{path.name}" for path in found if path.parent.name in people]
    with atomic_write(given.out) as stream:
        np.savez(stream, **detected(given.data, names, given.workers))


if __name__ == "__main__":
    main()
