"""How much of a face the encoder's residual blocks still tell, before any reformer is trained.

    python tools/g2d/descriptors.py FACES --subjects train_ids.txt [--blocks 0 3] [--adapters 1 3] [--random]

For each block and each side of the first convolution: a reformer with its teacher's weights whose convolution is fitted
to 256 bare faces (``fit_adapter``), and its templates of the other faces against the teacher's of the same faces, bare:
squared distance, as a share of the variance of the teacher's templates over faces. Masks are of recipe "worn", seed 0.
The teacher's own templates of the masked faces stand beside. --random: an encoder with random weights, but the palette.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maskbench.align import Template, align_face, estimate_similarity, five_points, template_at, warp
from maskbench.digest import array_sha256
from maskbench.files import cache_root
from maskbench.images import read_image
from maskbench.landmarks.cache import CachedLandmarker
from maskbench.mask_sources import DILATE, grown
from maskbench.masking.transform import RandomMask
from maskbench.models.dlib_resnet import fold
from maskbench.models.g2d import G2D, G2DConfig, build_encoder, build_g2d
from maskbench.models.ict import ICT
from maskbench.models.reformer import PictureTeacher
from maskbench.recognizers.base import load_recognizer
from maskbench.train.g2d_recipe import G2DRecipe
from maskbench.train.g2d_reformer import blocks_of, fit_adapter, start_from
from maskbench.train.g2d_stages import shipped_encoder
from maskbench.train.recipe import load_recipe

FITTED, PICTURES, BATCH = 256, 2, 32


class Faces(NamedTuple):
    """(N, 3, size, size) in [-1, 1], and masks (N, 1, size, size), 1 = occluded."""

    bare: Tensor
    masked: Tensor
    holes: Tensor


def aligned_faces(root: Path, subjects: list[str], template: Template) -> Faces:
    """The first pictures of each person that show a face."""
    landmarker, masks = CachedLandmarker("mediapipe", root=cache_root()), RandomMask("worn", p=1.0, output="pair")
    rows = []
    for path in (path for name in subjects for path in sorted((root / name).iterdir())[:PICTURES]):
        picture = read_image(path)
        if not (found := landmarker.detect(picture, array_sha256(picture))):
            continue
        points = five_points(found[0])
        masked, alpha = masks(picture, path.relative_to(root).as_posix(), found[0])
        where = estimate_similarity(points, template.points)
        hole = warp(np.where(alpha > 0, np.uint8(255), np.uint8(0)), where, template.size) > 0
        crops = (align_face(shown, points, template) for shown in (picture, masked))
        rows.append((*crops, grown(hole.astype(np.uint8), DILATE["oracle"])))
    bare, masked, holes = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    planes = [crops.permute(0, 3, 1, 2).float() / 127.5 - 1 for crops in (bare, masked)]
    return Faces(*planes, holes[:, None].float())


def templates(network: nn.Module, *given: Tensor) -> Tensor:
    """(N, 128)."""
    with torch.inference_mode():
        return torch.cat([network(*batch) for batch in zip(*(x.split(BATCH) for x in given), strict=True)])


def prepared(config: G2DConfig, encoder: ICT, bare: Tensor, recipe: G2DRecipe) -> G2D:
    """A network with that encoder and a reformer that is fitted and not trained."""
    teacher = load_recognizer(recipe.teacher, "cpu", "torch")
    network = build_g2d(config).eval()
    network.encoder.load_state_dict(encoder.state_dict())
    start_from(network, teacher, recipe.name)
    fit_adapter(network, teacher, recipe.name, bare.split(BATCH))
    return network


def main() -> None:
    """Parse the options and print a line per block and adapter."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("faces", type=Path)
    parse.add_argument("--subjects", type=Path, required=True)
    parse.add_argument("--blocks", type=int, nargs="+", default=[0, 1, 2, 3])
    parse.add_argument("--adapters", type=int, nargs="+", default=[1, 3])
    parse.add_argument("--random", action="store_true")
    given = parse.parse_args()
    recipe = load_recipe("g2d-small")
    size = (recipe.network.size,) * 2
    faces = aligned_faces(given.faces, given.subjects.read_text().split(), template_at(recipe.template, size))
    teacher = PictureTeacher(recipe.network.size).eval()
    teacher.load_teacher(fold(blocks_of(load_recognizer(recipe.teacher, "cpu", "torch"), recipe.name)))
    encoder = shipped_encoder(recipe)
    if given.random:
        torch.manual_seed(recipe.seed)
        random = build_encoder(recipe.network)
        random.palette.copy_(encoder.palette)
        encoder = random
    wanted = templates(teacher, faces.bare)[FITTED:]
    variance = (wanted - wanted.mean(0)).square().sum(1).mean()

    def off(found: Tensor) -> float:
        return float((found[FITTED:] - wanted).square().sum(1).mean() / variance)

    print(f"{FITTED} faces fitted, {len(wanted)} measured")
    print(f"the teacher, masked {off(templates(teacher, faces.masked)):.3f}")
    for block in given.blocks:
        for adapter in given.adapters:
            config = replace(recipe.network, block=block, adapter=adapter)
            network = prepared(config, encoder, faces.bare[:FITTED], recipe)
            bare = off(templates(network, faces.bare, 0 * faces.holes))
            masked = off(templates(network, faces.masked, faces.holes))
            print(f"block {block}, {adapter} x {adapter}: bare {bare:.3f}, masked {masked:.3f}", flush=True)


if __name__ == "__main__":
    main()
