"""maskbench protocol make|check"""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def protocol() -> None:
    """Make and check evaluation protocols: who is compared with whom, and who wears a mask."""


@protocol.group()
def make() -> None:
    """Make a protocol folder for a data set that you have."""


@make.command(epilog="Example:\n\n  maskbench protocol make lfw lfw-funneled/ lfw-masked/ --pairs pairs.txt")
@click.argument("faces", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pairs", type=click.Path(path_type=Path), help="LFW's pairs.txt; looked for near FACES when not given.")
@click.option(
    "--pairs-per-fold", type=click.IntRange(1), help="Only the first N mated, N non-mated pairs of each fold."
)
def lfw(faces: Path, out: Path, pairs: Path | None, pairs_per_fold: int | None) -> None:
    """LFW's pairs in the conditions UMR-UMP, UMR-MP (only the probe masked) and MR-MP, 10 folds."""
    from maskbench.protocols import make_lfw, write_protocol

    _refuse_existing(out)
    made = make_lfw(faces, pairs, pairs_per_fold)
    write_protocol(made, out)
    click.echo(_describe(made, out))


@make.command(epilog="Example:\n\n  maskbench protocol make folders people/ people-masked/ --pairs 2000")
@click.argument("faces", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pairs", default=6000, show_default=True, type=click.IntRange(2), help="Pairs to draw, half mated.")
@click.option("--seed", default=0, show_default=True)
@click.option("--name", default="folders", show_default=True, help="The protocol's name; the number of pairs is added.")
def folders(faces: Path, out: Path, pairs: int, seed: int, name: str) -> None:
    """Pairs drawn from any set with one folder per subject, in the conditions and subject-disjoint folds of LFW's."""
    from maskbench.protocol_build import condition_names, stranger_pairs
    from maskbench.protocols import make_folders, write_protocol

    _refuse_existing(out)
    made = make_folders(faces, pairs, name, seed)
    write_protocol(made, out)
    click.echo(_describe(made, out))
    drawn = len(made.pairs) // len(condition_names(made.pairs))
    click.echo(
        f"{pairs} pairs asked, {drawn} drawn; "
        f"the non-mated ones are of {stranger_pairs(made)} different pairs of subjects"
    )


@protocol.command(epilog="Example:\n\n  maskbench protocol check lfw-masked/")
@click.argument("name_or_dir")
def check(name_or_dir: str) -> None:
    """Validate a protocol folder; print its counts and digest, or the first fault with its file and line."""
    from maskbench.protocols import load_protocol

    click.echo(_describe(load_protocol(name_or_dir), Path(name_or_dir)))


def _refuse_existing(out: Path) -> None:
    from maskbench.errors import ProtocolError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ProtocolError(f"{out}: exists and is not empty; choose a new folder for the protocol")


def _describe(protocol, where: Path) -> str:
    from maskbench.protocols import protocol_counts

    counts = ", ".join(f"{name} {number}" for name, number in protocol_counts(protocol).items())
    return (
        f"{where}: {protocol.name} version {protocol.version}: {counts}; "
        f"threshold from {protocol.threshold_from}; digest {protocol.digest[:16]}"
    )
