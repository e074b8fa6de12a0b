"""The command `ncatool` itself, to which every command's module adds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from ncatool.cli.command import Command
from ncatool.cli.terminal import print_line
from ncatool.cli.usage import describe_unknown_command

Function = TypeVar("Function", bound=Callable[..., Any])


class Group(TyperGroup):
    """The commands by their names; a word that is none gets the name that was probably meant."""

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
    help="Grow images from one cell: train neural cellular automata, watch them, measure them.",
    epilog="Start with:  ncatool train --target phantom  then  ncatool render phantom.safetensors phantom.gif",
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
