"""Magnitudes of Gabor responses.

C. Liu, H. Wechsler, "Gabor feature based classification using the enhanced Fisher linear discriminant model for face
recognition", IEEE Transactions on Image Processing 11(4), 2002: five scales a factor of the square root of two apart,
eight orientations, an envelope whose standard deviation is one wavelength (their sigma of 2 pi), each map of magnitudes
reduced and brought to zero mean and unit variance. Here the kernels are scikit-image's, whose response to a constant
picture is not subtracted: at that width it is 3e-9 of the peak.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from maskbench.classical.options import GaborOptions
from maskbench.classical.pixels import reduced, standardised

_REACH = 2.5  # kernels are cut at this many standard deviations


def kernels(options: GaborOptions) -> list[np.ndarray]:
    """The bank: complex kernels of odd size, scale by scale from the finest, orientations in each from 0 to pi."""
    from skimage.filters import gabor_kernel

    bank = []
    for scale in range(options.scales):
        frequency = options.highest / options.spacing**scale
        for turn in range(options.orientations):
            angle = np.pi * turn / options.orientations
            bank.append(
                gabor_kernel(frequency, angle, sigma_x=1 / frequency, sigma_y=1 / frequency, n_stds=_REACH)
            )
    return bank


@lru_cache(maxsize=4)
def _spectra(options: GaborOptions) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """The kernels' Fourier transforms (K, P, Q), the padded size (P, Q), and where each response begins (K, 2)."""
    from scipy.fft import fft2, next_fast_len

    bank = kernels(options)
    longest = np.max([kernel.shape for kernel in bank], axis=0)
    # Half a kernel more than the picture: what wraps around falls on the half before it, which is cut away.
    sides = [max(side + reach // 2, reach) for side, reach in zip(options.size, longest.tolist(), strict=True)]
    padded = (next_fast_len(sides[0]), next_fast_len(sides[1]))
    spectra = np.stack([fft2(kernel, padded) for kernel in bank])
    return spectra, padded, np.array([[side // 2 for side in kernel.shape] for kernel in bank])


def magnitudes(picture: np.ndarray, options: GaborOptions) -> np.ndarray:
    """The size of each kernel's response at each pixel, the picture continued by zeros.

    Args:
        picture: ``options.size`` float64.

    Returns:
        (scales * orientations, height, width) float64.
    """
    from scipy.fft import fft2, ifft2

    spectra, padded, begin = _spectra(options)
    height, width = picture.shape
    responses = ifft2(fft2(picture, padded) * spectra, workers=1)
    cut = [map_[top : top + height, left : left + width] for map_, (top, left) in zip(responses, begin, strict=True)]
    return np.abs(np.stack(cut))


def gabor_features(picture: np.ndarray, options: GaborOptions) -> np.ndarray:
    """All maps of magnitudes, each reduced to ``options.grid`` and standardised, as one vector (F,) float64."""
    maps = np.stack([reduced(map_, options.grid) for map_ in magnitudes(picture, options)])
    return standardised(maps).reshape(-1)
