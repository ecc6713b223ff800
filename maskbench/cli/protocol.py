"""maskbench protocol list|show|make|check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from maskbench.protocol_making import Option
    from maskbench.protocol_template import Template
    from maskbench.types import Protocol

EXAMPLES = {
    "lfw": "lfw-funneled/ lfw/ --pairs pairs.txt",
    "lfw-masked": "lfw-funneled/ lfw-masked/ --pairs pairs.txt",
    "folders": "people/ people-masked/ --pairs 2000",
    "custom": "faces/ mine/ --pairs comparisons.csv",
    "maskinv": "cfp_fp.bin cfp/ --variant cfp_fp",
    "nist-6b": "people/ nist/ --variant wide-high-black",
}


@click.group()
def protocol() -> None:
    """Make and check evaluation protocols: who is compared with whom, and who wears a mask."""


class TemplateGroup(click.Group):
    """One command for every template that came with maskbench, with the options of its maker."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The templates' names."""
        from maskbench.protocol_template import shipped_templates

        return list(shipped_templates())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one template, by its name or by the path of a YAML file."""
        from maskbench.protocol_template import load_template, shipped_templates

        known = cmd_name in shipped_templates() or cmd_name.endswith((".yaml", ".yml"))
        return _command(cmd_name, load_template(cmd_name)) if known else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown template names the nearest known one."""
        from maskbench.protocol_template import load_template

        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            load_template(args[0])  # raises, with the nearest name
        return super().resolve_command(ctx, args)


@protocol.group(cls=TemplateGroup)
def make() -> None:
    """Make a protocol folder from a template and a data set that you have: maskbench protocol make NAME FACES OUT.

    NAME may also be the path of a template of your own, a YAML file.
    """


@protocol.command("list")
def list_templates() -> None:
    """The protocols that maskbench knows how to make, and those that ship with their pictures."""
    from maskbench.protocol_template import load_template, shipped_templates
    from maskbench.protocols import condition_names, load_protocol, shipped_protocols

    for name in shipped_templates():
        template = load_template(name)
        variants = f" ({len(template.variants)} variants)" if template.variants else ""
        click.echo(f"{name:16} {', '.join(template.conditions):26} {template.title}{variants}")
    for name, folder in shipped_protocols().items():
        protocol = load_protocol(folder)
        title = protocol.description.partition(":")[0]
        click.echo(f"{name:16} {', '.join(condition_names(protocol.pairs)):26} {title} (ships whole)")


@protocol.command(epilog="Example:\n\n  maskbench protocol show ocfr-2022")
@click.argument("name")
def show(name: str) -> None:
    """What a template says: source, licence, where to get the data, counts, deviations, and what is not stated."""
    from maskbench.protocol_template import load_template, shipped_templates
    from maskbench.protocols import load_protocol, shipped_protocols

    whole = shipped_protocols()
    if name in whole and name not in shipped_templates():
        protocol = load_protocol(whole[name])
        texts = (f"{key}: {getattr(protocol, key)}" for key in ("description", "source", "licence"))
        click.echo("\n".join([*texts, _describe(protocol, whole[name])]))
        return
    click.echo("\n".join(_shown(load_template(name))))


@protocol.command(epilog="Example:\n\n  maskbench protocol check lfw-masked/")
@click.argument("name_or_dir")
def check(name_or_dir: str) -> None:
    """Validate a protocol folder; print its counts and digest, or the first fault with its file and line."""
    from maskbench.protocols import load_protocol

    click.echo(_describe(load_protocol(name_or_dir), Path(name_or_dir)))


# ---------------------------------------------------------------- make


def _command(name: str, template: Template) -> click.Command:
    from maskbench.protocol_making import maker_of

    maker = maker_of(template)
    parameters: list[click.Parameter] = [
        click.Argument(["faces"], type=click.Path(path_type=Path)),
        click.Argument(["out"], type=click.Path(path_type=Path)),
    ]
    if template.variants:
        text = f"One of: {', '.join(template.variants)}."
        parameters.append(click.Option(["--variant"], help=text))
    parameters += [_option(option, template) for option in maker.options]
    if name == "folders":
        text = "The protocol's name; the number of pairs is added."
        parameters.append(click.Option(["--name"], default="folders", show_default=True, help=text))
    example = f"Example:\n\n  maskbench protocol make {name} {EXAMPLES.get(name, 'FACES OUT')}"
    help_text = f"{template.title}.\n\n{template.description}\n\nFACES is {maker.faces}."
    return click.Command(
        name, params=parameters, help=help_text, epilog=example, short_help=template.title,
        callback=lambda faces, out, **given: _make(name, faces, out, **given),
    )  # fmt: skip


