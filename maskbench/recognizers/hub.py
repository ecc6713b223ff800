"""Files of the Hugging Face hub: "hf:OWNER/REPO@COMMIT/FILE", pinned to one commit.

Loading reads the hub's local cache and never the network; ``pull_hub`` is the one that downloads. The file is ONNX or
safetensors; its card, ``<stem>.json`` of the same folder and commit, holds the SHA-256 that it is compared with.
Where the cache lies and which server is asked is huggingface_hub's own affair (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from maskbench.digest import file_sha256
from maskbench.errors import RecognizerError
from maskbench.files import is_inside
from maskbench.recognizers.card import check_file, read_card
from maskbench.recognizers.engines import first_line, import_extra
from maskbench.types import Recognizer

PREFIX = "hf:"
FORM = "hf:OWNER/REPO@COMMIT/FILE"
SUFFIXES = (".onnx", ".safetensors")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REFERENCE = re.compile(rf"(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[^/]*))?/(?P<file>.+)", re.DOTALL)


@dataclass(frozen=True)
class HubFile:
    """One file of one commit of a repository of models."""

    repository: str
    revision: str
    file: str

    @property
    def card(self) -> str:
        """The card's path in the repository."""
        return str(PurePosixPath(self.file).with_suffix(".json"))

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}/{self.file}"


def parse_hub(rest: str) -> HubFile:
    """What follows "hf:" as its parts.

    Raises:
        RecognizerError: it is not of the form, its revision is not a full commit, the file's path leaves the
            repository, or the file is of a kind that is not loaded from the hub.
    """
    shown = f"{PREFIX}{rest!r}" if not rest.isprintable() else f"{PREFIX}{rest}"
    match = _REFERENCE.fullmatch(rest)
    if match is None:
        raise RecognizerError(f"{shown}: write {FORM}, where COMMIT has 40 hexadecimal digits")
    repository, revision, file = match["repository"], match["revision"] or "", match["file"]
    if re.fullmatch(r"[0-9a-f]{40}", revision) is None:
        what = f'revision "{revision}" is not pinned' if revision else "names no revision"
        raise RecognizerError(
            f"{shown}: {what}, and what a branch or tag stands for may change; write {FORM} with the full commit of 40 "
            "hexadecimal digits, which the repository's page lists under its history"
        )
    if not is_inside(file) or not file.isprintable() or "\\" in file:
        raise RecognizerError(f"{shown}: {file!r} is not a path inside the repository")
    if PurePosixPath(file).suffix not in SUFFIXES:
        raise RecognizerError(f"{shown}: only {' and '.join(SUFFIXES)} files are loaded from the hub, never pickles")
    return HubFile(repository, revision, file)


def load_hub(
    rest: str, card: Path | str | None = None, device: str = "auto", engine: str = "onnxruntime",
    allow_pickle: bool = False,
) -> Recognizer:  # fmt: skip
    """The recognizer in a file that was pulled from the hub; the loader of "hf:...". Downloads nothing.

    Args:
        card: instead of the repository's own.

    Raises:
        RecognizerError: huggingface_hub is not installed, file or card were not pulled, or the file's SHA-256 is not
            its card's.
    """
    wanted = parse_hub(rest)
    path = _local(wanted, wanted.file)
    if path is None:
        raise RecognizerError(f"{wanted}: not here yet; pull it first: maskbench models pull {wanted}")
    if card is None:
        card = _local(wanted, wanted.card)
    if card is None:
        raise RecognizerError(f"{wanted}: no card {wanted.card} was pulled with it; give one with --card")
    spec, card_path = read_card(path, card)
    check_file(path, file_sha256(path), spec, card_path, _corrupted(wanted))
    if path.suffix == ".onnx":
        from maskbench.recognizers.onnx import load_reference

        return load_reference(str(path), card, device, engine, allow_pickle)
    from maskbench.recognizers.checkpoint import load_checkpoint

    return load_checkpoint(str(path), card, device, engine, False)


