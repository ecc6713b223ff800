"""InsightFace's model packs: "insightface:PACK", read through the ONNX adapter; InsightFace itself is not needed.

A pack is a folder of ONNX files, of which one is the recognizer. Source of layout, names and preprocessing: the package
insightface 2.1 (``utils.storage``, ``model_zoo.model_zoo``, ``model_zoo.arcface_onnx``); of the training data and the
terms: its README and model zoo. The SHA-256 of the known files are those that public manifests of the packs of
InsightFace's release v0.7 agree on; they are what a file is compared with, so a wrong one refuses and never misleads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.digest import bytes_sha256, file_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.files import inside, read_json
from maskbench.recognizers.card import check_file, parse_card, read_card
from maskbench.recognizers.engines import first_line, import_extra
from maskbench.recognizers.onnx import OnnxRecognizer, describe, onnx_recognizer, read_network
from maskbench.recognizers.onnx_nodes import first_nodes
from maskbench.registry import nearest
from maskbench.types import RecognizerSpec

PREFIX = "insightface:"
TERMS = "InsightFace's pretrained models: non-commercial research purposes only"
LICENCE = "non-commercial research"
PACKAGE_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class KnownFile:
    """A published recognizer of InsightFace: its SHA-256 and what it is."""

    sha256: str
    network: str
    training_data: str


FILES: dict[str, KnownFile] = {
    "w600k_r50.onnx": KnownFile(
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43", "ResNet50", "WebFace600K"
    ),
    "w600k_mbf.onnx": KnownFile(
        "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f", "MobileFaceNet", "WebFace600K"
    ),
    "glintr100.onnx": KnownFile(
        "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf", "ResNet100", "Glint360K"
    ),
}
# pack -> its recognizer's file
KNOWN: dict[str, str] = {
    "antelopev2": "glintr100.onnx",
    "buffalo_l": "w600k_r50.onnx",
    "buffalo_m": "w600k_r50.onnx",
    "buffalo_s": "w600k_mbf.onnx",
    "buffalo_sc": "w600k_mbf.onnx",
}


def packs_root() -> Path:
    """Where InsightFace keeps its packs."""
    return Path("~/.insightface/models").expanduser()


def _is_path(pack: str) -> bool:
    return "/" in pack or pack.startswith(("~", "."))


def pack_folder(pack: str) -> Path:
    """The folder of a pack: one below ``packs_root()``, or the path that ``pack`` is.

    Some archives hold a folder of the pack's own name, which InsightFace unpacks one level too deep: it is found there.

    Raises:
        RecognizerError: there is no such folder; the message says how to get it.
    """
    if not _is_path(pack) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", pack):
        raise RecognizerError(f'"{pack}" is no name of a pack; {nearest(pack, KNOWN)}; or a folder, ./PACK')
    folder = Path(pack).expanduser() if _is_path(pack) else packs_root() / pack
    if not folder.is_dir():
        remedy = f"fetch it: maskbench models pull {PREFIX}{pack}"
        if _is_path(pack):
            remedy = "give the folder of a pack"
        elif pack not in KNOWN:
            remedy = f"{nearest(pack, KNOWN)}; or give a folder, {PREFIX}./{pack}"
        raise RecognizerError(f"{folder}: no such pack; {remedy}")
    nested = folder / folder.name
    return nested if not _networks(folder) and nested.is_dir() else folder


def _networks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.onnx") if path.is_file())


@dataclass(frozen=True)
class Found:
    """The recognizer of a pack: its file, and the card or the manifest's entry that describes it, if there is one."""

    path: Path
    card: Path | None = None
    entry: dict[str, Any] | None = None


def find_recognizer(folder: Path, card: Path | str | None = None) -> Found:
    """Which file of a pack is its recognizer.

    In this order: the one with a card of its own beside it; the one that the pack's manifest names; a file name that
    InsightFace published; the one that InsightFace's own rule takes (one square image of 112 pixels or more, a
    multiple of 16, that is not a landmark network's 192).

    Raises:
        RecognizerError: there is none, or more than one; the message lists the files.
    """
    files = _networks(folder)
    carded = [path for path in files if path.with_suffix(".json").is_file() or Path(f"{path}.json").is_file()]
    entry = _manifest_entry(folder)
    if carded and not card:
        path = _only(carded, folder, "several files have a card")
        return Found(path, next(p for p in (path.with_suffix(".json"), Path(f"{path}.json")) if p.is_file()))
    if entry is not None:
        return Found(inside(folder, str(entry["file"])), Path(card) if card else None, entry)
    named = [path for path in files if path.name in FILES]
    chosen = named or [path for path in files if _looks_like_a_recognizer(path)]
    return Found(_only(chosen, folder, "several files may be the recognizer"), Path(card) if card else None)


def _only(files: list[Path], folder: Path, why: str) -> Path:
    if len(files) == 1:
        return files[0]
    listed = ", ".join(path.name for path in files or _networks(folder)) or "no ONNX file at all"
    if files:
        raise RecognizerError(f"{folder}: {why}: {listed}; name one as onnx:PATH, with a card (docs/models.md)")
    raise RecognizerError(f"{folder}: none of its files is a recognizer: {listed}; give the folder of a pack")


def _looks_like_a_recognizer(path: Path) -> bool:
    try:
        height, width = describe(path).input_size
    except RecognizerError:
        return False
    return height == width and height >= 112 and height % 16 == 0 and height != 192


