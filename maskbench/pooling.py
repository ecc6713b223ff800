"""Templates of several pictures: one vector for each, as protocols in the style of IJB compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.types import EmbeddingSet, Protocol, Status

NO_PICTURE = "none of its pictures gave a template"


def pool_templates(embeddings: EmbeddingSet, protocol: Protocol) -> EmbeddingSet:
    """The embeddings with one row more for each template and condition that the protocol compares.

    A template's vector is the mean of its pictures' vectors, each scaled to length 1, so that no picture outvotes the
    others; pictures without a vector are left out, and a template of which none is left has FAILED. (The usual pooling
    of IJB-B and IJB-C by media is not done: protocols here know no media.)

    Args:
        embeddings: of the single pictures, as ``embed_inventory`` gives them.

    Raises:
        MaskbenchError: a template's picture is not among the embeddings although its condition was run.
    """
    if not protocol.templates:
        return embeddings
    rows = {
        key: row for row, key in enumerate(
            zip(embeddings.sample_ids.tolist(), embeddings.conditions.tolist(), strict=True)
        )
    }  # fmt: skip
    run = set(embeddings.conditions.tolist())
    wanted = sorted(key for key in _compared(protocol) if key[1] in run)
    if not wanted:
        return embeddings
    pooled = [_pool(embeddings, _members(rows, *key, protocol.templates[key[0]])) for key in wanted]
    vectors, status = (np.stack(column) for column in zip(*pooled, strict=True))
    reasons = [NO_PICTURE if state == Status.FAILED else "" for state in status]
    ids, conditions = (np.array(column) for column in zip(*wanted, strict=True))
    return replace(
        embeddings,
        sample_ids=np.concatenate([embeddings.sample_ids, ids]),
        conditions=np.concatenate([embeddings.conditions, conditions]),
        vectors=np.concatenate([embeddings.vectors, vectors.astype(np.float32)]),
        status=np.concatenate([embeddings.status, status.astype(np.int8)]),
        reasons=np.concatenate([embeddings.reasons, np.array(reasons)]),
    )


def _compared(protocol: Protocol) -> set[tuple[str, str]]:
    """Every (template id, condition) that a comparison needs."""
    pairs = protocol.pairs
    sides = (pairs.reference_id, pairs.reference_condition), (pairs.probe_id, pairs.probe_condition)
    keys = {key for ids, conditions in sides for key in zip(ids.tolist(), conditions.tolist(), strict=True)}
    return {key for key in keys if key[0] in protocol.templates}


def _members(
    rows: Mapping[tuple[str, str], int], template_id: str, condition: str, samples: Sequence[str]
) -> list[int]:
    try:
        return [rows[sample_id, condition] for sample_id in samples]
    except KeyError as error:
        raise MaskbenchError(
            f"template {template_id}: no embedding of {condition} sample {error.args[0][0]}; embed again"
        ) from None


def _pool(embeddings: EmbeddingSet, rows: Sequence[int]) -> tuple[np.ndarray, Status]:
    """The mean direction (D,) float64 of some rows, NaN without any, and what became of it."""
    good = [row for row in rows if embeddings.status[row] == Status.OK]
    vectors = embeddings.vectors[good].astype(np.float64)
    mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(0) if good else np.zeros(1)
    if not mean.any():  # no picture, or opposite ones
        return np.full(embeddings.vectors.shape[1], np.nan), Status.FAILED
    return mean, Status.OK
