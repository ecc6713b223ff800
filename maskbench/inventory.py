"""Which file stands for which sample under which condition: the bridge from a protocol to folders of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench import manifest
from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError, ProtocolError
from maskbench.files import inside, read_json
from maskbench.images import declared_size, read_bytes
from maskbench.masking.engine import CONFIG, JOURNAL
from maskbench.masking.faces import FACE_POLICIES
from maskbench.protocol_build import used_keys
from maskbench.types import ManifestRow, Protocol


@dataclass(frozen=True)
class Item:
    """One picture to embed.

    Attributes:
        path: the file, or None when there is none; ``reason`` then says why.
        sha256: of the file's bytes.
        size: (width, height) that the header declares, or None when it is no image.
        missing: whether there should be a file and is none.
    """

    sample_id: str
    condition: str  # "unmasked" or "masked"
    path: Path | None
    sha256: str = ""
    size: tuple[int, int] | None = None
    reason: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Inventory:
    """The pictures of a protocol.

    Attributes:
        items: every (sample, condition) that the protocol compares, sorted.
        masked_digest: of the masked set, "" without one.
        face_policy: "largest" or "central": which face of a picture wears the mask.
        protocol, faces_dir, allow_missing, masked_dir: what ``take_inventory`` was given.
    """

    items: list[Item]
    masked_digest: str
    face_policy: str
    protocol: Protocol
    faces_dir: Path
    allow_missing: bool
    masked_dir: Path | None = None

    @property
    def samples_digest(self) -> str:
        """The SHA-256 over which pictures are used: the file of every (sample, condition), "" where there is none."""
        return config_sha256([[item.sample_id, item.condition, item.sha256] for item in self.items])

    @property
    def masking(self) -> dict[str, str]:
        """Recipe (its SHA-256) and seed of the masked set, where ``synthesize`` made it."""
        return _masking(self.masked_dir)

    @property
    def missing(self) -> int:
        """How many pictures are missing and counted as failures."""
        return sum(item.missing for item in self.items)

    def originals(self) -> dict[str, Path | None]:
        """The unmasked original of every sample, also of those that the protocol compares masked only.

        Raises:
            ProtocolError: an original is missing, or is not the picture that the protocol describes.
        """
        known = {item.sample_id: item for item in self.items if item.condition == "unmasked"}
        others = sorted({item.sample_id for item in self.items} - set(known))
        looked_up = {sample_id: _unmasked(self.protocol, sample_id, self.faces_dir) for sample_id in others}
        missing = [item for item in looked_up.values() if item.missing]
        if missing and not self.allow_missing:
            raise ProtocolError(
                f"{len(missing)} of {len(others)} unmasked originals are missing, first "
                f"{missing[0].reason.removeprefix('missing: ')}; check the folder, or align on the masked pictures "
                "themselves (--align detect)"
            )
        return {sample_id: item.path for sample_id, item in (known | looked_up).items()}


def take_inventory(
    protocol: Protocol, faces_dir: Path, masked_dir: Path | None = None, allow_missing: bool = False
) -> Inventory:
    """Find and fingerprint the files of a protocol.

    Args:
        faces_dir: root of the samples' paths.
        masked_dir: root of the masked pictures, at the same paths; with a manifest, if ``synthesize`` made it. Without
            it, the comparisons of masked conditions are not run.
        allow_missing: count samples without a file as failures to extract instead of stopping.

    Raises:
        ProtocolError: files are missing, or are not the ones that the protocol or the manifest describes, or the
            masked folder is that of an unfinished run.
    """
    for folder in filter(None, (faces_dir, masked_dir)):
        if not Path(folder).is_dir():
            raise ProtocolError(f"{folder}: no such folder; give the folder of the pictures")
    _refuse_unfinished(masked_dir)
    rows = _manifest_rows(masked_dir)
    items: list[Item] = []
    for sample_id, condition in sorted(used_keys(protocol)):
        if condition == "unmasked":
            items.append(_unmasked(protocol, sample_id, faces_dir))
        elif masked_dir is not None:
            items.append(_masked(protocol, sample_id, masked_dir, rows))
    missing = [item for item in items if item.missing]
    if missing and not allow_missing:
        raise ProtocolError(
            f"{len(missing)} of {len(items)} pictures of protocol {protocol.name} are missing, first "
            f"{missing[0].reason.removeprefix('missing: ')}; check the folders, or use --allow-missing to count them "
            "as failures"
        )
    _refuse_unmasked(protocol, items, masked_dir)
    digest, policy = _masked_digest(masked_dir, items), _face_policy(masked_dir)
    return Inventory(items, digest, policy, protocol, faces_dir, allow_missing, masked_dir)


def _refuse_unmasked(protocol: Protocol, items: list[Item], masked_dir: Path | None) -> None:
    """A masked set that is byte for byte the unmasked one is a wrong path, and its figures would look wonderful."""
    # Samples that are compared masked only, as people with real masks are, are described by their masked picture.
    bare = {item.sample_id for item in items if item.condition == "unmasked"}
    masked = [item for item in items if item.condition == "masked" and item.path and item.sample_id in bare]
    if masked and all(item.sha256 == protocol.samples[item.sample_id].sha256 for item in masked):
        raise ProtocolError(f"{masked_dir}: holds the unmasked pictures themselves; give the folder of masked ones")


def _unmasked(protocol: Protocol, sample_id: str, faces_dir: Path) -> Item:
    sample = protocol.samples[sample_id]
    item = _look(sample_id, "unmasked", inside(faces_dir, sample.path))
    if sample.sha256 and item.sha256 and item.sha256 != sample.sha256:
        raise ProtocolError(
            f"{item.path}: is not the picture that protocol {protocol.name} was made from (other sha256); "
            "make the protocol again from this folder"
        )
    return item


def _masked(protocol: Protocol, sample_id: str, masked_dir: Path, rows: dict[str, ManifestRow] | None) -> Item:
    sample = protocol.samples[sample_id]
    row = rows.get(sample.path) if rows is not None else None
    if row and row.status != "masked":
        return Item(sample_id, "masked", None, reason=f"masking {row.status}: {row.reason}")
    item = _look(sample_id, "masked", inside(masked_dir, sample.path))
    if rows is not None and row is None and not item.missing:
        raise ProtocolError(
            f"{masked_dir / manifest.NAME}: has no row for {sample.path}; mask the protocol's faces with "
            "maskbench synthesize --resume"
        )
    if row and item.sha256 and item.sha256 != row.output_sha256:
        raise ProtocolError(f"{item.path}: changed since {masked_dir / manifest.NAME} was written; synthesize again")
    if row and sample.sha256 and row.source_sha256 != sample.sha256:
        raise ProtocolError(
            f"{masked_dir / manifest.NAME}: {sample.path} was masked from another picture than protocol "
            f"{protocol.name} names; synthesize from the protocol's faces"
        )
    return item


def _look(sample_id: str, condition: str, path: Path) -> Item:
    if not path.is_file():
        return Item(sample_id, condition, None, reason=f"missing: {path}", missing=True)
    try:
        data = read_bytes(path)
    except ImageError as error:
        return Item(sample_id, condition, None, reason=str(error))
    return Item(sample_id, condition, path, bytes_sha256(data), declared_size(data))


def _refuse_unfinished(masked_dir: Path | None) -> None:
    """Raise for the folder of a synthesis run that was stopped, or is still going on: its pictures may change."""
    if masked_dir is None:
        return
    begun = (masked_dir / CONFIG).is_file() and not (masked_dir / manifest.NAME).is_file()
    if begun or (masked_dir / JOURNAL).is_file():
        raise ProtocolError(f"{masked_dir}: is an unfinished run; finish it with maskbench synthesize --resume")


def _face_policy(masked_dir: Path | None) -> str:
    """The face that the masked set put the mask on; of a set that masked all faces, the largest."""
    found = _config(masked_dir)
    policy = found.get("faces", "largest") if isinstance(found, dict) else found
    if policy not in FACE_POLICIES:
        raise ProtocolError(f"{masked_dir}/{CONFIG}: has no known face policy ({str(policy)[:40]}); synthesize again")
    return "largest" if policy == "all" else policy


def _config(masked_dir: Path | None) -> Any:
    """What ``synthesize`` wrote of its options; {} where it did not write the folder, or there is none."""
    path = masked_dir and masked_dir / CONFIG
    if not path or not path.is_file():
        return {}
    try:
        return read_json(path)
    except MaskbenchError as error:
        raise ProtocolError(f"{error}; synthesize again") from error


def _masking(masked_dir: Path | None) -> dict[str, str]:
    found = _config(masked_dir)
    if not isinstance(found, dict) or not {"recipe_sha256", "seed"} <= set(found):
        return {}
    return {"mask_recipe": str(found["recipe_sha256"]), "mask_seed": str(found["seed"])}


def _manifest_rows(masked_dir: Path | None) -> dict[str, ManifestRow] | None:
    if masked_dir is None or not (masked_dir / manifest.NAME).is_file():
        return None
    return {row.source: row for row in manifest.read_manifest(masked_dir / manifest.NAME)}


def _masked_digest(masked_dir: Path | None, items: Iterable[Item]) -> str:
    """The manifest's SHA-256; for a set without manifest, a digest over the masked files themselves."""
    if masked_dir is None:
        return ""
    path = masked_dir / manifest.NAME
    if path.is_file():
        return bytes_sha256(path.read_bytes())
    return config_sha256([[item.sample_id, item.sha256] for item in items if item.condition == "masked"])
