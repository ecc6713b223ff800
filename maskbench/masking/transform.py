"""Random masks inside a training loop: a transform for the pictures of a torch ``Dataset``."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskbench.digest import array_sha256, generator
from maskbench.errors import ImageError, MaskbenchError
from maskbench.files import cache_root
from maskbench.landmarks.base import MESH_POINTS
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.masking.faces import LEAST_INTER_OCULAR, no_face
from maskbench.masking.placement import sample
from maskbench.masking.recipes import DEFAULT, Recipe, resolve_recipe
from maskbench.masking.render import MaskedImage, draw_on
from maskbench.masking.space import control_points, scale_of
from maskbench.masking.wardrobe import Wardrobe, unit
from maskbench.types import Landmarks, MaskAsset, Placement

OUTPUTS = ("image", "pair", "record")
NO_FACE = ("keep", "error")


class RandomMask:
    """Put a mask on a picture with a probability; what is drawn depends on ``(seed, epoch, key)`` alone.

    So neither the order of the pictures nor the number of DataLoader workers matters. It can be sent to workers that
    are spawned, and ``set_epoch`` reaches workers that live on from epoch to epoch.

    Args:
        recipe: a shipped recipe's name, a YAML file, or what ``recipes.resolve_recipe`` returns.
        p: share of the pictures that get a mask, 0 to 1.
        seed: another one draws other masks.
        landmarks: where faces are: a mapping from keys to (468, 3) points in pixels (or ``Landmarks``, or None for a
            picture without a face); an array (N, 468, 3) for keys 0 to N - 1; a ``CachedLandmarker``, or a landmarker's
            name for one with the usual cache ("aligned" for 112x112 crops); None to give them with each call. Only a
            landmarker that misses its cache loads MediaPipe.
        output: "image": the picture alone, as it was given; "pair": the picture and the mask's alpha (H, W) uint8;
            "record": a ``MaskedImage`` of NumPy arrays, its placement that of the first mask, or None.
        no_face: "keep" leaves pictures as they are on which no face is known, "error" raises.
        masks_dirs: further folders of mask assets.

    Raises:
        MaskbenchError: there is no such recipe, mask or landmarker, or an argument is out of its range.
    """

    def __init__(
        self, recipe: str | Path | Recipe = DEFAULT, p: float = 0.5, seed: int = 0,
        landmarks: Mapping | np.ndarray | CachedLandmarker | str | None = None, output: str = "image",
        no_face: str = "keep", masks_dirs: Sequence[Path | str] = (),
    ) -> None:  # fmt: skip
        if not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise MaskbenchError(f"p={p!r} is no probability; give a number from 0 to 1")
        for name, value, known in (("output", output, OUTPUTS), ("no_face", no_face, NO_FACE)):
            if value not in known:
                raise MaskbenchError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")
        self.recipe = resolve_recipe(recipe=recipe)
        self.p, self.seed, self.output, self.no_face = float(p), int(seed), output, no_face
        self.masks_dirs = tuple(masks_dirs)
        known = CachedLandmarker(landmarks, root=cache_root()) if isinstance(landmarks, str) else landmarks
        self.landmarks = known
        self._wardrobe: Wardrobe | None = self.wardrobe
        self._epoch = _shared_number()

    @property
    def wardrobe(self) -> Wardrobe:
        """The recipe bound to the masks at hand; opened again in a process that was spawned."""
        if getattr(self, "_wardrobe", None) is None:
            self._wardrobe = Wardrobe.open(self.recipe, self.masks_dirs)
        return self._wardrobe

    @property
    def epoch(self) -> int:
        """The epoch of the next draws."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Draw other masks from now on, in all workers. Call it before an epoch's iterator is made."""
        self._epoch.fill_(_whole(epoch))

    def __getstate__(self) -> dict[str, Any]:
        # Textures are read again rather than sent, and a landmarker that runs cannot be sent.
        state = {**self.__dict__, "_wardrobe": None}
        if isinstance(self.landmarks, CachedLandmarker):
            state["landmarks"] = copy.copy(self.landmarks)
            state["landmarks"]._landmarker = None
        return state

    def __repr__(self) -> str:
        return f"RandomMask(recipe={self.recipe.name!r}, p={self.p}, seed={self.seed}, epoch={self.epoch})"

    def __call__(
        self, image: Any, key: Any = None, landmarks: np.ndarray | Landmarks | None = None, epoch: int | None = None
    ) -> Any:
        """Mask a picture, or not.

        Args:
            image: (H, W, 3) uint8 NumPy array or (3, H, W) uint8 torch tensor on the CPU, RGB; not changed.
            key: what names the picture, such as its path or its number; without it its pixels do.
            landmarks: (468, 3) points of the face in this very picture, cropped and flipped as it is; they come before
                those that the transform knows.
            epoch: instead of what ``set_epoch`` said.

        Returns:
            See ``output``. A picture that gets no mask is returned itself.

        Raises:
            ImageError: this is no picture; or, with ``no_face="error"``, it shows no face.
            MaskbenchError: nothing is known about the key, or the landmarks are no face mesh.
        """
        array, tensor = _array(image)
        plan = self.plan(array, key, landmarks, epoch)
        drawn, alpha = array.copy() if plan else array, None
        for asset, placement in plan:
            own = draw_on(drawn, asset, placement)
            alpha = own if alpha is None else np.maximum(alpha, own)
        if self.output == "image":
            return _like(drawn, tensor) if plan else image
        alpha = np.zeros(array.shape[:2], np.uint8) if alpha is None else alpha
        if self.output == "record":
            return MaskedImage(drawn, alpha, plan[0][1] if plan else None)
        return (_like(drawn, tensor) if plan else image), _like(alpha, tensor)

    def plan(
        self, image: np.ndarray | None, key: Any = None, landmarks: np.ndarray | Landmarks | None = None,
        epoch: int | None = None,
    ) -> list[tuple[MaskAsset, Placement]]:  # fmt: skip
        """What a picture gets, in drawing order, without drawing it: for ``render_torch``, on a GPU say.

        Args:
            image: (H, W, 3) uint8; needed for a landmarker, and where there is no key.
        """
        epoch = self.epoch if epoch is None else _whole(epoch)
        if key is None and image is None:
            raise MaskbenchError("neither a picture nor a key was given; give what names the picture")
        name = array_sha256(image) if key is None else str(key)
        parts = (str(epoch), name)
        if self.p == 0 or unit(self.seed, *parts, "masked") > self.p:
            return []
        face = self._face(image, key, landmarks)
        if face is None:
            return []
        plan = []
        for number, choice in enumerate(self.wardrobe.choose(self.seed, *parts)):
            rng = generator(self.seed, *parts, str(number), choice.asset.asset_id)
            placement = sample(
                rng, choice.asset, face, self.seed, self.recipe.jitter, choice.colour, choice.style, choice.size,
                {"entry": choice.entry, "epoch": epoch},
            )  # fmt: skip
            plan.append((choice.asset, placement))
        return plan

    def _face(self, image: np.ndarray | None, key: Any, given: np.ndarray | Landmarks | None) -> Landmarks | None:
        """The face to mask, or None. Raises as ``__call__`` does."""
        found = _faces(self._lookup(image, key) if given is None else given, key)
        if found and scale_of(control_points(found[0].points)) >= LEAST_INTER_OCULAR:
            return found[0]
        if self.no_face == "error":
            raise ImageError(f'{_named(key)}: {no_face(found)}; leave it out, or use no_face="keep"')
        return None

    def _lookup(self, image: np.ndarray | None, key: Any) -> Any:
        """What is known about a picture's face: None, points, ``Landmarks``, or a list of these."""
        known = self.landmarks
        if known is None:
            raise MaskbenchError(f"{_named(key)}: no landmarks; give them with the call, or RandomMask(landmarks=...)")
        if hasattr(known, "detect"):
            if image is None:
                raise MaskbenchError(f"{_named(key)}: a landmarker needs the picture; give it, or give landmarks")
            return known.detect(image, array_sha256(image))
        if isinstance(known, np.ndarray) and (isinstance(key, bool | np.bool_) or not hasattr(key, "__index__")):
            raise MaskbenchError(f"{_named(key)}: landmarks in an array are found by whole numbers; give one as key")
        try:
            inside = 0 <= key < len(known) if isinstance(known, np.ndarray) else key in known
        except TypeError:
            inside = False
        if not inside:
            raise MaskbenchError(f"{_named(key)}: not among the landmarks' {len(known)} keys; add it (None: no face)")
        return known[key]


