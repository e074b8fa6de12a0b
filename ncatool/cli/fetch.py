"""`ncatool fetch`: sets brought here, and pictures of their samples."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.help import list_examples
from ncatool.cli.table_layout import Cell
from ncatool.config.names import Colormap
from ncatool.config.schema import TargetConfig, check_range
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import check_writable, replace_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

    from ncatool.data.catalogue import DataSet
    from ncatool.data.fetch import FetchResult
    from ncatool.data.sample_spec import SampleSpec


@app.command(
    epilog=list_examples("fetch chestmnist bloodmnist --size 64", "fetch --list", "fetch bloodmnist --show 100")
)
def fetch(
    flags: o.Flags = None,
    size: o.Pixels = 28,
    root: o.Root = None,
    mirror: o.Mirror = None,
    source: o.From = None,
    timeout: o.Timeout = 30.0,
    retries: o.Retries = 6,
    list_sets: o.List = False,
    show: o.Show = None,
    pick: o.Pick = None,
    random: o.Random = False,
    split: o.Split = "train",
    colormap: o.ColormapOption = TargetConfig.colormap,
    out: o.SheetOut = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Fetch MedMNIST sets, verified, and choose targets from them.

    A download that breaks off goes on where it ended, at once or with the same command later.
    """
    if list_sets:
        return _print_sets(root)
    from ncatool.cli.announce import announce_fetching
    from ncatool.data.medmnist import get_data_folder

    sets = _find_sets(flags, size)
    request = SamplesRequest(show, pick, random, split, colormap, out, seed, force)
    if source is not None and len(sets) == 1 and not source.is_file():
        raise UsageError(f"no such file: {source}", "give --from an npz file of MedMNIST")
    request.check(sets)
    announce_fetching([dataset.flag for dataset in sets], size, get_data_folder(root), source)
    results = _fetch_sets(sets, root, source, mirror, timeout, retries)
    picture = request.save_picture(sets[0], root)
    return _print_fetched(results, picture)


def _find_sets(flags: list[str] | None, size: int) -> list[DataSet]:
    """Return the sets that the command line names."""
    from ncatool.data.catalogue import find_set
    from ncatool.data.fetch import expand_names

    if not flags:
        raise UsageError("no set is named", "name one, such as chestmnist, or all; see them: ncatool fetch --list")
    sets = [find_set(flag, size) for flag in expand_names(flags, size)]
    if not sets:
        raise UsageError(f"no set has size {size}", "choose from 28, 64, 128, 224")
    return sets


@dataclass(frozen=True)
class SamplesRequest:
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
        """Raise UsageError, before anything is fetched, for a request that cannot be met."""
        from ncatool.data.catalogue import SPLITS
        from ncatool.data.sample_spec import parse_sample

        text, file = self.pick or (None, None)
        check_range("seed", self.seed, 0, 2**62)
        if self.split not in SPLITS:
            raise UsageError(f"there is no split {self.split!r}", f"choose from {', '.join(SPLITS)}")
        if not self.is_given:
            return
        if len(sets) > 1:
            raise UsageError(f"a picture of samples is of one set, but {len(sets)} are named", "name one set")
        if text is not None and (self.show or self.random):
            raise UsageError("--pick names one sample, --show and --random others", "give one of them")
        if text is not None:
            parse_sample(sets[0], text)
        # A random sample's own name is known only once the set is here.
        known = file or self.out or (self._sheet_name(sets[0]) if self.show else None)
        if known is not None:
            self._check_ending(known, sets[0])
            check_writable([known], self.force)

    def _check_ending(self, path: Path, dataset: DataSet) -> None:
        """Raise UsageError for a name whose ending is not one of what is written."""
        if self.is_volume(path):
            if not dataset.is_volume:
                raise UsageError(f"{dataset.flag} holds pictures, and {path} is for a volume", "give a name in .png")
            if (self.pick or ("", None))[0].count(":") > 1:
                raise UsageError(f"{path} is for a whole volume, but --pick names a slice", "give SPLIT:INDEX only")
        elif path.suffix.lower() != ".png":
            endings = ".png, .nii or .nii.gz" if self.pick and dataset.is_volume else ".png"
            raise UsageError(f"{path} does not end in {endings}", "give a name that does")

    def is_volume(self, path: Path) -> bool:
        """Return whether a picked sample is written as a volume."""
        return self.pick is not None and path.name.lower().endswith((".nii", ".nii.gz"))

    @property
    def is_given(self) -> bool:
        return bool(self.show or self.random or self.pick)

    def _sheet_name(self, dataset: DataSet) -> Path:
        return Path(f"{dataset.flag}{dataset.size_suffix}-{self.split}.png")

    def save_picture(self, dataset: DataSet, root: Path | None) -> dict[str, Any]:
        """Write the picture, if one is asked for; return what is to be printed of it."""
        if not self.is_given:
            return {}
        from ncatool.data.sample_spec import parse_sample
        from ncatool.rendering.samples import choose_samples, draw_sample, draw_samples

        text, file = self.pick or (None, None)
        if self.show:
            seed = self.seed if self.random else None
            indices = choose_samples(dataset, self.split, self.show, seed, root)
            sheet = draw_samples(dataset, self.split, indices, self.colormap, root)
            return self._save(sheet, self.out or self._sheet_name(dataset))
        if text is None:
            (index,) = choose_samples(dataset, self.split, 1, self.seed, root)
            name = f"{dataset.flag}{dataset.size_suffix}-{self.split}-{index}.png"
            text, file = f"{self.split}:{index}", self.out or Path(name)
        spec = parse_sample(dataset, text)
        if file is not None and self.is_volume(file):
            return {**self._save_volume(spec, file, root), "target": str(dataclasses.replace(spec, plane=""))}
        saved = self._save(draw_sample(spec, self.colormap, root), file or Path(f"{dataset.flag}.png"))
        return {**saved, "target": str(spec)}

    def _save_volume(self, spec: SampleSpec, path: Path, root: Path | None) -> dict[str, Any]:
        from ncatool.data.medmnist import read_samples
        from ncatool.data.readers.nifti import write_nifti

        ((volume, _),) = read_samples(spec.dataset, spec.split, [spec.index], root)
        check_writable([path], self.force)
        with replace_atomically(path, self.force) as partial:
            write_nifti(partial, volume, compressed=path.suffix.lower() == ".gz")
        return {"wrote": str(path)}

    def _save(self, image: Image, path: Path) -> dict[str, Any]:
        check_writable([path], self.force)
        with replace_atomically(path, self.force) as partial:
            image.save(partial, "PNG")
        return {"wrote": str(path)}


