"""Pictures to templates: alignment, batches with decoding ahead of inference, and a cache on disk."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from maskbench.align import TEMPLATES, Template, align_face, template_at
from maskbench.completing import put_in
from maskbench.digest import array_sha256, config_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write
from maskbench.images import read_image
from maskbench.inventory import Inventory, Item
from maskbench.landmarks.aligned import CROP_SIZE
from maskbench.landmarks.batch import find_five_points
from maskbench.progress import track
from maskbench.recognizers.base import checked_embed, network_digest, spec_digest
from maskbench.scoring import UNREADABLE
from maskbench.types import EmbeddingSet, Recognizer, Status

CACHE_FORMAT = 2
CACHE_POLICIES = ("missing", "always", "never")
ALIGN_MODES = ("auto", "detect", "source")
BATCH = 64
SHARD = 16  # batches between writes of the cache: what an interruption can cost

NO_ORIGINAL = "no unmasked original to take landmarks from"

Key = tuple[str, str]  # (sample id, condition)


def alignment_mode(inventory: Inventory, mode: str) -> str:
    """What an alignment mode stands for with these pictures: "detect" or "source".

    Args:
        mode: "detect": points found on each picture itself, masked or not. "source": the points of the unmasked
            original serve for its masked copy too. "auto": "source" when every picture is an aligned 112x112 crop
            (its points are then the template's), else "detect". Unreadable pictures have no say in it.
    """
    return "source" if mode == "source" or (mode == "auto" and _are_crops(inventory)) else "detect"


def _are_crops(inventory: Inventory) -> bool:
    return {item.size for item in inventory.items if item.size} == {(CROP_SIZE, CROP_SIZE)}


def alignment_points(
    inventory: Inventory, mode: str, workers: int, cache: Path | None, refresh: bool = False
) -> tuple[str, dict[Key, np.ndarray | str]]:
    """Decide how faces are aligned, and find five points for every picture.

    Args:
        mode: as for ``alignment_mode``.
        refresh: detect anew, whatever the landmark cache holds, and replace it.

    Returns:
        The mode that was used, and (5, 2) float64 points or a reason for each (sample id, condition).

    Raises:
        ProtocolError: an unmasked original is wanted and missing, or is not the protocol's.
    """
    mode, found = alignment_mode(inventory, mode), [item for item in inventory.items if item.path]
    if mode == "source" and _are_crops(inventory):
        template = TEMPLATES["arcface112"].points
        return mode, {(item.sample_id, item.condition): template for item in found}
    originals = inventory.originals() if mode == "source" else {}
    where = {
        (item.sample_id, item.condition): originals[item.sample_id] if mode == "source" else item.path
        for item in found
    }
    paths = [path for path in where.values() if path]
    points = find_five_points(paths, "auto", workers, cache, inventory.face_policy, refresh)
    return mode, {key: points[path] if path else NO_ORIGINAL for key, path in where.items()}


class EmbeddingCache:
    """Templates on disk: a folder of ``.npz`` shards per network, keyed by picture and alignment digests.

    Shards are numbered in the order of writing; where two hold the same key, the later one counts.

    Args:
        root: the cache folder; None means no cache.
        policy: "missing" answers with what is there, "always" with nothing, so that everything is computed anew and
            replaces what is there, and "never" neither reads nor writes.
    """

    def __init__(self, root: Path | None, recognizer: Recognizer, policy: str = "missing") -> None:
        digest = network_digest(recognizer)
        # Without a digest of its weights a recognizer could change unnoticed, so nothing of it is stored.
        usable = policy != "never" and recognizer.spec.weights_sha256
        self._folder = root / "embeddings" / f"v{CACHE_FORMAT}-{digest[:32]}" if root and usable else None
        self._known: dict[str, np.ndarray] = {}
        self._fresh: dict[str, np.ndarray] = {}
        if self._folder and policy == "missing":
            self._read(recognizer.spec.embedding_size)

    def _read(self, size: int) -> None:
        assert self._folder
        for path in sorted(self._folder.glob("*.npz")):
            keys, vectors = _read_shard(path)
            if vectors.dtype == np.float32 and vectors.shape == (len(keys), size):
                self._known |= dict(zip(keys.tolist(), vectors, strict=True))

    def get(self, key: str) -> np.ndarray | None:
        """The (D,) template stored under a key, or None."""
        return self._known.get(key)

    def put(self, key: str, vector: np.ndarray) -> None:
        """Remember a template until the next ``flush``."""
        self._fresh[key] = vector

    def flush(self) -> None:
        """Write what is new as one shard, atomically; a cache that cannot be written costs time, not the run."""
        if not self._fresh or not self._folder:
            return
        keys, vectors = np.array(list(self._fresh)), np.stack(list(self._fresh.values()))
        written = [int(path.name[:8]) for path in self._folder.glob("[0-9]" * 8 + "-*.npz")]
        name = f"{max(written, default=0) + 1:08d}-{config_sha256(keys.tolist())[:16]}.npz"
        try:
            with atomic_write(self._folder / name) as stream:
                np.savez(stream, keys=keys, vectors=vectors, sha256=np.array(array_sha256(keys, vectors)))
        except MaskbenchError:
            pass
        self._known |= self._fresh
        self._fresh = {}


def _read_shard(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys (N,) and templates (N, D) of a shard; none of a damaged one, whose templates are then computed again."""
    nothing = np.empty(0, str), np.empty((0, 0), np.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's remarks about a damaged header
            with np.load(path, allow_pickle=False) as stored:
                keys, vectors, digest = (stored[name] for name in ("keys", "vectors", "sha256"))
        return (keys, vectors) if str(digest) == array_sha256(keys, vectors) else nothing
    except UNREADABLE:
        return nothing


@dataclass(frozen=True)
class Completed:
    """What ``completing.complete_inventory`` made: a file or a reason for each picture; the template of the crops."""

    files: Mapping[Key, Path | str]
    template: Template

    def tag(self, key: Key) -> str:
        """What names the file of a picture in the key of its embedding."""
        file = self.files[key]
        return f":{file.parent.parent.name}{file.stem}" if isinstance(file, Path) else ""


@dataclass(frozen=True)
class _Batch:
    """Aligned faces (N, H, W, 3) of the items ``rows``, their cache keys, and the items that could not be aligned.

    ``masks`` is (N, H, W) where faces were completed, else None.
    """

    rows: list[int]
    keys: list[str]
    faces: np.ndarray
    masks: np.ndarray | None
    failures: list[tuple[int, str]]


def embed_inventory(
    recognizer: Recognizer, inventory: Inventory, points: dict[Key, np.ndarray | str], cache: EmbeddingCache,
    batch: int = BATCH, threads: int = 2, completed: Completed | None = None,
) -> EmbeddingSet:  # fmt: skip
    """Templates of every item; items without picture, face, mask or template keep their row with a reason."""
    spec, items = recognizer.spec, inventory.items
    template = template_at(spec.template, spec.input_size)
    vectors = np.full((len(items), spec.embedding_size), np.nan, np.float32)
    status = np.full(len(items), Status.FAILED, np.int8)
    reasons = [item.reason for item in items]
    pending: list[tuple[int, str]] = []
    for row, item in enumerate(items):
        where = points.get((item.sample_id, item.condition), item.reason)
        if completed and not isinstance(where, str):
            found = completed.files[item.sample_id, item.condition]
            where = found if isinstance(found, str) else where
        if isinstance(where, str):
            reasons[row] = where
            continue
        key = f"{item.sha256}:{array_sha256(np.round(where, 3), template.points, np.array(template.size))[:32]}"
        key += completed.tag((item.sample_id, item.condition)) if completed else ""
        stored = cache.get(key)
        if stored is None:
            pending.append((row, key))
        else:
            vectors[row], status[row] = stored, Status.OK

    prepare = _preparer(items, points, template, completed)
    work = _batches(pending, prepare, spec.input_size, batch, threads)
    for count, ready in enumerate(track(work, -(-len(pending) // batch), f"{spec.name}, batches")):
        for row, reason in ready.failures:
            reasons[row] = reason
        fresh, outcome = checked_embed(recognizer, ready.faces, ready.masks if spec.needs_mask else None)
        for row, key, vector, good in zip(ready.rows, ready.keys, fresh, outcome == Status.OK, strict=True):
            reasons[row] = "" if good else "the recognizer gave no template"
            if good:
                vectors[row], status[row] = vector, Status.OK
                cache.put(key, vector)
        if count % SHARD == SHARD - 1:
            cache.flush()
    cache.flush()
    ids, conditions = np.array([i.sample_id for i in items]), np.array([i.condition for i in items])
    digests = spec_digest(spec), inventory.samples_digest
    return EmbeddingSet(ids, conditions, vectors, status, np.array(reasons), *digests)


_Prepared = tuple[np.ndarray, np.ndarray | None]


def _preparer(
    items: Sequence[Item], points: dict[Key, np.ndarray | str], template: Template, completed: Completed | None
) -> Callable[[int], _Prepared | str]:
    """A function from row to aligned face (H, W, 3) uint8 and its mask, if any; or to the reason why there is none."""

    def prepare(row: int) -> _Prepared | str:
        item = items[row]
        assert item.path is not None
        key = item.sample_id, item.condition
        try:
            face = align_face(read_image(item.path), np.asarray(points[key]), template)
            return put_in(face, Path(completed.files[key]), completed.template, template) if completed else (face, None)
        except MaskbenchError as error:
            return str(error)

    return prepare


def _batches(
    pending: list[tuple[int, str]], prepare: Callable[[int], _Prepared | str], size: tuple[int, int], batch: int,
    threads: int,
) -> Iterator[_Batch]:  # fmt: skip
    """Batches of aligned faces; threads prepare the next ones while the caller runs the network."""
    if not pending:
        return
    chunks = (pending[start : start + batch] for start in range(0, len(pending), batch))
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(_batch, chunk, prepare, size) for chunk in islice(chunks, threads + 1))
        while ahead:
            ready = ahead.popleft().result()
            ahead.extend(pool.submit(_batch, chunk, prepare, size) for chunk in islice(chunks, 1))
            yield ready


def _batch(chunk: list[tuple[int, str]], prepare: Callable[[int], _Prepared | str], size: tuple[int, int]) -> _Batch:
    done = [(row, key, prepare(row)) for row, key in chunk]
    good = [(row, key, *made) for row, key, made in done if not isinstance(made, str)]
    faces = np.stack([face for _, _, face, _ in good]) if good else np.empty((0, *size, 3), np.uint8)
    known = [mask for _, _, _, mask in good if mask is not None]
    failures = [(row, made) for row, _, made in done if isinstance(made, str)]
    masks = np.stack(known) if known else None if good else np.empty((0, *size), np.uint8)
    return _Batch([row for row, *_ in good], [key for _, key, *_ in good], faces, masks, failures)
