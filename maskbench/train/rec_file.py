"""Insightface's packed training sets (``train.rec`` with ``train.idx``), read without MXNet.

The byte format (all numbers little-endian; sources: the description in dmlc-core's ``recordio.h``, and MXNet's
documentation of ``mxnet.recordio``, ``IRHeader`` and ``tools/im2rec.py``):

- A ``.rec`` file is a row of parts. A part is the magic number 0xced7230a (uint32), a uint32 whose upper 3 bits are a
  flag and whose lower 29 bits are the length of the data, the data, and zeros up to a multiple of 4 bytes. Flag 0 is a
  whole record. A record that contains the magic number at a multiple of 4 bytes was cut there: flags 1, 2 ..., 3 mark
  its first, middle and last part, and the magic number belongs between them.
- A record's data is a header of 24 bytes (flag uint32, label float32, id uint64, id2 uint64), then, if the flag is
  n > 0, n float32 labels in place of the one in the header, then the encoded picture.
- A ``.idx`` file has a line "number TAB offset" for each record.

In the sets of insightface (its ``recognition`` folder reads them so) record 0 is no picture: its two labels L0, L1 say
that records 1 to L0 - 1 are pictures and L0 to L1 - 1 are subjects. The two labels of a subject's record are its first
picture and the one after its last, and so the subjects are known without a look at every picture. Pictures carry
their subject's number as the (first) label. Sets without such a record 0, as ``im2rec`` makes them, have pictures only.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench.errors import ImageError, MaskbenchError
from maskbench.images import MAX_FILE_BYTES, declared_size
from maskbench.train.archives import Archive

MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_LENGTH = (1 << 29) - 1
_HEADER = struct.Struct("<IfQQ")
_START = 8 + _HEADER.size  # bytes before the labels or the picture
_EXACT = 2**24  # the numbers up to here are float32 numbers
_STEP = 2**20  # headers looked at in one go
_AGAIN = "fetch the .rec and the .idx file again"


@dataclass(frozen=True)
class RecFile:
    """The pictures of a packed set, by row in the order of their record numbers.

    Attributes:
        archive: the ``.rec`` file.
        numbers: (N,) int64, of the records.
        offsets, ends: (N,) int64, the bytes that a record lies within; the end is where the next one begins.
        labels: (N,) int64, the subjects.
    """

    archive: Archive
    numbers: np.ndarray
    offsets: np.ndarray
    ends: np.ndarray
    labels: np.ndarray

    def read(self, row: int) -> bytes:
        """The encoded picture of a row.

        Raises:
            ImageError: the record is damaged, too large, or has another label than the index says.
            MaskbenchError: the file cannot be read or has changed.
        """
        offset = int(self.offsets[row])
        data = self.archive.read(offset, min(int(self.ends[row]) - offset, MAX_FILE_BYTES))
        name = f"{self.archive.path}: record {self.numbers[row]}"
        try:
            labels, picture = split(joined(data))
        except ValueError as error:
            raise ImageError(f"{name}: {error}; {_AGAIN}") from None
        if labels[0] != self.labels[row]:
            wrong = f"has label {labels[0]:g}, but its subject's record says {self.labels[row]}"
            raise ImageError(f"{name}: {wrong}; {_AGAIN}")
        return picture


def open_rec(path: Path | str) -> RecFile:
    """Open a packed set; its pictures are not read.

    Raises:
        MaskbenchError: one line naming the file: one of the two is missing or malformed, they do not belong together,
            or the ``.rec`` file is cut short.
    """
    archive = Archive.of(path)
    numbers, offsets = _read_index(Path(path).with_suffix(".idx"), archive)
    ends = _ends(offsets, archive.size)
    _check_last(archive, int(offsets.max()))
    words = np.memmap(archive.path, "<u4", "r", shape=(archive.size // 4,))
    file = RecFile(archive, numbers, offsets, ends, np.zeros(len(numbers), np.int64))
    heads = _Heads(words, archive.path, numbers, offsets)
    pictures, labels = _pictures(file, heads)
    if not len(pictures):
        raise MaskbenchError(f"{path}: holds no picture; {_AGAIN}")
    return RecFile(archive, numbers[pictures], offsets[pictures], ends[pictures], labels)


def joined(data: bytes) -> bytes:
    """The data of the record that begins ``data``, its parts put together. Raises ValueError where it is damaged."""
    parts, place, flag = [], 0, 0
    while not parts or flag in (1, 2):
        if len(data) < place + 8:
            raise ValueError("cut short")
        magic, word = struct.unpack_from("<II", data, place)
        flag, size = word >> 29, word & _LENGTH
        if magic != MAGIC or flag not in ((2, 3) if parts else (0, 1)):
            raise ValueError(f"no {'further part of a ' if parts else ''}record at its byte {place}")
        if len(data) < place + 8 + size:
            raise ValueError("cut short, or larger than a picture may be")
        parts.append(data[place + 8 : place + 8 + size])
        place += 8 + (size + 3) // 4 * 4
    return _MAGIC_BYTES.join(parts)


def split(record: bytes) -> tuple[np.ndarray, bytes]:
    """The labels, (n,) float32 with n > 0, and the picture of a record. Raises ValueError where it is too short."""
    if len(record) < _HEADER.size:
        raise ValueError("too short for a header")
    flag, label, _, _ = _HEADER.unpack_from(record)
    end = _HEADER.size + 4 * flag
    if len(record) < end:
        raise ValueError("too short for its labels")
    labels = np.frombuffer(record[_HEADER.size : end], "<f4") if flag else np.array([label], np.float32)
    return labels, record[end:]


# ---------------------------------------------------------------- the index


def _read_index(path: Path, archive: Archive) -> tuple[np.ndarray, np.ndarray]:
    """Record numbers, rising, and their offsets."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the file is empty: said below
            warnings.simplefilter("error", DeprecationWarning)  # numbers that are not whole, or too large
            table = np.loadtxt(path, np.int64, comments=None, ndmin=2, encoding="utf-8")
    except OSError as error:
        place = f"it must lie beside {archive.path}"
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror or 'no such file'}); {place}") from error
    except (ValueError, OverflowError, DeprecationWarning) as error:
        reason = str(error).partition("\n")[0]
        raise MaskbenchError(f"{path}: not lines of record number and offset ({reason}); {_AGAIN}") from None
    if not table.size or table.shape[1] != 2:
        raise MaskbenchError(f"{path}: no lines of record number and offset; {_AGAIN}")
    numbers, offsets = table[np.argsort(table[:, 0], kind="stable")].T
    for values, what in ((numbers, "number"), (np.sort(offsets), "offset")):
        if len(twice := np.flatnonzero(np.diff(values) == 0)):
            raise MaskbenchError(f"{path}: the record {what} {values[twice[0]]} stands there twice; {_AGAIN}")
    wrong = (offsets < 0) | (offsets % 4 != 0) | (offsets + _START > archive.size)
    if wrong.any():
        row = int(np.argmax(wrong))
        where = f"record {numbers[row]} at byte {offsets[row]} of {archive.path}, which has {archive.size}"
        raise MaskbenchError(f"{path}: no room for {where}; one of the files is cut short or of another set, {_AGAIN}")
    return np.ascontiguousarray(numbers), np.ascontiguousarray(offsets)


