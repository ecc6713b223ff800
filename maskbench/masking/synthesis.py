"""One input file to one masked file and one manifest row: the work of a synthesis worker."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from maskbench.datasets.folder import InputFile
from maskbench.datasets.inputs import FolderInputs, ShardInputs
from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError, NameRefusedError
from maskbench.images import decode, encode, jpeg_quality
from maskbench.landmarks.aligned import CROP_SIZE, AlignedLandmarker
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.manifest import row_to_json
from maskbench.masking.faces import MaskedFaces, choose_faces, mask_faces, no_face
from maskbench.masking.kernels import channels_equal
from maskbench.masking.outputs import Writer
from maskbench.masking.placement import to_json
from maskbench.masking.recipes import Recipe, resolve_recipe
from maskbench.masking.wardrobe import Wardrobe
from maskbench.parallel import forkable, one_blas_thread
from maskbench.types import Landmarks, ManifestRow

# Whose versions decide the pixels.
PIXEL_LIBRARIES = ("llvmlite", "mediapipe", "numba", "numpy", "opencv-contrib-python", "scipy")


@dataclass(frozen=True)
class SynthesisConfig:
    """What to paste and how; everything that changes a byte of the output.

    Attributes:
        mask: comma-separated asset ids, or "all": drawn uniformly, instead of a recipe.
        recipe: a shipped recipe's name, a file, or a recipe; "worn" where neither it nor ``mask`` is given.
        coverage, shape, colour, style, fraction: see ``recipes.resolve_recipe``.
        landmarks: "auto", "mediapipe" or "aligned".
        faces: mask the "largest" face, the most "central" one, or "all".
        save_alpha: also write each mask's alpha as PNG below ``_alpha/``.
        masks_dirs: extra folders of mask assets.
        sizes: those of a fraction, where they are measured already (``fixed``).
    """

    mask: str | None = None
    recipe: str | Recipe | None = None
    coverage: tuple[str, ...] = ()
    shape: tuple[str, ...] = ()
    colour: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    fraction: float | None = None
    seed: int = 0
    landmarks: str = "auto"
    faces: str = "largest"
    save_alpha: bool = False
    masks_dirs: tuple[str, ...] = ()
    sizes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _opened: Wardrobe | None = field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the masks, which another process opens itself."""
        return {**self.__dict__, "_opened": None}

    def resolve(self) -> Recipe:
        """The one recipe that the options mean. Raises MaskbenchError if they contradict each other."""
        return resolve_recipe(
            self.mask, self.recipe, self.coverage, self.shape, self.colour, self.style, self.fraction
        )

    def wardrobe(self) -> Wardrobe:
        """That recipe bound to the masks at hand. Raises MaskbenchError if it selects none."""
        return self._opened or Wardrobe.open(self.resolve(), self.masks_dirs, self.sizes)

    def fixed(self) -> SynthesisConfig:
        """The same with the recipe read, the masks opened and their sizes measured: what workers are given.

        Raises:
            MaskbenchError: as ``resolve`` and ``wardrobe``, or a fraction that a mask cannot reach.
        """
        wardrobe = self.wardrobe()
        wardrobe = replace(wardrobe, measured=wardrobe.sizes())
        fixed = SynthesisConfig(
            recipe=wardrobe.recipe, seed=self.seed, landmarks=self.landmarks, faces=self.faces,
            save_alpha=self.save_alpha, masks_dirs=self.masks_dirs, sizes=wardrobe.measured,
        )  # fmt: skip
        object.__setattr__(fixed, "_opened", wardrobe)
        return fixed


@dataclass(frozen=True)
class Synthesised:
    """What became of one input: the manifest row, whether landmarks came from the cache, and a traceback of a fault."""

    row: ManifestRow
    cached: bool = False
    fault: str = ""


class Answer(NamedTuple):
    """The same as a worker sends it: the row as a line of the journal, which the leading process need not read."""

    line: str
    cached: bool
    fault: str


@forkable
def make_worker(
    inputs: FolderInputs | ShardInputs, writer: Writer, config: SynthesisConfig, cache: Path | None,
    share_processors: bool = False,
) -> Callable[[InputFile], Answer]:  # fmt: skip
    """Set up one process and return its function from input to answer.

    Args:
        share_processors: this process is one of several workers: OpenCV uses one processor, and leaves it to the rows
            to say what is wrong with a file.
    """
    if share_processors:
        one_blas_thread()
        cv2.setNumThreads(1)
        cv2.setLogLevel(0)
    wardrobe = config.wardrobe()
    landmarker = CachedLandmarker(config.landmarks, thorough=config.faces == "all", root=cache)
    if share_processors:
        _warm_up(wardrobe)

    def work(file: InputFile) -> Answer:
        done = synthesise_file(inputs, writer, file, config, wardrobe, landmarker)
        return Answer(row_to_json(done.row), done.cached, done.fault)

    return work


