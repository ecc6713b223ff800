"""Losses of de-occlusion distillation: a student's templates, and how they lie to each other, drawn to a teacher's.

Source: Li, Ge, Zhang, Li, "Look Through Masks: Towards Masked Face Recognition with De-Occlusion Distillation", ACM
Multimedia 2020; "eq." below is of that paper. Its pair and triplet losses are those of relational knowledge
distillation (Park, Kim, Lu, Cho, CVPR 2019), whose released code settles what the paper leaves open: averages in
place of sums, and Huber's delta of 1.

Templates are taken as they are: of a recognizer that is compared by cosine, give L2-normalised ones. Losses are
float32, under autocast too; no gradient flows to a teacher or to centroids. A batch of none costs 0, with a gradient.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from maskbench.errors import MaskbenchError
from maskbench.registry import nearest

REDUCTIONS = ("mean", "sum")
NORMALISATIONS = ("own", "own-all", "teacher", "teacher-all")
SOFT_READINGS = ("centroid", "mixed", "direction")
HEADS = ("cosine", "euclidean")
SAME = 1e-12  # of |a|^2 + |b|^2: vectors less than a millionth of their length apart are one vector, up to rounding


def instance_loss(student: Tensor, teacher: Tensor, reduction: str = "mean", dims: str = "mean") -> Tensor:
    """Eq. 12: the L1 distance of each template to the teacher's.

    The defaults average over batch and dimensions, as torch's L1Loss does: a size near that of the averaged pair and
    triplet losses, so a weight near 1 (the paper states none). ``dims="sum", reduction="sum"`` is eq. 12 as printed,
    B D times as large.

    Args:
        student, teacher: (B, D).
        reduction, dims: "mean" or "sum" over the batch and over the dimensions.

    Returns:
        A scalar, 0 or more.

    Raises:
        MaskbenchError: no such reduction, or shapes that differ.
    """
    _check(reduction=(reduction, REDUCTIONS), dims=(dims, REDUCTIONS))
    _same_shape(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        return _over_dims((student.float() - teacher.detach().float()).abs(), reduction, dims)


def pair_loss(
    student: Tensor, teacher: Tensor, delta: float = 1.0, reduction: str = "mean", normalisation: str = "own"
) -> Tensor:
    """Eq. 13: Huber's loss of the differences between the student's and the teacher's normalised distances.

    All B^2 ordered pairs count, the B of a sample with itself too, which cost 0. The sum, as printed, therefore grows
    with B^2, and its weight with it; the mean is the released code's.

    mu, which divides distances, is printed as the mean over the pairs of a batch. Of whose distances the student's
    are divided by is left open, as is whether a sample makes a pair with itself:

    - "own" (default): psi_p is one function put to student and teacher alike, so each is divided by its own mean over
      the pairs that lie apart, as in the released code. The scale of the student's templates does not matter, and it
      may have other dimensions.
    - "teacher": both are divided by the teacher's mean, so the student must take over the teacher's scale.
    - "own-all", "teacher-all": the mean is over all B^2 pairs, so it is (B - 1) / B of the above if all lie apart.

    Args:
        student, teacher: (B, D) and (B, E).
        delta: where Huber's loss turns from quadratic to linear; see ``huber``. The paper states none.
        reduction: "mean" or "sum" over pairs.
        normalisation: one of ``NORMALISATIONS``.

    Returns:
        A scalar, 0 or more. Gradients are finite where templates are equal.

    Raises:
        MaskbenchError: no such reduction or normalisation, a delta that is not positive, or shapes that do not fit.
    """
    _check(reduction=(reduction, REDUCTIONS), normalisation=(normalisation, NORMALISATIONS))
    _same_length(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs = _distances(student), _distances(teacher.detach())
        whole = normalisation.endswith("-all")
        mu = _mean_distance(theirs, whole)
        own = _mean_distance(ours, whole) if normalisation.startswith("own") else mu
        return _reduce(huber((ours / own).float(), (theirs / mu).float(), delta), reduction)


def triplet_loss(student: Tensor, teacher: Tensor, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Eq. 14 and 15: Huber's loss of the differences between the student's and the teacher's cosines of angles.

    All B^3 ordered triplets (i, j, k) count, each with the angle at j. As in relational distillation's released code,
    a triplet with i = j or k = j, or with equal templates there, has cosine 0, and one with i = k has cosine 1. The
    sum, as printed, grows with B^3.

    Memory: arrays of B^3 numbers, none larger. A batch of 128 has 2,097,152 triplets: 16 MiB in the float64 of the
    cosines, 8 MiB in the float32 of the loss, and 130 MiB in all at the peak, in the backward pass.

    Args:
        student, teacher: (B, D) and (B, E).
        delta: see ``huber``; cosines differ by at most 2. The paper states none.
        reduction: "mean" or "sum" over triplets.

    Returns:
        A scalar, 0 or more. Gradients are finite where templates are equal.

    Raises:
        MaskbenchError: no such reduction, a delta that is not positive, or shapes that do not fit.
    """
    _check(reduction=(reduction, REDUCTIONS))
    _same_length(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        return _reduce(huber(_angles(student), _angles(teacher.detach()), delta), reduction)


def soft_instance_loss(
    student: Tensor, teacher: Tensor, centroids: Tensor, reading: str = "mixed", mix: float = 0.5,
    reduction: str = "mean", dims: str = "mean",
) -> Tensor:  # fmt: skip
    """Eq. 17, the "soft" instance loss, in a reading under which it is not eq. 12.

    As printed, l1(t - f, s - f), the centroid f cancels. What the text means ("identity-centered ensemble", "soften
    the knowledge") has three readings:

    - "centroid": l1(s, f).
    - "mixed" (default): l1(s, (1 - mix) t + mix f); with mix 0 it is eq. 12 and with mix 1 "centroid".
    - "direction": l1(norm(s - f), norm(t - f)) of L2-normalised differences. A sample whose teacher lies at its
      centroid has no direction, and costs 0.

    Args:
        student, teacher: (B, D).
        centroids: (B, D), of each sample's identity; see ``centroids_for``.
        mix: the share of the centroid, 0 to 1, for "mixed" only. Ours; the paper has no such number.
        reduction, dims: "mean" or "sum" over the batch and over the dimensions, as in ``instance_loss``.

    Returns:
        A scalar, 0 or more.

    Raises:
        MaskbenchError: no such reading or reduction, a mix outside 0 to 1, or shapes that differ.
    """
    _check(reading=(reading, SOFT_READINGS), reduction=(reduction, REDUCTIONS), dims=(dims, REDUCTIONS))
    _same_shape(student, teacher)
    _same_shape(student, centroids)
    if not 0 <= mix <= 1:
        raise MaskbenchError(f"the centroids' share is {mix}: give mix from 0 to 1")
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs, middle = student.float(), teacher.detach().float(), centroids.detach().float()
        if reading == "direction":
            target, known = _direction(theirs, middle)
            apart = (_direction(ours, middle)[0] - target) * known
        else:
            share = mix if reading == "mixed" else 1.0
            apart = ours - torch.lerp(theirs, middle, share)
        return _over_dims(apart.abs(), reduction, dims)


def class_centroids(templates: Tensor, labels: Tensor, classes: int | None = None) -> Tensor:
    """Eq. 18: the mean of the teacher's templates of each identity; computed once, before training.

    Args:
        templates: (N, D); as they are, so a mean of normalised ones is shorter than 1.
        labels: (N,) integers 0 to C - 1, or -1 for no identity, which is left out.
        classes: C; by default the largest label plus 1.

    Returns:
        (C, D) float32, summed in float64.

    Raises:
        MaskbenchError: shapes that do not fit, a label outside the range, or a class without a template.
    """
    known = int(labels.max()) + 1 if labels.numel() else 0
    count = known if classes is None else classes
    _check_labels(templates, labels, count)
    kept = labels >= 0
    chosen = labels[kept].long()
    sizes = torch.bincount(chosen, minlength=count)
    if (sizes == 0).any():
        empty = int((sizes == 0).nonzero()[0, 0])
        raise MaskbenchError(f"class {empty} of {count} has no template: number the classes without gaps")
    sums = torch.zeros(count, templates.shape[1], dtype=torch.float64, device=templates.device)
    sums.index_add_(0, chosen, templates.detach()[kept].double())
    return (sums / sizes[:, None]).float()


def centroids_for(templates: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """The centroid of each sample of a batch; a sample without an identity is its own centroid.

    So under "centroid" and "mixed" a sample of label -1 is distilled as by eq. 12, and under "direction" it costs 0.

    Args:
        templates: (B, D), the teacher's; labels: (B,) integers, -1 for no identity; centroids: (C, D).

    Returns:
        (B, D) float32, without gradient.

    Raises:
        MaskbenchError: shapes that do not fit, or a label outside -1 to C - 1.
    """
    _check_labels(templates, labels, len(centroids))
    _same_dims(templates, centroids)
    own = templates.detach().float()
    if not len(centroids):
        return own.clone()
    return torch.where((labels >= 0)[:, None], centroids.detach().float()[labels.clamp(min=0).long()], own)


def centroid_logits(templates: Tensor, centroids: Tensor, scale: float, kind: str = "cosine") -> Tensor:
    """Class logits of templates: how near each is to the training identities' centroids.

    Eq. 16's cross-entropy between the outputs of teacher and student needs one set of classes, but the paper's teacher
    was trained on other people than its student, and it does not state how the heads are made. This is ours: both
    get the same fixed head, made of the teacher's centroids of the training identities.

    Args:
        templates: (B, D); centroids: (C, D), from ``class_centroids``.
        scale: of the logits, above 0; larger is sharper. For unit vectors and centroids, "euclidean" at scale s has
            the softmax of "cosine" at 2 s.
        kind: "cosine"; or "euclidean", the negative squared distance, for recognizers that are compared by it.

    Returns:
        (B, C) float32; the gradient flows to the templates only.

    Raises:
        MaskbenchError: no such kind, a scale that is not positive, or shapes that do not fit.
    """
    _check(head=(kind, HEADS))
    _same_dims(templates, centroids)
    if not scale > 0:
        raise MaskbenchError(f"the logits' scale is {scale}: give one above 0")
    with torch.autocast(templates.device.type, enabled=False):
        ours, fixed = templates.float(), centroids.detach().float()
        if kind == "cosine":
            return scale * F.linear(_unit(ours)[0], _unit(fixed)[0])
        middle = fixed.mean(dim=0) if len(fixed) else 0.0  # an offset that all share would drown the differences
        ours, fixed = ours - middle, fixed - middle
        squares = ours.square().sum(dim=1)[:, None] + fixed.square().sum(dim=1)
        return scale * (2 * F.linear(ours, fixed) - squares)


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """L_CE of eq. 16: the cross-entropy of the student's class probabilities under the teacher's, not under labels.

    Its least value is the entropy of the teacher's probabilities, not 0.

    Args:
        student_logits, teacher_logits: (B, C).
        temperature: divides both logits. The result is not multiplied by its square, which would keep the size of
            gradients (Hinton et al., 2015). The paper states none: 1.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        MaskbenchError: a temperature that is not positive, or shapes that differ.
    """
    _same_shape(student_logits, teacher_logits, "logits", "(B, C)")
    if not temperature > 0:
        raise MaskbenchError(f"the temperature is {temperature}: give one above 0")
    with torch.autocast(student_logits.device.type, enabled=False):
        ours, theirs = student_logits.float(), teacher_logits.detach().float()
        if not ours.numel():
            return ours.sum()
        return F.cross_entropy(ours / temperature, F.softmax(theirs / temperature, dim=1))


def huber(found: Tensor, wanted: Tensor, delta: float = 1.0) -> Tensor:
    """Huber's loss of each number: d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2).

    This is torch's HuberLoss. SmoothL1Loss with beta = delta, which relational distillation's released code uses with
    beta 1, is 1 / delta of it: for delta = 1 they are the same.

    Returns:
        The shape of ``found``; nothing is reduced. Raises MaskbenchError if delta is not positive.
    """
    if not delta > 0:
        raise MaskbenchError(f"Huber's delta is {delta}: give one above 0")
    return F.huber_loss(found, wanted, reduction="none", delta=delta)


def _gram(templates: Tensor) -> Tensor:
    """(B, B) float64 dot products of templates around their mean.

    Distances and angles are differences of these, which cancel where templates are near each other: float32 would
    lose the angles between templates a thousandth of their length apart. The mean is a constant to the gradient,
    since no distance depends on it.
    """
    wide = templates.double()
    wide = wide - wide.detach().mean(dim=0)
    return wide @ wide.T


def _split(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs lie apart, (B, B) bool, and all distances, 1 where they do not, so that a gradient is finite."""
    lengths = gram.diagonal()
    sums = lengths[:, None] + lengths
    squares = sums - 2 * gram
    apart = ~(squares <= SAME * sums)  # not >, so that NaN stays NaN
    return apart, torch.where(apart, squares, 1.0).sqrt()


def _distances(templates: Tensor) -> Tensor:
    """(B, B) float64 Euclidean distances; 0, with gradient 0, of equal templates."""
    apart, distances = _split(_gram(templates))
    return torch.where(apart, distances, 0.0)


def _mean_distance(distances: Tensor, whole: bool) -> Tensor:
    """The mean over all pairs, or over those that lie apart; 1 if none does, where all distances are 0 anyway."""
    counted = torch.ones_like(distances) if whole else distances != 0
    total = distances.sum()
    return torch.where(total == 0, 1.0, total / counted.sum().clamp(min=1))


def _angles(templates: Tensor) -> Tensor:
    """(B, B, B) float32 cosines of the angles at j of triplets, at [j, i, k]; 0 without an angle.

    <t_i - t_j, t_k - t_j> = G_ik - G_ij - G_jk + G_jj, without ever holding B x B x D differences.
    """
    gram = _gram(templates)
    apart, distances = _split(gram)
    inverse = torch.where(apart, 1 / distances, 0.0)
    half = gram - gram.diagonal()[:, None] / 2
    between = gram - half[:, :, None] - half[:, None, :]
    return (between * inverse[:, :, None] * inverse[:, None, :]).float()


def _unit(vectors: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """L2-normalised rows, and which are (B, 1) known; the others, by default zeros, become 0 with gradient 0."""
    if known is None:
        known = vectors.detach().norm(dim=1, keepdim=True) != 0
    lengths = torch.where(known, vectors, 1.0).norm(dim=1, keepdim=True)
    return torch.where(known, vectors / lengths, 0.0), known


def _direction(vectors: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors from an origin, and which are (B, 1) known: a vector at its origin has no direction."""
    apart = vectors - origin
    sums = (vectors.square() + origin.square()).sum(dim=1, keepdim=True)
    known = ~(apart.square().sum(dim=1, keepdim=True) <= SAME * sums)
    return _unit(apart, known.detach())


def _reduce(values: Tensor, reduction: str) -> Tensor:
    return values.sum() if reduction == "sum" or not values.numel() else values.mean()


def _over_dims(values: Tensor, reduction: str, dims: str) -> Tensor:
    per_sample = values.sum(dim=1)
    if dims == "mean":
        per_sample = per_sample / max(values.shape[1], 1)
    return _reduce(per_sample, reduction)


def _check(**chosen: tuple[str, Collection[str]]) -> None:
    for what, (name, known) in chosen.items():
        if name not in known:
            raise MaskbenchError(f'no {what} "{name}"; {nearest(name, known)}')


def _same_shape(one: Tensor, other: Tensor, what: str = "templates", form: str = "(B, D)") -> None:
    if one.ndim != 2 or one.shape != other.shape:
        raise MaskbenchError(f"{what} of shapes {tuple(one.shape)} and {tuple(other.shape)}: give {form} of both")


def _same_length(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise MaskbenchError(f"templates of shapes {shapes}: give (B, D) and (B, E), as many of both")


def _same_dims(templates: Tensor, centroids: Tensor) -> None:
    if templates.ndim != 2 or centroids.ndim != 2 or templates.shape[1] != centroids.shape[1]:
        shapes = f"{tuple(templates.shape)} and centroids of {tuple(centroids.shape)}"
        raise MaskbenchError(f"templates of shape {shapes}: give (B, D) and (C, D)")


def _check_labels(templates: Tensor, labels: Tensor, classes: int) -> None:
    if templates.ndim != 2 or labels.shape != templates.shape[:1] or labels.is_floating_point():
        shapes = f"{tuple(templates.shape)} and labels of {tuple(labels.shape)}, {labels.dtype}"
        raise MaskbenchError(f"templates of shape {shapes}: give (N, D) and (N,) integers")
    if labels.numel() and not (-1 <= int(labels.min()) and int(labels.max()) < classes):
        raise MaskbenchError(
            f"labels {int(labels.min())} to {int(labels.max())} for {classes} classes: give 0 to {classes - 1}, or -1"
        )
