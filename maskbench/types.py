"""The nouns of maskbench as frozen dataclasses. Only numpy is imported here.

Conventions: images are (H, W, 3) uint8 RGB; coordinates are pixels, x right, y down, with the centre of the
top-left pixel at (0, 0); in masks 1 (or alpha 255) means occluded; a larger score means more alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from typing import Protocol as TypingProtocol

import numpy as np


class Status(IntEnum):
    """What became of a sample or a comparison."""

    OK = 0
    FAILED = 1  # a template could not be extracted (FTX), or a side of the comparison has none
    NOT_RUN = 2  # its condition was not evaluated (no masked set was given)


@dataclass(frozen=True)
class Sample:
    """One image of one subject; ``path`` is relative, with forward slashes."""

    sample_id: str
    subject_id: str
    path: str
    sha256: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Landmarks:
    """Points of one face.

    Attributes:
        points: (K, 2) or (K, 3) float32, x, y (and z, in pixels, larger is farther away).
        scheme: "mesh468", "68pt" or "5pt".
        confidence: 0 to 1, or NaN where the detector gives none.
        detector: name and version of what found them.
    """

    points: np.ndarray
    scheme: str
    confidence: float
    detector: str

    @property
    def box(self) -> np.ndarray:
        """(4,) float32, x0, y0, x1, y1 around the points."""
        xy = self.points[:, :2]
        return np.concatenate([xy.min(0), xy.max(0)])


@dataclass(frozen=True, eq=False)
class MaskAsset:
    """A mask: a texture and the surface that carries it; see docs/masks.md for the folder format.

    Compared and hashed by identity, so that what is derived from it can be cached per process.
    """

    asset_id: str
    version: int
    category: str
    kind: str
    texture: np.ndarray  # (H, W, 4) uint8 RGBA, straight alpha
    geometry: Mapping[str, Any]
    colourways: Mapping[str, tuple[int, int, int] | str]  # RGB, or "skin" or "hair": taken from the face itself
    licence: str
    source: str
    sha256: str
    regions: tuple[str, ...] = ("lower",)  # what of the face it hides: "lower", "eye", "upper", "top"
    styles: tuple[str, ...] = ("correct",)  # how it may be worn
    coverage: str = ""  # "high", "medium" or "low" for shapes defined as NIST's, else ""
    shape: str = ""  # "wide" or "round", likewise


@dataclass(frozen=True)
class Placement:
    """Everything that rendering needs besides the image and the asset; stored in the manifest, so that a row
    renders its image again.

    Attributes:
        control_points: (K, 3) float32, the face points that the mask hangs on, rounded to 0.01 pixels.
        colour: name of the colourway, or "#rrggbb".
        coverage: share of the face oval that the mask covers, 0 to 1; NaN until rendered.
        parameters: the sampled jitter; "jpeg", the compression quality of the picture's file (0: none known); "entry",
            the recipe's; "face", its number in the picture.
        seed: the seed of the run.
        style: how it is worn: "correct", "under-nose", "under-chin" or "mouth-only".
        size: of the mask relative to its drawing, in steps of 0.01.
    """

    asset_id: str
    control_points: np.ndarray
    colour: str
    parameters: Mapping[str, float | str]
    seed: int
    coverage: float = float("nan")
    style: str = "correct"
    size: float = 1.0


@dataclass(frozen=True)
class ManifestRow:
    """What happened to one input of a synthesis run."""

    source: str
    source_sha256: str
    output: str
    output_sha256: str
    status: str  # "masked", "failed" or "skipped"
    reason: str
    asset: str
    landmarks: str  # the detector that found the face
    faces: int
    covered_fraction: float  # of the first face's oval
    crop_fraction: float  # of the picture, over all masks of the first face
    seed: int
    placement: str  # JSON array of placements, one per masked face


@dataclass(frozen=True)
class PairTable:
    """The comparisons of a protocol as columns of one length M.

    ``reference_condition`` and ``probe_condition`` are "unmasked" or "masked"; ``fold`` is 1, 2, ... or 0 for none.
    """

    pair_id: np.ndarray  # (M,) str
    reference_id: np.ndarray  # (M,) str, sample ids
    probe_id: np.ndarray  # (M,) str
    reference_condition: np.ndarray  # (M,) str
    probe_condition: np.ndarray  # (M,) str
    mated: np.ndarray  # (M,) bool
    fold: np.ndarray  # (M,) int

    def __len__(self) -> int:
        return len(self.pair_id)


@dataclass(frozen=True)
class Protocol:
    """Who is compared with whom, and under which conditions. Names no recognizer.

    A side of a pair is a sample or, where the protocol has them, a template of several samples of one person.
    ``threshold_from`` is the condition (such as "UMR-UMP") on which transferred thresholds are fixed; ``digest``
    is the SHA-256 over the protocol's header and tables.
    """

    name: str
    version: int
    samples: Mapping[str, Sample]
    pairs: PairTable
    threshold_from: str
    digest: str
    description: str = ""
    licence: str = ""
    source: str = ""
    masking: Mapping[str, Any] = field(default_factory=dict)  # "recipe", "version", "seed" of its masked pictures
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # template id -> ids of its samples


@dataclass(frozen=True)
class RecognizerSpec:
    """What a recognizer needs and is. Preprocessing belongs to the weights: x = (pixel - mean) / std.

    Attributes:
        template: name of the five-point template in ``maskbench.align.TEMPLATES`` that faces are aligned to.
        input_size: (height, width) in pixels.
        comparator: "cosine", "negative-l2", or "sparse-residual", which looks at all references of a search.
        training_data: names of the training sets, or None when unknown.
        engine: what runs the network, such as "onnxruntime:CPUExecutionProvider".
        test_time: "flip-sum" where a template is the sum over a face and its mirror image, else "".
        network: name in ``maskbench.models.zoo.NETWORKS`` of the network that a checkpoint belongs to, else "".
        flops: floating-point operations for one face, a multiply-add counted as two; None when unknown.
        terms: what the weights may be used for, beside their ``licence``; source: where they are from.
        completion: what it was trained behind, and an evaluation puts before it unless told otherwise: a registered
            name, or "torch:PATH" from its card's folder on; "" for none.
        needs_mask: whether it reads the mask of every face.
        config: the sizes of a network whose sizes are not fixed, plain JSON values; empty for the others.
    """

    name: str
    weights_sha256: str
    input_size: tuple[int, int]
    template: str
    colour_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    embedding_size: int
    comparator: str
    parameters: int | None = None
    training_data: tuple[str, ...] | None = None
    licence: str = "unknown"
    needs_mask: bool = False
    engine: str = ""
    test_time: str = ""
    network: str = ""
    flops: int | None = None
    terms: str = "unknown"
    source: str = "unknown"
    completion: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


class Recognizer(TypingProtocol):
    """Anything that turns aligned faces into templates."""

    spec: RecognizerSpec

    def embed(self, faces: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Faces (N, H, W, 3) uint8 RGB at ``spec.input_size`` to vectors (N, D) float32 and status (N,) int8.

        ``masks`` is (N, H, W) uint8, 1 = occluded, warped with the faces, given when ``spec.needs_mask``.
        """
        ...


