"""The mean training face shows through the mask, in the light of what is seen of the face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from maskbench.completions.base import CompletionSpec, completion_digest
from maskbench.completions.facewise import Facewise
from maskbench.completions.settings import as_mapping, choice, make_settings, number, whole

ROUNDS = 3  # of fitting and leaving out what fits badly
OUTLIER = 2.5  # times the residuals' spread
MAD_TO_DEVIATION = 1.4826  # of a normal distribution
LEAST_PIXELS = 16


@dataclass(frozen=True)
class MeanFaceSettings:
    """match: "channels" fits brightness and contrast of each channel to the known pixels, "none" takes the mean face
    as it is. gain_limit: contrast changes by no more than this factor, either way. guard: see docs/completions.md."""

    match: str = choice("channels", "none")
    gain_limit: float = number(2.0, 1.0, 8.0)
    guard: int = whole(0, 0, 16)


@dataclass(frozen=True, eq=False)
class MeanFaceFill:
    """A ``Fill`` by one picture.

    Attributes:
        mean: (H, W, 3) float64.
        weights: (H, W) float64, what each pixel counts in the match.
    """

    mean: np.ndarray
    weights: np.ndarray
    unseen: np.ndarray
    settings: MeanFaceSettings

    def __call__(self, face: np.ndarray, hole: np.ndarray, grey: bool) -> np.ndarray:
        """See ``Fill``."""
        if self.settings.match == "none":
            return self.mean
        known = ~hole
        values = np.empty_like(self.mean)
        for channel in range(3):
            source = self.mean[..., channel]
            gain, offset = match_line(
                source[known], face[known][:, channel], self.weights[known], self.settings.gain_limit
            )
            values[..., channel] = gain * source + offset
        return values


def match_line(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray, gain_limit: float
) -> tuple[float, float]:
    """Gain and offset with the least weighted squared error of gain * source + offset to target, outliers left out.

    Values whose residual is more than 2.5 robust deviations (1.4826 times the median of the absolute residuals) away
    leave the next of three fits: hair and background do not tell the light on a face. The gain is clipped to
    1 / gain_limit ... gain_limit; the offset then lets the means agree.

    Args:
        source, target, weights: (K,), K > 0; weights positive.
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    kept = np.ones(len(source), bool)
    for _ in range(ROUNDS):
        gain, offset = _line(source[kept], target[kept], weights[kept], gain_limit)
        residuals = np.abs(gain * source + offset - target)
        kept = residuals <= OUTLIER * MAD_TO_DEVIATION * max(np.median(residuals[kept]), 1.0)
        if kept.sum() < LEAST_PIXELS:
            break
    return gain, offset


def _line(source: np.ndarray, target: np.ndarray, weights: np.ndarray, gain_limit: float) -> tuple[float, float]:
    """The weighted least-squares line with a limited gain."""
    weights = weights / weights.sum()
    source_mean, target_mean = (weights * source).sum(), (weights * target).sum()
    centred = source - source_mean
    spread = (weights * centred**2).sum()
    gain = (weights * centred * target).sum() / spread if spread > 1e-9 else 1.0
    gain = float(np.clip(gain, 1 / gain_limit, gain_limit))
    return gain, float(target_mean - gain * source_mean)


def learn_mean(settings: MeanFaceSettings, faces: np.ndarray) -> MeanFaceFill:
    """The fill of training faces (N, H, W, 3) uint8.

    A pixel's weight is 1 / (1 + its variance over the training faces): the more faces differ in it, as they do in
    background and hair, the less it tells.
    """
    mean, unseen = mean_of(faces)
    variance = np.zeros(mean.shape)
    for start in range(0, len(faces), 256):  # in blocks, to need little memory
        variance += ((faces[start : start + 256] - mean) ** 2).sum(axis=0)
    return MeanFaceFill(mean, 1 / (1 + variance.mean(axis=2) / len(faces)), unseen, settings)


def mean_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean face (H, W, 3) as float64, and rounded to uint8. The sum is one of whole numbers, hence exact."""
    mean = faces.sum(axis=0, dtype=np.int64) / len(faces)
    return mean, np.rint(mean).astype(np.uint8)


def mean_face(device: str = "auto", **settings: object) -> Facewise:
    """The completion "mean-face"."""
    options = make_settings(MeanFaceSettings, "mean-face", settings)
    spec = CompletionSpec("mean-face", needs_fit=True, settings=as_mapping(options))
    return Facewise(spec, completion_digest(spec), None, partial(learn_mean, options), options.guard)
