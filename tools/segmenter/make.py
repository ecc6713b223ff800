"""Render dressed faces and their masks into a scratch folder: what the segmenter is trained on and measured with.

A folder made here has ``faces.npy`` (N, 128, 128, 3) uint8 RGB, ``alpha.npy`` (N, 128, 128) uint8, ``done.npy`` (N,)
uint8 and ``rows.json``: the picture, the group and the masks of each row. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from garments import dress  # noqa: E402

from maskbench.align import estimate_similarity, five_points, template_at, warp
from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.files import inside, read_json, write_json, write_text
from maskbench.images import read_image
from maskbench.landmarks.base import MESH_POINTS, mesh_landmarks
from maskbench.masking.faces import choose_faces
from maskbench.parallel import forkable, map_items
from maskbench.types import Landmarks

TEMPLATE = "wide128"
SIDE = 128
ROLL, SCALE, SHIFT = 8.0, 0.08, 5.0  # half-widths: degrees, relative, pixels of the crop
ALIGNMENTS = ("jitter", "known", "found")


@dataclass(frozen=True)
class Task:
    """Everything that decides the rows of a folder; ``align``: "jitter" moves crops about, "known" aligns by the
    landmarks of the bare picture, "found" by landmarks that are detected in the masked one."""

    faces: str
    landmarks: tuple[str, ...]
    people: str
    sets: tuple[str, ...]
    copies: tuple[int, ...]
    unseen: bool
    bare: float
    align: str
    limit: int
    seed: int


def known_faces(task: Task) -> dict[str, np.ndarray]:
    """Points (468, 3) by the picture's path below the folder of faces, for the wanted sets and people, sorted."""
    people = set(Path(task.people).read_text().split())
    found = {}
    for file in task.landmarks:
        with np.load(file, allow_pickle=False) as data:
            names, points = data["names"], data["points"]
        for name, mesh in zip(names.tolist(), points[:, :MESH_POINTS], strict=True):
            parts = name.split("/")
            # Folders of persons hold pictures of the wanted people only; a set without them has no persons.
            if parts[0] in task.sets and (len(parts) < 3 or parts[1] in people) and np.isfinite(mesh).all():
                found[name] = mesh
    if not found:
        raise MaskbenchError(f"{task.landmarks[0]}: no landmarks of these sets and people; check the options")
    return dict(sorted(found.items()))