def _ends(offsets: np.ndarray, size: int) -> np.ndarray:
    """Where the record after each one begins, or the file ends."""
    order = np.argsort(offsets)
    ends = np.empty_like(offsets)
    ends[order] = np.append(offsets[order][1:], size)
    return ends


def _check_last(archive: Archive, offset: int) -> None:
    """Refuse a file that ends within its last record."""
    try:
        joined(archive.read(offset, min(archive.size - offset, MAX_FILE_BYTES)))
    except ValueError as error:
        raise MaskbenchError(f"{archive.path}: its last record, at byte {offset}, is {error}; {_AGAIN}") from None


# ---------------------------------------------------------------- which records are pictures, and of whom


@dataclass(frozen=True)
class _Heads:
    """The beginnings of the records, for many of them at a time. ``words`` maps the file as uint32."""

    words: np.ndarray
    path: str
    numbers: np.ndarray
    offsets: np.ndarray

    def labels(self, rows: np.ndarray, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The first ``count`` labels of records, (n, count) float32, and the bytes after the labels, (n,) int64.

        Where a record has one label and two are asked for, the second is that of the header.
        """
        found = [self._some(rows[start : start + _STEP], count) for start in range(0, len(rows), _STEP)]
        values, rests = zip(*found, strict=True) if found else ([np.empty((0, count), np.float32)], [np.empty(0, int)])
        return np.concatenate(values), np.concatenate(rests)

    def _some(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        places = self.offsets[rows] // 4
        flags = self.words[places + 2].astype(np.int64)
        sizes = (self.words[places + 1] & _LENGTH).astype(np.int64)
        rests = sizes - _HEADER.size - 4 * flags
        bad = (self.words[places] != MAGIC) | (rests < 0)
        if bad.any():
            row = rows[int(np.argmax(bad))]
            where = f"no whole record {self.numbers[row]} at byte {self.offsets[row]}"
            raise MaskbenchError(f"{self.path}: {where}; it is damaged or of another set than its .idx, {_AGAIN}")
        last = len(self.words) - 1
        columns = []
        for column in range(count):
            after = np.minimum(places + _START // 4 + column, last)
            columns.append(np.where(flags > column, self.words[after], self.words[places + 3]))
        return np.stack(columns, axis=1).astype("<u4").view("<f4"), rests


def _pictures(file: RecFile, heads: _Heads) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are pictures, and their labels, (N,) int64."""
    numbers = file.numbers
    if (bounds := _bounds(file)) is None:
        rows = np.arange(len(numbers))
        return rows, _whole(heads, rows, heads.labels(rows)[0][:, 0])
    first, last = bounds
    if last <= _EXACT:
        rows = np.flatnonzero((numbers >= 1) & (numbers < first))
        of_subjects = np.flatnonzero((numbers >= first) & (numbers < last))
        if (labels := _by_ranges(heads, rows, of_subjects)) is not None:
            return rows, labels
    else:  # float32 has rounded the bounds; subjects' records are those without a picture
        rows = np.flatnonzero(numbers >= 1)
        rows = rows[heads.labels(rows)[1] > 0]
    return rows, _whole(heads, rows, heads.labels(rows)[0][:, 0])


def _bounds(file: RecFile) -> tuple[int, int] | None:
    """The two labels of record 0; None where that is a picture like others, or missing."""
    if file.numbers[0] != 0:
        return None
    name = f"{file.archive.path}: record 0"
    offset = int(file.offsets[0])
    try:
        labels, rest = split(joined(file.archive.read(offset, int(file.ends[0]) - offset)))
    except ValueError as error:
        raise MaskbenchError(f"{name}: {error}; {_AGAIN}") from None
    if declared_size(rest) is not None or (len(labels) == 1 and rest):  # the second: one that is damaged
        return None
    if len(labels) < 2 or not np.isfinite(labels).all() or not 1 <= labels[0] <= labels[1]:
        raise MaskbenchError(f"{name}: neither a picture nor the range of the pictures; {_AGAIN}")
    return int(labels[0]), int(labels[1])


def _by_ranges(heads: _Heads, rows: np.ndarray, of_subjects: np.ndarray) -> np.ndarray | None:
    """The pictures' labels by the records of the subjects; None where those do not cover each picture once."""
    ranges = heads.labels(of_subjects, 2)[0]
    if not (np.abs(ranges) <= _EXACT).all():  # NaN too
        return None
    ranges = ranges.astype(np.int64)
    ranges = ranges[ranges[:, 1] > ranges[:, 0]]
    ranges = ranges[np.argsort(ranges[:, 0])]
    numbers = heads.numbers[rows]
    edges = np.append(ranges[:, 0], numbers[-1] + 1) if len(rows) else np.empty(0, np.int64)
    if len(edges) < 2 or edges[0] != numbers[0] or (edges[1:] != ranges[:, 1]).any() or (np.diff(numbers) != 1).any():
        return None
    begins, ends = ranges[:, 0] - numbers[0], ranges[:, 1] - numbers[0]
    of_first, of_last = (heads.labels(rows[at])[0][:, 0] for at in (begins, ends - 1))
    if (of_first != of_last).any():
        return None
    return np.repeat(_whole(heads, rows[begins], of_first), ends - begins)


def _whole(heads: _Heads, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels as whole numbers, (n,) int64."""
    bad = ~np.isfinite(labels) | (np.floor(labels) != labels) | (np.abs(labels) > _EXACT)
    if bad.any():
        at = int(np.argmax(bad))
        wrong = f"record {heads.numbers[rows[at]]} has the label {labels[at]:g}, which is no subject's number"
        raise MaskbenchError(f"{heads.path}: {wrong}; {_AGAIN}")
    return labels.astype(np.int64)
