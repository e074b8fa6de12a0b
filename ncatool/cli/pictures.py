"""Which pictures `ncatool render` grows, where, and from which seeds: `--at`, `--grow`, `--morph` and `--blend`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncatool.errors import UsageError, shorten

if TYPE_CHECKING:
    from ncatool.nca.model_file import ModelData
    from ncatool.rendering.sowing import Place, Sowing


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """The options as they were given."""

    places: list[tuple[Place, str]]
    """Row and column of each `--at`, and the picture that it names, or an empty text."""
    grow: str | None
    morph: list[str]
    blend: str | None

    @property
    def has_named_places(self) -> bool:
        """Whether several pictures are to grow on one grid."""
        return any(name for _, name in self.places)

    @property
    def unnamed_places(self) -> tuple[Place, ...]:
        """Where every model grows its own picture; empty where pictures are named."""
        return () if self.has_named_places else tuple(place for place, _ in self.places)

    def check(self) -> None:
        """Raise UsageError for options that exclude each other."""
        named = {"--at Y,X=NAME": self.has_named_places, "--grow": self.grow is not None, "--blend": bool(self.blend)}
        chosen = [flag for flag, given in named.items() if given]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} both choose pictures", "give one of them")


def parse_place(text: str) -> tuple[Place, str]:
    """Return the place and the picture's name, or an empty text, of an `--at`; raise UsageError where it is none."""
    place, separator, name = text.partition("=")
    if separator and not name.strip():
        raise UsageError(f"--at {shorten(text)} names no picture", "write --at Y,X=NAME")
    return parse_pair("--at", place, ","), name.strip()


def parse_pair(flag: str, text: str, separator: str) -> tuple[int, int]:
    """Return two whole numbers, as `--grid 64x96` and `--at 10,20` have them; raise UsageError for other texts."""
    numbers = text.strip().lower().split(separator)
    if len(numbers) != 2 or not all(number.strip().isdecimal() and len(number) < 6 for number in numbers):
        raise UsageError(f"{flag} is {shorten(text)}", f"give two numbers, as {flag} 64{separator}96")
    return int(numbers[0]), int(numbers[1])


def choose_sowings(models: Mapping[str, ModelData], options: PictureOptions, steps: int) -> tuple[Sowing, ...]:
    """Return the seeds of named pictures, those of the start and those of later steps.

    Raises UsageError where names stand beside several models, and for a picture that the model does not have.
    """
    from ncatool.rendering.sowing import name_places, parse_morphs

    if not (options.has_named_places or options.morph or options.blend):
        return ()
    if len(models) > 1:
        flag = "--morph" if options.morph else "--blend" if options.blend else "--at Y,X=NAME"
        raise UsageError(f"{flag} is for one model, but {len(models)} are given", "render them one by one")
    (model,) = models.values()
    places, names = zip(*options.places, strict=True) if options.has_named_places else ((), ())
    return (*name_places(places, names, model), *parse_morphs(options.morph, model, steps))


def list_pictures(models: Mapping[str, ModelData], options: PictureOptions) -> dict[str, ModelData]:
    """Return what is shown, a tile each: the model of every picture, by the name of its model and its own."""
    from ncatool.nca.pictures import ALL, select_pictures
    from ncatool.rendering.sowing import blend_seeds

    shown: dict[str, ModelData] = {}
    for name, model in models.items():
        if not model.target.others and options.grow is not None:
            raise UsageError(f"{name} grows one picture, so --grow has no meaning", "leave it out")
        if options.blend:
            blended = blend_seeds(model, options.blend)
            shown |= {f"{i / (len(blended) - 1):.0%}": one for i, one in enumerate(blended)}
        elif options.has_named_places or not model.target.others:
            shown[name] = model
        else:
            before = f"{name}:" if len(models) > 1 else ""
            shown |= {f"{before}{one.target.name}": one for one in select_pictures(model, options.grow or ALL)}
    return shown