def items_of(task: Task, names: list[str]) -> list[tuple[int, str, int]]:
    """(row, picture, copy), as often as each set is to be copied, spread evenly when there is a limit."""
    often = dict(zip(task.sets, task.copies, strict=True))
    every = [(name, copy) for name in names for copy in range(often[name.split("/")[0]])]
    if task.limit and task.limit < len(every):
        every = [every[i * len(every) // task.limit] for i in range(task.limit)]
    return [(row, name, copy) for row, (name, copy) in enumerate(every)]


def jittered(rng: np.random.Generator, matrix: np.ndarray) -> np.ndarray:
    """An alignment turned, scaled and shifted about the middle of the crop, as a poor landmarker would."""
    turn = cv2.getRotationMatrix2D(
        ((SIDE - 1) / 2, (SIDE - 1) / 2), rng.uniform(-ROLL, ROLL), 1 + rng.uniform(-SCALE, SCALE)
    )
    turn[:, 2] += rng.uniform(-SHIFT, SHIFT, 2)
    return turn @ np.vstack([matrix, [0, 0, 1]])


def crop(image: np.ndarray, alpha: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The aligned picture and alpha."""
    return warp(image, matrix, (SIDE, SIDE)), warp(alpha, matrix, (SIDE, SIDE))


@forkable
def worker(task: Task, out: Path) -> Callable[[tuple[int, str, int]], tuple[str, list[str]] | str]:
    """The function that fills one row; it answers with (group, masks) or with the reason why there is none."""
    cv2.setNumThreads(1)
    meshes, faces = known_faces(task), np.load(out / "faces.npy", mmap_mode="r+")
    alphas, done = np.load(out / "alpha.npy", mmap_mode="r+"), np.load(out / "done.npy", mmap_mode="r+")
    detectors: list = []

    def face_in(image: np.ndarray) -> Landmarks | None:
        if not detectors:
            from maskbench.landmarks.base import LANDMARKERS

            detectors.append(LANDMARKERS.get("auto")())
        found = choose_faces(detectors[0].detect(image), image.shape, "largest")
        return found[0] if found else None

    def fill(item: tuple[int, str, int]) -> tuple[str, list[str]] | str:
        row, name, copy = item
        rng = generator(task.seed, name, str(copy))
        image, face = read_image(inside(Path(task.faces), name)), mesh_landmarks(meshes[name], "given")
        loose = task.align == "jitter"
        image, alpha, group, worn = dress(rng, image, face, task.unseen, task.bare, loose)
        if task.align == "found" and (face := face_in(image)) is None:
            done[row] = 2
            return "no face found"
        matrix = estimate_similarity(five_points(face), template_at(TEMPLATE).points)
        faces[row], alphas[row] = crop(image, alpha, jittered(rng, matrix) if loose else matrix)
        done[row] = 1
        return group, worn

    return fill


def _open(out: Path, task: Task, count: int) -> np.ndarray:
    """Make the arrays, or see that those there are of this very task; returns the flags of finished rows."""
    told = {**asdict(task), "landmarks": list(task.landmarks), "sets": list(task.sets), "copies": list(task.copies)}
    if (out / "task.json").exists():
        if read_json(out / "task.json") != told:
            raise MaskbenchError(f"{out}: made with other options; choose another folder")
        return np.load(out / "done.npy", mmap_mode="r+")
    out.mkdir(parents=True, exist_ok=True)
    for name, shape in (("faces", (count, SIDE, SIDE, 3)), ("alpha", (count, SIDE, SIDE)), ("done", (count,))):
        np.lib.format.open_memmap(out / f"{name}.npy", "w+", np.uint8, shape)
    write_json(out / "task.json", told)
    return np.load(out / "done.npy", mmap_mode="r+")


def make(out: Path, task: Task, workers: int) -> None:
    """Fill the folder ``out``, or what is missing of it, in an order that mixes all pictures."""
    items = items_of(task, list(known_faces(task)))
    done = _open(out, task, len(items))
    log, started = out / "rows.jsonl", time.monotonic()
    todo = [items[i] for i in generator(task.seed, "order").permutation(len(items)) if not done[i]]
    with open(log, "a", encoding="utf-8") as stream:
        for number, (item, answer) in enumerate(map_items(worker, (task, out), todo, workers)):
            group, worn = ("failed", []) if isinstance(answer, str) or answer is None else answer
            stream.write(json.dumps({"row": item[0], "picture": item[1], "group": group, "masks": worn}) + "\n")
            if number % 1000 == 999:
                stream.flush()
                print(f"{number + 1}/{len(todo)} {time.monotonic() - started:.0f} s", flush=True)
    rows = {row["row"]: row for row in map(json.loads, log.read_text().splitlines())}
    told = [rows.get(row, {"row": row, "picture": name, "group": "failed", "masks": []}) for row, name, _ in items]
    write_text(out / "rows.json", json.dumps(told))


def main() -> None:
    """Parse the options and run."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("out", type=Path)
    parse.add_argument("--faces", required=True, help="folder that the names in the landmark files are relative to")
    parse.add_argument("--landmarks", required=True, nargs="+", help="npz with names (N,) and points (N, 468+, 3)")
    parse.add_argument("--people", required=True, help="text file of the persons to take, of sets with such folders")
    parse.add_argument("--sets", nargs="+", default=["celeba256", "utk144"])
    parse.add_argument("--copies", nargs="+", type=int, default=[1, 1], help="of each picture, set by set")
    parse.add_argument("--unseen", action="store_true", help="draw from the held-out masks")
    parse.add_argument("--bare", type=float, default=0.27, help="share of faces without a mask")
    parse.add_argument("--align", choices=ALIGNMENTS, default="jitter")
    parse.add_argument("--limit", type=int, default=0)
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--workers", type=int, default=2)
    given = vars(parse.parse_args())
    out, workers = given.pop("out"), given.pop("workers")
    lists = {key: tuple(given.pop(key)) for key in ("landmarks", "sets", "copies")}
    make(out, Task(**given, **lists), workers)


if __name__ == "__main__":
    main()
