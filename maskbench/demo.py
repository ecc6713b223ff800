"""The whole chain: take faces, mask them, evaluate recognizers, rank, plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskbench.datasets.lfw import fetch_lfw
from maskbench.errors import MaskbenchError
from maskbench.evaluation import EvaluationOptions, evaluate
from maskbench.files import cache_root, data_root
from maskbench.leaderboard import make_leaderboard, render_text, write_csv
from maskbench.masking.preview import before_after
from maskbench.parallel import default_workers
from maskbench.people.demo_set import CAVEAT, demo_set, mask_as_protocol
from maskbench.protocols import load_protocol, make_folders, make_lfw, write_protocol
from maskbench.recognizers.base import load_recognizer
from maskbench.report.plots import plot_results
from maskbench.results import load_runs
from maskbench.types import Protocol

FOLDS = 10
PAIRS = 600  # in each condition, of faces that bring no protocol


@dataclass(frozen=True)
class DemoFaces:
    """What a demo runs on: pictures, a protocol of them, a line on where they are from, and one on their figures."""

    folder: Path
    protocol: Protocol
    found: str
    caveat: str = ""


@dataclass(frozen=True)
class DemoPaths:
    """Where the demo left its files."""

    masked: Path
    results: Path
    leaderboard: list[Path]
    curves: Path
    sheet: Path


def demo_faces(faces: Path | None, lfw: bool, total_pairs: int | None, say: Callable[[str], None]) -> DemoFaces:
    """The people that ship with maskbench; or the folder given; or LFW.

    Args:
        lfw: take LFW, from ``MASKBENCH_DATA`` or by scikit-learn's downloader.
        total_pairs: pairs to draw of given faces or LFW, in each condition; None for ``PAIRS``.

    Raises:
        MaskbenchError: there are no faces, no pairs can be drawn of them, or the arguments contradict each other.
    """
    if faces is not None and lfw:
        raise MaskbenchError("--faces and --lfw: give one of them")
    if faces is None and not lfw:
        if total_pairs is not None:
            raise MaskbenchError("--pairs is for faces of your own or LFW: the people that ship have their protocol")
        shipped = demo_set()
        return DemoFaces(shipped.faces, shipped.protocol, f"faces: synthetic people, {shipped.faces}", CAVEAT)
    folder, pairs, found = _find_lfw(say) if faces is None else (faces, None, f"faces: {faces}")
    if not folder.is_dir():
        raise MaskbenchError(f"{folder}: no such folder; give a folder of face pictures")
    return DemoFaces(folder, demo_protocol(folder, pairs, total_pairs or PAIRS), found)


def _find_lfw(say: Callable[[str], None]) -> tuple[Path, Path, str]:
    """LFW's folder, its pairs file, and a sentence that says what was found."""
    root = data_root()
    if root and (root / "faces" / "lfw112").is_dir():
        pairs = root / "protocols" / "lfw_pairs.txt"
        return root / "faces" / "lfw112", pairs, f"faces: LFW crops of MASKBENCH_DATA, {root}"
    say("no LFW in MASKBENCH_DATA: taking it from scikit-learn's downloader (a few hundred MB the first time)")
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
    faces: DemoFaces, out: Path, models: Sequence[str], seed: int, workers: int, say: Callable[[str], None]
) -> DemoPaths:
    """Run every stage; a second call with the same arguments continues where the first one stopped.

    Raises:
        MaskbenchError: ``out`` holds a demo of other faces, or a stage fails.
    """
    workers, protocol = workers or default_workers(), faces.protocol
    for name in models:  # a wrong one is told before any work is done
        load_recognizer(name)
    say(faces.found)
    protocol_dir, masked, results = out / "protocol", out / "masked", out / "results"
    if (protocol_dir / "protocol.yaml").is_file() and load_protocol(protocol_dir).digest != protocol.digest:
        raise MaskbenchError(f"{out}: holds a demo of other faces or pairs; choose another --out")
    write_protocol(protocol, protocol_dir)
    say(f"protocol: {protocol.name}, {len(protocol.samples)} pictures, {len(protocol.pairs)} comparisons")
    counts = mask_as_protocol(faces.folder, masked, protocol, workers, seed).counts
    say(f"masked: {counts['masked']} pictures, {counts['failed']} failed")
    evaluate(protocol, models, faces.folder, masked, results, EvaluationOptions(workers=workers), cache_root())
    return _report(faces, out, masked, results, say)


def _report(faces: DemoFaces, out: Path, masked: Path, results: Path, say: Callable[[str], None]) -> DemoPaths:
    """The leaderboard, the curves and the sheet."""
    runs = load_runs(results)
    tables = make_leaderboard([run.result for run in runs])
    curves, sheet = out / "roc.png", out / "masked.jpg"
    plot_results(runs, curves)
    before_after(faces.folder, masked, sheet)
    say(render_text(tables))
    if faces.caveat:
        say(faces.caveat)
    return DemoPaths(masked, results, write_csv(tables, out / "leaderboard.csv"), curves, sheet)
