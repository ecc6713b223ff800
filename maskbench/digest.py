"""Content hashes of files, arrays and configurations: what ties every output to its inputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np


def bytes_sha256(data: bytes) -> str:
    """The SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes as 64 hexadecimal digits, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def array_sha256(*arrays: np.ndarray) -> str:
    """The SHA-256 over dtype, shape and C-order bytes of each array."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def config_sha256(value: Any) -> str:
    """The SHA-256 of a JSON-like value in canonical form (sorted keys, no spaces)."""
    return bytes_sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def generator(seed: int, *parts: str) -> np.random.Generator:
    """A random generator that depends on ``seed`` and ``parts`` alone.

    Neither the order of the work, nor the number of workers, nor Python's hash seed changes it.
    """
    key = "\0".join([str(seed), *parts]).encode("utf-8", "surrogateescape")
    words = np.frombuffer(hashlib.sha256(key).digest(), "<u4")
    while len(words) > 1 and not words[-1]:  # as the words of one little-endian integer, which has no leading zeros
        words = words[:-1]
    return np.random.Generator(np.random.PCG64(words))