def _fetch_sets(
    sets: list[DataSet], root: Path | None, file: Path | None, mirror: str | None, timeout: float, retries: int
) -> list[FetchResult]:
    """Fetch one set after the other; where one fails, the others are still fetched.

    Raises NcatoolError at the end if any failed.
    """
    from ncatool.data.download import RetryPolicy
    from ncatool.data.fetch import copy_set, fetch_set
    from ncatool.data.medmnist import get_data_folder

    if file is not None and len(sets) > 1:
        raise UsageError(f"--from gives one set, but {len(sets)} are named", "name one set")
    results, failed = [], {}
    folder, policy = get_data_folder(root), RetryPolicy(timeout, retries)
    for dataset in sets:
        try:
            with terminal.show_transfer(dataset.filename.removesuffix(".npz")) as watch:
                if file is not None:
                    results.append(copy_set(dataset, file, folder, watch))
                else:
                    results.append(fetch_set(dataset, folder, mirror, policy, watch))
        except NcatoolError as error:
            if len(sets) == 1 or isinstance(error, UsageError):
                raise
            failed[dataset.flag] = error
            terminal.print_failure(f"{dataset.flag} failed: {error.what}")
        except (KeyboardInterrupt, SystemExit):
            terminal.print_note("stopped; what has come is kept: run the same command again to go on")
            raise
    if failed:
        last = list(failed.values())[-1]
        raise NcatoolError(f"{len(failed)} of {len(sets)} sets were not fetched: {', '.join(failed)}", last.hint)
    return results


def _print_fetched(results: list[FetchResult], picture: dict[str, Any]) -> None:
    """Print a line a set, and what was written; or one JSON object."""
    if terminal.settings.as_json:
        return terminal.print_result({"sets": [dataclasses.asdict(result) for result in results], **picture})
    for result in results:
        doubt = "" if result.verified else f"  (MD5 {result.md5} is not the catalogue's)"
        terminal.print_line(
            f"{result.flag:<14}  {result.state:<10}  {result.bytes / 1e6:>8.1f} MB  {result.path}{doubt}"
        )
    if picture:
        terminal.print_result(picture)
    return None


def _print_sets(root: Path | None) -> None:
    """Print all sets as a table, or one JSON object."""
    from ncatool.data.fetch import list_sets

    rows = list_sets(root)
    if terminal.settings.as_json:
        return terminal.print_result({"sets": rows})
    if sys.stdout.isatty():
        return _print_short_list(rows)
    cells: list[list[Cell]] = [
        [
            row["flag"],
            row["task"],
            row["channels"],
            ", ".join(map(str, row["sizes"])),
            " + ".join(f"{count:,}" for count in row["samples"].values()),
            row["licence"],
            [f"{size}: {path}" for size, path in row["here"].items()] or "-",
        ]
        for row in rows
    ]
    headings = ["set", "task", "channels", "sizes", "train + val + test", "licence", "here"]
    return terminal.print_table(headings, cells)


def _print_short_list(rows: list[dict[str, Any]]) -> None:
    """Print all sets for a terminal: without the folders, and licences only where they differ from the usual one."""
    (usual, _), *others = Counter(row["licence"] for row in rows).most_common()
    fetched = any(row["here"] for row in rows)
    cells: list[list[Cell]] = [
        [
            row["flag"],
            row["task"].split(",")[0],
            "RGB" if row["channels"] == 3 else "grey",
            f"{row['sizes'][0]}–{row['sizes'][-1]}",
            *row["samples"].values(),
            *(["/".join(row["here"]) or "-"] if fetched else []),
        ]
        for row in rows
    ]
    headings = ["set", "task", "colour", "sizes", *rows[0]["samples"], *(["here"] if fetched else [])]
    terminal.print_table(headings, cells)
    exceptions = [f"{row['flag']} {row['licence']}" for row in rows if row["licence"] != usual]
    terminal.print_note(f"licence {usual}" + (f", but {', '.join(exceptions)}" if others else ""))
    folders = {os.fspath(Path(path).parent) for row in rows for path in row["here"].values()}
    terminal.print_note(f"here: in {', '.join(sorted(folders))}" if folders else "none is fetched yet")
