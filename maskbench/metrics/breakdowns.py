"""Error rates of groups of comparisons at one threshold: by mask, coverage, pose, sex and so on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.arrays import matches
from maskbench.metrics.errors import FEW, FEW_ERRORS, labels
from maskbench.metrics.intervals import wilson
from maskbench.types import Status


@dataclass(frozen=True)
class GroupRates:
    """What one threshold does to one group.

    Attributes:
        mated: comparisons, failed ones included; mated_completed: without them. The same for non-mated.
        false_non_matches, false_matches: errors among the completed ones.
    """

    group: str
    mated: int
    mated_completed: int
    false_non_matches: int
    non_mated: int
    non_mated_completed: int
    false_matches: int

    @property
    def fnmr(self) -> float | None:
        """False non-matches over completed mated comparisons; None without any."""
        return self.false_non_matches / self.mated_completed if self.mated_completed else None

    @property
    def fmr(self) -> float | None:
        """False matches over completed non-mated comparisons; None without any."""
        return self.false_matches / self.non_mated_completed if self.non_mated_completed else None

    @property
    def fnmr_including_failures(self) -> float | None:
        """(False non-matches + failed mated comparisons) over all mated comparisons; None without any."""
        failed = self.mated - self.mated_completed
        return (self.false_non_matches + failed) / self.mated if self.mated else None

    @property
    def fnmr_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of ``fnmr``, which takes comparisons as independent."""
        return wilson(self.false_non_matches, self.mated_completed) if self.mated_completed else None

    @property
    def fmr_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of ``fmr``."""
        return wilson(self.false_matches, self.non_mated_completed) if self.non_mated_completed else None

    @property
    def fnmr_flag(self) -> str:
        """"fewer than 30 errors", or ""."""
        return FEW_ERRORS if self.mated_completed and self.false_non_matches < FEW else ""

    @property
    def fmr_flag(self) -> str:
        """The same for false matches."""
        return FEW_ERRORS if self.non_mated_completed and self.false_matches < FEW else ""


def break_down(
    scores: np.ndarray, mated: np.ndarray, status: np.ndarray, groups: np.ndarray, threshold: float
) -> list[GroupRates]:
    """The error rates of every group at one threshold, the same for all, as NIST shows demographic differentials
    (NISTIR 8280, 2019): match if score >= threshold.

    Args:
        scores: (M,) floats, NaN only where status is not OK.
        mated: (M,) bool; status: (M,) ``Status``, OK or FAILED.
        groups: (M,) str, "" for comparisons that belong to none.

    Returns:
        One row for each group, sorted by name.

    Raises:
        MaskbenchError: shapes differ, or comparisons were not run.
    """
    scores, mated, status, groups = np.asarray(scores), labels(mated), np.asarray(status), np.asarray(groups, str)
    if not scores.shape == mated.shape == status.shape == groups.shape:
        shapes = f"scores {scores.shape}, mated {mated.shape}, status {status.shape}, groups {groups.shape}"
        raise MaskbenchError(f"{shapes}: shapes must agree")
    if (status == Status.NOT_RUN).any():
        raise MaskbenchError("comparisons that were not run cannot be broken down; leave their condition out")
    names, code = np.unique(groups, return_inverse=True)
    done = status == Status.OK
    match = np.zeros(len(scores), bool)
    match[done] = matches(scores[done], threshold) if done.any() else False

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(code[chosen], minlength=len(names))

    columns = (
        count(mated), count(mated & done), count(mated & done & ~match),
        count(~mated), count(~mated & done), count(~mated & match),
    )  # fmt: skip
    rows = zip(names.tolist(), *(column.tolist() for column in columns), strict=True)
    return [GroupRates(*row) for row in rows if row[0]]
