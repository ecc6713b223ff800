"""What can be chosen for each classical method, with the defaults; docs/classical.md says how they were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from maskbench.classical.pixels import LIGHTS
from maskbench.errors import MaskbenchError
from maskbench.registry import nearest

COMPARE_BY = ("cosine", "negative-l2")
GRAPHS = ("neighbours", "subjects")


@dataclass(frozen=True)
class PcaOptions:
    """Eigenfaces (Turk and Pentland 1991).

    Attributes:
        size: (height, width) that pictures are reduced to by area.
        light: "none", "standard" (zero mean, unit variance for each picture) or "equalise" (histogram).
        components: eigenvectors kept, at most; never more than the training faces leave.
        whiten: scale each coefficient to unit variance over the training faces. With the cosine this is the
            "Mahalanobis cosine"; without it, and with "negative-l2", the original eigenfaces.
        comparator: "cosine" or "negative-l2".
    """

    size: tuple[int, int] = (56, 56)
    light: str = "standard"
    components: int = 200
    whiten: bool = True
    comparator: str = "cosine"


@dataclass(frozen=True)
class GaborOptions:
    """Gabor-PCA: PCA of the magnitudes of Gabor responses (Liu and Wechsler 2002).

    Attributes:
        size, light, components, whiten, comparator: as for PCA.
        scales, orientations: of the bank of kernels.
        highest: the highest frequency, in cycles per pixel of the reduced picture.
        spacing: each scale's frequency is the one before divided by this.
        grid: (height, width) that each map of magnitudes is reduced to by area.
    """

    size: tuple[int, int] = (64, 64)
    light: str = "standard"
    scales: int = 5
    orientations: int = 8
    highest: float = 0.25
    spacing: float = 2**0.5
    grid: tuple[int, int] = (8, 8)
    components: int = 200
    whiten: bool = True
    comparator: str = "cosine"


@dataclass(frozen=True)
class LppOptions:
    """Locality preserving projections (He and Niyogi 2003), Laplacianfaces (He et al. 2005).

    Attributes:
        size, light, comparator: as for PCA.
        energy: share of the variance that the PCA before it keeps.
        graph: "neighbours" (the k nearest training faces) or "subjects" (all faces of the same subject: supervised).
        neighbours: k; not used by "subjects".
        heat: t of the edge weights exp(-|x_i - x_j|^2 / t), in units of the mean squared length of the graph's edges;
            0: all weights 1.
        components: projections kept, at most.
    """

    size: tuple[int, int] = (56, 56)
    light: str = "standard"
    energy: float = 0.9
    graph: str = "neighbours"
    neighbours: int = 5
    heat: float = 1.0
    components: int = 100
    comparator: str = "cosine"


@dataclass(frozen=True)
class SparseOptions:
    """Features for sparse-representation classification (Wright et al. 2009); compared by "sparse-residual".

    Attributes:
        size, light: as for PCA.
        components: eigenfaces kept, at most; 0: the reduced picture itself is the feature.
    """

    size: tuple[int, int] = (14, 12)
    light: str = "standard"
    components: int = 0


Options = PcaOptions | GaborOptions | LppOptions | SparseOptions
OPTIONS: dict[str, type] = {"pca": PcaOptions, "gpca": GaborOptions, "lpp": LppOptions, "sr": SparseOptions}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= 1 << 20


def _is_size(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_count, value))


def _is_between(low: float, high: float) -> Any:
    return lambda value: type(value) in (int, float) and low < value <= high


_WANTED: dict[str, tuple[str, Any]] = {
    "size": ("[height, width]", _is_size),
    "grid": ("[height, width]", _is_size),
    "light": (f"one of {', '.join(LIGHTS)}", LIGHTS.__contains__),
    "components": ("a positive whole number", _is_count),
    "scales": ("a positive whole number", _is_count),
    "orientations": ("a positive whole number", _is_count),
    "neighbours": ("a positive whole number", _is_count),
    "whiten": ("true or false", lambda value: type(value) is bool),
    "comparator": (f"one of {', '.join(COMPARE_BY)}", COMPARE_BY.__contains__),
    "graph": (f"one of {', '.join(GRAPHS)}", GRAPHS.__contains__),
    "highest": ("above 0 and at most 0.5 cycles per pixel", _is_between(0, 0.5)),
    "spacing": ("above 1 and at most 4", _is_between(1, 4)),
    "energy": ("above 0 and at most 1", _is_between(0, 1)),
    "heat": ("0 or more", lambda value: value == 0 or _is_between(0, 1e12)(value)),
}


def options_for(method: str, values: Mapping[str, Any] | Options | None = None) -> Options:
    """The options of a method: the defaults, with ``values`` in their place.

    Args:
        method: "pca", "gpca", "lpp" or "sr".
        values: some of the method's options by name, or all of them as its dataclass.

    Raises:
        MaskbenchError: unknown method or option, or a value that the option cannot have.
    """
    if method not in OPTIONS:
        raise MaskbenchError(f'no classical method named "{method}"; {nearest(str(method), OPTIONS)}')
    kind = OPTIONS[method]
    if isinstance(values, tuple(OPTIONS.values())):
        if not isinstance(values, kind):
            raise MaskbenchError(f"{type(values).__name__} are no options of {method}; give {kind.__name__}")
        values = asdict(values)
    given = dict(values or {})
    names = [field.name for field in fields(kind)]
    for name, value in given.items():
        if name not in names:
            raise MaskbenchError(f'{method} has no option "{name}"; {nearest(str(name), names)}')
        wanted, fits = _WANTED[name]
        if not _safe(fits, value) and not (method == "sr" and name == "components" and value == 0):
            raise MaskbenchError(f'{method} option "{name}" must be {wanted}, not {value!r}')
        given[name] = tuple(value) if name in ("size", "grid") else value
    return kind(**given)


def _safe(fits: Any, value: Any) -> bool:
    try:
        return bool(fits(value))
    except TypeError:
        return False
