"""Fit the model of faces that synthetic people are drawn from.

Run ``python tools/people/fit.py WORK --data DATA --out faces.safetensors``.

Each stage keeps its result in WORK and is skipped when that is there; delete a result, and those after it, to do it
again. README.md beside this file tells what each does, from what, and how long it takes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fit_files import load, save, say

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "mannequin")]


@dataclass(frozen=True)
class Job:
    """``work``: where results are kept; ``data``: holds ``faces`` and ``splits``; ``out``: the model file."""

    work: Path
    data: Path
    out: Path
    workers: int

    def result(self, stage: str) -> dict[str, np.ndarray]:
        """The arrays that a stage has kept."""
        return load(self.work / f"{stage}.npz")


def landmarks(job: Job) -> None:
    """The 478 points of every picture of the train split and of ``utk144``."""
    from fit_landmarks import detected, pictures

    save(job.work / "landmarks.npz", **detected(job.data, pictures(job.data), job.workers))


def poses(job: Job) -> None:
    """Poses, shapes without pose, and the mean face."""
    from fit_landmarks import posed, without_validation

    found = job.result("landmarks")
    without_validation(found["names"], job.data)
    save(job.work / "poses.npz", **posed(found["points"]))


def template(job: Job) -> None:
    """The mean face joined to a head and shoulders."""
    from template import build

    mean = job.result("poses")
    save(job.work / "template.npz", **vars(build(mean["mean"], mean["layout"])))


def textures(job: Job) -> None:
    """The chosen pictures unwrapped to the atlas."""
    from fit_textures import atlas_map, chosen, unwrap_all

    head, turned, found = job.result("template"), job.result("poses"), job.result("landmarks")
    on = atlas_map(head["points"], head["triangles"], head["atlas"])
    rows = chosen(found["names"], turned["angles"], turned["shapes"], turned["mean"])
    say("textures", f"{len(rows)} of {len(found['names'])} pictures")
    paths = [job.data / "faces" / str(name) for name in found["names"][rows]]
    points = found["points"][rows, : head["operator"].shape[1], :2]
    unwrap_all(job.work / "textures.npy", paths, points, turned["rotation"][rows], head["operator"], on)
    save(job.work / "textures.npz", rows=rows, have=on.have, normals=on.normal_atlas())


def light(job: Job) -> None:
    """Which pictures are used; their light, and their textures without it."""
    from fit_light import sampled, unlit

    head, turned, found, kept = (job.result(stage) for stage in ("template", "poses", "landmarks", "textures"))
    pixels = np.load(job.work / "textures.npy", mmap_mode="r")
    chosen = sampled(pixels, found["names"][kept["rows"]])
    rows = kept["rows"][chosen]
    say("light", f"{len(rows)} pictures")
    result = unlit(job.work / "unlit.npy", pixels, chosen, turned["rotation"][rows], kept["normals"], head["atlas"])
    save(job.work / "light.npz", rows=rows, **result)


def components(job: Job) -> None:
    """Principal components of textures that are only partly seen."""
    from fit_components import fit_components

    colours = np.load(job.work / "unlit.npy", mmap_mode="r")
    lit, have = job.result("light"), job.result("textures")["have"]
    save(job.work / "components.npz", **fit_components(colours, lit, have, job.result("template")["atlas"]))


def model(job: Job) -> None:
    """Shapes, traits, covariances, light and the head, packed into the model file, and its card."""
    from fit_card import write_card
    from fit_model import fit_model, write_model

    names = ("landmarks", "poses", "template", "light", "components")
    found, turned, head, lit, parts = (job.result(name) for name in names)
    arrays, counts = fit_model(found["names"], turned, head, lit, parts)
    write_model(job.out, arrays)
    write_card(job.out, arrays, counts)


STAGES: tuple[tuple[Callable[[Job], None], str], ...] = (
    (landmarks, "landmarks.npz"), (poses, "poses.npz"), (template, "template.npz"), (textures, "textures.npz"),
    (light, "light.npz"), (components, "components.npz"),
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run what has not been run, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for intermediate results, about 6 GB")
    parser.add_argument("--data", type=Path, default=os.environ.get("MASKBENCH_DATA"), help="holds faces and splits")
    parser.add_argument("--out", type=Path, required=True, help="the model file; its card is written beside it")
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    parser.add_argument("--until", choices=[run.__name__ for run, _ in STAGES], help="the last stage to run")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("pass --data, or set MASKBENCH_DATA")
    options.work.mkdir(parents=True, exist_ok=True)
    job = Job(options.work, Path(options.data), options.out, options.workers)
    for run, result in STAGES:
        if (job.work / result).exists():
            say(run.__name__, "kept from before")
        else:
            say(run.__name__, "begins")
            run(job)
        if run.__name__ == options.until:
            return
    model(job)
    say("model", f"{job.out}, {job.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
