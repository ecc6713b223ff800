"""The command line: a thin shell. Each command lives in its own file, which is imported when the command is used."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from maskbench._version import __version__
from maskbench.errors import MaskbenchError

# name -> (module:attribute, one line of help); listing the commands imports none of them.
COMMANDS = {
    "people": ("maskbench.cli.people:people", "Make pictures of people who do not exist."),
    "synthesize": ("maskbench.cli.synthesize:synthesize", "Paste masks on a folder of faces; write a manifest."),
    "masks": ("maskbench.cli.masks:masks", "List, show, check and make masks; draw contact sheets."),
    "dataset": ("maskbench.cli.dataset:dataset", "Build masked LFW, CelebA and AR-style sets from their originals."),
    "protocol": ("maskbench.cli.protocol:protocol", "Make and check evaluation protocols."),
    "models": ("maskbench.cli.models:models", "List, show, check, export, fit and fetch recognizers."),
    "train": ("maskbench.cli.train:train", "Train recognizers that read masked faces."),
    "evaluate": ("maskbench.cli.evaluate:evaluate", "Run recognizers on a protocol; write scores and results."),
    "grid": ("maskbench.cli.grid:grid", "Every recognizer behind every completion, in one table."),
    "segment": ("maskbench.cli.segment:segment", "Find the masks on photographs; write where they are."),
    "complete": ("maskbench.cli.complete:complete", "Replace the masks on photographs by what may be under them."),
    "allpairs": ("maskbench.cli.allpairs:allpairs", "Compare all embeddings with all; exact error rates at low FMR."),
    "score": ("maskbench.cli.score:score", "Measure scores that another program computed."),
    "leaderboard": ("maskbench.cli.leaderboard:leaderboard", "Make the leaderboard from results."),
    "compare": ("maskbench.cli.compare:compare", "Which of two recognizers is better, and how surely."),
    "plot": ("maskbench.cli.plot:plot", "Draw ROC and DET curves from results."),
    "breakdown": ("maskbench.cli.breakdown:breakdown", "Error rates by mask, coverage, pose, sex and so on."),
    "demo": ("maskbench.cli.demo:demo", "The whole chain on people who do not exist, in minutes."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return getattr(import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown command names the nearest known one."""
        from maskbench.registry import nearest

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise MaskbenchError(f'no command "{args[0]}"; {nearest(args[0], COMMANDS)}')
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup, epilog="Start with: maskbench demo", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="maskbench")
def cli() -> None:
    """What masks do to a face recognizer: by how much, and how surely.

    Faces go in; masked faces with a manifest, scores, error rates, a leaderboard and ROC/DET curves come out.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Expected errors become one line and exit code 2; other faults keep their traceback."""
    # Spinning OpenMP threads make inference much slower on small machines; set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        sys.exit(cli.main(arguments, prog_name="maskbench", standalone_mode=False) or 0)
    except MaskbenchError as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except click.exceptions.Abort:
        click.echo("interrupted; what is finished is kept, and the same command continues from there", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as exit_request:
        sys.exit(exit_request.exit_code)


if __name__ == "__main__":
    main()
