"""maskbench dataset build lfw|celeba|ar"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from maskbench.datasets.build import Built, Options


@click.group()
def dataset() -> None:
    """Build masked data sets from the ones that you have."""


@dataset.group()
def build() -> None:
    """Build a masked data set from SRC, which is only read, in the new folder OUT.

    The same command continues a build that was interrupted, and gives the same bytes again.
    """


def _shared(recipe: str) -> Callable[[Callable], Callable]:
    """The arguments and options of every builder. ``recipe``: the builder's own, or "" if it cannot be chosen."""
    options = [
        click.argument("src", type=click.Path(path_type=Path)),
        click.argument("out", type=click.Path(path_type=Path)),
        click.option("--seed", default=0, show_default=True, help="Another seed gives other masks and draws."),
        click.option(
            "--landmarks", type=click.Choice(["auto", "mediapipe", "aligned"]), default="auto", show_default=True,
            help="What finds the face to mask; as for maskbench synthesize.",
        ),
        click.option(
            "--workers", default=0, type=click.IntRange(0, 256),
            help="Processes; 0 (default) takes every processor. Changes no byte of the output.",
        ),
        click.option("--no-cache", is_flag=True, help="Neither read nor write the landmark cache."),
    ]  # fmt: skip
    if recipe:
        text = "What masks to draw: a recipe's name or a YAML file."
        options.append(click.option("--recipe", default=recipe, show_default=True, help=text))

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@build.command(epilog="Example:\n\n  maskbench dataset build lfw lfw_funneled/ lfw-masked/ --pairs pairs.txt")
@_shared("lfw-masked")
@click.option("--pairs", type=click.Path(path_type=Path), help="LFW's pairs.txt; looked for near SRC when not given.")
@click.option(
    "--subset", type=click.Choice(["all", "pairs"]), default="all", show_default=True,
    help="Mask every picture, or only those that the pair list names.",
)  # fmt: skip
def lfw(src: Path, out: Path, pairs: Path | None, subset: str, **shared) -> None:
    """Masked LFW, and its pairs as a protocol in the conditions UMR-UMP, UMR-MP and MR-MP.

    SRC holds Name/Name_0001.jpg: the original, the funneled or an aligned version. OUT gets masked/, protocol/ (if no
    picture of the pair list is missing), images.csv and dataset.json.
    """
    from maskbench.datasets.build_lfw import build_lfw

    _tell(build_lfw(src, out, _options(**shared), pairs, subset))


@build.command(epilog="Example:\n\n  maskbench dataset build celeba CelebA/ celeba-masked/ --workers 8")
@_shared("deocclusion")
@click.option(
    "--pictures", type=click.Choice(["auto", "wild", "aligned"]), default="auto", show_default=True,
    help="img_celeba (wild) or img_align_celeba (aligned); auto: wild if it and its landmarks are there.",
)  # fmt: skip
@click.option(
    "--format", "suffix", type=click.Choice(["jpg", "png", "webp"]), default="jpg", show_default=True,
    help="Of the crops; png stores clean and masked crops without loss.",
)  # fmt: skip
def celeba(src: Path, out: Path, pictures: str, suffix: str, **shared) -> None:
    """CelebA as rough crops of 256x256, the same with masks, and two 6:1 splits: by picture and by person.

    SRC is CelebA as it is distributed: img_align_celeba/ or img_celeba/, identity_CelebA.txt, and where they are there
    list_landmarks_*.txt and list_eval_partition.txt, in SRC or one level below. OUT gets faces/, masked/, aligned.csv,
    split_random.csv, split_identity.csv, split_official.csv and dataset.json.
    """
    from maskbench.datasets.build_celeba import build_celeba

    _tell(build_celeba(src, out, _options(**shared), pictures, suffix))


@build.command(epilog="Example:\n\n  maskbench dataset build ar people/ people-ar/ --reference frontal")
@_shared("")
@click.option(
    "--reference", type=click.Choice(["first", "frontal"]), default="first", show_default=True,
    help="Each subject's clean picture: the first by name, or the one that looks most straight at the camera.",
)  # fmt: skip
@click.option(
    "--others", default=100, show_default=True, type=click.IntRange(1),
    help="References of other subjects that a probe meets in the protocols, at most.",
)  # fmt: skip
def ar(src: Path, out: Path, reference: str, others: int, **shared) -> None:
    """AR-style sets: sunglasses (AR1) and a scarf (AR2) on any labelled faces, one clean reference for each subject.

    SRC holds one folder per subject. OUT gets ar1/, ar2/, references/, references.csv, probes.csv, protocols/ and
    dataset.json. The real AR database (m-001-01.bmp) is known by its file names and only sorted into lists: nothing is
    pasted on it.
    """
    from maskbench.datasets.build_ar import build_ar

    _tell(build_ar(src, out, _options(**shared), reference, others))


def _options(seed: int, landmarks: str, workers: int, no_cache: bool, recipe: str = "") -> Options:
    from maskbench.datasets.build import Options
    from maskbench.files import cache_root
    from maskbench.parallel import default_workers

    return Options(recipe, seed, landmarks, workers or default_workers(), None if no_cache else cache_root())


def _tell(built: Built) -> None:
    """Print the report; a build that masked nothing ends as an error."""
    from maskbench.errors import MaskbenchError

    for line in built.lines:
        click.echo(line)
    if built.fault:
        raise MaskbenchError(built.fault)
