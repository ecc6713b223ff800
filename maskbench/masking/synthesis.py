"""One input file to one masked file and one manifest row: the work of a synthesis worker."""

from __future__ import annotations

import math
import multiprocessing
import traceback
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskbench.digest import bytes_sha256, config_sha256, generator
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside, write_bytes
from maskbench.images import decode, encode, read_bytes
from maskbench.landmarks.base import FACE_OVAL, inter_ocular_distance
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.assets import select_assets
from maskbench.masking.placement import Jitter, sample, to_json
from maskbench.masking.render import render
from maskbench.types import Landmarks, ManifestRow, MaskAsset, Placement

LEAST_INTER_OCULAR = 5.0  # pixels; below it there is no face to speak of
ALPHA_FOLDER = "_alpha"
FACE_POLICIES = ("largest", "central", "all")


@dataclass(frozen=True)
class SynthesisConfig:
    """What to paste and how; everything that changes a byte of the output.

    Attributes:
        mask: comma-separated asset ids, or "all"; one is drawn uniformly for each face.
        landmarks: "auto", "mediapipe" or "aligned".
        faces: mask the "largest" face, the most "central" one, or "all".
        save_alpha: also write each mask's alpha as PNG below ``_alpha/``.
        masks_dirs: extra folders of mask assets.
    """

    mask: str = "all"
    seed: int = 0
    landmarks: str = "auto"
    faces: str = "largest"
    save_alpha: bool = False
    masks_dirs: tuple[str, ...] = ()
    jitter: Jitter = field(default_factory=Jitter)


@dataclass(frozen=True)
class Synthesised:
    """A worker's answer: the manifest row, whether landmarks came from the cache, and a traceback of a fault."""

    row: ManifestRow
    cached: bool = False
    fault: str = ""


def make_worker(
    faces_dir: Path, out_dir: Path, config: SynthesisConfig, cache: Path | None
) -> Callable[[str], Synthesised]:
    """Set up one process and return its function from relative path to answer."""
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(1)  # the processes are the parallelism
    assets = select_assets(config.mask, *(Path(folder) for folder in config.masks_dirs))
    landmarker = CachedLandmarker(config.landmarks, thorough=config.faces == "all", root=cache)
    return lambda path: synthesise_file(faces_dir, out_dir, path, config, assets, landmarker)


def synthesise_file(
    faces_dir: Path, out_dir: Path, path: str, config: SynthesisConfig, assets: list[MaskAsset],
    landmarker: CachedLandmarker,
) -> Synthesised:  # fmt: skip
    """Mask one file. Whatever is wrong with the file becomes a row with a reason.

    Raises:
        MaskbenchError: the output cannot be written, which would fail for every file.
    """
    blank = failed_row(path, config.seed, "")
    misses = landmarker.misses
    try:
        data = read_bytes(inside(faces_dir, path))
        blank = replace(blank, source_sha256=bytes_sha256(data))
        image = decode(data, path)
        found = landmarker.detect(image, blank.source_sha256)
        faces = choose_faces(found, image.shape, config.faces)
        if not faces:
            reason = no_face(found, config.landmarks)
            return Synthesised(replace(blank, reason=reason), landmarker.misses == misses)
        masked, alpha, placements = mask_faces(image, faces, assets, path, config)
        encoded = encode(masked, Path(path).suffix)
    except ImageError as error:
        reason = str(error).removeprefix(f"{faces_dir / path}: ").removeprefix(f"{path}: ")  # the row names the file
        return Synthesised(replace(blank, reason=reason))
    except MaskbenchError:
        raise
    except Exception as error:  # a fault of ours on one picture must not end the run; its traceback is kept
        return Synthesised(
            replace(blank, reason=f"internal error: {type(error).__name__}: {error}"), fault=traceback.format_exc()
        )
    write_bytes(inside(out_dir, path), encoded)
    if config.save_alpha:
        write_bytes(alpha_path(out_dir, path), encode(alpha, ".png"))
    row = replace(
        blank, status="masked", reason="", output=path, output_sha256=bytes_sha256(encoded),
        asset="+".join(p.asset_id for p in placements), landmarks=faces[0].detector, faces=len(faces),
        covered_fraction=placements[0].coverage, placement=to_json(placements),
    )  # fmt: skip
    return Synthesised(row, landmarker.misses == misses)