def _manifest_entry(folder: Path) -> dict[str, Any] | None:
    """What a manifest of version 2 says about the recognizer of a pack; None where there is none.

    Raises:
        RecognizerError: the manifest has no recognizer, or is malformed.
    """
    path = folder / PACKAGE_MANIFEST
    if not path.is_file():
        return None
    try:
        values = read_json(path)
    except MaskbenchError as error:
        raise RecognizerError(str(error)) from error
    if not isinstance(values, dict) or values.get("manifest_version") != 2:
        return None  # as InsightFace does
    tasks = values.get("tasks")
    entry = tasks.get("recognition") if isinstance(tasks, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise RecognizerError(f"{path}: names no recognition file; the pack has no recognizer, choose another")
    return entry


def _normalisation(found: Found, data: bytes) -> tuple[float, float]:
    """Mean and standard deviation, as InsightFace decides them.

    A manifest says them ("embedded": the network does it itself). Without one, a network whose first eight nodes hold a
    subtraction and a multiplication by name, as those exported from MXNet do, takes pixels as they are.
    """
    stated = (found.entry or {}).get("preprocessing")
    if stated == "embedded":
        return 0.0, 1.0
    if isinstance(stated, dict):
        return stated.get("mean", 127.5), stated.get("std", 127.5)
    names = first_nodes(data, 8)
    subtracts = any(name.startswith(("Sub", "_minus")) for name in names)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in names)
    return (0.0, 1.0) if subtracts and multiplies else (127.5, 127.5)


def pack_spec(found: Found, name: str, data: bytes) -> RecognizerSpec:
    """The specification of a pack's recognizer: its own card, or what is known of it.

    Args:
        name: of the pack.
        data: the bytes of the recognizer's file.

    Raises:
        RecognizerError: the card is malformed, or the file is not the published one of its name.
    """
    digest = bytes_sha256(data)
    if found.card is not None:
        spec, card = read_card(found.path, found.card)
        check_file(found.path, digest, spec, card, "get the right file, or check the card anew")
        return spec
    known = FILES.get(found.path.name) if found.entry is None else None
    expected = known.sha256 if known else (found.entry or {}).get("sha256", digest)
    if digest != expected:
        raise RecognizerError(
            f"{found.path} has SHA-256 {digest} instead of {expected}: a corrupted download, or another network; "
            f"maskbench models pull --force {PREFIX}{name}, or write a card beside it (docs/models.md)"
        )
    size, embedding_size = ((112, 112), 512) if known else describe(found.path)[:2]
    mean, std = _normalisation(found, data)
    values = {
        "name": name, "sha256": digest, "input_size": list(size), "template": "arcface112", "colour_order": "RGB",
        "mean": mean, "std": std, "embedding_size": embedding_size, "comparator": "cosine", "parameters": None,
        "training_data": [known.training_data] if known else None,
        "licence": LICENCE if known else "unknown",
        "source": f"InsightFace, pack {name}, {known.network}" if known else f"the file {found.path.name} of {name}",
    }  # fmt: skip
    return parse_card({**values, **({"terms": TERMS} if known else {})}, found.path)


def load_pack(
    rest: str, card: Path | str | None = None, device: str = "auto", engine: str = "onnxruntime",
    allow_pickle: bool = False,
) -> OnnxRecognizer:  # fmt: skip
    """The recognizer of an InsightFace pack; the loader of "insightface:PACK". Downloads nothing.

    Args:
        rest: a pack's name, for a folder below ``packs_root()``, or the path of a folder.
        card: instead of what is known of the pack.

    Raises:
        RecognizerError: the pack is not there or damaged, its recognizer is ambiguous, or another engine was asked for.
    """
    if engine != "onnxruntime":
        raise RecognizerError(f"{PREFIX}{rest}: an ONNX file runs on engine onnxruntime, not {engine}")
    folder = pack_folder(rest)
    found = find_recognizer(folder, card)
    data = read_network(found.path)
    return onnx_recognizer(data, found.path, pack_spec(found, _name(rest, folder), data), device)


def _name(rest: str, folder: Path) -> str:
    """The pack's name, or its folder's in the letters that a card allows."""
    if not _is_path(rest):
        return rest
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("._-") or "pack"


def pull_pack(pack: str, force: bool, sha256: str | None, say: Callable[[str], None]) -> Path:
    """Fetch a pack by InsightFace's own downloader, and check the recognizer's SHA-256.

    Args:
        force: download although the pack is there.
        sha256: of the recognizer's file, for a pack that is not in ``KNOWN``.

    Returns:
        The recognizer's file.

    Raises:
        RecognizerError: insightface is not installed, the download fails, or the file is another one.
    """
    if _is_path(pack) or (pack not in KNOWN and sha256 is None):
        raise RecognizerError(
            f'no known SHA-256 for pack "{pack}"; {nearest(pack, KNOWN)}; or give --sha256 of its recognizer'
        )
    _download(pack, force)
    found = find_recognizer(pack_folder(pack))
    digest, wanted = file_sha256(found.path), sha256 or FILES[KNOWN[pack]].sha256
    if digest != wanted:
        if pack not in KNOWN:  # its file would be loaded by whatever SHA-256 it has
            found.path.replace(found.path.with_name(found.path.name + ".refused"))
        raise RecognizerError(
            f"{found.path} has SHA-256 {digest} instead of {wanted}: a corrupted download; "
            f"maskbench models pull --force {PREFIX}{pack}"
        )
    say(f"{found.path}\n  SHA-256 {digest}, as expected\n  {TERMS}")
    return found.path


def _download(pack: str, force: bool) -> None:
    import_extra("insightface", f"fetching the pack {pack}")
    from insightface.utils import download

    try:
        download("models", pack, force=force, root=str(packs_root().parent))
    except Exception as error:  # requests', zipfile's and its own
        raise RecognizerError(
            f"the pack {pack} cannot be fetched ({first_line(error)}); check the connection, or unpack {pack}.zip of "
            f"github.com/deepinsight/insightface/releases to {packs_root() / pack}"
        ) from error
