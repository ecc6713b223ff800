"""Draw how much of the face each recipe covers: ``python tools/coverage_histograms.py FACES OUT.png [--count 400]``.

One strip for each shipped recipe: the distribution of the covered fraction over evenly chosen photographs below FACES,
and its mean. Only these numbers enter the picture. The picture in docs/recipes.md was made so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root
from maskbench.images import read_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.faces import choose_faces, mask_faces
from maskbench.masking.recipes import list_recipes, load_recipe
from maskbench.masking.wardrobe import Wardrobe
from maskbench.types import Landmarks

Face = tuple[str, np.ndarray, list[Landmarks]]
INK, FILL, RULE = "#2b2b2b", "#5b8db8", "#c8c8c8"
BINS = 50


def read_faces(folder: Path, count: int) -> list[Face]:
    """Up to ``count`` pictures with a face, evenly chosen: their path, pixels, and the largest face's landmarks."""
    paths = [file.path for file in walk(folder) if file.is_image]
    landmarker = CachedLandmarker("auto", root=cache_root())
    faces = []
    for index in np.unique(np.linspace(0, len(paths) - 1, count).astype(int)):
        path = folder / paths[index]
        image = read_image(path)
        found = choose_faces(landmarker.detect(image, file_sha256(path)), image.shape, "largest")
        if found:
            faces.append((paths[index], image, found))
    return faces


def measure(faces: list[Face], names: list[str]) -> dict[str, np.ndarray]:
    """The covered fraction of every face under every recipe that the masks at hand allow."""
    shares = {}
    for name in names:
        try:
            wardrobe = Wardrobe.open(load_recipe(name))
        except MaskbenchError as error:
            print(f"left out: {error}")
            continue
        covered = [mask_faces(image.copy(), found, wardrobe, path, 0).covered_fraction for path, image, found in faces]
        shares[name] = np.array(covered)
        print(f"{name:12} mean {shares[name].mean():.3f}  deviation {shares[name].std():.3f}  n {len(covered)}")
    return shares


def draw(shares: dict[str, np.ndarray], out: Path) -> None:
    """One histogram above the other, on one axis from 0 to 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(shares), 1, figsize=(7.5, 0.52 * len(shares) + 0.9), sharex=True)
    for axis, (name, values) in zip(np.atleast_1d(axes), shares.items(), strict=True):
        axis.hist(values, bins=BINS, range=(0, 1), color=FILL, weights=np.full(len(values), 1 / len(values)))
        axis.axvline(values.mean(), color=INK, linewidth=1.1)
        axis.text(-0.015, 0.1, name, transform=axis.transAxes, ha="right", va="bottom", color=INK, fontsize=9)
        axis.text(1.015, 0.1, f"mean {values.mean():.2f}", transform=axis.transAxes, va="bottom", color=INK, fontsize=9)
        axis.set(yticks=[], xlim=(0, 1))
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        axis.spines["bottom"].set_color(RULE)
        axis.tick_params(axis="x", color=RULE, labelsize=9)
    np.atleast_1d(axes)[-1].set_xlabel("share of the face oval that is covered")
    count = len(next(iter(shares.values())))
    np.atleast_1d(axes)[0].set_title(f"Coverage of each recipe over {count} photographs", fontsize=11, loc="left")
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.15, right=0.87, top=1 - 0.35 / height, bottom=0.5 / height, hspace=0.35)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130, metadata={"Software": None})


def main() -> None:
    """Read the arguments, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path, help="a folder of photographs")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--count", type=int, default=400, help="photographs (400)")
    parser.add_argument("--recipes", nargs="+", default=sorted(list_recipes()), help="names or files (all)")
    given = parser.parse_args()
    faces = read_faces(given.faces, given.count)
    if not faces:
        raise SystemExit(f"{given.faces}: no picture with a face")
    draw(measure(faces, given.recipes), given.out)
    print(given.out)


if __name__ == "__main__":
    main()
