"""What the comparisons of a protocol are: their conditions ("UMR-MP" and so on), and whom they compare."""

from __future__ import annotations

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest
from maskbench.types import PairTable, Protocol

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
    sides = [np.asarray(side) for side in (pairs.reference_condition, pairs.probe_condition)]
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


def pair_subjects(protocol: Protocol) -> np.ndarray | None:
    """Who is on both sides of every pair: (M, 2) int32, the persons numbered in the order of their sorted ids; None
    where a pair names a sample that the protocol does not list."""
    people = sorted({sample.subject_id for sample in protocol.samples.values()})
    number = {subject_id: index for index, subject_id in enumerate(people)}
    of = {sample_id: number[sample.subject_id] for sample_id, sample in protocol.samples.items()}
    of |= {template_id: of[samples[0]] for template_id, samples in protocol.templates.items()}
    sides = (protocol.pairs.reference_id, protocol.pairs.probe_id)
    try:
        return np.array([[of[sample_id] for sample_id in side.tolist()] for side in sides], np.int32).reshape(2, -1).T
    except KeyError:
        return None
