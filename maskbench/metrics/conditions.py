"""Names of the comparison conditions: (un)masked reference against (un)masked probe, "UMR-MP" and so on."""

from __future__ import annotations

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.types import PairTable

LABELS = ("UMR-UMP", "UMR-MP", "MR-UMP", "MR-MP")  # the order of every table
_PREFIX = {"unmasked": "UM", "masked": "M"}


def condition_label(reference_condition: str, probe_condition: str) -> str:
    """The label of two sides: ("unmasked", "masked") is "UMR-MP". Raises MaskbenchError for other conditions."""
    for condition in (reference_condition, probe_condition):
        if condition not in _PREFIX:
            raise MaskbenchError(f'no condition named "{condition}"; {nearest(str(condition), _PREFIX)}')
    return f"{_PREFIX[reference_condition]}R-{_PREFIX[probe_condition]}P"


def condition_labels(pairs: PairTable) -> np.ndarray:
    """The label of every pair, (M,) str. Raises MaskbenchError for an unknown condition."""
    sides = [np.asarray(side, dtype=object) for side in (pairs.reference_condition, pairs.probe_condition)]
    result, done = np.full(len(pairs), "", dtype="<U7"), np.zeros(len(pairs), bool)
    for reference in _PREFIX:
        for probe in _PREFIX:
            chosen = (sides[0] == reference) & (sides[1] == probe)
            result[chosen] = condition_label(reference, probe)
            done |= chosen
    if not done.all():
        row = int((~done).argmax())
        condition_label(sides[0][row], sides[1][row])  # raises, naming the unknown one
    return result
