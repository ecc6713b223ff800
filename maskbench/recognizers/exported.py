"""Networks of torch as ONNX files in the cache folder, exported once."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from maskbench.digest import bytes_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root, write_bytes, write_text
from maskbench.recognizers.engines import import_engine


def cached_onnx(stem: str, export: Callable[[], bytes]) -> tuple[bytes, Path]:
    """A network as ONNX bytes, exported on first use, and the file that keeps them.

    A file that does not match the SHA-256 beside it (cut short, edited) is made again.

    Args:
        stem: begins the file's name; must tell networks, weights and versions of the export apart.
        export: gives the bytes; called only where they are not in the cache.

    Raises:
        RecognizerError: torch is missing, and whatever ``export`` raises.
    """
    path = cache_root() / "onnx" / f"{stem}-torch{_torch_version()}.onnx"
    sidecar = path.with_name(path.name + ".sha256")
    try:
        data = path.read_bytes()
        if bytes_sha256(data) == sidecar.read_text(encoding="ascii").strip():
            return data, path
    except (OSError, UnicodeDecodeError):
        pass  # not there yet, or unreadable: made below
    data = export()
    try:
        write_bytes(path, data)
        write_text(sidecar, bytes_sha256(data) + "\n")
    except MaskbenchError:
        pass  # a cache folder that cannot be written to costs the export at each start, nothing else
    return data, path


def _torch_version() -> str:
    """The installed version of torch, without importing it."""
    try:
        return version("torch")
    except PackageNotFoundError:
        import_engine("torch")  # raises with the remedy, unless torch was installed without metadata
        return "unknown"
