"""maskbench models list|card"""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def models() -> None:
    """The recognizers: which there are, and how to bring your own."""


@models.command("list")
def list_models() -> None:
    """Name every registered recognizer. Any ArcFace-style ONNX file works too, as onnx:PATH with a card beside it."""
    from maskbench.recognizers.base import RECOGNIZERS

    for name in RECOGNIZERS.names():
        click.echo(name)
    click.echo("onnx:PATH      any ONNX file with a JSON card beside it; see maskbench models card")


@models.command(epilog="Example:\n\n  maskbench models card w600k_r50.onnx > w600k_r50.json")
@click.argument("onnx", type=click.Path(path_type=Path))
def card(onnx: Path) -> None:
    """Draft the JSON card of an ONNX file: what can be read from it, and usual values for the rest, to be checked."""
    import json

    from maskbench.recognizers.card import draft_card

    click.echo(json.dumps(draft_card(onnx), indent=2))
    click.echo(
        "read from the file: sha256, input_size, embedding_size. Guessed, to be checked: "
        "template, colour_order, mean, std, comparator. Fill in licence, training_data, source.",
        err=True,
    )
