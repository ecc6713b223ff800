"""maskbench masks list|show|preview|check|new"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from maskbench.types import MaskAsset

PIPED_WIDTH = 1000  # columns: lines in a pipe are never broken
_path = click.Path(path_type=Path)
_extra = click.option("--masks-dir", multiple=True, type=_path, help="A further folder of masks.")


def _filters(command: Callable) -> Callable:
    """The options that choose among masks; each may be given several times."""
    for name, text in (
        ("region", "Only masks that hide this: lower, eye, upper or top."),
        ("kind", "Only masks of this kind, such as surgical."),
        ("category", "Only masks of this category: simple, complex, human-body or hybrid."),
    ):
        command = click.option(f"--{name}", multiple=True, help=text)(command)
    return command


@click.group()
def masks() -> None:
    """The masks: which there are, what they look like, what is wrong with them, and how to make one."""


@masks.command("list", epilog="Example:\n\n  maskbench masks list --category simple --region lower")
@_filters
@_extra
@click.option("--json", "as_json", is_flag=True, help="As JSON, with everything that is known about each.")
def list_masks(
    category: tuple[str, ...],
    kind: tuple[str, ...],
    region: tuple[str, ...],
    masks_dir: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Name every mask with what it hides and its colours; a malformed one is an error that names its file."""
    from maskbench.masking.assets import list_assets, select_assets
    from maskbench.masking.inspect import choose_assets, summary

    chosen = choose_assets(select_assets("all", *masks_dir), category, kind, region)
    if as_json:
        folders = list_assets(*masks_dir)
        rows = [summary(asset, folders[asset.asset_id]) for asset in chosen]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(chosen)


