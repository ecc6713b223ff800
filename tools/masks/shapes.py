"""Outlines of the masks in the frame of the face (docs/masks.md), and their straps.

Origin midway between the eyes, unit = distance between the eyes, x to the picture's right, y down, z away from the
camera.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from canvas import INSET_UV, PANEL_UV, SHORT_STRAP_UV, SHORT_UV, STRAP_UV, WIDE_INSET_UV

Edge = Sequence[Sequence[float]]
Panel = dict[str, Any]


def sheet(
    top: Edge, bottom: Edge, gap: float, uv: Sequence[float] = PANEL_UV, tinted: bool = True, **lift: float
) -> Panel:
    """A sheet on the face; ``lift``: cup, ridge, shelf, tuck."""
    return {"top": top, "bottom": bottom, "gap": gap, **lift, "uv": list(uv), "tinted": tinted}


def patch(x: float, y: float, half: Sequence[float], gap: float, uv: Sequence[float], **more: Any) -> Panel:
    """A small upright sheet of half-width and half-height ``half`` around (x, y): a valve, a filter."""
    columns = [x - half[0], x, x + half[0]]
    top, bottom = ([[round(c, 4), round(y + s * half[1], 4)] for c in columns] for s in (-1, 1))
    return sheet(top, bottom, gap, uv, **more)


def _ribbon(points: Edge, width: float, tinted: bool, uv: Sequence[float]) -> dict[str, Any]:
    return {"points": [list(p) for p in points], "width": width, "uv": list(uv), "tinted": tinted}


def loops(upper: Sequence[float], lower: Sequence[float], width: float, tinted: bool = False,
          uv: Sequence[float] = STRAP_UV) -> list[dict[str, Any]]:  # fmt: skip
    """Ear loops from a panel's side corners (moved in under it, so that no gap shows) to the ear, where they vanish."""
    (ux, uy, uz), (lx, ly, lz) = upper, lower
    return [
        _ribbon([[ux - 0.06, uy, uz], [1.07, (uy + 0.02) * 0.5, 0.80], [1.16, -0.05, 1.34]], width, tinted, uv),
        _ribbon([[lx - 0.06, ly, lz], [1.03, ly - 0.22, 0.80], [1.14, 0.60, 1.32]], width, tinted, uv),
    ]


def bands(upper: Sequence[float], lower: Sequence[float] | None, width: float, tinted: bool = False,
          uv: Sequence[float] = STRAP_UV) -> list[dict[str, Any]]:  # fmt: skip
    """Head bands: one over the ear to the crown and, if ``lower`` is given, one below it to the nape."""
    ux, uy, uz = upper
    rows = [_ribbon([[ux - 0.06, uy, uz], [1.08, uy - 0.42, 0.86], [1.15, -0.36, 1.45]], width, tinted, uv)]
    if lower is not None:
        lx, ly, lz = lower
        rows += [_ribbon([[lx - 0.06, ly, lz], [0.90, ly + 0.02, 0.92], [0.88, ly + 0.02, 1.50]], width, tinted, uv)]
    return rows


