"""What masking.kernels computes, said once more in plain NumPy: slow, sample by sample, from the definitions."""

from __future__ import annotations

import numpy as np

Triangle = np.ndarray  # (3,) vertex indices


def sample_positions(samples: int, length: int) -> np.ndarray:
    """Where the samples of ``length`` pixels lie along one axis; pixel centres are whole numbers."""
    return (np.arange(length * samples) + 0.5) / samples - 0.5


def weights(x: np.ndarray, y: np.ndarray, triangle: Triangle, px: float, py: float) -> np.ndarray:
    """Barycentric weights (3,) of a place."""
    system = np.stack([x[triangle], y[triangle], np.ones(3)])
    return np.linalg.solve(system, np.array([px, py, 1.0]))


def owners(x: np.ndarray, y: np.ndarray, triangles: np.ndarray, order, samples: int, height: int, width: int):
    """The last triangle of ``order`` that holds each sample, (height * samples, width * samples) int, else -1."""
    across, down = sample_positions(samples, width), sample_positions(samples, height)
    px, py = np.meshgrid(across, down)
    owner = np.full(px.shape, -1)
    for t in order:
        a, b, c = ((x[i], y[i]) for i in triangles[t])
        inside = np.ones(px.shape, bool)
        for (ax, ay), (bx, by) in ((a, b), (b, c), (c, a)):
            inside &= (bx - ax) * (py - ay) - (by - ay) * (px - ax) >= -1e-9
        owner[inside] = t
    return owner


def bilinear(picture: np.ndarray, u: float, v: float) -> np.ndarray:
    """A picture (H, W, C) at a place in pixels, clamped to its border."""
    height, width = picture.shape[:2]
    u, v = min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
    u0, v0 = int(u), int(v)
    u1, v1 = min(u0 + 1, width - 1), min(v0 + 1, height - 1)
    fu, fv = u - u0, v - v0
    upper = (1 - fu) * picture[v0, u0].astype(float) + fu * picture[v0, u1]
    lower = (1 - fu) * picture[v1, u0].astype(float) + fu * picture[v1, u1]
    return (1 - fv) * upper + fv * lower


def level_of(x, y, triangle: Triangle, attributes: np.ndarray, full: tuple[int, int], levels: int) -> int:
    """The level of detail of a triangle: nearest to texels as large as pixels, each level sqrt(2) coarser."""
    at = [attributes[:2, triangle] @ weights(x, y, triangle, *p) for p in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))]
    size = np.array(full, float)
    texels = max(np.linalg.norm((at[1] - at[0]) * size), np.linalg.norm((at[2] - at[0]) * size), 1.0)
    return min(int(np.floor(2 * np.log2(texels) + 0.5)), levels - 1)


def draw(layer, x, y, triangles, order, attributes, levels: list[np.ndarray], tint, samples: int) -> np.ndarray:
    """``kernels.draw_layer`` as a function of the levels' pictures; returns the new layer, float64."""
    height, width = layer.shape[:2]
    owner = owners(x, y, triangles, order, samples, height, width)
    down, across = sample_positions(samples, height), sample_positions(samples, width)
    out = layer.astype(float)
    full = (levels[0].shape[1], levels[0].shape[0])
    for row in range(height):
        for column in range(width):
            block = owner[row * samples : (row + 1) * samples, column * samples : (column + 1) * samples]
            covered = np.argwhere(block >= 0)
            if not len(covered):
                continue
            if len(covered) == samples**2:
                t, px, py = block[samples // 2, samples // 2], float(column), float(row)
            else:
                i, j = covered[0]
                t, px, py = block[i, j], across[column * samples + j], down[row * samples + i]
            u, v, shade, opacity = attributes[:, triangles[t]] @ weights(x, y, triangles[t], px, py)
            level = levels[level_of(x, y, triangles[t], attributes, full, len(levels))]
            texel = bilinear(level, u * level.shape[1] - 0.5, v * level.shape[0] - 0.5) / 255.0
            shade, cover = max(shade, 0.0), min(max(opacity, 0.0), 1.0) * len(covered) / samples**2
            alpha = texel[3] * cover
            lit = np.minimum(texel[:3] * shade * tint * cover, alpha)
            out[row, column] = out[row, column] * (1 - alpha) + np.append(lit, alpha)
    return out


def blended(picture, layer, grain, amount: float, shift: tuple[int, int], grey: bool):
    """``kernels.blend``: the new picture (h, w, 3) uint8 and the alpha (h, w) uint8."""
    layer = layer.astype(float)
    height, width = layer.shape[:2]
    alpha = np.floor(255 * layer[..., 3] + 0.5).astype(np.uint8)
    colour = layer[..., :3] / np.maximum(layer[..., 3:], 1e-30)
    if grey:
        colour = np.repeat((colour @ [0.299, 0.587, 0.114])[..., None], 3, -1)
    rows, columns = np.indices((height, width))
    noise = amount * grain[(rows + shift[1]) % len(grain), (columns + shift[0]) % len(grain)]
    over = np.clip(255 * colour + noise[..., None], 0, 255)
    weight = alpha[..., None] / 255.0
    mixed = np.floor(picture * (1 - weight) + over * weight + 0.5)
    return np.where(alpha[..., None] > 0, mixed, picture).astype(np.uint8), alpha
