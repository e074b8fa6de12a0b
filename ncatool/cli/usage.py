"""What is wrong with a command line, in our own words, and what was probably meant."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperOption
from typer.exceptions import TyperException

from ncatool.cli.other_tools import ADVICE, OTHER_COMMANDS
from ncatool.config.suggestions import suggest_names
from ncatool.config.synonyms import OTHER_VALUES, simplify_flag, translate_flag
from ncatool.errors import UsageError, shorten


def list_flags(command: Any) -> list[str]:
    """Return all options of a command, as they are typed."""
    return [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]


def get_flag(option: Any) -> str:
    """Return an option's long name, with its hyphens."""
    return next(name for name in option.opts if name.startswith("--"))


def find_variable(option: Any, context: Any) -> str | None:
    """Return the variable that an option's value came from, or None where it came from elsewhere."""
    source = context.get_parameter_source(option.name)
    if source is None or source.name != "ENVIRONMENT":
        return None
    return next((name for name in option.envvar if os.environ.get(name)), None)


def describe_unknown_flag(flag: str, command: Any, path: str, others: Mapping[str, Any]) -> UsageError:
    """Return the error for an option that a command does not have; `others` are all commands by name."""
    known = [one for one in list_flags(command) if one.startswith("--")]
    help_line = f"see: {path} --help"
    if command.name == "resume" and flag in list_flags(others["train"]):
        kept = f"a run keeps its {flag.removeprefix('--')} when it is resumed"
        return UsageError(kept, f"for another, train anew from its weights: ncatool train --from MODEL {flag} ...")
    what = f"{path} has no option {flag}"
    if command.name not in others:  # the command is missing
        owner = next((name for name in ("train", *others) if flag in list_flags(others[name])), "train")
        return UsageError(what, f"name a command first, such as ncatool {owner} {flag} ...; {help_line}")
    if (advice := _advise(flag, command.name)) is not None:
        return UsageError(what, f"{advice}; {help_line}")
    if (meant := translate_flag(flag, known)) is not None:
        return UsageError(what, f"did you mean {meant}? S{help_line[1:]}")
    if (advice := _advise(flag, "")) is not None:
        return UsageError(what, f"{advice}; {help_line}")
    if close := suggest_names(flag, known):
        return UsageError(what, f"did you mean {close[0]}? S{help_line[1:]}")
    owners = [f"ncatool {name}" for name, other in others.items() if flag in list_flags(other)]
    return UsageError(what, f"it is one of {' and '.join(owners[:2])}; {help_line}" if owners else help_line)


def _advise(flag: str, command: str) -> str | None:
    """Return what to do in place of an option that a command has no counterpart of; "" stands for all commands."""
    name, table = simplify_flag(flag), ADVICE.get(command, {})
    return next((advice for names, advice in table.items() if name in names.split()), None)


def describe_unknown_command(word: str, commands: Collection[str]) -> UsageError:
    """Return the error for a word that is no command."""
    what, see = f"there is no command {shorten(word)}", "see: ncatool --help"
    name = simplify_flag(word)
    known = [one for one, names in OTHER_COMMANDS.items() if name in names.split()]
    meant = [one for one in known if one in commands or one.startswith("--")] or suggest_names(word, commands)
    if meant:
        return UsageError(what, f"did you mean ncatool {meant[0]}? S{see[1:]}")
    if word.endswith(".safetensors") or Path(f"{word}.safetensors").is_file():
        return UsageError(what, f"to watch a model: ncatool render {word}; {see}")
    if is_target(word):
        return UsageError(what, f"to train on a target: ncatool train {word}; {see}")
    return UsageError(what, see)


def is_target(word: str, root: Path | None = None) -> bool:
    """Return whether a word names a picture, or several; `root` is the folder of MedMNIST sets.

    Raises NcatoolError for samples of a set that is not fetched, where their numbers are to be found.
    """
    from ncatool.data.sources import resolve_source

    try:
        return bool(resolve_source(word, root))
    except UsageError:
        return False


def describe_extra(words: Sequence[str], command: Any, path: str) -> UsageError:
    """Return the error for words beyond those that a command takes."""
    if command.name == "train":
        return UsageError(
            f"{path} takes pictures, but {shorten(words[0])} is none",
            "name pictures that are there; the model's file: --out NAME.safetensors",
        )
    if command.name == "sweep":
        return UsageError(
            f"{path} takes one plan, but {shorten(words[0])} follows it",
            "give several values between commas: --loss l1,l2",
        )
    takes = " ".join(name_argument(one) for one in command.params if not isinstance(one, TyperOption))
    return UsageError(f"{path} takes {takes}, but {shorten(words[0])} follows", f"leave it out; see: {path} --help")


def name_argument(argument: Any) -> str:
    """Return the placeholder of an argument, in capitals."""
    return str(argument.metavar or argument.name.upper().strip("_"))


