"""The command `ncatool` itself, to which every command's module adds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from ncatool.cli.command import Command
from ncatool.cli.help import format_command_help, format_group_help, list_examples
from ncatool.cli.terminal import print_line, print_text
from ncatool.cli.usage import describe_unknown_command
from ncatool.errors import ExitCode

Function = TypeVar("Function", bound=Callable[..., Any])


class Group(TyperGroup):
    """The commands by their names; a word that is none gets the name that was probably meant."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(format_group_help(self, ctx.command_path))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Print the help at once where it is asked for, which spares what a command line is parsed with."""
        command = self.commands.get(args[0]) if args else None
        words = args[: args.index("--")] if "--" in args else args
        if ctx.resilient_parsing or (args and not {"-h", "--help"} & set(words)):
            return super().parse_args(ctx, args)
        if command is not None:
            print_text(format_command_help(command, f"{ctx.command_path} {command.name}"))
            raise typer.Exit
        print_text(format_group_help(self, ctx.command_path))
        raise typer.Exit(ExitCode.DONE if args else ExitCode.USAGE)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            raise describe_unknown_command(args[0], self.commands)
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """Typer's application, whose commands are of the class `Command`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Return the decorator that adds a command."""
        return super().command(name, **{"cls": Command, **options})


app = App(
    name="ncatool",
    cls=Group,
    help="Grow images from a seed: train neural cellular automata, watch them, measure them.",
    epilog=list_examples("train phantom", "render phantom phantom.gif", "export phantom phantom.html"),
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> bool:
    if value:
        from importlib.metadata import version

        print_line(f"ncatool {version('ncatool')}")
        raise typer.Exit
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