def alpha_path(out_dir: Path, path: str) -> Path:
    """Where the alpha of an input goes; ".png" is added, so that a.jpg and a.png stay apart."""
    return inside(out_dir, f"{ALPHA_FOLDER}/{path}.png")


def failed_row(path: str, seed: int, reason: str, status: str = "failed") -> ManifestRow:
    """A row without output."""
    return ManifestRow(path, "", "", "", status, reason, "", "", 0, math.nan, seed, "[]")


def no_face(found: list[Landmarks], landmarks: str = "auto") -> str:
    """Why there is no face to mask."""
    if not found:
        return "not an aligned 112x112 crop" if landmarks == "aligned" else "no face found"
    widest = max(inter_ocular_distance(face.points) for face in found)
    return f"face too small ({widest:.1f} pixels between the eyes, at least {LEAST_INTER_OCULAR:g} are needed)"


def choose_faces(faces: list[Landmarks], shape: tuple[int, ...], policy: str) -> list[Landmarks]:
    """The faces to mask, from faces sorted by size: the largest, the one nearest to the picture's centre, or all."""
    faces = [face for face in faces if inter_ocular_distance(face.points) >= LEAST_INTER_OCULAR]
    if policy == "all" or len(faces) < 2:
        return faces
    if policy == "largest":
        return faces[:1]
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    return [min(faces, key=lambda face: float(np.hypot(*(face.points[:, :2].mean(0) - middle))))]


def mask_faces(
    image: np.ndarray, faces: list[Landmarks], assets: list[MaskAsset], path: str, config: SynthesisConfig
) -> tuple[np.ndarray, np.ndarray, list[Placement]]:
    """Paste one sampled mask on each face, the far (small) ones first.

    Returns:
        The masked picture (H, W, 3) uint8, the joint alpha (H, W) uint8, and the placements in the faces' order.
    """
    masked, alpha = image, np.zeros(image.shape[:2], np.uint8)
    placements: list[Placement] = []
    for number in reversed(range(len(faces))):
        # The number enters the seed for bystanders only: one face gets the same mask under every face policy.
        parts = (path,) if number == 0 else (path, str(number))
        asset = assets[generator(config.seed, *parts).integers(len(assets))]
        placement = sample(
            generator(config.seed, *parts, asset.asset_id), asset, faces[number], config.seed, config.jitter
        )
        drawn = render(masked, asset, placement)
        coverage = covered_fraction(drawn.alpha, faces[number].points)
        placements.insert(0, replace(placement, coverage=coverage))
        masked, alpha = drawn.image, np.maximum(alpha, drawn.alpha)
    return masked, alpha, placements


def covered_fraction(alpha: np.ndarray, points: np.ndarray) -> float:
    """Sum of alpha (0..1) inside the mesh's face oval over the oval's area within the picture; NaN outside of it."""
    oval = np.zeros(alpha.shape, np.uint8)
    cv2.fillPoly(oval, [np.rint(points[list(FACE_OVAL), :2]).astype(np.int32)], 1)
    area = int(oval.sum())
    return round(float(alpha[oval > 0].sum() / 255.0 / area), 4) if area else math.nan


def config_dict(config: SynthesisConfig, only: Collection[str] | None = None) -> dict[str, Any]:
    """The configuration, the digests of its masks and inputs, and the versions that decide the pixels, JSON-like."""
    from importlib.metadata import version

    from maskbench import __version__

    assets = select_assets(config.mask, *(Path(folder) for folder in config.masks_dirs))
    versions = {name: version(name) for name in ("mediapipe", "numpy", "opencv-contrib-python", "scipy")}
    values = asdict(config)
    del values["masks_dirs"]  # where a mask lies changes nothing; its digest does
    return {
        "maskbench": __version__,
        "versions": versions,
        "masks": {a.asset_id: a.sha256 for a in assets},
        "inputs": "all" if only is None else config_sha256(sorted(only)),
        **values,
    }
