"""Downloading recognizers: by explicit command only, every file compared with a known SHA-256."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from maskbench.errors import RecognizerError
from maskbench.recognizers.hub import FORM, pull_hub
from maskbench.recognizers.packs import pull_pack

PULLS: dict[str, Callable[[str, bool, str | None, Callable[[str], None]], Path]] = {
    "hf": pull_hub,
    "insightface": pull_pack,
}


def pull_recognizer(name: str, force: bool, sha256: str | None, say: Callable[[str], None]) -> Path:
    """Download what "hf:..." or "insightface:..." names, and check it.

    Args:
        force: also what is here already.
        sha256: of the file, 64 lower-case hexadecimal digits, or None for the one that is known.
        say: takes each line of the report.

    Returns:
        The downloaded file.

    Raises:
        RecognizerError: nothing of the kind can be downloaded, or the download fails or is another file.
    """
    prefix, colon, rest = name.partition(":")
    if not colon or prefix not in PULLS or not rest:
        raise RecognizerError(f'"{name}" is nothing to download; write {FORM} or insightface:PACK')
    if sha256 is not None and (len(sha256) != 64 or sha256.strip("0123456789abcdef")):
        raise RecognizerError(f"--sha256 {sha256}: give 64 lower-case hexadecimal digits")
    return PULLS[prefix](rest, force, sha256, say)