def _print_table(assets: Sequence[MaskAsset]) -> None:
    """A table that fits the terminal; in a pipe one line for each mask, however long."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("mask", "category", "kind", "hides", "shape", "colours"):
        table.add_column(name, overflow="fold", no_wrap=name in ("mask", "category"))
    for asset in assets:
        shape = " ".join(part for part in (asset.coverage, asset.shape) if part)
        hides, colours = ", ".join(asset.regions), ", ".join(asset.colourways)
        table.add_row(asset.asset_id, asset.category, asset.kind, hides, shape, colours)
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=PIPED_WIDTH, color_system=None, highlight=False)
    with console.capture() as text:
        console.print(table)
    for line in text.get().splitlines():
        click.echo(line.rstrip())


@masks.command(epilog="Example:\n\n  maskbench masks show surgical -o surgical.png")
@click.argument("mask")
@click.option("-o", "--out", type=_path, help="Write a picture: every colour on a mannequin, and the texture.")
@_extra
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(mask: str, out: Path | None, masks_dir: tuple[Path, ...], as_json: bool) -> None:
    """Say everything about one mask; covered is its share of the canonical face, seen from the front."""
    from maskbench.images import write_image
    from maskbench.masking.assets import list_assets
    from maskbench.masking.inspect import one_asset, summary
    from maskbench.masking.preview import colour_sheet

    asset = one_asset(mask, *masks_dir)
    facts = summary(asset, list_assets(*masks_dir)[asset.asset_id])
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for name, value in facts.items():
            click.echo(f"{name.replace('_', ' '):16} {_in_words(name, value)}".rstrip())
    if out:
        write_image(out, colour_sheet(asset))
        click.echo(f"written: {out}", err=as_json)


def _in_words(name: str, value: Any) -> str:
    """A fact of ``inspect.summary`` on one line."""
    if name == "colourways":
        hexed = {key: rgb if isinstance(rgb, str) else "#{:02x}{:02x}{:02x}".format(*rgb) for key, rgb in value.items()}
        return ", ".join(f"{key} ({code})" for key, code in hexed.items())
    if name == "covered_fraction":
        return f"{value:.3f}"
    if name == "texture":
        return "{}x{} pixels".format(*value)
    if isinstance(value, dict):
        return ", ".join(f"{count} {key}" for key, count in value.items() if count)
    return ", ".join(value) if isinstance(value, list) else str(value)


@masks.command(epilog="Example:\n\n  maskbench masks preview sheet.png --face portrait.jpg --category simple")
@click.argument("out", type=_path)
@click.option("--face", "faces", multiple=True, type=_path, help="A picture; several make rows. Mannequins otherwise.")
@click.option("--mask", default="all", show_default=True, help="Masks to show: ids separated by commas, or all.")
@_filters
@_extra
@click.option("--colour", help="Only masks with this colourway, or #rrggbb; otherwise one of each mask's own.")
@click.option("--side", default=224, show_default=True, type=click.IntRange(16, 1024), help="Pixels of each tile.")
@click.option(
    "--columns", type=click.IntRange(2, 100), help="Tiles beside one another; otherwise what 2400 pixels hold."
)
def preview(
    out: Path, faces: tuple[Path, ...], mask: str, category: tuple[str, ...], kind: tuple[str, ...],
    region: tuple[str, ...], masks_dir: tuple[Path, ...], colour: str | None, side: int, columns: int | None,
) -> None:  # fmt: skip
    """Write a contact sheet: the masks beside one another under their names, one row for each face."""
    from maskbench.images import write_image
    from maskbench.masking.assets import select_assets
    from maskbench.masking.inspect import choose_assets
    from maskbench.masking.preview import contact_sheet, in_colour, mannequins

    chosen = choose_assets(select_assets(mask, *masks_dir), category, kind, region)
    shown = in_colour(chosen, colour)
    if len(shown) < len(chosen):
        click.echo(f"left out: {len(chosen) - len(shown)} masks without a colour {colour}")
    write_image(out, contact_sheet(list(faces) or mannequins(), shown, side, colour, columns))
    click.echo(f"written: {out}")


@masks.command(epilog="Example:\n\n  maskbench masks check my-masks")
@click.argument("targets", metavar="[ID|DIR]...", nargs=-1)
@_extra
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(targets: tuple[str, ...], masks_dir: tuple[Path, ...], strict: bool) -> None:
    """Find everything wrong with masks: ids, folders of one mask, or folders of masks; without any, every mask.

    Each fault is a line with its file and its remedy. The exit code is 2 if there is an error.
    """
    from maskbench.errors import MaskbenchError
    from maskbench.masking.faults import asset_faults, folders_of, name_faults

    folders = folders_of(targets, masks_dir)
    faults = name_faults(folders)
    for found in (faults, *map(asset_faults, folders)):
        for fault in found:
            click.echo(str(fault))
        faults = faults if found is faults else faults + found
    errors = sum(fault.error or strict for fault in faults)
    if errors:
        raise MaskbenchError(f"{errors} faults in {len(folders)} masks must be mended; each is named above")
    click.echo(f"{len(folders)} checked, {len(faults)} warnings, no error")


@masks.command(
    epilog="Example:\n\n  maskbench masks new photo.png --id my-mask --licence CC0-1.0 --source 'my own photo'"
)
@click.argument("photo", type=_path)
@click.option("--id", "asset_id", required=True, help="Name of the new mask: lower-case letters, digits, hyphens.")
@click.option("--name", help="The name for people; otherwise made from the id.")
@click.option("--kind", help="Such as cloth; otherwise the template's.")
@click.option("--category", default="complex", show_default=True, help="simple, complex, human-body or hybrid.")
@click.option("--licence", default="not stated", show_default=True, help="Terms under which the photo may be used.")
@click.option("--source", help="Who made the photo; otherwise the photo's file name.")
@click.option("--template", default="surgical", show_default=True, help="The mask that lends its shape and straps.")
@click.option("--anchors", type=_path, help="The anchors.json of an earlier call, corrected; otherwise placed here.")
@click.option("--strap-colour", default="#eeeeec", show_default=True, help="#rrggbb.")
@click.option("--out", default="masks", show_default=True, type=_path, help="The folder of masks to put it in.")
@click.option("--force", is_flag=True, help="Replace a mask of this id there.")
@_extra
def new(photo: Path, asset_id: str, out: Path, masks_dir: tuple[Path, ...], **options: Any) -> None:
    """Make a mask from a flat photo of one, cut out (a PNG or WebP with an alpha channel).

    Writes OUT/ID with the mask, anchors.json (the named points on the photo: correct them and run again with --anchors
    and --force) and preview.jpg.
    """
    from maskbench.masking.newmask import make_mask

    made = make_mask(photo, out / asset_id, masks_dirs=masks_dir, **options)
    for fault in made.faults:
        click.echo(str(fault), err=True)
    click.echo(f"written: {out / asset_id} (look at preview.jpg; use it with --masks-dir {out} --mask {asset_id})")