def geometry(*panels: Panel, ribbons: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Rounded, ready for asset.json."""
    return {
        "panels": [dict(panel) for panel in panels],
        "ribbons": [{**r, "points": [[round(v, 4) for v in p] for p in r["points"]]} for r in ribbons],
    }


def surgical(straps: str = "loops") -> dict[str, Any]:
    """A pleated rectangle: broad at the sides, open below the chin."""
    panel = sheet(
        [[0, 0.19], [0.15, 0.23], [0.40, 0.43], [0.70, 0.555], [1.0, 0.61]],
        [[0, 1.95], [0.30, 1.92], [0.62, 1.73], [0.87, 1.40], [0.98, 1.13]],
        gap=0.045, tuck=0.30,
    )  # fmt: skip
    upper, lower = [0.98, 0.66, 0.47], [0.96, 1.10, 0.53]
    return geometry(panel, ribbons=loops(upper, lower, 0.085) if straps == "loops" else ties(upper, lower))


def ties(upper: Sequence[float], lower: Sequence[float]) -> list[dict[str, Any]]:
    """Four tapes of a theatre mask: the upper ones rise over the ear, the lower ones pass below it."""
    (ux, uy, uz), (lx, ly, lz) = upper, lower
    return [
        _ribbon([[ux - 0.06, uy, uz], [1.09, uy - 0.46, 0.84], [1.13, -0.62, 1.40]], 0.12, True, STRAP_UV),
        _ribbon([[lx - 0.06, ly - 0.04, lz], [1.03, ly - 0.10, 0.82], [1.06, ly, 1.42]], 0.12, True, STRAP_UV),
    ]


def duckbill() -> dict[str, Any]:
    """A pouch that juts out level below the nose."""
    panel = sheet(
        [[0, 0.14], [0.16, 0.21], [0.42, 0.42], [0.72, 0.60], [0.98, 0.74]],
        [[0, 1.86], [0.30, 1.82], [0.62, 1.58], [0.86, 1.26], [0.97, 1.02]],
        gap=0.045, cup=0.05, shelf=0.30, tuck=0.24,
    )  # fmt: skip
    return geometry(panel, ribbons=bands([0.95, 0.80, 0.48], [0.94, 0.98, 0.50], 0.085))


def folded() -> dict[str, Any]:
    """Two halves welded along an upright ridge, with a valve low on the wearer's right."""
    panel = sheet(
        [[0, 0.08], [0.16, 0.20], [0.40, 0.40], [0.70, 0.56], [0.98, 0.64]],
        [[0, 1.98], [0.26, 1.93], [0.58, 1.70], [0.85, 1.38], [0.97, 1.12]],
        gap=0.05, uv=SHORT_UV, cup=0.06, ridge=0.20, tuck=0.28,
    )  # fmt: skip
    valve = patch(-0.40, 1.27, (0.17, 0.18), 0.17, INSET_UV, tinted=False, cup=0.05)
    return geometry(panel, valve, ribbons=loops([0.97, 0.70, 0.44], [0.95, 1.08, 0.50], 0.10, uv=SHORT_STRAP_UV))


def boat() -> dict[str, Any]:
    """Upper flap, tall middle part, lower flap; loops."""
    panel = sheet(
        [[0, 0.10], [0.18, 0.20], [0.42, 0.40], [0.72, 0.57], [1.0, 0.68]],
        [[0, 1.97], [0.30, 1.93], [0.62, 1.72], [0.87, 1.38], [0.99, 1.10]],
        gap=0.05, cup=0.16, shelf=0.10, tuck=0.30,
    )  # fmt: skip
    return geometry(panel, ribbons=loops([0.99, 0.74, 0.46], [0.97, 1.05, 0.52], 0.10))


def three_panels() -> dict[str, Any]:
    """As the boat, with head bands and a valve in the middle."""
    panel = sheet(
        [[0, 0.08], [0.18, 0.19], [0.42, 0.39], [0.72, 0.60], [0.98, 0.74]],
        [[0, 1.97], [0.30, 1.92], [0.62, 1.70], [0.86, 1.36], [0.97, 1.06]],
        gap=0.05, uv=SHORT_UV, cup=0.16, shelf=0.12, tuck=0.30,
    )  # fmt: skip
    valve = patch(0.0, 1.06, (0.22, 0.21), 0.30, INSET_UV, tinted=False, cup=0.04)
    return geometry(panel, valve, ribbons=bands([0.97, 0.78, 0.46], [0.96, 1.02, 0.50], 0.12, uv=SHORT_STRAP_UV))


def cup(valve: bool) -> dict[str, Any]:
    """A moulded cup; the one with a valve has two bands, the dust mask one."""
    panel = sheet(
        [[0, 0.10], [0.18, 0.20], [0.40, 0.38], [0.66, 0.58], [0.90, 0.80]],
        [[0, 1.94], [0.30, 1.89], [0.58, 1.71], [0.80, 1.42], [0.91, 1.10]],
        gap=0.05, uv=SHORT_UV if valve else PANEL_UV, cup=0.22, shelf=0.05, tuck=0.25,
    )  # fmt: skip
    if not valve:
        return geometry(panel, ribbons=bands([0.86, 0.88, 0.30], None, 0.075))
    extra = patch(0.0, 1.10, (0.23, 0.22), 0.29, INSET_UV, tinted=False, cup=0.05)
    return geometry(panel, extra, ribbons=bands([0.86, 0.84, 0.28], [0.86, 1.10, 0.36], 0.13, uv=SHORT_STRAP_UV))


def rubber() -> dict[str, Any]:
    """A half mask: a snug face piece and two filters that stand off its sides; both are on one sheet, clear between."""
    panel = sheet(
        [[0, 0.02], [0.16, 0.10], [0.42, 0.34], [0.70, 0.62], [0.90, 0.86]],
        [[0, 1.92], [0.30, 1.87], [0.56, 1.70], [0.78, 1.42], [0.90, 1.12]],
        gap=0.05, uv=SHORT_UV, cup=0.20, ridge=0.06, shelf=0.04, tuck=0.20,
    )  # fmt: skip
    filters = sheet(
        [[0, 0.86], [1.02, 0.86]], [[0, 1.60], [1.02, 1.60]], 0.0, WIDE_INSET_UV, tinted=False, flat=[-0.47, 0.68]
    )
    return geometry(panel, filters, ribbons=bands([0.84, 0.92, 0.26], [0.84, 1.12, 0.34], 0.15, uv=STRAP_UV))


def curved(tinted_straps: bool = False) -> dict[str, Any]:
    """A sewn two-part cotton mask."""
    panel = sheet(
        [[0, 0.12], [0.18, 0.21], [0.42, 0.42], [0.72, 0.56], [1.0, 0.62]],
        [[0, 1.94], [0.28, 1.90], [0.60, 1.70], [0.85, 1.40], [0.98, 1.16]],
        gap=0.04, cup=0.04, ridge=0.10, tuck=0.28,
    )  # fmt: skip
    return geometry(panel, ribbons=loops([0.98, 0.72, 0.46], [0.96, 1.10, 0.52], 0.085, tinted_straps))


def pleated() -> dict[str, Any]:
    """A home-sewn pleated mask: a deep rectangle."""
    panel = sheet(
        [[0, 0.17], [0.16, 0.22], [0.40, 0.42], [0.70, 0.54], [1.02, 0.58]],
        [[0, 1.96], [0.30, 1.93], [0.64, 1.75], [0.88, 1.42], [0.98, 1.14]],
        gap=0.05, tuck=0.30,
    )  # fmt: skip
    return geometry(panel, ribbons=loops([1.0, 0.66, 0.48], [0.97, 1.11, 0.54], 0.085))


def foam(tinted_straps: bool = True) -> dict[str, Any]:
    """One piece with broad loops of the same stuff, which taper from the sides to the ears."""
    panel = sheet(
        [[0, 0.16], [0.16, 0.23], [0.42, 0.44], [0.72, 0.545], [1.0, 0.54]],
        [[0, 1.92], [0.28, 1.88], [0.58, 1.68], [0.82, 1.38], [0.98, 1.14]],
        gap=0.035, cup=0.02, ridge=0.12, tuck=0.28,
    )  # fmt: skip
    return geometry(panel, ribbons=loops([0.98, 0.665, 0.48], [0.96, 1.01, 0.52], 0.15, tinted_straps))
