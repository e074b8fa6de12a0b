"""The `fetch` command: what is asked of it, how it shows, what it prints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncatool.cli import terminal
from ncatool.config.names import Colormap
from ncatool.data import medmnist
from ncatool.data.fetch import FetchResult, copy_set, expand_names, fetch_set, list_sets
from ncatool.data.medmnist import SPLITS, DataSet, data_folder, find_set
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import check_writable, replace_atomically

if TYPE_CHECKING:
    from PIL.Image import Image


def named(flags: list[str] | None, size: int) -> list[DataSet]:
    """The sets that the command line names."""
    if not flags:
        raise UsageError("no set is named", "name one, such as chestmnist, or all; see them: ncatool fetch --list")
    sets = [find_set(flag, size) for flag in expand_names(flags, size)]
    if not sets:
        raise UsageError(f"no set has size {size}", "choose from 28, 64, 128, 224")
    return sets


@dataclass(frozen=True)
class Wish:
    """A picture of samples that the command line asks for, or none."""

    show: int | None
    pick: tuple[str, Path] | None
    random: bool
    split: str
    colormap: Colormap
    out: Path | None
    seed: int
    force: bool

    def check(self, sets: list[DataSet]) -> None:
        """Refuses, before anything is fetched, what cannot be granted."""
        text, file = self.pick or (None, None)
        if self.split not in SPLITS:
            raise UsageError(f"there is no split {self.split!r}", f"choose from {', '.join(SPLITS)}")
        if not self.wanted:
            return
        if len(sets) > 1:
            raise UsageError(f"a picture of samples is of one set, but {len(sets)} are named", "name one set")
        if text is not None and (self.show or self.random):
            raise UsageError("--pick names one sample, --show and --random others", "give one of them")
        if text is not None:
            medmnist.parse_sample(sets[0], text)
        # A random sample's own name is known only once the set is here.
        known = file or self.out or (self._sheet_name(sets[0]) if self.show else None)
        if known is not None:
            if known.suffix.lower() != ".png":
                raise UsageError(f"{known} does not end in .png", "give a name that does")
            check_writable([known], self.force)

    @property
    def wanted(self) -> bool:
        return bool(self.show or self.random or self.pick)

    def _sheet_name(self, of: DataSet) -> Path:
        return Path(f"{of.flag}{of.size_suffix}-{self.split}.png")

    def grant(self, of: DataSet, root: Path | None) -> dict[str, Any]:
        """Writes the picture; what is to be said of it."""
        if not self.wanted:
            return {}
        from ncatool.rendering import samples

        text, file = self.pick or (None, None)
        if self.show:
            seed = self.seed if self.random else None
            indices = samples.choose_samples(of, self.split, self.show, seed, root)
            sheet = samples.draw_samples(of, self.split, indices, self.colormap, root)
            return self._save(sheet, self.out or self._sheet_name(of))
        if text is None:
            (index,) = samples.choose_samples(of, self.split, 1, self.seed, root)
            text, file = (
                f"{self.split}:{index}",
                self.out or Path(f"{of.flag}{of.size_suffix}-{self.split}-{index}.png"),
            )
        spec = medmnist.parse_sample(of, text)
        saved = self._save(samples.draw_sample(spec, self.colormap, root), file or Path(f"{of.flag}.png"))
        return {**saved, "target": str(spec)}

    def _save(self, image: Image, path: Path) -> dict[str, Any]:
        check_writable([path], self.force)
        with replace_atomically(path) as partial:
            image.save(partial, "PNG")
        return {"wrote": str(path)}


def bring(
    sets: list[DataSet], root: Path | None, file: Path | None, mirror: str | None, timeout: float, retries: int
) -> list[FetchResult]:
    """Fetches one set after the other; where one fails, the others are still fetched.

    Raises NcatoolError at the end if any failed.
    """
    from ncatool.data.download import RetryPolicy

    if file is not None and len(sets) > 1:
        raise UsageError(f"--from gives one set, but {len(sets)} are named", "name one set")
    done, failed = [], {}
    for of in sets:
        try:
            with terminal.show_transfer(of.filename.removesuffix(".npz")) as watch:
                if file is not None:
                    done.append(copy_set(of, file, data_folder(root), watch))
                else:
                    done.append(fetch_set(of, data_folder(root), mirror, RetryPolicy(timeout, retries), watch))
        except NcatoolError as error:
            if len(sets) == 1 or isinstance(error, UsageError):
                raise
            failed[of.flag] = error
            terminal.print_note(f"{of.flag} failed: {error.what}")
        except (KeyboardInterrupt, SystemExit):
            terminal.print_note("stopped; what has come is kept: run the same command again to go on")
            raise
    if failed:
        last = list(failed.values())[-1]
        raise NcatoolError(f"{len(failed)} of {len(sets)} sets were not fetched: {', '.join(failed)}", last.hint)
    return done


def report(done: list[FetchResult], picture: dict[str, Any]) -> None:
    """A line a set, and what was written; or one JSON object."""
    if terminal.settings.as_json:
        return terminal.print_result({"sets": [dataclasses.asdict(one) for one in done], **picture})
    for one in done:
        doubt = "" if one.verified else f"  (MD5 {one.md5} is not the catalogue's)"
        print(f"{one.flag:<14}  {one.state:<10}  {one.bytes / 1e6:>8.1f} MB  {one.path}{doubt}")
    if picture:
        terminal.print_result(picture)
    return None


def show_list(root: Path | None) -> None:
    """All sets as a table, or one JSON object."""
    rows = list_sets(root)
    if terminal.settings.as_json:
        return terminal.print_result({"sets": rows})
    shown = [
        [
            row["flag"],
            row["task"],
            str(row["channels"]),
            ", ".join(map(str, row["sizes"])),
            " + ".join(f"{count:,}" for count in row["samples"].values()),
            row["licence"],
            "\n".join(f"{size}: {path}" for size, path in row["here"].items()) or "-",
        ]
        for row in rows
    ]
    headings = ["set", "task", "channels", "sizes", "train + val + test", "licence", "here"]
    return terminal.print_table(headings, shown)
