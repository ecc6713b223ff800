"""Classical recognizers, fitted on a folder of training faces: PCA, Gabor-PCA, LPP and sparse representation.

``docs/classical.md`` says what each does and how its defaults were chosen.
"""

from maskbench.classical.model import FittedModel, fit_classical
from maskbench.classical.options import OPTIONS, options_for
from maskbench.classical.sparse import SparseClassifier
from maskbench.classical.store import save_fitted

METHODS = tuple(OPTIONS)

__all__ = [
    "METHODS", "OPTIONS", "FittedModel", "SparseClassifier", "fit_classical", "options_for", "save_fitted",
]  # fmt: skip
