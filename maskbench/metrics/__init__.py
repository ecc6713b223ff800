"""Error rates of face verification: pure functions of scores, labels and status. Match if score >= threshold."""

from maskbench.metrics.accuracy import FoldAccuracy, best_threshold_accuracy, fold_accuracy
from maskbench.metrics.conditions import LABELS, condition_label, condition_labels
from maskbench.metrics.curves import Det, Roc, auc, det, roc, thin
from maskbench.metrics.dcf import MinDcf, min_dcf
from maskbench.metrics.eer import Eer
from maskbench.metrics.errors import (
    FmrPoint,
    FnmrPoint,
    TarPoint,
    fmr,
    fnmr,
    fnmr_at_fmr,
    split,
    tar_at_far,
    threshold_at_fmr,
    zero_fmr,
)
from maskbench.metrics.failures import FailureCounts, Ftx, failure_counts, fnmr_including_failures, ftx
from maskbench.metrics.identification import ClosedSet, OpenSet, closed_set, open_set, score_matrix
from maskbench.metrics.intervals import rule_of_three, wilson
from maskbench.metrics.separation import Separation, separation

__all__ = [
    "LABELS",
    "ClosedSet",
    "Det",
    "Eer",
    "FailureCounts",
    "FmrPoint",
    "FnmrPoint",
    "FoldAccuracy",
    "Ftx",
    "MinDcf",
    "OpenSet",
    "Roc",
    "Separation",
    "TarPoint",
    "auc",
    "best_threshold_accuracy",
    "closed_set",
    "condition_label",
    "condition_labels",
    "det",
    "failure_counts",
    "fmr",
    "fnmr",
    "fnmr_at_fmr",
    "fnmr_including_failures",
    "fold_accuracy",
    "ftx",
    "min_dcf",
    "open_set",
    "roc",
    "rule_of_three",
    "score_matrix",
    "separation",
    "split",
    "tar_at_far",
    "thin",
    "threshold_at_fmr",
    "wilson",
    "zero_fmr",
]
