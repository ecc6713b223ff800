# ruff: noqa: E501 - outlines and profiles read better on one line
"""What covers hair and neck: a turban, a headscarf, a hood."""

from __future__ import annotations

import numpy as np
from canvas import line, noise, shade, slanted, step
from pen import Piece, blur, over
from shell import Shell, around, below, cloth, edge_at

CLOTHS = {"black": [54, 54, 58], "white": [240, 240, 238], "dusty-rose": [206, 160, 158], "teal": [74, 124, 128], "blue": [92, 116, 164], "sand": [214, 196, 166]}  # fmt: skip

TURBAN = [[-2.34, 0.0, 0.0], [-2.31, 0.50, 0.62], [-2.14, 1.00, 1.20], [-1.70, 1.40, 1.60], [-1.20, 1.55, 1.76], [-0.78, 1.51, 1.72], [-0.36, 1.38, 1.58]]  # fmt: skip


def wraps(angle: np.ndarray, y: np.ndarray, turns: int, lean: float) -> tuple[np.ndarray, np.ndarray]:
    """For overlapping bands of cloth that cross over the brow: which band a texel shows, and where across it (0..1)."""
    rise = lean * np.abs(np.sin(np.deg2rad(np.clip(angle, -150, 150)) * 0.6))
    phase = (y + 0.52 + rise) / -0.29
    band = np.floor(phase)
    return np.clip(band, 0, turns), np.mod(phase, 1)


def turban() -> list[Piece]:
    """Cloth wound round the head in overlapping folds."""
    shell = Shell(352, TURBAN)
    edge = edge_at(shell, -0.68, -0.16, -0.10, 0.9) - shell.y
    wave = 0.016 * around(noise(72, (60, 20), shell.shape))
    left, at = wraps(shell.angle - 10, shell.y + wave, 8, -0.62)
    value = 0.70 + 0.30 * np.sin(np.pi * np.clip(1 - at, 0, 1)) ** 0.8 * (0.5 + 0.5 * at) - 0.10
    value -= 0.34 * np.exp(-(1 - at) / 0.10)
    creases = around(slanted(73, -6, 60, 2.2, shell.shape)) * 0.5 + around(slanted(74, 8, 40, 3.5, shell.shape)) * 0.5
    value += 0.055 * creases + 0.012 * around(noise(75, 1.3, shell.shape)) - 0.20 * np.exp(-np.maximum(edge, 0) / 0.06)
    value *= 1 - 0.25 * step(-shell.y, 2.1, 0.3)
    return [shell.piece(cloth(value, step(edge + wave * 0.4, 0.01, 0.03), below(shell, edge, 0.5, 0.16)))]


SCARF = [[-2.10, 0.0, 0.0], [-2.05, 0.48, 0.62], [-1.84, 0.98, 1.20], [-1.40, 1.31, 1.48], [-0.75, 1.43, 1.53], [0.0, 1.45, 1.46], [0.70, 1.42, 1.32], [1.30, 1.36, 1.20], [1.80, 1.40, 1.16], [2.30, 1.60, 1.24], [2.90, 2.00, 1.46], [3.50, 2.35, 1.72]]  # fmt: skip


def opening(shell: Shell, half: float, top: float, bottom: float, power: float = 2.3) -> np.ndarray:
    """Signed distance (about), positive on the cloth, from the hole for the face: an oval that is narrower at the chin."""
    middle = 0.5 * (top + bottom)
    tall = 0.5 * (bottom - top)
    down = (shell.y - middle) / tall
    across = np.interp(np.abs(shell.angle), [0, 180], [0, np.pi * 1.30]) / (
        half * (1 - 0.16 * np.clip(down, 0, 1) ** 2)
    )
    radius = (np.abs(across) ** power + np.abs(down) ** power) ** (1 / power)
    return (radius - 1) * 0.85


def folds(shell: Shell, seed: int, height: float) -> np.ndarray:
    """Relief of cloth that hangs from the crown and gathers under the chin, in texels."""
    hang = around(slanted(seed, 82, 110, 9, shell.shape))
    swing = around(slanted(seed + 1, 62, 90, 7, shell.shape)) * (shell.angle > 0) + around(
        slanted(seed + 2, -62, 90, 7, shell.shape)
    ) * (shell.angle <= 0)
    weight = step(shell.y, 0.9, 1.8)
    cross = around(slanted(seed + 3, 14, 80, 8, shell.shape))
    neck = step(shell.y, 1.6, 0.8)
    return height * (hang * (1 - weight) + swing * weight * (1 - 0.6 * neck) + cross * 0.8 * neck)