def _warm_up(wardrobe: Wardrobe) -> None:
    """Load the compiled code once, for all workers that are copied from this process."""
    crop = np.full((CROP_SIZE, CROP_SIZE, 3), 128, np.uint8)
    mask_faces(crop, AlignedLandmarker().detect(crop), wardrobe, "warm-up", 0)


def synthesise_file(
    inputs: FolderInputs | ShardInputs, writer: Writer, file: InputFile, config: SynthesisConfig, wardrobe: Wardrobe,
    landmarker: CachedLandmarker,
) -> Synthesised:  # fmt: skip
    """Mask one file. Whatever is wrong with the file becomes a row with a reason.

    Raises:
        MaskbenchError: the output cannot be written, which would fail for every file.
    """
    path, digest, misses = file.path, "", landmarker.misses
    try:
        data = inputs.read(file)
        digest = bytes_sha256(data)
        image = decode(data, path)
        found = landmarker.detect(image, digest)
        faces = choose_faces(found, image.shape, config.faces)
        if not faces:
            reason = no_face(found, config.landmarks)
            return Synthesised(failed_row(path, config.seed, reason, source_sha256=digest), landmarker.misses == misses)
        whole = (0, 0, image.shape[1], image.shape[0])
        grey = channels_equal(image, *whole)
        masked = mask_faces(image, faces, wardrobe, path, config.seed, jpeg_quality(data), grey)
        grey = grey or channels_equal(image, *whole)  # the mask may have covered what colour there was
        encoded = encode(masked.image, os.path.splitext(path)[1], grey=grey)
        writer.write(path, encoded, encode(masked.alpha, ".png") if config.save_alpha else None)
    except NameRefusedError as error:  # its message names the output folder, on which no row may depend
        reason = f"its output cannot have this name ({getattr(error.__cause__, 'strerror', error)})"
        return Synthesised(failed_row(path, config.seed, reason, source_sha256=digest))
    except ImageError as error:
        reason = str(error).removeprefix(f"{path}: ")  # the row names the file
        return Synthesised(failed_row(path, config.seed, reason, source_sha256=digest))
    except MaskbenchError:
        raise
    except Exception as error:  # a fault of ours on one picture must not end the run; its traceback is kept
        said = " ".join(str(error).encode("utf-8", "backslashreplace").decode().split())
        reason = f"internal error: {type(error).__name__}: {said}"
        return Synthesised(
            failed_row(path, config.seed, reason, source_sha256=digest), fault=traceback.format_exc()
        )
    return Synthesised(_masked_row(path, digest, encoded, masked, faces, config), landmarker.misses == misses)


def _masked_row(
    path: str, digest: str, encoded: bytes, masked: MaskedFaces, faces: Sequence[Landmarks], config: SynthesisConfig
) -> ManifestRow:
    return ManifestRow(
        source=path, source_sha256=digest, output=path, output_sha256=bytes_sha256(encoded), status="masked", reason="",
        asset="+".join(placement.asset_id for placement in masked.placements), landmarks=faces[0].detector,
        faces=len(faces), covered_fraction=masked.covered_fraction, crop_fraction=masked.crop_fraction,
        seed=config.seed, placement=to_json(masked.placements),
    )  # fmt: skip


def failed_row(
    path: str, seed: int, reason: str, status: str = "failed", source_sha256: str = ""
) -> ManifestRow:
    """A row without output."""
    return ManifestRow(path, source_sha256, "", "", status, reason, "", "", 0, math.nan, math.nan, seed, "[]")


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import version

    return tuple((name, version(name)) for name in PIXEL_LIBRARIES)


def config_dict(config: SynthesisConfig, only: Collection[str] | None = None) -> dict[str, Any]:
    """The configuration, the digests of its masks and inputs, and the versions that decide the pixels, JSON-like."""
    from maskbench import __version__

    wardrobe = config.wardrobe()
    recipe = wardrobe.recipe
    return {
        "maskbench": __version__,
        "versions": dict(_versions()),
        "masks": {a.asset_id: a.sha256 for a in wardrobe.assets},
        "sizes": wardrobe.sizes(),
        "inputs": "all" if only is None else config_sha256(sorted(only)),
        "recipe": recipe.to_dict(),
        "recipe_sha256": recipe.digest,
        "seed": config.seed,
        "landmarks": config.landmarks,
        "faces": config.faces,
        "save_alpha": config.save_alpha,
    }