def translate_error(error: TyperException) -> UsageError:
    """Return Typer's own error in our form."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None:
        return UsageError(" ".join(error.format_message().split()), "see: ncatool --help")
    path, kind = context.command_path, type(error).__name__
    if kind == "NoSuchOption":
        group = context.parent.command if context.parent is not None else context.command
        return describe_unknown_flag(str(getattr(error, "option_name", "")), context.command, path, group.commands)
    if kind == "MissingParameter" and parameter is not None:
        return _describe_missing(parameter, context.command, path)
    if kind == "BadOptionUsage":
        return _describe_usage(str(getattr(error, "option_name", "")), context.command, path)
    if parameter is not None:
        name = find_variable(parameter, context) if isinstance(parameter, TyperOption) else None
        value = os.environ[name] if name is not None else _find_input(error)
        return describe_value(parameter, value, name, path)
    return UsageError(" ".join(error.format_message().split()), f"see: {path} --help")


def _describe_missing(parameter: Any, command: Any, path: str) -> UsageError:
    from ncatool.nca.model_name import MODEL_SUFFIX

    later = command.params[command.params.index(parameter) + 1 :] if parameter.nargs == -1 else []  # may have its word
    arguments = [parameter, *(one for one in later if not isinstance(one, TyperOption) and one.required)]
    name = " ".join(map(name_argument, arguments))
    models = sorted(str(model) for model in Path().glob(f"*{MODEL_SUFFIX}"))[:3] if name.startswith("MODEL") else []
    here = f"models here: {', '.join(models)}; " if models else ""
    return UsageError(f"{path} needs {name}", f"{here}see: {path} --help")


def _describe_usage(flag: str, command: Any, path: str) -> UsageError:
    """Return the error for an option that lacks its value, or has one that it does not take."""
    option = next((one for one in command.params if flag in (*one.opts, *one.secondary_opts)), None)
    if option is None or option.is_flag:
        return UsageError(f"{flag} takes no value, but one is given", f"give {flag} alone; see: {path} --help")
    count = "a value" if option.nargs == 1 else f"{option.nargs} values"
    return UsageError(f"{flag} needs {count}", f"give {flag} {name_value(option)}; see: {path} --help")


def _find_input(error: TyperException) -> Any:
    """Return the value that could not be read, from the error that lies behind."""
    cause = error.__cause__
    found: list[dict[str, Any]] = getattr(cause, "errors", list)()
    return found[0].get("input", "") if found else ""


def describe_value(parameter: Any, value: Any, variable: str | None, path: str) -> UsageError:
    """Return the error for a value that an option or argument cannot have."""
    name = variable or (get_flag(parameter) if isinstance(parameter, TyperOption) else name_argument(parameter))
    kind, see = parameter.type_descriptor, f"see: {path} --help"
    what = f"{name} is {shorten(value)}"
    if kind.is_choice:
        choices = [str(getattr(choice, "value", choice)) for choice in kind.choices]
        close = [OTHER_VALUES.get(str(value).lower(), "")]
        close = close if close[0] in choices else suggest_names(str(value), choices)
        meant = f"did you mean {close[0]}? C" if close else "c"
        return UsageError(what, f"{meant}hoose from {', '.join(choices)}; {see}")
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if kind.is_ranged and _is_number(value, kind.annotation):
        bounds = (
            f"goes from {low:g} to {_format_bound(high)}"
            if high is not None and low is not None
            else f"is {low} at least"
        )
        return UsageError(f"{what}, but {bounds}", f"give a number in that range; {see}")
    return UsageError(f"{what}, but takes {_name_kind(parameter)}", see)


def _format_bound(number: float) -> str:
    return f"{number:,}" if number >= 10**4 else f"{number:g}"


def _is_number(value: Any, annotation: Any) -> bool:
    """Return whether a value is of the kind of number that an option takes, whatever its size."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(number) and (float in _list_kinds(annotation) or number.is_integer())


def _list_kinds(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _name_kind(parameter: Any) -> str:
    kinds = _list_kinds(parameter.type_descriptor.annotation)
    if bool in kinds:
        return "yes or no"
    if int in kinds:
        return "a whole number"
    return "a number" if float in kinds else "another value"


def name_value(option: Any) -> str:
    """Return the placeholder of an option's value, in capitals; empty for a flag."""
    if option.is_flag:
        return ""
    if option.metavar is not None:
        return str(option.metavar)
    kind = option.type_descriptor
    if kind.is_choice:
        return option.opts[0].lstrip("-").replace("-", "_").upper() if option.opts else "NAME"
    kinds = _list_kinds(kind.annotation)
    return "N" if int in kinds else "X" if float in kinds else "FILE" if kind.is_path else "TEXT"
