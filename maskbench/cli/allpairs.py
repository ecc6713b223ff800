"""maskbench allpairs"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

FORMAT = 1  # version of the file that is written


@click.command(
    epilog="Examples:\n\n  maskbench allpairs unmasked.npz -o umr-ump.json\n\n"
    "  maskbench allpairs unmasked.npz --probes masked.npz --threshold 0.31 -o umr-mp.json"
)
@click.argument("embeddings", type=click.Path(path_type=Path))
@click.option("--probes", type=click.Path(path_type=Path), help="A second set, such as masked faces: all against all.")
@click.option("--subjects", type=click.Path(path_type=Path), help="CSV with columns sample_id,subject_id.")
@click.option("--comparator", default="cosine", show_default=True, help="cosine or negative-l2.")
@click.option("--threshold", type=float, help="Also report both errors at this threshold.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--threads", type=click.IntRange(1), help="Default: one for each processor.")
@click.option("--memory", default=512, show_default=True, type=click.IntRange(1), help="MiB, beside the embeddings.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="JSON file to write.")
def allpairs(
    embeddings: Path, probes: Path | None, subjects: Path | None, comparator: str, threshold: float | None,
    device: str, threads: int | None, memory: int, out: Path,
) -> None:  # fmt: skip
    """Compare all embeddings of an .npz with each other, or with all of a second set; write every error rate.

    The .npz holds arrays vectors (N, D), sample_ids (N,), subject_ids (N,; or give --subjects) and, if some samples
    have no template, status (N,): 0 for a template, 1 for none.
    """
    from maskbench._version import __version__
    from maskbench.allpairs import MIB, Options, compare_all, load_templates
    from maskbench.digest import file_sha256
    from maskbench.files import write_json

    known = None if subjects is None else _subjects(subjects)
    paths = {"references": embeddings} | ({"probes": probes} if probes else {})
    sets = [load_templates(path, known) for path in paths.values()]
    found = compare_all(*sets, comparator=comparator, threshold=threshold,
                        options=Options(device=device, threads=threads, memory=memory * MIB))  # fmt: skip
    head = {"kind": "allpairs", "format": FORMAT, "comparator": comparator, "device": device, "maskbench": __version__}
    head["digests"] = {role: file_sha256(path) for role, path in paths.items()}
    write_json(out, head | found)
    click.echo(_describe(found, out))


def _subjects(path: Path) -> dict[str, str]:
    """Sample id to subject id, from a CSV that may have further columns."""
    from maskbench.errors import MaskbenchError
    from maskbench.registry import nearest
    from maskbench.tables import read_columns

    names, columns = read_columns(path)
    for name in ("sample_id", "subject_id"):
        if name not in names:
            raise MaskbenchError(f'{path}:1: no column "{name}"; {nearest(name, names)}')
    samples, subjects = (columns[names.index(name)] for name in ("sample_id", "subject_id"))
    found: dict[str, str] = {}
    for line, (sample, subject) in enumerate(zip(samples, subjects, strict=True), start=2):
        if sample in found:
            raise MaskbenchError(f"{path}:{line}: sample {sample} occurs twice; keep one row")
        found[sample] = subject
    return found


def _describe(found: dict[str, Any], out: Path) -> str:
    counts, metrics = found["counts"], found["metrics"]
    compared = f"{out}: {counts['mated']} mated and {counts['non_mated']} non-mated comparisons"
    if "reason" in metrics:
        return f"{compared}; {metrics['reason']}"
    rates = ((name, metrics[name]["fnmr_including_failures"]) for name in ("fmr100", "fmr1000", "fmr10000"))
    shown = ", ".join(f"{name} {'not resolvable' if rate is None else f'{rate:.4%}'}" for name, rate in rates)
    return f"{compared}; FNMR including failures at {shown}; EER {metrics['eer']['value']:.4%}"
