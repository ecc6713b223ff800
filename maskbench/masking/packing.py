"""Masked pictures as tar shards of the inputs' names and order.

Members that are no pictures are carried over unchanged. A picture that could not be masked is left out, and with it
the other members of its sample, unless another picture of that sample was masked: so every sample that is left has its
picture. Alphas go to shards of the same names below ``_alpha``.

What a worker has masked waits in a hidden folder until every picture of its shard is done. Then the shard is put
together and renamed to its place as a whole, so that a run can be killed at any moment and continued.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.datasets.folder import InputFile
from maskbench.datasets.inputs import ShardInputs
from maskbench.datasets.shards import ShardWriter, is_face_name, members, read_part, sample_key
from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import atomic_write, write_bytes
from maskbench.masking.journal import Journal
from maskbench.masking.outputs import ALPHA_FOLDER
from maskbench.types import ManifestRow

STAGING = ".staging"


@dataclass(frozen=True)
class Staging:
    """The hidden folder: each picture in a file whose name is a digest, which no member's name can break."""

    root: str

    def place(self, path: str, alpha: bool = False) -> str:
        """Where the masked picture, or the alpha, of a member waits for its shard."""
        name = bytes_sha256(path.encode("utf-8", "surrogateescape"))[:40]
        return f"{self.root}/{STAGING}/{name[:2]}/{name}{'.alpha' if alpha else ''}"

    def write(self, path: str, picture: bytes, alpha: bytes | None) -> None:
        """Keep a masked picture. Raises MaskbenchError."""
        if alpha is not None:
            write_bytes(self.place(path, alpha=True), alpha)
        write_bytes(self.place(path), picture)

    def drop(self, path: str) -> None:
        """Forget a picture; one that is not there is no error."""
        for alpha in (False, True):
            Path(self.place(path, alpha)).unlink(missing_ok=True)