def _shared_number() -> Any:
    """A whole number that all worker processes see: a tensor, since torch hands its memory to spawned workers too."""
    try:
        import torch
    except ImportError as error:
        raise MaskbenchError(f"RandomMask needs torch ({error}); pip install 'maskbench[cpu]'") from error
    return torch.zeros(1, dtype=torch.int64).share_memory_()


def _whole(epoch: int) -> int:
    if isinstance(epoch, bool) or not hasattr(epoch, "__index__") or epoch < 0:
        raise MaskbenchError(f"epoch={epoch!r}: give a whole number from 0")
    return int(epoch)


def _named(key: Any) -> str:
    return "picture" if key is None else f"picture {key!r}"


def _array(image: Any) -> tuple[np.ndarray, bool]:
    """A picture as (H, W, 3) uint8, and whether it came as a tensor. Raises ImageError if it is none."""
    torch = sys.modules.get("torch")
    tensor = torch is not None and isinstance(image, torch.Tensor)
    if tensor and image.ndim == 3 and image.shape[0] == 3 and image.dtype == torch.uint8 and not image.is_cuda:
        return np.ascontiguousarray(image.detach().permute(1, 2, 0).numpy()), True
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return image, False
    got = type(image).__name__
    got += f" {tuple(image.shape)} {image.dtype}" if hasattr(image, "shape") else ""
    raise ImageError(
        f"a (H, W, 3) uint8 array or a (3, H, W) uint8 tensor on the CPU is needed, not {got}; "
        "mask pictures before they are normalised, and PIL ones as np.asarray(picture)"
    )


def _like(array: np.ndarray, tensor: bool) -> Any:
    """(H, W, 3) or (H, W) as a tensor, the colours first, if the input was one."""
    if not tensor:
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1) if array.ndim == 3 else array))


def _faces(found: Any, key: Any) -> list[Landmarks]:
    """Landmarks in any of the accepted forms as a list, as it came. Raises MaskbenchError if they are no face mesh."""
    if found is None:
        return []
    if isinstance(found, Landmarks):
        return [found]
    if isinstance(found, list) and all(isinstance(face, Landmarks) for face in found):
        return found
    try:
        points = np.asarray(found, np.float32)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.shape != (MESH_POINTS, 3):
        raise MaskbenchError(
            f"{_named(key)}: landmarks of shape {points.shape}; give the {MESH_POINTS} points of the face mesh, "
            f"x, y and z in pixels ({MESH_POINTS}, 3)"
        )
    if not math.isfinite(float(points.sum())):
        return []  # the usual mark of a face that was not found in an array of landmarks
    return [Landmarks(points, "mesh468", math.nan, "given")]
