"""How near completions come to what a mask hides, and how long a face takes.

    python benchmarks/completions.py FACES --train train_ids.txt --probes probe_ids.txt [--recipes ar1,ar2]
        [--points points.npz] [--people-pictures 3] [--sheet sheet.png] [method ...]

FACES holds one folder of pictures per person; the two lists name folders, one a line, and share none. The methods are
fitted on every picture of the first; of each person of the second the first pictures are masked by each recipe (seed
0) on the landmarks of the clean picture, aligned by the same landmarks to the method's own template ("wide128" but
for networks whose card says otherwise), and completed with the mask's own alpha. Error, PSNR and SSIM (windows of 7
pixels whose middle is hidden) are taken over the hidden pixels of a face and then averaged over faces; "identity" is
the mean cosine between a recognizer's templates of the completed face and of the original, less the mean of the
originals'. The time is that of the processor, on one thread. A method may be torch:PATH, a completion of your own.
--points gives landmarks found earlier: "names" (K,) paths in FACES, "points" (K, 468 or more, 3); else MediaPipe's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from maskbench.align import Template, estimate_similarity, five_points, template_at, warp
from maskbench.completions.base import COMPLETIONS, CompletionSpec, checked_complete, load_completion
from maskbench.digest import array_sha256
from maskbench.files import cache_root
from maskbench.images import read_image
from maskbench.landmarks.base import MESH_POINTS, mesh_landmarks
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.transform import RandomMask
from maskbench.recognizers.base import checked_embed, load_recognizer

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
SHOWN = 8


def pictures(root: Path, ids: Path) -> list[list[str]]:
    """For each person of the list the paths of the pictures, relative to ``root``."""
    folders = [root / name for name in ids.read_text().split()]
    found = [sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES) for folder in folders]
    return [[path.relative_to(root).as_posix() for path in paths] for paths in found]


def find_points(root: Path, names: Iterable[str], known: Path | None) -> dict[str, np.ndarray]:
    """Picture to (468, 3) points; pictures without a face are left out."""
    if known is not None:
        with np.load(known, allow_pickle=False) as table:
            found = dict(zip(map(str, table["names"]), table["points"][:, :MESH_POINTS], strict=True))
        return {name: found[name] for name in names if name in found and np.isfinite(found[name]).all()}
    landmarker, result = CachedLandmarker("mediapipe", root=cache_root()), {}
    for name in names:
        image = read_image(root / name)
        if found := landmarker.detect(image, array_sha256(image)):
            result[name] = found[0].points
    return result


def crop_of(spec: CompletionSpec) -> Template:
    """How a completion's faces are aligned."""
    return template_at(spec.template, spec.input_size)


def aligned(image: np.ndarray, points: np.ndarray, template: Template) -> np.ndarray:
    """The crop of a picture, or of a mask."""
    return warp(image, estimate_similarity(five_points(mesh_landmarks(points, "")), template.points), template.size)


def probes(
    root: Path, names: list[str], points: dict[str, np.ndarray], recipe: str, template: Template
) -> list[np.ndarray]:
    """Masked faces, masks and originals, aligned: three arrays."""
    transform = RandomMask(recipe, p=1.0, landmarks=points, output="pair")
    rows = []
    for name in names:
        image = read_image(root / name)
        masked, alpha = transform(image, name)
        hidden = np.where(alpha > 0, np.uint8(255), np.uint8(0))
        crops = [aligned(picture, points[name], template) for picture in (masked, hidden, image)]
        if crops[1].any():
            rows.append((crops[0], (crops[1] > 0).astype(np.uint8), crops[2]))
    return [np.stack(column) for column in zip(*rows, strict=True)]


