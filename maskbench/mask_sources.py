"""Which pixels of a face are occluded, and who says so: the segmenter, files, or the synthesiser's own alpha.

Masks are (H, W) uint8 with 1 = occluded. The segmenter looks at every picture, unmasked ones too, and knows no more
than a camera sees; the other two are privileged and labelled so in every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from maskbench import manifest
from maskbench.align import Template, align_face, estimate_similarity, template_at
from maskbench.digest import bytes_sha256, config_sha256
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import inside, is_inside
from maskbench.images import decode, read_bytes, read_image
from maskbench.inventory import Inventory, Item
from maskbench.masking.replay import masks_of_run, replay
from maskbench.pixels import dilated
from maskbench.registry import nearest
from maskbench.types import ManifestRow

SOURCES = ("segmenter", "file", "oracle")
NONE = "none"
CANVAS, CANVAS_SIZE = "wide128", (128, 128)  # what the segmenter looks at
# Pixels of the canvas by which a mask grows: a rim of the occluder left outside would count as known skin. The
# segmenter's edge is a guess, the others' is exact.
DILATE = {"segmenter": 2, "file": 1, "oracle": 1}
WHITE = 128  # a pixel of a mask file from this value on is occluded


@dataclass(frozen=True)
class Look:
    """A picture whose occlusion is wanted in an aligned crop. The picture itself, which may be large, is not kept.

    Attributes:
        shape: (H, W) of the picture; points: (5, 2) of its face.
        template: of the crop.
        canvas: (128, 128, 3) uint8, the face as the segmenter looks at it.
    """

    item: Item
    shape: tuple[int, int]
    points: np.ndarray
    template: Template
    canvas: np.ndarray


def look_at(item: Item, image: np.ndarray, points: np.ndarray, template: Template) -> Look:
    """What the sources need of a picture (H, W, 3)."""
    canvas = align_face(image, points, template_at(CANVAS, CANVAS_SIZE))
    return Look(item, image.shape[:2], points, template, canvas)


class MaskSource(Protocol):
    """Says where faces are occluded. It is sent to worker processes, so it opens networks when it is first used."""

    name: str
    digest: str

    def key(self, item: Item) -> str:
        """What tells apart the masks that this source gives for one picture: of a file its SHA-256, and so on."""
        ...

    def masks(self, looks: Sequence[Look]) -> list[np.ndarray | str]:
        """A mask in each look's crop, before it grows, or the reason why there is none."""
        ...


@dataclass
class Segmented:
    """The segmenter's masks, from the picture alone."""

    device: str = "auto"
    name: str = "segmenter"
    _segmenter: Any = None

    def _open(self) -> Any:
        if self._segmenter is None:
            from maskbench.segmenter import load_segmenter

            self._segmenter = load_segmenter(self.device)
        return self._segmenter

    @property
    def digest(self) -> str:
        """Of the segmenter's weights and threshold, and of what runs it: engines differ in the last bits."""
        return f"{self._open().digest} {self._open().engine}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_segmenter": None}

    def key(self, item: Item) -> str:
        """Nothing beyond the picture."""
        return ""

    def masks(self, looks: Sequence[Look]) -> list[np.ndarray | str]:
        """Segment each face on the canvas and carry the mask to its crop."""
        if not looks:
            return []
        canvas = template_at(CANVAS, CANVAS_SIZE)
        found = self._open().segment(np.stack([look.canvas for look in looks]))
        return [_carried(mask, canvas, look.template) for mask, look in zip(found, looks, strict=True)]


def _carried(mask: np.ndarray, canvas: Template, template: Template) -> np.ndarray:
    if (canvas.name, canvas.size) == (template.name, template.size):
        return mask
    return warp_mask(mask, estimate_similarity(canvas.points, template.points), template.size)


