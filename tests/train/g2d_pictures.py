"""A tiny G2D network and a quick recipe of it; faces and masks that stand for prepared ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from small_tensors import rng

from maskbench.align import template_at
from maskbench.errors import ImageError
from maskbench.models.g2d import G2D, G2DConfig, build_g2d
from maskbench.models.ict import ICT
from maskbench.train.data import Batch
from maskbench.train.g2d_recipe import STAGES, G2DRecipe
from maskbench.train.occluded import wide_at
from maskbench.train.prepare import wide_template
from maskbench.train.recipe import load_recipe

SIDE, TOKENS = 32, 4
INNER = template_at("dlib150", (SIDE, SIDE))
WIDE = wide_at(48)
CONFIG = G2DConfig(
    size=SIDE, tokens=TOKENS, colours=6, prior_width=8, layers=1, heads=2, width=0.125, blocks=2, block=0,
    widths=(4, 4, 4, 4), depth=10, embedding=5,
)  # fmt: skip

SIZES = {
    "size": 32, "tokens": 4, "colours": 8, "prior_width": 8, "layers": 1, "heads": 2, "width": 0.125, "blocks": 2,
    "reformer": "residual", "widths": [8, 8, 8, 8], "depth": 10, "embedding": 128,
}  # fmt: skip
QUICK = (
    f"network={json.dumps(SIZES)}", "holdout=2", "prior.palette_faces=8", "upsampler.critic_width=0.0625",
    "upsampler.losses.adversarial=0.1", "reformer.start=random", "masks.recipes={deocclusion: 1, ar1: 0.5}",
    "validation_masks={deocclusion: 1}",
    *(f"{stage}.{change}" for stage in STAGES for change in ("batch=6", "epochs=2", "precision=32-true")),
    "classifier.batch=3",
)  # fmt: skip


def quick(*changes: str) -> G2DRecipe:
    """The small recipe, made a good deal smaller."""
    return load_recipe("g2d-small", [*QUICK, *changes])


def encoder(**sizes) -> ICT:
    """With the same weights every time."""
    torch.manual_seed(1)
    return ICT(SIDE, TOKENS, 6, 8, 1, 2, 0.125, 2, **sizes)


def network(**sizes) -> G2D:
    """With the same weights every time."""
    torch.manual_seed(2)
    return build_g2d(replace(CONFIG, **sizes))


@dataclass(frozen=True)
class Faces:
    """Stands for ``PreparedFaces``: smooth pictures of their numbers."""

    keys: tuple[str, ...] = tuple(f"set/{number}" for number in range(6))
    subjects: tuple = ("a", "a", "b", "b", "c", "c")
    places: np.ndarray = field(default_factory=lambda: np.arange(18).reshape(6, 3))
    pictures: np.ndarray = field(default_factory=lambda: np.arange(6).astype("U32"))
    lost: tuple[int, ...] = ()
    template = wide_template(WIDE)
    sets = (SimpleNamespace(name="held_out"),)

    def __len__(self) -> int:
        return len(self.keys)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self.lost:
            raise ImageError(f"{index}.jpg: is gone")
        number = int(self.keys[index].rpartition("/")[2])
        small = np.random.default_rng(number).uniform(40, 220, (5, 5, 3)).astype(np.float32)
        side = self.template.size[0]
        big = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        return np.clip(big, 0, 255).astype(np.uint8), np.zeros((468, 3), np.float32)


class Bands:
    """Stands for ``MaskMix``: a magenta band over the lower part of some faces."""

    def __init__(self, recipes=None, p=1.0, seed=0, none=()):
        self.none = set(none)

    def __call__(self, image, mesh, key, epoch):
        if key in self.none:
            return None
        alpha = np.zeros(image.shape[:2], np.uint8)
        alpha[30:, 5:] = 255
        worn = image.copy()
        worn[alpha > 0] = (255, 0, 255)
        return SimpleNamespace(image=worn, alpha=alpha)


def some_holes(count=3) -> torch.Tensor:
    """(N, 1, side, side) of 0 and 1: rectangles, and none in the last."""
    holes = torch.zeros(count, 1, SIDE, SIDE)
    holes[0, 0, 9:17, 8:27] = 1
    holes[1, 0, 20:, :9] = 1
    return holes


def a_batch(holes=None, seed=0, index=None, flipped=False) -> Batch:
    holes = some_holes() if holes is None else holes
    count = len(holes)
    faces = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8))
    rows = torch.arange(count) if index is None else torch.tensor(index)
    flips = torch.full((count,), flipped)
    return Batch(rows, faces, holes.flatten(1).any(1), flips, None, [], None, holes[:, 0].to(torch.uint8))


def moved_by(method, turn, given) -> set[str]:
    """The names "module/parameter" that a step of one turn moves, of all the method's and some others' modules."""
    loss = method.losses(turn, given, rng())["loss"]
    groups = [weight for group in method.parameters_of(turn) for weight in group["params"] if weight.requires_grad]
    for module in method.modules.values():
        module.zero_grad()
    loss.backward()
    taken = {id(weight) for weight in groups if weight.grad is not None and bool(weight.grad.any())}
    return {
        f"{name}/{key}" for name, module in method.modules.items() for key, weight in module.named_parameters()
        if id(weight) in taken
    }  # fmt: skip
