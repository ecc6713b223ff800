"""maskbench compare"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from maskbench.metrics.comparison import Difference
    from maskbench.results import Run


LEAST_REPLICATES = 20


@click.command(epilog="Example:\n\n  maskbench compare results/lfw-masked/a results/lfw-masked/b --condition UMR-MP")
@click.argument("result_a", type=click.Path(path_type=Path))
@click.argument("result_b", type=click.Path(path_type=Path))
@click.option("--condition", default="UMR-MP", show_default=True, help="Which comparisons.")
@click.option(
    "--metric", default="fnmr@fmr100", show_default=True,
    help="fnmr@fmr10, fnmr@fmr100, fnmr@fmr1000, fnmr@fmr10000, or eer.",
)  # fmt: skip
@click.option(
    "--protocol", "protocol_name", metavar="NAME_OR_DIR",
    help="Says who is compared, where the results do not say it themselves.",
)  # fmt: skip
@click.option("--bootstrap", type=click.IntRange(min=0), default=0, metavar="N",
              help="Add the paired subject bootstrap with N replicates.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    result_a: Path, result_b: Path, condition: str, metric: str, protocol_name: str | None, bootstrap: int, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Say which of two recognizers is better on the same pairs, by how much, and how surely.

    RESULT_A and RESULT_B are folders that maskbench evaluate wrote (result.json with scores.npz). Failed mated
    comparisons count as errors. The 95 % interval holds for other subjects like these.
    """
    import json

    from maskbench.errors import MaskbenchError
    from maskbench.metrics.comparison import compare_pair

    if 0 < bootstrap < LEAST_REPLICATES:
        raise MaskbenchError(f"--bootstrap {bootstrap}: too few for an interval; use {LEAST_REPLICATES} or more")
    runs = [load(path) for path in (result_a, result_b)]
    refuse_unlike(runs[0], runs[1], (result_a, result_b))
    named = str(runs[0].result.protocol.get("name", ""))
    people = subjects_and_folds(runs[0], protocol_name)
    found = compare_pair(*columns(runs, *people, condition), metric=metric, replicates=bootstrap, seed=seed)
    names = label(runs[0]), label(runs[1])
    if as_json:
        shown = {"condition": condition, "protocol": named, "name_a": names[0], "name_b": names[1]} | found.as_dict()
        click.echo(json.dumps(shown, indent=2, allow_nan=False))
    else:
        click.echo(describe(found, condition, names))


def load(path: Path) -> Run:
    """The result in a folder, or of a result.json itself, with its scores."""
    from maskbench.results import RESULT_FILE, load_run

    return load_run(path / RESULT_FILE if path.is_dir() else path)


def refuse_unlike(first: Run, second: Run, paths: tuple[Path, Path]) -> None:
    """Raise ResultError unless both results may be compared."""
    from maskbench.errors import ResultError
    from maskbench.results import KEY_NAMES, comparison_key

    for name, a, b in zip(KEY_NAMES, comparison_key(first.result), comparison_key(second.result), strict=True):
        if a != b:
            raise ResultError(
                f"{paths[0]} and {paths[1]}: not the same {name} ({a[:16] or 'none'}, {b[:16] or 'none'}); "
                "evaluate both on one"
            )


def subjects_and_folds(run: Run, protocol_name: str | None) -> tuple[Any, Any]:
    """Who is compared (M, 2), and in which folds (M,): from the scores themselves, else from the protocol.

    Raises:
        ResultError: neither says it, or the protocol is another one than that of the results.
    """
    from maskbench.errors import ResultError
    from maskbench.metrics.conditions import pair_subjects
    from maskbench.protocols import load_protocol

    if protocol_name is None:
        if run.subjects is None:
            raise ResultError("the results do not say who is compared; give their protocol (--protocol)")
        return run.subjects, run.fold
    protocol = load_protocol(protocol_name)
    if protocol.digest != run.result.protocol.get("digest"):
        raise ResultError(f"{protocol_name}: not the protocol of the results (other digest); give theirs by --protocol")
    subjects = pair_subjects(protocol)
    if subjects is None:
        raise ResultError(f"{protocol_name}: a pair names a sample that the protocol does not list; check the protocol")
    return subjects, protocol.pairs.fold


def columns(runs: list[Run], subjects: Any, fold: Any, condition: str) -> tuple[Any, ...]:
    """Scores, mated, status, subjects and folds of one condition, as ``compare_pair`` takes them.

    Raises:
        ResultError: the results lack the condition.
    """
    from maskbench.errors import ResultError
    from maskbench.types import Status

    rows = runs[0].condition == condition
    if not rows.any() or any((run.scores.status[rows] == Status.NOT_RUN).all() for run in runs):
        known = ", ".join(sorted(set(runs[0].condition.tolist())))
        raise ResultError(f'condition "{condition}" was not run in both results; the protocol has {known}')
    scores, status = ([getattr(run.scores, name)[rows] for run in runs] for name in ("scores", "status"))
    return scores, runs[0].scores.mated[rows], status, subjects[rows], None if fold is None else fold[rows]


def label(run: Run) -> str:
    """The recognizer's name, with its completion where there is one."""
    name, completion = str(run.result.recognizer.get("name", "?")), run.result.completion
    return name if completion in ("none", "") else f"{name} + {completion}"


def describe(found: Difference, condition: str, names: tuple[str, str]) -> str:
    """The comparison for a terminal, in percent and percentage points."""
    low, high = 100 * found.low, 100 * found.high
    lines = [
        f"{condition}, {found.metric}, failed mated comparisons as errors, percent",
        f"  A  {100 * found.a:8.3f}  {names[0]}",
        f"  B  {100 * found.b:8.3f}  {names[1]}",
        f"  A - B  {100 * found.difference:+.3f} points, 95 % interval [{low:+.3f}, {high:+.3f}] ({found.method})",
    ]
    if found.bootstrap:
        ends = ", ".join(f"{100 * end:+.3f}" for end in found.bootstrap)
        lines.append(f"  paired subject bootstrap [{ends}] (weights: {found.bootstrap_scheme})")
    test = found.mcnemar
    lines.append(f"  McNemar, exact: only A errs {test.only_a}, only B {test.only_b}, p = {test.p:.3g} ({test.note})")
    if found.flag:
        lines.append(f"  {found.flag}: the interval is rough")
    lines.append(verdict(found))
    return "\n".join(lines)


def verdict(found: Difference) -> str:
    """"A better by 1.20 points [0.80, 1.60]", or "not distinguishable"."""
    from maskbench.metrics.comparison import NOT_DISTINGUISHABLE

    if found.verdict == NOT_DISTINGUISHABLE:
        return NOT_DISTINGUISHABLE
    ends = sorted((abs(100 * found.low), abs(100 * found.high)))
    return f"{found.verdict} by {abs(100 * found.difference):.2f} points [{ends[0]:.2f}, {ends[1]:.2f}]"
