"""The statistics of the model: shapes, what differs between persons and between a person's pictures, traits and light.

Coefficients of shape and texture are taken together. The spread between a person's pictures is measured on
``celeba256``, whose people are known; the whole spread, and the means by sex, age and group, on ``utk144``, whose
labels are known; what is left of the whole is the spread between persons.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from fit_files import is_celeba, labels_of, people_of, say
from fit_head import Head, finished_head

from maskbench.files import atomic_write
from maskbench.people import hair_scalp
from maskbench.people.atlas import COLUMNS, ROWS
from maskbench.people.model import CHEEK_ROWS, CHEEKS, GROUPS, MESH, SEXES, features

SHAPES = 60  # shape components kept: 99.6 % of the variance
YAW, PITCH = 22.0, 15.0  # degrees: of turned faces the detector guesses half the shape
LEAST_PICTURES = 4  # of a person, whose spread they tell
AGES = (16, 90)  # years
MOST_BETWEEN, NEGLIGIBLE = 170, 1e-4  # rank of the spread between persons; share of a coefficient's variance
WITHIN = 50  # of the spread between a person's pictures
SHARPENING, SHARPEN_WIDTH = 0.7, 1.3  # of luma: unwrapping and averaging have blurred it; texels
EVEN_WIDTH = 5.0  # texels: broader variations than this are made alike on both sides
FAINTEST = 0.2  # light from the front, so that nothing is divided by zero
ODD_LIGHT = 3.0  # times the light from the front, in any harmonic
SAMPLE = 3  # one in so many pictures tells how often texels show skin
WARY = (3.0, 15.0, 22.0)  # texels inside the face's rim: trust begins, has grown within, is whole from there on
OFTEN = (0.3, 0.5)  # mean trust from which texels are believed, within
PLAIN, DEEP = 0.9, 16.0  # mean trust and depth inside the rim from which skin is carried on outwards


def fit_model(
    names: np.ndarray,
    poses: dict[str, np.ndarray],
    template: dict[str, np.ndarray],
    light: dict[str, np.ndarray],
    components: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, int]]]:
    """All arrays of the model file, and how many pictures, by set, and people each part was fitted to."""
    rows, coefficients = light["rows"], components["coefficients"].astype(np.float64)
    used, turned, mean = names[rows], poses["angles"][rows], poses["mean"]
    good = components["kept"] & (np.abs(turned[:, 0]) < YAW) & (np.abs(turned[:, 1]) < PITCH)
    offset, shapes, moved = principal_shapes(poses["shapes"][rows].astype(np.float64) - mean, good)
    joint = np.hstack([moved, coefficients])
    head = finished_head(template, mean, mean + offset)
    own = good & is_celeba(used)
    within, tell = spread_within(joint[own], people_of(used[own]))
    labelled, known = labelled_rows(used, good)
    traits, whole = by_traits(joint[labelled], known)
    between = between_factor(whole, within)
    report(between, within, whole)
    arrays = head_arrays(head, shapes, template["base"]) | texture_arrays(components, light)
    arrays |= within_arrays(within, finished(components["basis"], components)) | scalp_arrays(arrays)
    arrays |= light_arrays(light["light"][own].astype(float)) | {"tan": tan_of(components, coefficients[good])}
    arrays |= {"traits": traits.astype(np.float32), "between": between.astype(np.float16)}
    parts = {
        "mean shape": names[poses["frontal"]], "textures": used[components["kept"]], "shapes": used[good],
        "within persons": used[own][tell], "traits": used[labelled], "light": used[own],
    }  # fmt: skip
    return arrays, {part: counted(part_names) for part, part_names in parts.items()}


def counted(names: np.ndarray) -> dict[str, int]:
    """Pictures of each set, and people where they are known."""
    celeba = is_celeba(names)
    return {
        "celeba256 pictures": int(celeba.sum()),
        "celeba256 people": len(set(people_of(names[celeba]))),
        "utk144 pictures": int((~celeba).sum()),
    }


def principal_shapes(apart: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (468, 3) and basis (SHAPES, 468, 3) of differences (N, 468, 3) where ``good``; coefficients (N, SHAPES)."""
    flat = apart.reshape(len(apart), -1)
    mean = flat[good].mean(0)
    basis = np.linalg.svd(flat[good] - mean, full_matrices=False)[2][:SHAPES]
    return mean.reshape(MESH, 3), basis.reshape(-1, MESH, 3), (flat - mean) @ basis.T


