"""maskbench models list|show|check|card|export|pull|fit"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

REFERENCE = "A name of `maskbench models list`, onnx:PATH, torch:PATH, fitted:PATH, hf:... or insightface:PACK."


def _loading(command: Callable) -> Callable:
    """The options of every command that loads a recognizer."""
    for option in (
        click.option("--allow-pickle", is_flag=True, help="Load a checkpoint that is a pickle, tensors only."),
        click.option("--card", type=click.Path(path_type=Path), help="The card, where it is not beside the file."),
    ):
        command = option(command)
    return command


@click.group()
def models() -> None:
    """The recognizers: which there are, whether they work, and how to bring your own."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_models(as_json: bool) -> None:
    """Every recognizer and completion known by name, and the kinds of reference to files. Loads no network."""
    from dataclasses import asdict

    from maskbench.completions.catalogue import entries as completion_entries
    from maskbench.recognizers.builtin import CLASSICAL, PREFIXES
    from maskbench.recognizers.catalogue import entries

    found = entries()
    if as_json:
        kinds = [{"form": prefix.form, "about": prefix.about} for prefix in PREFIXES.values()]
        completions = [asdict(entry) for entry in completion_entries()]
        _say_json({"recognizers": [asdict(entry) for entry in found], "references": kinds, "completions": completions})
        return
    rows = [("name", "input", "vector", "compare by", "parameters", "licence", "ready")]
    for entry in found:
        size = "x".join(map(str, entry.input_size)) if entry.input_size else None
        parameters = None if entry.parameters is None else f"{entry.parameters:,}"
        ready = "yes" if entry.ready else entry.remedy
        cells = size, entry.embedding_size, entry.comparator, parameters, entry.licence
        rows.append((entry.name, *("?" if cell is None else str(cell) for cell in cells), ready))
    _say_table(rows)
    click.echo()
    fitted = (", ".join(CLASSICAL), "classical methods; evaluate and grid fit them on the faces of --fit-on")
    _say_table([fitted, *((prefix.form, prefix.about) for prefix in PREFIXES.values())])
    click.echo()
    rows = [("completion", "what", "fitted", "parameters", "licence", "ready")]
    for one in completion_entries():
        parameters = "-" if one.parameters is None else f"{one.parameters:,}"
        fits = "?" if one.fitted is None else "yes" if one.fitted else "no"
        ready = "yes" if one.ready else one.remedy
        rows.append((one.name, one.kind or "?", fits, parameters, one.licence or "-", ready))
    _say_table(rows)
    click.echo("\ntorch:PATH  a completion of your own: weights with a JSON card beside them")


@models.command(epilog="Example:\n\n  maskbench models show onnx:mine.onnx")
@click.argument("reference")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_loading
def show(reference: str, as_json: bool, card: Path | None, allow_pickle: bool) -> None:
    """The whole specification of a recognizer, and its digests."""
    from dataclasses import asdict

    from maskbench.recognizers.base import load_recognizer, network_digest, spec_digest

    recognizer = load_recognizer(reference, card=card, allow_pickle=allow_pickle)
    values = asdict(recognizer.spec)
    values |= {"spec_digest": spec_digest(recognizer.spec), "network_digest": network_digest(recognizer)}
    if as_json:
        _say_json(values)
    else:
        _say_table([(key, _as_text(value)) for key, value in values.items()])


@models.command(epilog="Example:\n\n  maskbench models check onnx:mine.onnx")
@click.argument("reference")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--engine", default="onnxruntime", show_default=True, help="onnxruntime or torch.")
@_loading
def check(reference: str, device: str, engine: str, card: Path | None, allow_pickle: bool) -> None:
    """Run faces through a recognizer: form, failures, repeatability, batches, odd pictures, sense, speed.

    The faces are of the synthetic people that ship. Exit code 2 if a check fails; a "note" is for you to judge.
    """
    from maskbench.errors import RecognizerError
    from maskbench.recognizers.base import load_recognizer
    from maskbench.recognizers.check import FAILS, check_recognizer, demo_faces, other_faces

    recognizer = load_recognizer(reference, device, engine, card, allow_pickle)
    findings = check_recognizer(recognizer, *demo_faces(recognizer.spec), other_faces(recognizer.spec))
    _say_table([(finding.check, finding.verdict, finding.detail) for finding in findings])
    if failed := [finding.check for finding in findings if finding.verdict == FAILS]:
        raise RecognizerError(f"{reference}: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")