def _option(option: Option, template: Template) -> click.Option:
    default = template.options.get(option.name, option.default)
    kind: Any = {int: click.IntRange(option.least), str: str, Path: click.Path(path_type=Path)}[option.kind]
    shown = f"  [default: {default}]" if default is not None else ""
    return click.Option([f"--{option.name.replace('_', '-')}"], type=kind, help=option.help + shown)


def _make(
    template: str, faces: Path, out: Path, variant: str | None = None, name: str | None = None, **options: Any
) -> None:
    from maskbench.protocol_making import FACES, TABLES, make_protocol, write_pictures
    from maskbench.protocols import renamed, write_protocol

    _refuse_existing(out)
    made = make_protocol(template, faces, variant, options)
    tables = out / TABLES if made.pictures else out
    write_pictures(made, out)
    protocol = renamed(made.protocol, name) if name and name != "folders" else made.protocol
    write_protocol(protocol, tables)
    click.echo(_describe(protocol, tables))
    for line in made.lines:
        click.echo(line)
    if made.pictures:
        click.echo(f"{len(made.pictures):,} pictures written to {out / FACES}")
    if template == "folders":
        click.echo(_drawn(protocol, options["pairs"]))
    click.echo(_next(protocol, out / FACES if made.pictures else faces / made.below, tables, faces / "masked"))


def _drawn(protocol: Protocol, asked: int | None) -> str:
    from maskbench.protocol_build import condition_names, stranger_pairs

    drawn = len(protocol.pairs) // len(condition_names(protocol.pairs))
    strangers = stranger_pairs(protocol)
    asked = asked or 6000
    return f"{asked} pairs asked, {drawn} drawn; the non-mated ones are of {strangers} different pairs of subjects"


def _next(protocol: Protocol, faces: Path, tables: Path, built: Path) -> str:
    """The command that comes next: masking, unless masks are worn or ``built`` is the masked set of a build."""
    from maskbench.protocol_build import used_keys

    done = faces.parent == built.parent and (built / "manifest.csv").is_file()
    # A picture that is compared bare and masked needs a masked copy; people with real masks have pictures of their own.
    keys = used_keys(protocol)
    copies = any((sample_id, "unmasked") in keys for sample_id, condition in keys if condition == "masked")
    if (protocol.masking or copies) and not done:
        return f"next: maskbench synthesize {faces} MASKED --protocol {tables}"
    wanted = "masked" in {*protocol.pairs.probe_condition.tolist(), *protocol.pairs.reference_condition.tolist()}
    masked = f" --masked {built if done else faces}" if wanted else ""
    return f"next: maskbench evaluate --protocol {tables} --faces {faces}{masked} --model MODEL --out RESULTS"


def _refuse_existing(out: Path) -> None:
    from maskbench.errors import ProtocolError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ProtocolError(f"{out}: exists and is not empty; choose a new folder for the protocol")


def _describe(protocol: Protocol, where: Path) -> str:
    from maskbench.protocols import protocol_counts

    counts = ", ".join(f"{name} {number}" for name, number in protocol_counts(protocol).items())
    return (
        f"{where}: {protocol.name} version {protocol.version}: {counts}; "
        f"threshold from {protocol.threshold_from}; digest {protocol.digest[:16]}"
    )


def _shown(template: Template) -> list[str]:
    from maskbench.protocol_making import maker_of

    maker = maker_of(template)
    lines = [f"{template.name} version {template.version}: {template.title}", "", template.description]
    facts = {
        "source": template.source, "licence": template.licence, "data": template.data, "FACES": maker.faces,
        "conditions": ", ".join(template.conditions), "thresholds": f"from {template.threshold_from}",
        "masks": template.masks, "metrics": ", ".join(template.metrics),
        "masking": ", ".join(f"{key} {value}" for key, value in template.masking.items()),
        "of the data": ", ".join(f"{key} {value:,}" for key, value in template.data_counts.items()),
        "expected": ", ".join(f"{key} {value:,}" for key, value in template.counts_expected.items()),
        "variants": ", ".join(template.variants),
    }  # fmt: skip
    lines += ["", *(f"{key + ':':13}{' '.join(text.split())}" for key, text in facts.items() if text)]
    lines += [f"deviation:   {' '.join(text.split())}" for text in template.deviations]
    return lines + [f"not stated:  {' '.join(text.split())}" for text in template.not_stated]
