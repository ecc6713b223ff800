"""maskbench masks list|preview"""

from __future__ import annotations

from pathlib import Path

import click

_extra = click.option("--masks-dir", multiple=True, type=click.Path(path_type=Path), help="A further folder of masks.")


@click.group()
def masks() -> None:
    """The masks: which there are, and what they look like."""


@masks.command("list")
@_extra
def list_masks(masks_dir: tuple[Path, ...]) -> None:
    """Name every mask with its category and colourways; a malformed one is an error that names its file."""
    from maskbench.masking.assets import select_assets

    for asset in select_assets("all", *masks_dir):
        click.echo(f"{asset.asset_id:14} {asset.category:8} {', '.join(asset.colourways)}")


@masks.command(epilog="Example:\n\n  maskbench masks preview sheet.png --face portrait.jpg")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--face", "faces", multiple=True, type=click.Path(path_type=Path), help="Pictures; a mannequin otherwise."
)
@click.option("--mask", default="all", show_default=True, help="Masks to show: ids separated by commas, or all.")
@_extra
@click.option("--side", default=224, show_default=True, type=click.IntRange(16, 1024), help="Pixels of each tile.")
def preview(out: Path, faces: tuple[Path, ...], mask: str, masks_dir: tuple[Path, ...], side: int) -> None:
    """Write a contact sheet: one row per face, one column per mask."""
    from maskbench.images import write_image
    from maskbench.masking.assets import select_assets
    from maskbench.masking.preview import contact_sheet, mannequins

    sheet = contact_sheet(list(faces) or mannequins(), select_assets(mask, *masks_dir), side)
    write_image(out, sheet)
    click.echo(f"written: {out}")