class ShardOutputs:
    """The shards of one run, below ``root``; see the module."""

    def __init__(self, root: str, inputs: ShardInputs, alpha: bool = False) -> None:
        self.writer = Staging(root)
        self._root, self._inputs, self._alpha = root, inputs, alpha
        self._missing: Counter[str] = Counter()
        self._packer = ThreadPoolExecutor(1)  # copying waits for the disk; meanwhile the workers are fed
        self._packing: list[Future[None]] = []
        self._known: tuple[str, dict[str, InputFile]] = ("", {})

    def holds(self, row: ManifestRow) -> bool:
        """In the hidden folder or in the shard of an earlier run, by digest; of the alpha only its presence."""
        try:
            staged = file_sha256(Path(self.writer.place(row.source))) == row.output_sha256
        except OSError:
            return self._holds_packed(row)
        if staged and (not self._alpha or os.path.isfile(self.writer.place(row.source, alpha=True))):
            return True
        self.writer.drop(row.source)
        return self._holds_packed(row)

    def _holds_packed(self, row: ManifestRow) -> bool:
        picture = self._packed(row.source)
        if picture is None or bytes_sha256(picture) != row.output_sha256:
            return False
        return not self._alpha or self._packed(row.source, alpha=True) is not None

    def remove(self, row: ManifestRow) -> None:
        """What waits at once; a shard whose input is gone as a whole; the rest is repaired when shards are checked."""
        self.writer.drop(row.source)
        shard = _shard(row.source)
        if shard not in self._inputs.shards:
            for alpha in (False, True):
                Path(self._place(shard, alpha)).unlink(missing_ok=True)

    def begin(self, todo: Iterable[InputFile], journal: Journal) -> None:
        """Shards of which nothing is left to do are checked at once, and repaired if need be."""
        self._journal = journal
        self._missing = Counter(_shard(file.path) for file in todo)
        for shard in self._inputs.shards:
            if not self._missing[shard]:
                self._packing.append(self._packer.submit(self._mend, shard))

    def done(self, file: InputFile) -> None:
        """The last picture of a shard sets its packing off. Raises MaskbenchError if an earlier packing failed."""
        shard = _shard(file.path)
        self._missing[shard] -= 1
        if not self._missing[shard]:
            self._packing.append(self._packer.submit(self._pack, shard))
        while self._packing and self._packing[0].done():
            self._packing.pop(0).result()

    def finish(self) -> None:
        """Wait for the packing; then the hidden folder goes. Raises MaskbenchError if a packing failed."""
        for packing in self._packing:
            packing.result()
        shutil.rmtree(f"{self._root}/{STAGING}", ignore_errors=True)

    def close(self) -> None:
        """Packings that have not begun are dropped: the next run finds what waits for them."""
        self._packer.shutdown(wait=True, cancel_futures=True)

    def _place(self, shard: str, alpha: bool) -> str:
        return f"{self._root}/{ALPHA_FOLDER}/{shard}" if alpha else f"{self._root}/{shard}"

    def _packed(self, path: str, alpha: bool = False) -> bytes | None:
        """A member of the shard that an earlier run has written."""
        shard = self._place(_shard(path), alpha)
        if self._known[0] != shard:
            try:
                self._known = shard, {member.file.path: member.file for member in members(shard)}
            except OSError:
                self._known = shard, {}
        file = self._known[1].get(f"{path}.png" if alpha else path)
        return None if file is None or file.offset < 0 else read_part(shard, file)

    def _pack(self, shard: str) -> None:
        kept = _Kept(shard, self._inputs, self._journal)
        for alpha in (False, True)[: 1 + self._alpha]:
            if kept.anything(alpha):
                with atomic_write(Path(self._place(shard, alpha))) as stream:
                    self._build(shard, kept, stream, alpha)
            else:
                Path(self._place(shard, alpha)).unlink(missing_ok=True)
        self._known = ("", {})
        for path in kept.masked:
            self.writer.drop(path)

    def _mend(self, shard: str) -> None:
        """Pack a shard again unless it is, byte for byte, what packing it again would give."""
        kept = _Kept(shard, self._inputs, self._journal)
        for alpha in (False, True)[: 1 + self._alpha]:
            place, digest = Path(self._place(shard, alpha)), _Digest()
            if kept.anything(alpha):
                self._build(shard, kept, digest, alpha)
            found = file_sha256(place) if place.is_file() else None
            if found != (digest.hexdigest() if kept.anything(alpha) else None):
                self._pack(shard)
                return

    def _build(self, shard: str, kept: _Kept, stream: Any, alpha: bool) -> None:
        writer = ShardWriter(stream)
        with open(self._inputs.shards[shard], "rb") as source:
            for member in self._inputs.members(shard):
                if member.file.path in kept.masked:
                    data = self._fetch(member.file.path, alpha)
                    writer.add(f"{member.name}.png" if alpha else member.name, len(data), io.BytesIO(data))
                elif not alpha and member.file.path in kept.carried:
                    source.seek(member.file.offset)
                    writer.add(member.name, member.file.size, source)
        writer.close()

    def _fetch(self, path: str, alpha: bool) -> bytes:
        try:
            return Path(self.writer.place(path, alpha)).read_bytes()
        except OSError:
            data = self._packed(path, alpha)
        if data is None:
            raise MaskbenchError(f"{self._root}: the masked {path} has disappeared; use --resume")
        return data


class _Kept:
    """Which members of a shard are in its output: the paths of those masked, and of those carried over."""

    def __init__(self, shard: str, inputs: ShardInputs, journal: Journal) -> None:
        self.masked: set[str] = set()
        self.carried: set[str] = set()
        pictured, shown = set(), set()  # samples with a picture, and those with a masked one
        for member in inputs.members(shard):
            path = member.file.path
            if is_face_name(member.name):
                pictured.add(sample_key(path))
                row = journal.get(path) if member.file.is_image else None
                if row is not None and row.status == "masked":
                    self.masked.add(path)
                    shown.add(sample_key(path))
            elif member.file.offset >= 0:
                self.carried.add(path)
        lost = pictured - shown
        self.carried = {path for path in self.carried if sample_key(path) not in lost}

    def anything(self, alpha: bool) -> bool:
        """Whether a shard is written at all."""
        return bool(self.masked or self.carried and not alpha)


class _Digest:
    """A stream that keeps only the SHA-256 of what is written to it."""

    def __init__(self) -> None:
        self._digest, self._position = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _shard(path: str) -> str:
    return path.split("/", 1)[0]
