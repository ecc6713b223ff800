"""FTX from comparisons: which samples gave no template, as far as the failed comparisons tell.

A failed comparison has a side without a template, but does not say which. A sample that occurs in any completed
comparison has one; where that holds for one side of a failed comparison, the other side failed. Where it holds for
neither, either may have failed, and the FTX of that role is not known. A list of the failed samples settles it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.metrics.failures import Ftx, ftx
from maskbench.score_files_match import Comparisons
from maskbench.tables import read_columns
from maskbench.types import Status

NO_SAMPLES = "the scores do not name their samples"
UNDECIDED = "a failed comparison does not say which side has no template; give --failures"
_COLUMNS = ["sample_id", "condition", "reason"]


def failed_keys(
    reference: np.ndarray, probe: np.ndarray, status: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which keys surely have no template, and of which it cannot be told.

    Args:
        reference, probe: (M,) keys of the samples, from 0.
        status: (M,) ``Status``.

    Returns:
        failed, undecided: (K,) bool each by key, never both.
    """
    count = 1 + int(max(reference.max(initial=-1), probe.max(initial=-1)))
    good, failed, undecided = (np.zeros(count, bool) for _ in range(3))
    done, lost = status == Status.OK, status == Status.FAILED
    good[reference[done]] = good[probe[done]] = True
    left, right = reference[lost], probe[lost]
    failed[left[good[right] & ~good[left]]] = True
    failed[right[good[left] & ~good[right]]] = True
    failed[left[(left == right) & ~good[left]]] = True
    undecided[left[~good[left]]] = undecided[right[~good[right]]] = True
    return failed, undecided & ~failed


def listed_keys(path: Path, compared: Comparisons) -> np.ndarray:
    """(K,) bool by key, from a list of failed samples such as ``failures.csv`` of an evaluation.

    Raises:
        MaskbenchError: "FILE:LINE: ..." for other columns, an unknown condition, or a sample that was compared
            successfully.
    """
    if compared.keys is None or compared.key_names is None:
        raise MaskbenchError(f"{path}: {NO_SAMPLES}, so a list of failed ones says nothing; leave --failures out")
    names, columns = read_columns(path)
    if names != _COLUMNS:
        raise MaskbenchError(f"{path}:1: the columns must be {','.join(_COLUMNS)}, found {','.join(names)}")
    number = {name: index for index, name in enumerate(compared.key_names.tolist())}
    good = np.zeros(2 * len(number), bool)
    for side in compared.keys:
        good[side[compared.status == Status.OK]] = True
    failed = np.zeros(2 * len(number), bool)
    for line, (sample, condition) in enumerate(zip(*columns[:2], strict=True), start=2):
        if condition not in ("unmasked", "masked"):
            raise MaskbenchError(f"{path}:{line}: condition is {condition!r}; write unmasked or masked")
        key = 2 * number.get(sample, -1) + (condition == "masked")
        if key >= 0 and good[key]:
            raise MaskbenchError(f"{path}:{line}: {condition} sample {sample!r} failed, yet a comparison has its score")
        failed[key] |= key >= 0
    for template, samples in compared.templates.items():  # it fails if none of its pictures has a vector
        for masked in (0, 1):
            key, members = 2 * number[template] + masked, [failed[2 * number[sample] + masked] for sample in samples]
            failed[key] = all(members)
            if failed[key] and good[key]:
                raise MaskbenchError(f"{path}: no sample of template {template!r} is left, yet it has a score")
    return failed


def ftx_by_role(
    compared: Comparisons, failures: Path | None
) -> Mapping[str, tuple[dict[str, Ftx], str]]:
    """For each condition, FTX of the roles for which it is known, and why it is not for the others ("" if it is).

    Raises:
        MaskbenchError: as :func:`listed_keys`.
    """
    present = np.unique(compared.label).tolist()
    if failures is not None:
        failed = listed_keys(failures, compared)
        undecided = np.zeros_like(failed)
    if compared.keys is None:
        return {name: ({}, NO_SAMPLES) for name in present}
    if failures is None:
        failed, undecided = failed_keys(*compared.keys, compared.status)
    answer = {}
    for name in present:
        rows = (compared.label == name) & (compared.status != Status.NOT_RUN)
        known = {}
        for role, side in zip(("reference", "probe"), compared.keys, strict=True):
            if rows.any() and not undecided[side[rows]].any():
                known[role] = ftx(side[rows], failed[side[rows]])
        answer[name] = known, "" if len(known) == 2 else UNDECIDED
    return answer
