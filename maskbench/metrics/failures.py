"""What was compared and what failed: counts, FTX, and FNMR with failures counted as errors.

ISO/IEC 2382-37 counts only completed comparisons in FMR and FNMR. A recognizer that refuses hard faces would look
better for it, so failures are counted here and stand beside the error rates.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.errors import labels
from maskbench.types import Status


@dataclass(frozen=True)
class FailureCounts:
    """Comparisons of one condition by class and outcome; ``mated`` = completed + failed, not-run pairs apart."""

    mated: int
    mated_completed: int
    mated_failed: int
    non_mated: int
    non_mated_completed: int
    non_mated_failed: int
    not_run: int

    def as_dict(self) -> dict[str, int]:
        """The counts by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ftx:
    """Failure to extract: ``failed`` of ``samples`` distinct samples gave no template; rate = failed / samples."""

    samples: int
    failed: int

    @property
    def rate(self) -> float:
        """FTX, 0 to 1."""
        return self.failed / self.samples


def failure_counts(mated: np.ndarray, status: np.ndarray) -> FailureCounts:
    """Count the comparisons of one condition.

    Args:
        mated: (M,) bool.
        status: (M,) ``Status`` values.

    Raises:
        MaskbenchError: shapes differ, or a status is unknown.
    """
    mated, status = labels(mated), np.asarray(status)
    if mated.shape != status.shape:
        raise MaskbenchError(f"mated {mated.shape} and status {status.shape}: shapes must agree")
    mated_completed, completed = _count(mated, status == Status.OK)
    if completed == len(status):  # the usual case, at once
        return FailureCounts(mated_completed, mated_completed, 0, *[completed - mated_completed] * 2, 0, 0)
    mated_failed, failed = _count(mated, status == Status.FAILED)
    not_run = int(np.count_nonzero(status == Status.NOT_RUN))
    if completed + failed + not_run != len(status):
        raise MaskbenchError(f"status: known values are {', '.join(f'{int(s)} ({s.name})' for s in Status)}")
    return FailureCounts(
        mated=mated_completed + mated_failed,
        mated_completed=mated_completed,
        mated_failed=mated_failed,
        non_mated=completed + failed - mated_completed - mated_failed,
        non_mated_completed=completed - mated_completed,
        non_mated_failed=failed - mated_failed,
        not_run=not_run,
    )


def _count(mated: np.ndarray, state: np.ndarray) -> tuple[int, int]:
    """How many mated comparisons are in a state, and how many comparisons of either class."""
    return int(np.count_nonzero(mated & state)), int(np.count_nonzero(state))


def fnmr_including_failures(false_non_matches: int, counts: FailureCounts) -> float:
    """(false non-matches + failed mated comparisons) / all mated comparisons that were run: the ranking column.

    Raises:
        MaskbenchError: there is no mated comparison, or more errors than completed ones.
    """
    if counts.mated == 0:
        raise MaskbenchError("no mated comparison; FNMR including failures needs at least one")
    if not 0 <= false_non_matches <= counts.mated_completed:
        raise MaskbenchError(f"{false_non_matches} false non-matches of {counts.mated_completed} completed comparisons")
    return (false_non_matches + counts.mated_failed) / counts.mated


def ftx(sample_ids: np.ndarray, failed: np.ndarray) -> Ftx:
    """FTX of one role (reference or probe) under one condition, over its distinct samples.

    Args:
        sample_ids: (M,) one id per comparison, repeated as the protocol repeats it; any sortable dtype.
        failed: (M,) bool, whether that sample gave no template.

    Raises:
        MaskbenchError: no samples, shapes differ, or one sample both failed and succeeded.
    """
    sample_ids, failed = np.asarray(sample_ids), labels(failed)
    if sample_ids.shape != failed.shape or len(failed) == 0:
        raise MaskbenchError(f"FTX: {sample_ids.shape} sample ids and {failed.shape} flags; give one flag per id")
    _, first, inverse = np.unique(sample_ids, return_index=True, return_inverse=True)
    differs = failed != failed[first][inverse]
    if differs.any():
        raise MaskbenchError(f"FTX: sample {sample_ids[differs.argmax()]} is marked both failed and extracted")
    return Ftx(len(first), int(np.count_nonzero(failed[first])))
