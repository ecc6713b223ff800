"""What the tools that write the package's weights share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from maskbench.results import read_result

SETS = {"celeba256": "CelebA (188 people)", "utk144": "UTKFace (without labels)"}
TERMS = "Non-commercial research only; see LICENSE.txt beside the weights."


def halved(path: Path) -> bytes:
    """A file of weights in half precision."""
    state = load_file(path)
    return save({name: value.to(torch.float16).contiguous() for name, value in sorted(state.items())})


def told(sets: list[str]) -> list[str]:
    """Training sets as the licence speaks of them."""
    return [SETS.get(name, name) for name in sets]


def refuse_other_sets(stage: Path, report: Mapping[str, Any]) -> None:
    """Leave, unless a stage was trained on the sets that the licences speak of."""
    if list(report["sets"]) != list(SETS):
        raise SystemExit(f"{stage}: trained on other sets than the cards and the licence speak of")


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the package tells of a run."""
    keys = ("recipe", "steps", "seconds", "faces", "subjects", "left_out", "final", "versions")
    return {key: report[key] for key in keys}


def figures(folder: Path, systems: Iterable[str]) -> dict[str, Any]:
    """FNMR at FMR 1 %, EER and accuracy by condition, of those systems that have results in a folder."""
    found: dict[str, Any] = {}
    for name in systems:
        if not (folder / name / "result.json").is_file():
            continue
        result = read_result(folder / name / "result.json")
        found[name] = {
            condition: {
                "fnmr_at_fmr100": block["fmr100"]["fnmr_including_failures"], "eer": block["eer"]["value"],
                "accuracy": block.get("accuracy_10fold", {}).get("mean"),
            }
            for condition, block in result.metrics.items()
        }  # fmt: skip
    return found
