"""Error rates of face verification: pure functions of scores, labels and status. Match if score >= threshold."""

from maskbench.metrics.accuracy import FoldAccuracy, best_threshold_accuracy, fold_accuracy
from maskbench.metrics.conditions import LABELS, condition_label, condition_labels
from maskbench.metrics.curves import Det, Roc, auc, det, roc, thin
from maskbench.metrics.eer import Eer
from maskbench.metrics.errors import FmrPoint, FnmrPoint, fmr, fnmr, fnmr_at_fmr, split, threshold_at_fmr
from maskbench.metrics.failures import FailureCounts, Ftx, failure_counts, fnmr_including_failures, ftx
from maskbench.metrics.intervals import rule_of_three, wilson

__all__ = [
    "LABELS",
    "Det",
    "Eer",
    "FailureCounts",
    "FmrPoint",
    "FnmrPoint",
    "FoldAccuracy",
    "Ftx",
    "Roc",
    "auc",
    "best_threshold_accuracy",
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
    "roc",
    "rule_of_three",
    "split",
    "thin",
    "threshold_at_fmr",
    "wilson",
]