@dataclass(frozen=True)
class EmbeddingSet:
    """Templates of (sample, condition) keys; row i belongs to ``sample_ids[i]`` under ``conditions[i]``."""

    sample_ids: np.ndarray  # (N,) str
    conditions: np.ndarray  # (N,) str, "unmasked" or "masked"
    vectors: np.ndarray  # (N, D) float32, NaN where status is not OK
    status: np.ndarray  # (N,) int8, Status
    reasons: np.ndarray  # (N,) str, why a sample has no template
    recognizer_digest: str
    samples_digest: str


@dataclass(frozen=True)
class ScoreSet:
    """One score per pair of a protocol, in the protocol's order; NaN where status is not OK."""

    scores: np.ndarray  # (M,) float32 or float64
    mated: np.ndarray  # (M,) bool
    status: np.ndarray  # (M,) int8, Status
    protocol_digest: str
    recognizer_digest: str


@dataclass(frozen=True)
class Result:
    """One recognizer on one protocol: the content of ``result.json``; see docs/metrics.md."""

    schema_version: int
    protocol: Mapping[str, Any]
    recognizer: Mapping[str, Any]
    completion: str
    mask_source: str
    align: str
    metrics: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Mapping[str, int]]
    thresholds: Mapping[str, Any]
    intervals: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]
    digests: Mapping[str, str]
    date: str