@models.command(
    epilog="Examples:\n\n  maskbench models card w600k_r50.onnx > w600k_r50.json\n\n"
    "  maskbench models card mine.safetensors --network iresnet50 > mine.json"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--network", help="Of a checkpoint: which network its weights belong to; docs/networks.md.")
def card(file: Path, network: str | None) -> None:
    """Draft the JSON card of an ONNX file or a checkpoint: what is known, and usual values to be checked."""
    import json

    from maskbench.recognizers.card import draft_card, draft_checkpoint_card

    draft = draft_card(file) if network is None else draft_checkpoint_card(file, network)
    click.echo(json.dumps(draft, indent=2))
    read = "read from the file: sha256, input_size, embedding_size" if network is None else "of the file: sha256"
    click.echo(
        f"{read}. To be checked: template, colour_order, mean, std, comparator. "
        "Fill in licence, terms, training_data, source.",
        err=True,
    )


@models.command(epilog="Example:\n\n  maskbench models export dlib-resnet dlib.onnx")
@click.argument("reference")
@click.argument("out", type=click.Path(path_type=Path))
@_loading
def export(reference: str, out: Path, card: Path | None, allow_pickle: bool) -> None:
    """Write a recognizer's network to OUT, .onnx or .safetensors, with its card beside it. Needs torch."""
    from maskbench.recognizers.exporting import export_recognizer

    network, beside, loads = export_recognizer(reference, out, card, allow_pickle)
    click.echo(f"written: {network}\nwritten: {beside}\nuse it as: {loads}")


PULL_EPILOG = """\b
Examples:
  maskbench models pull insightface:buffalo_s
  maskbench models pull hf:owner/repository@0123456789abcdef0123456789abcdef01234567/network.onnx
"""


@models.command(epilog=PULL_EPILOG)
@click.argument("reference")
@click.option("--force", is_flag=True, help="Download again what is here already.")
@click.option("--sha256", help="Of the file, where neither its card nor maskbench knows it.")
def pull(reference: str, force: bool, sha256: str | None) -> None:
    """Download a file of the Hugging Face hub or a pack of InsightFace, and check its SHA-256.

    Nothing else in maskbench downloads a recognizer.
    """
    from maskbench.recognizers.pulling import pull_recognizer

    pull_recognizer(reference, force, sha256, click.echo)


@models.command(
    epilog="Examples:\n\n  maskbench models fit gpca people/ gpca.safetensors\n\n"
    "  maskbench models fit pca people/ pca.safetensors --set components=100 --set comparator=negative-l2"
)
@click.argument("method")
@click.argument("faces", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Option of the method; docs/classical.md.")
@click.option("--licence", help="Of the weights, which follows the faces.  [default: unknown: as the training faces]")
@click.option("--force", is_flag=True, help="Replace OUT.")
@click.option("--workers", default=0, type=click.IntRange(0, 256), help="Processes; 0 takes every processor.")
def fit(
    method: str, faces: Path, out: Path, settings: tuple[str, ...], licence: str | None, force: bool, workers: int
) -> None:  # fmt: skip
    """Fit a classical METHOD (pca, gpca, lpp, sr) on FACES, one folder per subject; write OUT and its card."""
    from maskbench.classical import fit_classical, options_for, save_fitted
    from maskbench.errors import MaskbenchError
    from maskbench.files import cache_root, make_folder
    from maskbench.fitting import training_faces

    options = options_for(method, _settings(settings))  # what is wrong is told before the faces are read
    if out.suffix != ".safetensors":
        raise MaskbenchError(f"{out}: a fitted recognizer is a .safetensors file; choose such a name")
    if out.exists() and not force:
        raise MaskbenchError(f"{out}: is there already; choose another name, or replace it with --force")
    make_folder(out.parent)
    found = training_faces(faces, "arcface112", (112, 112), workers, cache_root(), None)
    try:
        model = fit_classical(method, found.faces, found.subjects, options)
    except MaskbenchError as error:
        raise MaskbenchError(f"{faces}: {method} cannot be fitted on it: {error}") from error
    save_fitted(model, out, [found.name], **({} if licence is None else {"licence": licence}))
    lost = f"; {found.failures} pictures gave no face" if found.failures else ""
    click.echo(f"{method} fitted on {len(found.faces)} faces, people: {len(set(found.subjects.tolist()))}{lost}")
    click.echo(f"written: {out}\nwritten: {out.with_suffix('.json')}\nuse it as: fitted:{out}")


def _settings(given: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE as YAML reads the values: numbers, words, true and false, lists."""
    import yaml

    from maskbench.errors import MaskbenchError

    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise MaskbenchError(f"--set {text}: write KEY=VALUE, such as components=100")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise MaskbenchError(f"--set {text}: the value cannot be read; write a number, a word or [1, 2]") from error
    return found


def _say_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _as_text(value: Any) -> str:
    if value is None or value == "":
        return "unknown" if value is None else "-"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _say_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their longest cell; the last is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
