"""The options that say what is tested, shared by evaluate, grid and complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path)
_RUNS = (
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option("--engine", type=click.Choice(["onnxruntime", "torch"]), default="onnxruntime", show_default=True),
)
_RECOGNIZERS = (
    click.option(
        "--flip-sum", is_flag=True,
        help="Templates are sums over a face and its mirror image, as in some papers; the recognizer's name says so.",
    ),
    click.option(
        "--allow-pickle", is_flag=True, help="Load checkpoints that are pickles (torch:PATH), tensors only.",
    ),
)  # fmt: skip
_MASKS = (
    click.option(
        "--mask-source", default="segmenter", show_default=True, metavar="segmenter|file|oracle",
        help="Who says where masks are: segmenter (looks at every picture), file, or oracle (the masked set's own "
        "alpha; labelled and not ranked).",
    ),
    click.option("--mask-files", type=_FOLDER, help="Folder of masks for --mask-source file: PATH.png, white = mask."),
    click.option("--mask-dilate", type=click.IntRange(0, 32), help="Grow masks by N of 128 pixels.  [default: 1 or 2]"),
    click.option(
        "--fit-on", type=_FOLDER,
        help="Faces of other people, a folder each: what completions, and pca, gpca, lpp and sr are fitted on.",
    ),
    click.option("--fit-limit", type=click.IntRange(1), default=2000, show_default=True, help="Fit on that many."),
)  # fmt: skip
_COMPLETION = click.option(
    "--completion",
    help="Replace masked pixels before every recognizer: none, mean-face, rpca, graph-laplace, telea, navier-stokes, "
    "torch:PATH, ...  [default: what each recognizer's card names, else none]",
)  # fmt: skip


def completing_options(command: Callable) -> Callable:
    """Options of ``systems.SystemOptions`` for a completion by itself."""
    return _with(command, (*_RUNS, *_MASKS))


def shared_system_options(command: Callable) -> Callable:
    """Options for everything but the completion."""
    return _with(command, (*_RUNS, *_RECOGNIZERS, *_MASKS))


def _with(command: Callable, options: tuple) -> Callable:
    for option in reversed(options):
        command = option(command)
    return command


def system_options(command: Callable) -> Callable:
    """All options of ``systems.SystemOptions``."""
    return shared_system_options(_COMPLETION(command))
