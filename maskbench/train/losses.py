"""Losses of MaskInv and its margin heads: templates pulled to a teacher's, classes pushed apart by a margin.

Everything is computed in float32, under autocast too: half precision rounds cosines near 1 by more than a margin
is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest

KD_KINDS = ("unit-mse", "unit-sum", "cosine", "raw-mse", "raw-sum")
SAFE = 1e-6  # cosines stay this far from +-1, where the gradient of acos is infinite


def template_kd(student: Tensor, teacher: Tensor, kind: str = "unit-mse", variance: float | Tensor = 1.0) -> Tensor:
    """Template-level knowledge distillation: how far a student's templates are from its teacher's.

    Source: MaskInv (Huber et al., FG 2021), whose released code averages over the batch and over the dimensions of
    normalised templates ("unit-mse"). For unit vectors |s - t|^2 = 2 (1 - cos), so with d dimensions
    unit-mse = 2 (1 - cos) / d, unit-sum = 2 (1 - cos) and cosine = 1 - cos: a weight must be scaled with the kind.

    Args:
        student, teacher: (B, D); no gradient flows to the teacher.
        kind: "unit-mse" or "unit-sum": squared differences of L2-normalised templates, averaged or summed over
            dimensions; "cosine": 1 - cos; "raw-mse" or "raw-sum": of templates as they are, for recognizers that are
            compared by Euclidean distance, divided by ``variance``.
        variance: of the teacher's templates, for the raw kinds.

    Returns:
        A scalar, the mean over the batch; 0 for a batch of none, which would else poison a step with NaN.

    Raises:
        MaskbenchError: no such kind, or shapes that differ.
    """
    if kind not in KD_KINDS:
        raise MaskbenchError(f'no distillation loss "{kind}"; {nearest(kind, KD_KINDS)}')
    if student.ndim != 2 or student.shape != teacher.shape:
        raise MaskbenchError(f"templates of shapes {tuple(student.shape)} and {tuple(teacher.shape)}: give two (B, D)")
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs = student.float(), teacher.detach().float()
        if not len(ours):
            return ours.sum()
        if kind == "cosine":
            return (1 - F.cosine_similarity(ours, theirs)).mean()
        if kind.startswith("unit"):
            ours, theirs = F.normalize(ours), F.normalize(theirs)
        squared = (ours - theirs).square()
        if kind.startswith("raw"):
            squared = squared / variance
        return squared.mean() if kind.endswith("mse") else squared.sum(dim=1).mean()


@dataclass(frozen=True)
class Margin:
    """How a margin head pushes.

    Attributes:
        angular: added to the angle (ArcFace), else subtracted from the cosine (CosFace).
        mean, std: of the margin of each sample, drawn anew at every step; std 0 is the fixed margin.
        sorted: ElasticFace's "+": the larger margins go to the samples farther from their class.
        scale: s, of the logits.
    """

    angular: bool
    mean: float
    std: float = 0.0
    sorted: bool = False
    scale: float = 64.0


# ArcFace: Deng et al., CVPR 2019; CosFace: Wang et al., CVPR 2018 (their m = 0.35); ElasticFace: Boutros et al., CVPRW
# 2022, with the values of its released code.
MARGINS: dict[str, Margin] = {
    "arcface": Margin(True, 0.5),
    "cosface": Margin(False, 0.35),
    "elasticface-arc": Margin(True, 0.5, 0.05),
    "elasticface-arc+": Margin(True, 0.5, 0.0175, True),
    "elasticface-cos": Margin(False, 0.35, 0.05),
    "elasticface-cos+": Margin(False, 0.35, 0.02, True),
}


def margin_named(name: str) -> Margin:
    """One of ``MARGINS``. Raises MaskbenchError if there is none of that name."""
    if name not in MARGINS:
        raise MaskbenchError(f'no margin loss "{name}"; {nearest(name, MARGINS)}')
    return MARGINS[name]


def draw_margins(cosines: Tensor, margin: Margin, generator: torch.Generator | None = None) -> Tensor:
    """A margin for each sample.

    Margins are Normal(mean, std) and not clipped. With ``sorted`` the smallest goes to the sample with the largest
    cosine to its class, and so on. (Public code of it assigns the sorted margins by the permutation that sorts the
    cosines where its inverse is meant; this is what is described.)

    Args:
        cosines: (B,) of each sample to its own class; no gradient flows.

    Returns:
        (B,) float32 on the device of ``cosines``.
    """
    if margin.std == 0:
        return torch.full_like(cosines, margin.mean)
    drawn = torch.empty(len(cosines)).normal_(margin.mean, margin.std, generator=generator).to(cosines.device)
    if not margin.sorted:
        return drawn
    rank = torch.argsort(torch.argsort(cosines.detach(), descending=True, stable=True), stable=True)
    return drawn.sort().values[rank]


def margin_logits(cosines: Tensor, labels: Tensor, margins: Tensor, margin: Margin) -> Tensor:
    """Logits of a margin head: s cos(theta + m) or s (cos theta - m) for a sample's own class, s cos theta for others.

    Args:
        cosines: (B, C) float32; labels: (B,) int64; margins: (B,).

    Returns:
        (B, C), scaled.
    """
    rows = torch.arange(len(labels), device=labels.device)
    own = cosines[rows, labels].clamp(-1 + SAFE, 1 - SAFE)
    pushed = torch.cos(torch.acos(own) + margins) if margin.angular else own - margins
    return margin.scale * cosines.index_put((rows, labels), pushed)


def sample_classes(
    labels: Tensor, classes: int, count: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """The classes of a batch, and as many random others as make ``count``.

    Source: An et al., "Partial FC: training 10 million identities on a single machine", ICCVW 2021, whose accuracy
    with a tenth of the classes is that with all. A classifier of which a step sees a part also learns single pictures
    less quickly by heart.

    Args:
        labels: (B,) int64, each below ``classes``.

    Returns:
        Their numbers (max(count, distinct labels),) in rising order, and the labels as places in that list.
    """
    order = torch.rand(classes, generator=generator).to(labels.device)
    own = labels.unique()
    order[own] = -1.0  # before all others
    chosen = order.topk(max(count, len(own)), largest=False, sorted=False).indices.sort().values
    return chosen, torch.searchsorted(chosen, labels)


class MarginHead(nn.Module):
    """A classifier on the unit sphere with a margin: its loss draws each template to its class and away from others.

    Args:
        dims: of templates; classes: how many.
        margin: how it pushes.
        centre: (D,) subtracted from templates first: of a recognizer compared by Euclidean distance, whose templates
            do not lie around the origin.
        weights: (classes, dims) to start from; by default drawn from Normal(0, 0.01) with ``seed``.
        sampled: how many classes a step compares with, its own among them (``sample_classes``); 0: all.
    """

    def __init__(
        self, dims: int, classes: int, margin: Margin, centre: Tensor | None = None, weights: Tensor | None = None,
        seed: int = 0, sampled: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.margin, self.sampled = margin, sampled
        if weights is None:
            weights = torch.empty(classes, dims).normal_(0, 0.01, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(weights.detach().clone().float())
        self.register_buffer("centre", torch.zeros(dims) if centre is None else centre.detach().clone().float())

    def cosines(self, templates: Tensor, classes: Tensor | None = None) -> Tensor:
        """(B, C) float32 cosines of templates (B, D) to every class, or to those given by number."""
        with torch.autocast(templates.device.type, enabled=False):
            weight = self.weight if classes is None else self.weight[classes]
            return F.linear(F.normalize(templates.float() - self.centre), F.normalize(weight.float()))

    def forward(self, templates: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The mean cross-entropy over the batch, a scalar, 0 for an empty one; ``generator`` makes all draws."""
        if not len(labels):  # every process must have a gradient for every weight
            return self.weight.sum() * 0
        chosen = None
        if 0 < self.sampled < len(self.weight):
            chosen, labels = sample_classes(labels, len(self.weight), self.sampled, generator)
        cosines = self.cosines(templates, chosen)
        own = cosines.gather(1, labels[:, None])[:, 0]
        logits = margin_logits(cosines, labels, draw_margins(own, self.margin, generator), self.margin)
        return F.cross_entropy(logits, labels)
