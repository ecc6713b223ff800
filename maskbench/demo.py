"""The whole chain on the faces at hand: find faces, mask them, evaluate, rank, plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskbench.datasets.lfw import fetch_lfw
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.files import cache_root, data_root
from maskbench.leaderboard import make_leaderboard, render_text, write_csv
from maskbench.masking.engine import synthesize
from maskbench.masking.preview import before_after
from maskbench.masking.recipes import load_recipe
from maskbench.masking.synthesis import SynthesisConfig
from maskbench.parallel import default_workers
from maskbench.protocols import load_protocol, make_folders, make_lfw, masked_paths, write_protocol
from maskbench.report.plots import plot_results
from maskbench.results import load_runs
from maskbench.types import Protocol

FOLDS = 10


@dataclass(frozen=True)
class DemoPaths:
    """Where the demo left its files."""

    masked: Path
    results: Path
    leaderboard: list[Path]
    curves: Path
    sheet: Path


def find_faces(faces: Path | None, say: Callable[[str], None]) -> tuple[Path, Path | None, str]:
    """The faces to use: the folder given, else ``MASKBENCH_DATA``, else LFW by scikit-learn's downloader.

    Returns:
        The folder, LFW's pairs file where it is known, and a sentence that says what was found.

    Raises:
        MaskbenchError: there are no faces anywhere; the message says what to do.
    """
    if faces is not None:
        if not faces.is_dir():
            raise MaskbenchError(f"{faces}: no such folder; give a folder of face pictures")
        return faces, None, f"faces: {faces}"
    root = data_root()
    if root and (root / "faces" / "lfw112").is_dir():
        return (
            root / "faces" / "lfw112",
            root / "protocols" / "lfw_pairs.txt",
            f"faces: LFW crops of MASKBENCH_DATA, {root}",
        )
    say("no --faces and no MASKBENCH_DATA: taking LFW from scikit-learn's downloader (a few hundred MB the first time)")
    folder, pairs = fetch_lfw()
    return folder, pairs, f"faces: LFW from scikit-learn's downloader, {folder}"


def demo_protocol(faces: Path, pairs: Path | None, total_pairs: int) -> Protocol:
    """LFW's first pairs of each fold; for another folder, pairs drawn from its one-folder-per-subject layout."""
    per_fold = max(1, total_pairs // (2 * FOLDS))
    try:
        return make_lfw(faces, pairs, per_fold)
    except MaskbenchError:
        if pairs is not None or (faces / "pairs.txt").is_file():  # the folder says that it is LFW
            raise
    return make_folders(faces, total_pairs)


def run_demo(
    faces: Path | None, out: Path, models: Sequence[str], total_pairs: int, seed: int, workers: int,
    say: Callable[[str], None],
) -> DemoPaths:  # fmt: skip
    """Run every stage; a second call with the same arguments continues where the first one stopped."""
    workers = workers or default_workers()
    folder, pairs, found = find_faces(faces, say)
    say(found)
    protocol = demo_protocol(folder, pairs, total_pairs)
    protocol_dir, masked = out / "protocol", out / "masked"
    if (protocol_dir / "protocol.yaml").is_file() and load_protocol(protocol_dir).digest != protocol.digest:
        raise MaskbenchError(f"{out}: holds a demo of other faces or pairs; choose another --out")
    write_protocol(protocol, protocol_dir)
    say(f"protocol: {protocol.name}, {len(protocol.samples)} pictures, {len(protocol.pairs)} comparisons")
    summary = synthesize(
        folder,
        masked,
        SynthesisConfig(recipe=load_recipe(protocol.masking["recipe"], protocol.masking["version"]), seed=seed),
        workers,
        resume=True,
        cache=cache_root(),
        only=masked_paths(protocol),
    )
    say(f"masked: {summary.counts['masked']} pictures, {summary.counts['failed']} failed")
    results = out / "results"
    evaluate(protocol, models, folder, masked, results, EvaluationOptions(workers=workers), cache_root())
    runs = load_runs(results)
    tables = make_leaderboard([run.result for run in runs])
    curves, sheet = out / "roc.png", out / "masked.jpg"
    plot_results(runs, curves)
    before_after(folder, masked, sheet)
    say(render_text(tables))
    return DemoPaths(masked, results, write_csv(tables, out / "leaderboard.csv"), curves, sheet)