def spread_within(values: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (K, K) of values (N, K) about the means of their people (N,); which rows (N,) bool told of it."""
    apart, tell, freedom = [], np.zeros(len(values), bool), 0
    for person in np.unique(people):
        own = people == person
        if own.sum() >= LEAST_PICTURES:
            apart.append(values[own] - values[own].mean(0))
            tell |= own
            freedom += int(own.sum()) - 1
    stacked = np.vstack(apart)
    return stacked.T @ stacked / freedom, tell


def labelled_rows(names: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) of grown people whose sex, age and group are known, and their ``features`` (n, F)."""
    rows, known = [], []
    for i in np.flatnonzero(good & ~is_celeba(names)):
        labels = labels_of(str(names[i]))
        if labels and AGES[0] <= labels[0] <= AGES[1] and 0 <= labels[2] < len(GROUPS):
            sex = SEXES[1] if labels[1] == 0 else SEXES[0]
            known.append(features(sex, labels[0], GROUPS[labels[2]]))
            rows.append(i)
    return np.array(rows), np.array(known)


def by_traits(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regression (F, K) of values (N, K) on features (N, F), and the covariance (K, K) of what it leaves."""
    traits = np.linalg.lstsq(known, values, rcond=None)[0]
    rest = values - known @ traits
    return traits, rest.T @ rest / (len(rest) - len(traits))


def between_factor(whole: np.ndarray, within: np.ndarray) -> np.ndarray:
    """(R, K) that turns a standard normal vector into a difference between persons: whole less within, where positive.

    In units of the whole spread, so that the rank does not depend on the units of shape and texture.
    """
    unit = np.sqrt(np.diag(whole))
    size, axes = np.linalg.eigh((whole - within) / np.outer(unit, unit))
    order = np.argsort(-size)
    size, axes = size.clip(0)[order], axes[:, order]
    rank = min(int((size > NEGLIGIBLE).sum()), MOST_BETWEEN)
    return np.sqrt(size[:rank])[:, None] * axes[:, :rank].T * unit


def within_factor(within: np.ndarray) -> np.ndarray:
    """(WITHIN, K) that turns a standard normal vector into a difference between pictures of one person."""
    unit = np.sqrt(np.diag(within))
    size, axes = np.linalg.eigh(within / np.outer(unit, unit))
    order = np.argsort(-size)[:WITHIN]
    return np.sqrt(size[order].clip(0))[:, None] * axes[:, order].T * unit


def report(between: np.ndarray, within: np.ndarray, whole: np.ndarray) -> None:
    """A line: the shares of the whole variance, in units of each coefficient's."""
    unit, own = np.diag(whole), within_factor(within)
    shares = [(factor**2 / unit).sum() / len(unit) for factor in (between, own)]
    say("model", f"between persons rank {len(between)}, {shares[0]:.3f} of the variance; within {shares[1]:.3f}")


def head_arrays(head: Head, shapes: np.ndarray, base: np.ndarray) -> dict[str, np.ndarray]:
    """The geometry; shapes (S, 468, 3) are carried to all vertices."""
    return {
        "points": head.points.astype(np.float32),
        "shapes": np.einsum("vk,skc->svc", head.operator, shapes).astype(np.float16),
        "triangles": head.triangles.astype(np.int16),
        "corners": head.corners.astype(np.float16),
        "weld": head.weld.astype(np.int32),
        "base": base.astype(np.float32),
        "openness": head.openness.astype(np.float32),
    }


def scalp_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where hair grows on that head, worked out here because it takes seconds."""
    return hair_scalp.stored(
        hair_scalp.scalp_of(arrays["points"], arrays["triangles"].astype(np.int32), arrays["base"])
    )


def texture_arrays(components: dict[str, np.ndarray], light: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean, components and masks of textures."""
    fine = components["fine"]
    basis, scale = quantised(finished(components["basis"], components))
    trust, source = skin_maps(light["trust"][::SAMPLE].astype(np.float32).mean(0) / 255, light["oval"], light["skin"])
    return {
        "texture": finished(components["mean"][None], components)[0].astype(np.float32),
        "textures": basis,
        "textures_scale": scale,
        "fine": fine.astype(np.uint8),
        "coarse": components["coarse"].astype(np.uint8),
        "trust": trust.astype(np.float16),
        "source": source.astype(np.float16),
        "grain": np.sqrt(components["grain"]).astype(np.float16),
    }


def within_arrays(within: np.ndarray, basis: np.ndarray) -> dict[str, np.ndarray]:
    """What differs between a person's pictures: shape coefficients, and textures with the basis (K, D) applied."""
    factor = within_factor(within)
    values, scale = quantised(factor[:, SHAPES:] @ basis)
    shapes = factor[:, :SHAPES].astype(np.float32)
    return {"within_shapes": shapes, "within_textures": values, "within_textures_scale": scale}


def quantised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) as int8, and the scale (N,) float32 that makes them again."""
    scale = np.abs(rows).max(1) / 127
    return np.rint(rows / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def finished(rows: np.ndarray, components: dict[str, np.ndarray]) -> np.ndarray:
    """Packed textures (N, D) as the model holds them: sharper, and without the light from one side."""
    return evened(sharpened(rows, components["fine"]), components["fine"], components["coarse"])


def evened(rows: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Packed textures (N, D) whose broad variations are the same on both sides of the face.

    Skin is much alike on both sides; what differs broadly is light that no nine harmonics could take out.
    """
    out, first = np.array(rows), 0
    for where, width in ((fine, EVEN_WIDTH), (coarse, EVEN_WIDTH / 2), (coarse, EVEN_WIDTH / 2)):
        part = slice(first, first + int(where.sum()))
        weight = np.maximum(cv2.GaussianBlur(where.astype(np.float32), (0, 0), width), 1e-3)
        for row in out[:, part]:
            plane = np.zeros(where.shape, np.float32)
            plane[where] = row
            broad = cv2.GaussianBlur(plane, (0, 0), width) / weight
            row += (broad[:, ::-1] - broad)[where] / 2
        first = part.stop
    return out


def sharpened(rows: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Packed textures (N, D), their luma, which comes first where ``fine`` (ROWS, COLUMNS), made sharper."""
    count = int(fine.sum())
    weight = np.maximum(cv2.GaussianBlur(fine.astype(np.float32), (0, 0), SHARPEN_WIDTH), 1e-3)
    out = np.array(rows)
    for row in out:
        plane = np.zeros((ROWS, COLUMNS), np.float32)
        plane[fine] = row[:count]
        smooth = cv2.GaussianBlur(plane, (0, 0), SHARPEN_WIDTH) / weight
        row[:count] += SHARPENING * (row[:count] - smooth[fine])
    return out


def skin_maps(often: np.ndarray, oval: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the texture is to be believed, and the plain skin that is carried on where it is not.

    Args:
        often: (ROWS, COLUMNS) mean trust of the pictures, 0..1. oval, skin: (ROWS, COLUMNS) bool.

    Returns:
        Two (ROWS, COLUMNS) float32, 0..1.
    """
    padded = np.pad(oval.astype(np.uint8), 1)  # the border of the atlas is a rim too
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    begins, within, whole = WARY
    grown = np.clip((depth - begins) / within, 0, 1)
    grown = grown * grown * (3 - 2 * grown)
    trust = (grown * np.clip((often - OFTEN[0]) / OFTEN[1], 0, 1)).astype(np.float32)
    trust = cv2.GaussianBlur(trust, (0, 0), 1.5)
    trust = np.where(depth > whole, 1, trust).astype(np.float32)  # nostrils and lids, seen well or not
    plain = cv2.erode(skin.astype(np.uint8), np.ones((3, 3)))
    source = (plain * (often > PLAIN) * (depth > DEEP)).astype(np.float32)
    return cv2.GaussianBlur(trust, (0, 0), 1.0), source


def tan_of(components: dict[str, np.ndarray], coefficients: np.ndarray) -> np.ndarray:
    """R - Y and B - Y of the cheeks over their luma: (2, 2), each offset and slope; coefficients (N, K)."""
    mean, basis = components["mean"], components["basis"]
    where = cheek_rows(components["fine"], components["coarse"])
    cheeks = np.stack([mean[at].mean() + coefficients @ basis[:, at].mean(1) for at in where], 1)
    system = np.column_stack([np.ones(len(cheeks)), cheeks[:, 0]])
    return np.linalg.lstsq(system, cheeks[:, 1:], rcond=None)[0].T.astype(np.float32)


def cheek_rows(fine: np.ndarray, coarse: np.ndarray) -> list[np.ndarray]:
    """Where luma, R - Y and B - Y of the cheeks lie in a packed texture: three arrays of places."""
    found = []
    for where, by in ((fine, 1), (coarse, 2)):
        chosen = np.zeros_like(where)
        for first, last in CHEEKS:
            chosen[CHEEK_ROWS[0] // by : CHEEK_ROWS[1] // by, first // by : last // by] = True
        found.append(np.flatnonzero(chosen[where]))
    count, few = int(fine.sum()), int(coarse.sum())
    return [found[0], found[1] + count, found[1] + count + few]


def light_arrays(light: np.ndarray) -> dict[str, np.ndarray]:
    """Mean (9,) and factor (9, 9) of lights (N, 9), each in units of what comes from the front."""
    front = light[:, [0]] + light[:, [3]] + 2 * light[:, [6]]  # harmonics of the normal that faces the viewer
    light = light / front.clip(FAINTEST)
    light = light[np.abs(light).max(1) < ODD_LIGHT]
    size, axes = np.linalg.eigh(np.cov(light.T))
    factor = np.sqrt(size.clip(0))[:, None] * axes.T
    return {"light": light.mean(0).astype(np.float32), "lights": factor.astype(np.float32)}


def write_model(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the model file, whole or not at all, readable by all."""
    from safetensors.numpy import save

    with atomic_write(path) as stream:
        stream.write(save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    path.chmod(0o644)