def errors(completed: np.ndarray, originals: np.ndarray, masks: np.ndarray) -> tuple[float, ...]:
    """Mean absolute error, PSNR in dB and SSIM inside the masks, averaged over faces."""
    from skimage.metrics import structural_similarity

    found = []
    for face, original, mask in zip(completed, originals, masks, strict=True):
        difference = face[mask == 1].astype(np.float64) - original[mask == 1]
        psnr = 10 * np.log10(255**2 / max((difference**2).mean(), 1e-9))
        _, alike = structural_similarity(face, original, channel_axis=-1, full=True, data_range=255)
        found.append((np.abs(difference).mean(), psnr, alike[mask == 1].mean()))
    return tuple(np.mean(found, axis=0))


class Identity:
    """How alike a recognizer finds completed faces and their originals, by the cosine of centred templates."""

    def __init__(self, name: str) -> None:
        self._recognizer = load_recognizer(name, "cpu")
        spec = self._recognizer.spec
        self._template = template_at(spec.template, spec.input_size)

    def templates(self, faces: np.ndarray, template: Template) -> np.ndarray:
        """Faces aligned to ``template`` to (N, D) float64."""
        matrix = estimate_similarity(template.points, self._template.points)
        crops = np.stack([warp(face, matrix, self._template.size) for face in faces])
        return checked_embed(self._recognizer, crops)[0].astype(np.float64)

    def __call__(self, completed: np.ndarray, originals: np.ndarray, template: Template) -> float:
        """The mean cosine over faces."""
        wanted = self.templates(originals, template)
        middle = wanted.mean(axis=0)
        ours, theirs = self.templates(completed, template) - middle, wanted - middle
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        return float(((ours * theirs).sum(axis=1) / lengths).mean())


def main() -> None:
    """Print one line per recipe and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("methods", nargs="*", default=COMPLETIONS.names(ready=True))
    for option in ("--train", "--probes"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--recipes", default="ar1,ar2")
    parser.add_argument("--points", type=Path)
    parser.add_argument("--people-pictures", type=int, default=3)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--recognizer", default="dlib-resnet")
    arguments = parser.parse_intermixed_args()
    cv2.setNumThreads(1)
    train = sum(pictures(arguments.faces, arguments.train), [])
    people = pictures(arguments.faces, arguments.probes)
    points = find_points(arguments.faces, train + sum(people, []), arguments.points)
    chosen = sum(([name for name in found if name in points][: arguments.people_pictures] for found in people), [])
    methods = [load_completion(name) for name in arguments.methods]
    wide = template_at("wide128")  # that of all methods that are fitted
    seen = [name for name in train if name in points] if any(method.spec.needs_fit for method in methods) else []
    faces = [aligned(read_image(arguments.faces / name), points[name], wide) for name in seen]
    fitted = [method.fit(np.stack(faces)) if method.spec.needs_fit else method for method in methods]
    print(f"{len(faces)} training faces, {len(people)} people to complete")
    identity = Identity(arguments.recognizer)
    sheet = []
    for recipe in arguments.recipes.split(","):
        for number, (name, completion) in enumerate(zip(arguments.methods, fitted, strict=True)):
            template = crop_of(completion.spec)
            masked, masks, originals = probes(arguments.faces, chosen, points, recipe, template)
            checked_complete(completion, masked[:1], masks[:1])  # loads what it needs
            start = time.process_time()
            completed = checked_complete(completion, masked, masks)
            seconds = (time.process_time() - start) / len(masked)
            error, psnr, ssim = errors(completed, originals, masks)
            print(
                f"{recipe:6} {name:14} {len(masked)} faces, {masks.mean():.1%} hidden: mean absolute error "
                f"{error:5.2f}, PSNR {psnr:5.2f} dB, SSIM {ssim:.3f}, "
                f"identity {identity(completed, originals, template):.3f}, {1000 * seconds:4.0f} ms a face", flush=True,
            )  # fmt: skip
            shown = np.linspace(0, len(masked) - 1, min(SHOWN, len(masked))).astype(int)
            rows = [masked, originals, completed] if number == 0 else [completed]
            sheet += [np.hstack([cv2.resize(face, wide.size) for face in row[shown]]) for row in rows]
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), np.vstack(sheet)[..., ::-1])


if __name__ == "__main__":
    main()