def drapes(shell: Shell, edge: np.ndarray, seed: int) -> np.ndarray:
    """A few broad folds, each its own: from the temples round the cheeks to the chin, and in swags across the chest."""
    draw = np.random.default_rng(seed)
    relief = 3.0 * around(noise(seed + 20, (46, 34), shell.shape))
    turn = np.deg2rad(shell.angle)
    for k, (side, away) in enumerate(((1, 0.20), (-1, 0.29), (1, 0.50), (-1, 0.62), (1, 0.86))):
        waver = 0.05 * around(noise(seed + k, (60, 60), shell.shape)) + 0.10 * np.sin(shell.y * 1.3 + draw.uniform(0, 6))
        from_rim = edge - away - waver
        reach = step(side * np.sin(turn), -0.15, 0.7) * step(shell.y, draw.uniform(-0.9, 0.2), 1.0) * (edge > 0)
        relief += reach * (7.0 * line(from_rim, 0.07) - 9.0 * step(from_rim, 0.08, 0.06) * np.exp(-np.maximum(from_rim, 0) / 0.22))
    for k, (row, sag, lean) in enumerate(((2.04, 0.20, 0.16), (2.42, 0.30, 0.05), (2.86, 0.36, 0.14))):
        curve = row + sag * (np.cos(turn) - 1) + lean * np.sin(turn) + 0.04 * around(noise(seed + 9 + k, (50, 50), shell.shape))
        reach = step(np.cos(turn + draw.uniform(-0.4, 0.4)), 0.15, 0.7)
        relief += reach * (5.5 * line(shell.y - curve, 0.09) - 7.0 * step(shell.y - curve, 0.10, 0.11) * np.exp(-np.maximum(shell.y - curve, 0) / 0.2))
    return relief


def headscarf() -> list[Piece]:
    """A scarf around hair, ears and neck that leaves the face free."""
    shell = Shell(512, SCARF)
    edge = opening(shell, 1.10, -0.80, 1.80) + 0.02 * around(noise(88, (40, 40), shell.shape))
    relief = drapes(shell, edge, 81) + 3.0 * np.sqrt(np.clip(edge / 0.06, 0, 1)) + 1.2 * line(edge - 0.07, 0.04)
    value = 0.86 * shade(blur(relief, 2.0), 0.8, 0.035, 9.0) + 0.008 * noise(85, 1.3, shell.shape)
    value -= 0.16 * np.exp(-np.maximum(edge, 0) / 0.03)
    value *= 1 - 0.16 * np.exp(-(((shell.y - 1.98) / 0.22) ** 2)) * step(np.cos(np.deg2rad(shell.angle)), 0.3, 0.8)  # under the chin
    return [shell.piece(hemmed(shell, value, edge, 3.32, below(shell, edge, 0.50, 0.13)))]


def hemmed(shell: Shell, value: np.ndarray, edge: np.ndarray, at: float, around_face: np.ndarray) -> np.ndarray:
    """Cloth with a hole for the face (signed distance ``edge``, shaded by ``around_face``) that ends in waves at y = ``at``."""
    hem = at + 0.09 * np.sin(np.deg2rad(shell.angle * 3)) + 0.04 * np.sin(np.deg2rad(shell.angle * 7 + 30)) - shell.y
    value = value - 0.10 * line(hem - 0.06, 0.012) - 0.14 * np.exp(-np.maximum(hem, 0) / 0.03)
    shadow = np.where(hem < 0, below(shell, hem, 0.45, 0.14), np.where(edge < 0.05, around_face, 0.0))
    return cloth(value, step(edge, 0.01, 0.03) * step(hem, 0.02, 0.05), shadow)


HOOD = [[-2.20, 0.0, 0.0], [-2.16, 0.46, 0.64], [-1.96, 0.98, 1.28], [-1.52, 1.36, 1.62], [-0.90, 1.50, 1.62], [-0.10, 1.50, 1.46], [0.70, 1.44, 1.24], [1.35, 1.32, 1.06], [1.95, 1.22, 0.96], [2.50, 1.40, 1.06], [3.10, 1.9, 1.35], [3.7, 2.5, 1.7]]  # fmt: skip


def hood() -> list[Piece]:
    """The hood of a sweatshirt, up: a hemmed opening with cords, dark inside."""
    shell = Shell(512, HOOD)
    edge = opening(shell, 1.10, -0.94, 1.98, 2.2)
    relief = (
        folds(shell, 91, 2.0)
        + 4.0 * np.sqrt(np.clip(edge / 0.06, 0, 1))
        - 3.0 * line(edge - 0.17, 0.018)
        + 1.2 * (1 - step(edge, 0.17, 0.03))
    )
    value = (
        0.84 * shade(blur(relief, 1.2), 0.8, 0.04, 9.0)
        + 0.012 * noise(95, 1.4, shell.shape)
        - 0.12 * np.exp(-np.maximum(edge, 0) / 0.03)
    )
    value -= 0.10 * line(edge - 0.155, 0.007) * (np.sin(shell.y * 150) > -0.3)
    seam = np.abs(np.deg2rad(shell.angle)) * np.sin(np.clip(shell.down / 1.8, 0, np.pi / 2))
    value -= 0.16 * line(seam, 0.012) * (shell.y < 0)
    inside = (
        0.94
        * np.exp(-((np.maximum(-edge, 0) / 0.15) ** 2.4))
        * step(edge, -0.34, 0.14)
        * (1 - 0.25 * step(shell.y, 1.7, 0.4))
    )
    picture = hemmed(shell, value, edge, 3.46, inside)
    for side in (-1, 1):
        wobble = 0.03 * np.sin(shell.y * 3 + side)
        across = np.deg2rad(shell.angle - side * 17) * 1.2 - wobble
        run = step(shell.y, 2.04, 0.04) * (1 - step(shell.y, 3.1, 0.05))
        picture = over(picture, (0, 0, 0), 0.35 * line(across - 0.03, 0.05) * run)
        cord = np.clip(0.95 - 0.35 * (across / 0.04) ** 2 + 0.10 * np.sin(shell.y * 170 + across * 120), 0.2, 1)
        picture = over(picture, cord[..., None] * np.ones(3), step(0.040 - np.abs(across), 0, 0.02) * run)
    return [shell.piece(picture)]