def _corrupted(wanted: HubFile) -> str:
    return f"a corrupted download, or another file's card: maskbench models pull --force {wanted}"


def _hub() -> tuple[Any, Any]:
    """huggingface_hub and its errors."""
    hub = import_extra("huggingface_hub", f'"{FORM}"')
    return hub, import_module("huggingface_hub.errors")


def _local(wanted: HubFile, file: str) -> Path | None:
    """Where the hub's cache holds a file of the commit, or None. Asks no server, as even an offline download may do."""
    hub, _ = _hub()
    found = hub.try_to_load_from_cache(wanted.repository, file, revision=wanted.revision)
    return Path(found) if isinstance(found, str) else None  # else None, or a mark for "known not to exist"


def pull_hub(rest: str, force: bool, sha256: str | None, say: Callable[[str], None]) -> Path:
    """Download a file of the hub and its card, and compare the file's SHA-256.

    Args:
        rest: what follows "hf:".
        force: download again what is here already.
        sha256: of the file; needed where the repository has no card, and compared beside the card's.
        say: takes each line of the report.

    Returns:
        The file in the hub's cache.

    Raises:
        RecognizerError: huggingface_hub is not installed, the hub cannot be reached or has no such file, there is no
            SHA-256 to compare with, or the file has another.
    """
    wanted = parse_hub(rest)
    card = _download(wanted, wanted.card, force, optional=True)
    if card is None and sha256 is None:
        raise RecognizerError(
            f"{wanted}: no card {wanted.card} at that commit, so nothing to compare the file with; "
            "give --sha256 of the file, and later a card of your own with --card"
        )
    path = _download(wanted, wanted.file, force)
    assert path is not None
    digest = file_sha256(path)
    if sha256 is not None and digest != sha256:
        raise RecognizerError(f"{path} has SHA-256 {digest} instead of {sha256}; {_corrupted(wanted)}")
    say(f"{path}\n  {path.stat().st_size} bytes, SHA-256 {digest}")
    if card is None:
        say("  as given; the repository has no card: write one, and give it with --card")
        return path
    spec, _ = read_card(path, card)
    check_file(path, digest, spec, card, _corrupted(wanted))
    say(f"{card}\n  describes it: {spec.name}, licence {spec.licence}")
    return path


def _download(wanted: HubFile, file: str, force: bool, optional: bool = False) -> Path | None:
    """Fetch one file into the hub's cache; None for an ``optional`` one that the commit does not have."""
    if not force and (path := _local(wanted, file)):
        return path
    if not _exists(wanted, file):
        if optional:
            return None
        raise RecognizerError(f"{wanted}: no file {file} at that commit; look at the repository's list")
    hub, _ = _hub()
    try:
        return Path(hub.hf_hub_download(wanted.repository, file, revision=wanted.revision, force_download=force))
    except Exception as error:  # the HTTP library's own, a full disk, and so on
        raise RecognizerError(f"{wanted}: {file} cannot be fetched ({first_line(error)}); try again") from error


def _exists(wanted: HubFile, file: str) -> bool:
    """Whether the commit has a file. One question to the hub, so that one that cannot be reached is told at once.

    Raises:
        RecognizerError: the hub has no such repository or commit, refuses to say, or cannot be reached.
    """
    hub, errors = _hub()
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(wanted.repository, file, revision=wanted.revision))
    except errors.RepositoryNotFoundError as error:
        raise RecognizerError(
            f"{wanted}: no such repository, or it wants a login; check its name, or log in with: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise RecognizerError(f"{wanted}: the repository has no such commit; copy one from its history") from error
    except errors.EntryNotFoundError:
        return False
    except errors.HfHubHTTPError as error:
        raise RecognizerError(f"{wanted}: the hub refuses ({first_line(error)}); try again later") from error
    except (
        Exception
    ) as error:  # offline by wish, no name service, no route, a timeout: each library version has its own
        raise RecognizerError(
            f"{wanted}: the hub cannot be reached ({first_line(error)}); "
            "check the connection, HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from error
    return True
