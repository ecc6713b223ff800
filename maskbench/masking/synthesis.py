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

from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside, write_bytes
from maskbench.images import decode, encode, read_bytes
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.assets import select_assets
from maskbench.masking.faces import choose_faces, mask_faces, no_face
from maskbench.masking.placement import Jitter, to_json
from maskbench.types import ManifestRow, MaskAsset

ALPHA_FOLDER = "_alpha"


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
