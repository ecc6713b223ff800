"""Which picture of a subject is its reference: the first by name, or the one that looks most straight at the camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskbench.digest import bytes_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside
from maskbench.images import decode, read_bytes
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.landmarks.canonical import canonical_face
from maskbench.masking.faces import choose_faces
from maskbench.parallel import map_items
from maskbench.progress import track
from maskbench.registry import nearest

RULES = ("first", "frontal")


def check_rule(rule: str) -> None:
    """Raise MaskbenchError unless there is such a rule."""
    if rule not in RULES:
        raise MaskbenchError(f'no rule "{rule}" for references; {nearest(rule, RULES)}')


def choose_references(
    root: Path, subjects: Mapping[str, Sequence[str]], rule: str, workers: int = 1, cache: Path | None = None
) -> dict[str, tuple[str, str]]:
    """One picture of each subject, and the rule that chose it.

    Args:
        subjects: the paths of each subject's pictures below ``root``.
        rule: "first" takes the first path, in the order of characters, that is a picture. "frontal" takes the face
            whose mesh is turned least away from the camera, by yaw and pitch together; of equal ones the first. A
            subject in none of whose pictures a face is found gets its first one, and the rule "first: no face found".

    Subjects none of whose files is a picture that can be read are left out.

    Raises:
        MaskbenchError: no such rule, or the face mesh is not installed.
    """
    check_rule(rule)
    turned = _turned(root, subjects, workers, cache) if rule == "frontal" else {}
    chosen = {}
    for subject, paths in sorted(subjects.items()):
        seen = [(turned[path], path) for path in paths if path in turned]
        first = min(seen)[1] if seen else next((path for path in sorted(paths) if _readable(root, path)), None)
        if first is not None:
            chosen[subject] = (first, rule if seen or rule == "first" else "first: no face found")
    return chosen


def _turned(
    root: Path, subjects: Mapping[str, Sequence[str]], workers: int, cache: Path | None
) -> dict[str, float]:
    paths = sorted(path for each in subjects.values() for path in each)
    work = map_items(_make_worker, (root, cache), paths, workers)
    return {path: answer for path, answer in track(work, len(paths), "references") if answer is not None}


def _readable(root: Path, path: str) -> bool:
    try:
        decode(read_bytes(inside(root, path)), path)
    except ImageError:
        return False
    return True


def _make_worker(root: Path, cache: Path | None) -> Callable[[str], float | None]:
    finder = CachedLandmarker("mediapipe", root=cache)  # the fixed template would call every crop frontal

    def turn_of(path: str) -> float | None:
        try:
            data = read_bytes(inside(root, path))
            image = decode(data, path)
        except ImageError:
            return None
        faces = choose_faces(finder.detect(image, bytes_sha256(data)), image.shape, "largest")
        return turned_away(faces[0].points) if faces else None

    return turn_of


def turned_away(points: np.ndarray) -> float:
    """The angle in degrees between where a face looks and the camera's axis, 0 for a frontal face; roll does not count.

    The rotation that carries the canonical face nearest to the mesh (Kabsch, Acta Crystallographica A32, 1976).

    Args:
        points: (468, 3) pixels, z away from the camera.
    """
    face, canonical = (values - values.mean(0) for values in (np.asarray(points, np.float64), canonical_face()))
    u, _, vt = np.linalg.svd(canonical.T @ face)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    forward = (u @ vt)[2]  # where the canonical z axis goes
    return round(float(np.degrees(np.arccos(np.clip(forward[2], -1, 1)))), 2)