def warp_mask(
    mask: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    """A mask (H, W) of 0 and 1 in a crop of ``size``: 1 wherever a pixel of it has any part.

    Args:
        border: what is outside of it: nothing, or its border repeated (cv2.BORDER_REPLICATE).
    """
    scale = float(np.sqrt(abs(np.linalg.det(np.asarray(matrix)[:, :2]))))
    if 0 < scale < 0.5:  # linear interpolation would step over thin parts
        reach = int(np.ceil(0.5 / scale))
        mask = dilated(mask, reach - 1)
    matrix = np.asarray(matrix, np.float64)
    moved = cv2.warpAffine(mask * np.uint8(255), matrix, (size[1], size[0]), borderMode=border)
    return (moved > 0).astype(np.uint8)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask grown by ``pixels`` of the canvas (128 pixels wide), in the mask's own scale."""
    return dilated(mask, round(pixels * mask.shape[0] / CANVAS_SIZE[0]), cv2.MORPH_ELLIPSE)


@dataclass
class FromFiles:
    """Masks from files: ``FOLDER/PATH.png`` for the masked picture PATH, as large as it, white = occluded.

    ".png" is added to the picture's name, or replaces its extension. Unmasked pictures count as not occluded.
    """

    folder: Path
    paths: dict[str, str]  # sample id to path
    name: str = "file"
    digest: str = field(default="file", init=False)

    def _file(self, item: Item) -> Path | None:
        if item.condition != "masked":
            return None
        path = self.paths[item.sample_id]
        for name in (f"{path}.png", str(Path(path).with_suffix(".png"))):
            if (found := inside(self.folder, name)).is_file():
                return found
        raise ImageError("no mask file")

    def key(self, item: Item) -> str:
        """The file's SHA-256."""
        try:
            file = self._file(item)
            return bytes_sha256(read_bytes(file)) if file else ""
        except ImageError:
            return "missing"

    def masks(self, looks: Sequence[Look]) -> list[np.ndarray | str]:
        """Read each file and carry it to the crop."""
        return [self._mask(look) for look in looks]

    def _mask(self, look: Look) -> np.ndarray | str:
        try:
            file = self._file(look.item)
            drawn = None if file is None else decode(read_bytes(file), str(file))[..., 0]
        except ImageError as error:
            return str(error)
        if drawn is not None and drawn.shape != look.shape:
            (height, width), (high, wide) = drawn.shape, look.shape
            return f"{file}: is {width}x{height}, its picture {wide}x{high}"
        return in_crop(None if drawn is None else (drawn >= WHITE).astype(np.uint8), look)


def in_crop(mask: np.ndarray | None, look: Look) -> np.ndarray:
    """A mask (H, W) in the picture's own pixels, or None for an empty one, in the look's crop.

    Beyond the picture its border is repeated, as its pixels are.
    """
    if mask is None or not mask.any():
        return np.zeros(look.template.size, np.uint8)
    matrix = estimate_similarity(look.points, look.template.points)
    return warp_mask(mask, matrix, look.template.size, cv2.BORDER_REPLICATE)


@dataclass
class Oracle:
    """The synthesiser's own alpha, drawn again from the manifest: every pixel that a mask touched."""

    masked_dir: Path
    originals: dict[str, Path | None]  # sample id to the unmasked original
    rows: dict[str, ManifestRow]  # sample id to row
    name: str = "oracle"
    digest: str = field(default="oracle", init=False)
    _assets: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_assets": None}

    def key(self, item: Item) -> str:
        """Of the masks that were drawn."""
        row = self.rows.get(item.sample_id) if item.condition == "masked" else None
        return config_sha256(row.placement) if row else ""

    def masks(self, looks: Sequence[Look]) -> list[np.ndarray | str]:
        """Draw each picture's masks again."""
        return [self._mask(look) for look in looks]

    def _mask(self, look: Look) -> np.ndarray | str:
        if look.item.condition != "masked":
            return in_crop(None, look)
        row, original = self.rows.get(look.item.sample_id), self.originals.get(look.item.sample_id)
        if row is None or original is None:
            return "no row and original to draw its mask again from"
        if self._assets is None:
            self._assets = masks_of_run(self.masked_dir)
        try:
            _, alpha = replay(read_image(original), row.placement, self._assets)
        except MaskbenchError as error:
            return str(error)
        return in_crop((alpha > 0).astype(np.uint8), look)


def check_source(name: str, folder: Path | None) -> None:
    """Raise MaskbenchError unless there is such a source, and a folder for "file", and for no other."""
    if name not in SOURCES:
        raise MaskbenchError(f'no mask source "{name}"; {nearest(name, SOURCES)}')
    if (name == "file") != (folder is not None):
        raise MaskbenchError("--mask-source file and --mask-files FOLDER belong together; give both or neither")
    if folder is not None and not Path(folder).is_dir():
        what = "not a folder" if Path(folder).exists() else "no such folder"
        raise MaskbenchError(f"{folder}: {what}; give the folder of the mask files")


def open_source(
    name: str, inventory: Inventory, folder: Path | None = None, device: str = "auto"
) -> MaskSource:
    """The mask source for a protocol's pictures.

    Args:
        name: "segmenter", "file" or "oracle".
        folder: of the mask files, for "file".

    Raises:
        MaskbenchError: no such source, or what it needs is not there.
    """
    check_source(name, folder)
    if name == "segmenter":
        return Segmented(device)
    paths = {sample_id: sample.path for sample_id, sample in inventory.protocol.samples.items()}
    if folder is not None:
        return _files(inventory, paths, Path(folder))
    return _oracle(inventory, paths)


def _files(inventory: Inventory, paths: dict[str, str], folder: Path) -> FromFiles:
    assert all(map(is_inside, paths.values()))
    source = FromFiles(folder, paths)
    masked = [item for item in inventory.items if item.condition == "masked" and item.path]
    missing = [paths[item.sample_id] for item in masked if source.key(item) == "missing"]
    if missing and not inventory.allow_missing:
        raise MaskbenchError(
            f"{folder}: {len(missing)} of {len(masked)} masked pictures have no mask file, first {missing[0]}.png; "
            "check the folder, or count them as failures (--allow-missing)"
        )
    return source


def _oracle(inventory: Inventory, paths: dict[str, str]) -> Oracle:
    masked = inventory.masked_dir
    if masked is None:
        raise MaskbenchError("--mask-source oracle needs the masked set that synthesize wrote (--masked)")
    masks_of_run(masked)
    by_path = {row.source: row for row in manifest.read_manifest(masked / manifest.NAME)}
    rows = {sample_id: by_path[path] for sample_id, path in paths.items() if path in by_path}
    return Oracle(masked, inventory.originals(), rows)
