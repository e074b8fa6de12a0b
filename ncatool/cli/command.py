"""What all commands share: an environment variable for each flag, and a refusal of flags that are given twice."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperCommand, TyperOption
from typer.exceptions import TyperException

from ncatool.cli.help import format_command_help
from ncatool.cli.terminal import print_note
from ncatool.cli.usage import describe_extra, find_variable, get_flag, list_flags
from ncatool.config.names import NO_WORDS, YES_WORDS
from ncatool.config.synonyms import translate_flag
from ncatool.errors import NcatoolError, UsageError, shorten

PREFIX = "NCATOOL_"
SPELLED_WORDS = {*YES_WORDS, *NO_WORDS} - {"1", "0"}
LIST_METAVAR = "VALUE,..."
"""How options are shown that take several values between commas."""


class Command(TyperCommand):
    """A command whose flag `--some-flag` also reads NCATOOL_<COMMAND>_SOME_FLAG, unless that is empty."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for option in self._list_options():
            shared = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
            option.envvar = [self._name_variable(option), *shared]
            option.show_envvar = False  # in the table of flags, long names would be cut off
            option.split_envvar_value = _split_words if option.multiple else _split_pair
        first = self._list_options()[0]
        example = f"{self._name_variable(first)} for {get_flag(first)}"
        scheme = f"{PREFIX}<COMMAND>_<FLAG>"
        self.epilog = f"{self.epilog}\n\nThe environment sets options that are not given: {scheme}, such as {example}."

    def _list_options(self) -> list[Any]:
        return [parameter for parameter in self.params if isinstance(parameter, TyperOption)]

    def _name_variable(self, option: Any) -> str:
        return f"{PREFIX}{self.name}_{get_flag(option)[2:]}".replace("-", "_").upper()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(format_command_help(self, ctx.command_path))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line as usual, after refusing flags that contradict themselves."""
        try:
            if not ctx.resilient_parsing:
                args = self._check_words(ctx, args)
            return super().parse_args(ctx, args)
        except NcatoolError as error:
            name_variables(error, ctx)
            raise
        except TyperException as error:
            if getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined] # the parser's own errors lack it
            raise

    def _check_words(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """Return the words of the command line with switches alone; raise UsageError for those that contradict."""
        words = self._join_switches(args)
        self._refuse_single_hyphens(words)
        _, extra, given = self.make_parser(ctx).parse_args([*words])
        self._refuse_repeated(given, words)
        if extra and not any(parameter.name == "help" for parameter in given):
            raise describe_extra(extra, self, ctx.command_path)
        return words

    def _join_switches(self, args: Sequence[str]) -> list[str]:
        """Return the words with flags alone that stand before yes or no, as in `--preview true` or `--force=false`."""
        switches = {name: one for one in self._list_options() if one.is_flag for name in one.opts}
        joined: list[str] = []
        rest = iter([*args, ""])
        word = next(rest)
        for after in rest:
            flag, equals, value = word.partition("=")
            if flag in switches and not equals and after.lower() in SPELLED_WORDS and not os.path.lexists(after):
                value, after = after, next(rest, "")
            if flag in switches and value.lower() in SPELLED_WORDS:
                opposite = switches[flag].secondary_opts
                joined += [flag] if value.lower() in YES_WORDS else opposite[:1]
            else:
                joined.append(word)
            word = after
        return joined if word == "" else [*joined, word]

    def _refuse_single_hyphens(self, args: Sequence[str]) -> None:
        """Raise UsageError for a long option behind one hyphen, which would be taken for several short ones."""
        known = list_flags(self)
        for word in args[: args.index("--") if "--" in args else None]:
            name = word.partition("=")[0]
            if re.fullmatch(r"-[a-zA-Z][\w-]+", name) and (meant := translate_flag(name, known)) is not None:
                raise UsageError(f"{name} has one hyphen", f"options of several letters have two: {meant}")

    def _refuse_repeated(self, given: Sequence[Any], args: Sequence[str]) -> None:
        """Raise UsageError for an option with one value that is given twice, and for a flag and its opposite."""
        if any(parameter.name == "help" for parameter in given):
            return
        for option, count in Counter(given).items():
            if count == 1 or not isinstance(option, TyperOption) or option.multiple:
                continue
            flag = get_flag(option)
            if not option.is_flag:
                values = list(_find_values(option, args))
                what = f"{flag} is given {count} times: {', '.join(map(shorten, values))}"
                listed = f", its values between commas: {flag} {','.join(values)}"
                raise UsageError(what, f"give it once{listed if option.metavar == LIST_METAVAR else ''}")
            if all(set(names) & set(args) for names in (option.opts, option.secondary_opts)):
                raise UsageError(f"{flag} and {option.secondary_opts[0]} contradict each other", "give one of them")

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error says which values came from the environment."""
        self._print_unread_variables()
        try:
            return super().invoke(ctx)
        except NcatoolError as error:
            name_variables(error, ctx)
            raise

    def _print_unread_variables(self) -> None:
        """Print a note for each variable that seems to be meant for this command, but is none of its flags'."""
        known = [name for option in self._list_options() for name in option.envvar]
        own = f"{PREFIX}{self.name}_".upper()
        without_command = {name.replace(own, PREFIX): name for name in known if name.startswith(own)}
        for name, value in os.environ.items():
            if not value or name in known:
                continue
            if name in without_command:
                print_note(f"{name} is not read: for ncatool {self.name} it is {without_command[name]}")
            elif name.startswith(own):
                flag = translate_flag(name.removeprefix(own), list_flags(self)) or ""
                close = difflib.get_close_matches(name, known, 1)
                meant = f"{own}{flag.split()[0][2:].replace('-', '_').upper()}" if flag else "".join(close)
                advice = f"; did you mean {meant}?" if meant else ""
                print_note(f"{name} is not read: it names no flag of ncatool {self.name}{advice}")


