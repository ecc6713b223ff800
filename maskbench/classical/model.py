"""A fitted classical recognizer: every method ends as a feature of one picture, a mean and a projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from maskbench.classical.gabor import gabor_features
from maskbench.classical.lpp import fit_lpp
from maskbench.classical.options import (
    OPTIONS,
    GaborOptions,
    LppOptions,
    Options,
    PcaOptions,
    SparseOptions,
    options_for,
)
from maskbench.classical.pca import fit_pca
from maskbench.classical.pixels import check_faces, prepared
from maskbench.classical.sparse import unit
from maskbench.errors import MaskbenchError
from maskbench.parallel import one_blas_thread

ARRAYS = ("mean", "projection")
_METHODS = {kind: method for method, kind in OPTIONS.items()}


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What ``fit_classical`` found.

    Attributes:
        method: "pca", "gpca", "lpp" or "sr".
        options: the method's options, all of them.
        picture: (height, width) of the pictures it takes.
        mean: (F,) float32, subtracted from a feature; empty where the feature itself is the template.
        projection: (F, K) float32; empty likewise.
        subjects: names of the training subjects, sorted; empty when unknown.
    """

    method: str
    options: Options
    picture: tuple[int, int]
    mean: np.ndarray
    projection: np.ndarray
    subjects: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """What its card calls it, such as "classical-pca"."""
        return f"classical-{self.method}"

    @property
    def comparator(self) -> str:
        """The name of the comparator in ``maskbench.scoring`` that its templates are made for."""
        return "sparse-residual" if isinstance(self.options, SparseOptions) else self.options.comparator

    @property
    def embedding_size(self) -> int:
        """Numbers in a template."""
        return self.projection.shape[1] if len(self.mean) else feature_size(self.options)

    @property
    def parameters(self) -> int:
        """Numbers learned from the training faces."""
        return self.mean.size + self.projection.size

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """Templates (N, K) float32 of faces (N, H, W, 3) RGB or (N, H, W) grey, uint8; NaN for a flat picture.

        Every face is worked on alone, by operations of fixed shape and order that know no threads: its template is
        the same to the bit in any batch.

        Raises:
            MaskbenchError: pictures of another size.
        """
        faces = np.asarray(faces)
        check_faces(faces, self.picture)
        return self.templates(features_of(faces, self.options))

    def templates(self, features: np.ndarray) -> np.ndarray:
        """Templates (N, K) float32 of features (N, F) float64: ``embed`` without its first half."""
        found = np.empty((len(features), self.embedding_size), np.float32)
        for row, vector in enumerate(features):
            found[row] = self._template(vector)
        return found

    def _template(self, vector: np.ndarray) -> np.ndarray:
        if len(self.mean):
            # einsum, not a product by BLAS, whose order of summing may change with its threads.
            vector = np.einsum("f,fk->k", vector - self.mean, self._wide, optimize=False)
        return unit(vector[None])[0] if self.method == "sr" else vector

    @cached_property
    def _wide(self) -> np.ndarray:
        """The projection as float64, converted once."""
        return np.ascontiguousarray(self.projection, np.float64)


def feature(face: np.ndarray, options: Options) -> np.ndarray:
    """The feature (F,) float64 of one picture (H, W, 3) or (H, W) uint8, before mean and projection."""
    picture = prepared(face, options.size, options.light)
    return gabor_features(picture, options) if isinstance(options, GaborOptions) else picture.reshape(-1)


def feature_size(options: Options) -> int:
    """How many numbers ``feature`` gives."""
    if isinstance(options, GaborOptions):
        return options.scales * options.orientations * options.grid[0] * options.grid[1]
    return options.size[0] * options.size[1]


def fit_classical(
    method: str, faces: np.ndarray, subjects: np.ndarray | None = None,
    options: Mapping[str, Any] | Options | None = None,
) -> FittedModel:  # fmt: skip
    """Fit a classical recognizer. Equal faces and options give an equal model, for any number of threads.

    Args:
        method: "pca", "gpca", "lpp" or "sr".
        faces: (N, H, W, 3) RGB or (N, H, W) grey, uint8; for the toolkit 112 x 112, aligned to "arcface112".
        subjects: (N,) str, who each face is; only the LPP graph "subjects" learns from it.
        options: some or all of the method's options; see ``maskbench.classical.options``.

    Raises:
        MaskbenchError: unknown method or option, too few faces, a flat one, or pictures smaller than ``size``.
    """
    chosen, faces = options_for(method, options), np.asarray(faces)
    check_faces(faces)
    if subjects is not None and len(subjects) != len(faces):
        raise MaskbenchError(f"{len(faces)} training faces and {len(subjects)} subjects; give one for each")
    return fit_features(features_of(faces, chosen), subjects, chosen, faces.shape[1:3])


def features_of(faces: np.ndarray, options: Options) -> np.ndarray:
    """The feature (F,) float64 of each face (N, H, W, 3) or (N, H, W) uint8, stacked; NaN for a flat picture."""
    return np.array([feature(face, options) for face in faces]).reshape(len(faces), feature_size(options))


def fit_features(
    features: np.ndarray, subjects: np.ndarray | None, options: Options, picture: tuple[int, int]
) -> FittedModel:
    """``fit_classical`` without its first half, for a caller that fits on many selections of the same faces.

    Args:
        features: (N, F) float64, as ``features_of`` gives them with these options.
        picture: (height, width) of the faces they are of.

    Raises:
        MaskbenchError: too few faces, or a flat one.
    """
    if not len(features):
        raise MaskbenchError("no training faces; give two or more")
    if len(flat := np.flatnonzero(~np.isfinite(features).all(axis=1))):
        raise MaskbenchError(f"training face {flat[0]} (from 0) is of one flat colour; leave it out")
    with one_blas_thread(openmp=True):  # sums in one order, whatever the machine offers
        mean, projection = _fit(features, subjects, options)
    names = () if subjects is None else tuple(sorted({str(subject) for subject in subjects}))
    numbers = np.asarray(mean, np.float32), np.ascontiguousarray(projection, np.float32)
    return FittedModel(_METHODS[type(options)], options, (int(picture[0]), int(picture[1])), *numbers, names)


def _fit(features: np.ndarray, subjects: np.ndarray | None, options: Options) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(options, LppOptions):
        return fit_lpp(features, subjects, options)
    if isinstance(options, (PcaOptions, GaborOptions)):
        return fit_pca(features, options.components, options.whiten)
    if options.components:
        return fit_pca(features, options.components, whiten=False)
    return np.empty(0), np.empty((0, 0))
