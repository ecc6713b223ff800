"""What the privacy check says: JSON, a page of markdown, and a sheet of the nearest pairs for the eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from gather import person_of
from nearness import histograms, summary

from maskbench.images import read_image, write_image

if TYPE_CHECKING:
    from privacy import Judge, Options

NEAREST = 10  # pairs named in the report
PAIRS = 16  # pairs of pictures on the sheet
SIDE = 160


def report(
    judges: Sequence[Judge], accepted: Sequence[str], unjudged: Sequence[str], inside: Sequence[str], options: Options
) -> dict[str, Any]:
    """The figures as plain JSON values. Training pictures are named by their set only."""
    everyone = set(unjudged).union(*(judge.people for judge in judges))
    rejected = Counter(
        person for judge in judges for person, value in zip(judge.people, judge.values, strict=True)
        if value > judge.limit[0]
    )  # fmt: skip
    return {
        "options": vars(options),
        "real_people_left_out": {"also_in_training": list(inside)},
        "identities": {
            "judged": len(everyone), "accepted": len(everyone) - len({*rejected, *unjudged}), "rejected": len(rejected),
            "without_template": len(unjudged), "rejected_by_all": sum(n == len(judges) for n in rejected.values()),
            "rejection_rate": round(len({*rejected, *unjudged}) / max(1, len(everyone)), 5), "taken": list(accepted),
        },
        "recognizers": {judge.recognizer.spec.name: _one(judge) for judge in judges},
    }  # fmt: skip


def _one(judge: Judge) -> dict[str, Any]:
    values = np.array(judge.values)
    bound, low, high = judge.limit
    found: dict[str, Any] = {
        "comparator": judge.training.comparator,
        "weights_sha256": judge.recognizer.spec.weights_sha256,
        "training": {"pictures": len(judge.training.names), "without_template": judge.training.failed},
        "real": {"people": len(np.unique(judge.real.people)), **summary(judge.real_values)},
        "limit": {"value": round(bound, 5), "low": round(low, 5), "high": round(high, 5)},
    }
    if len(values):
        found["synthetic"] = summary(values)
        found["rejected"] = int(np.count_nonzero(values > bound))
        found["histogram"] = histograms({"real": judge.real_values, "synthetic": values})
        nearest = sorted(zip(judge.values, judge.people, strict=True), reverse=True)[:NEAREST]
        found["nearest"] = [{"identity": person, "score": round(value, 5)} for value, person in nearest]
        found["nearest_set"] = dict(Counter(name.split("/")[0] for _, _, name in judge.closest[:NEAREST]))
    for name, level in zip(("fmr_0.001", "same_person_median"), judge.yardsticks, strict=True):
        if level is not None:
            found[name] = {"score": round(level, 5), "real_share": _share(judge.real_values, level)}
            found[name]["synthetic_share"] = _share(values, level)
    return found


def _share(values: np.ndarray, level: float) -> float | None:
    """How many of the values reach a level."""
    return round(float(np.mean(values >= level)), 5) if len(values) else None


def markdown(found: Mapping[str, Any]) -> str:
    """The report as a page: who was rejected, and one table over recognizers."""
    who, options = found["identities"], found["options"]
    lines = [
        f"{who['judged']} identities judged by {options['pictures']} pictures each (statistic: {options['statistic']} "
        f"over pictures of the best score against the training pictures): {who['accepted']} pass, {who['rejected']} "
        f"rejected, {who['without_template']} not judged for want of pictures with a template "
        f"({who['rejection_rate']:.1%} turned away).",
        "",
        f"Left out of the real people, because the training pictures hold them after all: "
        f"{len(found['real_people_left_out']['also_in_training'])}.",
        "",
        "| | " + " | ".join(found["recognizers"]) + " |",
        "|---|" + "---|" * len(found["recognizers"]),
    ]
    lines += [f"| {label} | " + " | ".join(cells) + " |" for label, cells in _rows(list(found["recognizers"].values()))]
    return "\n".join(lines) + "\n"


def _rows(parts: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    def of(part: dict[str, Any], side: str, share: str) -> str:
        return f"{part[side]['quantiles'][share]:.3f}" if side in part else "-"

    def shares(part: dict[str, Any], name: str) -> str:
        if name not in part:
            return "-"
        sides = (part[name][f"{side}_share"] for side in ("real", "synthetic"))
        return f"{part[name]['score']:.3f}: " + " / ".join("-" if value is None else f"{value:.0%}" for value in sides)

    return [
        ("comparator", [part["comparator"] for part in parts]),
        ("training pictures", [f"{part['training']['pictures']:,}" for part in parts]),
        ("real people, groups", [f"{part['real']['people']}, {part['real']['count']}" for part in parts]),
        ("real: median", [of(part, "real", "0.5") for part in parts]),
        ("real: 95th percentile", [of(part, "real", "0.95") for part in parts]),
        (
            "**limit: real, 99th percentile** (95 % interval)",
            ["**{value:.3f}** ({low:.3f} to {high:.3f})".format(**part["limit"]) for part in parts],
        ),
        ("real: largest", [of(part, "real", "1") for part in parts]),
        ("synthetic: median", [of(part, "synthetic", "0.5") for part in parts]),
        ("synthetic: 95th percentile", [of(part, "synthetic", "0.95") for part in parts]),
        ("synthetic: largest", [of(part, "synthetic", "1") for part in parts]),
        ("synthetic identities rejected", [str(part.get("rejected", "-")) for part in parts]),
        ("threshold of FMR 0.1 %, reached by real / synthetic", [shares(part, "fmr_0.001") for part in parts]),
        (
            "median score of one person's two pictures, reached by real / synthetic",
            [shares(part, "same_person_median") for part in parts],
        ),
    ]


def write_sheet(path: Path, judges: Sequence[Judge], folder: Path, roots: Mapping[str, Path]) -> None:
    """Pairs, synthetic left and training picture right, nearest first, a block of two rows for each recognizer.

    The sheet shows real people: it is for looking, not for passing on.
    """
    blocks = []
    for judge in judges:
        seen: dict[str, tuple[str, str]] = {}
        for _, name, other in judge.closest:
            seen.setdefault(person_of(name), (name, other))
        tiles = [np.hstack([_tile(folder / name), _tile(_place(other, roots))]) for name, other in seen.values()]
        tiles = tiles[:PAIRS] + [np.full((SIDE, 2 * SIDE, 3), 255, np.uint8)] * max(0, PAIRS - len(tiles))
        blocks += [np.hstack(tiles[start : start + 4]) for start in range(0, PAIRS, 4)]
    write_image(path, np.vstack(blocks))


def _place(name: str, roots: Mapping[str, Path]) -> Path:
    kind, rest = name.split("/", 1)
    return roots[kind] / rest


def _tile(path: Path) -> np.ndarray:
    return cv2.resize(read_image(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