def _split_words(text: str) -> list[str]:
    """Return the values of a list: separated by white space, but a value may itself contain a comma and a space."""
    return re.sub(r"\s*,\s*", ",", text).split()


def _split_pair(text: str) -> list[str]:
    """Return the two values of an option that takes two; the second, a file, may have spaces in its name."""
    return text.split(None, 1)


def _find_values(option: Any, args: Sequence[str]) -> Iterator[str]:
    """Yield the values that the words of a command line give to an option."""
    for i, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name in option.opts:
            yield value if equals else " ".join(args[i + 1 : i + 1 + option.nargs])


def name_variables(error: NcatoolError, context: Any) -> None:
    """Name, in an error's text, the environment variables that the values it is about came from."""
    found = {find_variable(option, context): option for option in context.command.params if option.envvar}
    for name, option in found.items():
        if name is None:
            continue
        flag, value = get_flag(option), os.environ[name]
        match = re.search(rf"(?<![\w-])(--)?{flag[2:]} is (\S+?)(?=,|$)", error.what)
        if match is not None and match[2].strip("'\"") == value.strip():
            error.what = f"{error.what[: match.start()]}{name} is {error.what[match.start(2) :]}"
        elif _mentions(error.what, flag, value) or _mentions(error.hint, flag):
            error.what += f" ({name} is {shorten(value)})"


def _mentions(text: str, flag: str, value: str = "") -> bool:
    """Return whether a message speaks of a flag, of an entry of its value, or of the folder that an entry lies in.

    Entries of one or two letters do not count.
    """
    entries = re.split(r"[\s,:@]+", value)
    parts = [flag, *(part for entry in entries for part in (entry, os.path.dirname(entry)) if len(part) > 2)]  # noqa: PTH120 - may be no path
    return any(re.search(rf"(?<![\w/+-]){re.escape(part)}(?![\w/-])", text) for part in parts)
