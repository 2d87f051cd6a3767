"""The data sets that jaxad knows, by presets and `downloads.toml`: listed, described, fetched."""

import difflib
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxad.data import download, preset
from jaxad.data.download import Entry, FileSet
from jaxad.errors import UserError
from jaxad.storage.paths import expanded

UNPACK = {
    (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"): "tar -xf {path} -C {folder}",
    (".gz",): "gunzip --keep {path}",
    (".zip",): "unzip {path} -d {folder}",
}
"""Commands by the ends of names: an archive is left to its user, who knows what the disk holds."""


def names() -> list[str]:
    """Sets that have a preset or files to fetch, sorted."""
    return sorted({*preset.names(), *download.SETS})


def listed() -> str:
    """A line each."""
    presets = preset.names()
    return "\n".join(
        f"{name:<28}{preset.read(name).title if name in presets else download.SETS[name].title}"
        for name in names()
    )


def described(name: str) -> str:
    """A preset, and the files of a set with their sizes and checksums.

    Raises:
        UserError: as `preset.read` of what is no set either.
    """
    known = download.SETS.get(name)
    if known is None:
        return preset.described(name)
    lines = [preset.described(name) if name in preset.names() else f"{name}: {known.title}"]
    lines += [known.read.format(folder="FOLDER"), f"jaxad data fetch {name}"]
    return "\n".join([*lines, *(f"  {_about(*file)}" for file in known.files.items())])


def table() -> str:
    """What `fetch` gets: sets, files, records, sizes, checksums."""
    every = {name: known for name in names() if (known := _known(name))}
    return "\n".join(
        f"{name:<28}{_about(file, entry)}"
        for name, known in every.items()
        for file, entry in known.files.items()
    )


def _about(file: str, entry: Entry) -> str:
    size = f"{entry.size:>15,} B" if entry.size else f"{'-':>17}"
    record = f"{download.ZENODO}/records/{entry.zenodo}"
    return f"{file:<58}{record:<35}{size}  {entry.md5 or 'md5 asked of the record'}"


def files_of(name: str) -> FileSet:
    """The files that can be fetched under a name, of a set or of a preset with checksums.

    Args:
        name: or the file of a preset, whose `[md5]` are files of the Zenodo record in `record`.

    Raises:
        UserError: no such set; or one whose checksums nobody knows, with its address and the names
            of its files.
    """
    if name not in names() and not expanded(name).is_file():
        close = difflib.get_close_matches(name, names(), 1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{name}: expected one of {', '.join(names())}{meant}")
    if known := _known(name):
        return known
    about = preset.read(name)
    patterns = [about.files.get("background", ""), *about.files.get("signals", {}).values()]
    expected = ", ".join(filter(None, patterns)) or about.container or "its files"
    raise UserError(
        f"{name}: no checksums of its files are known, and what is not checked is not fetched: get "
        f"{expected} from {about.record or 'where it is published'}, then "
        f"--config.data.preset={name} --config.data.source=FOLDER"
    )


def _known(name: str) -> FileSet | None:
    """The set of a name, or of a preset with a Zenodo record and checksums."""
    if name in download.SETS:
        return download.SETS[name]
    about = preset.read(name)
    record = re.search(r"zenodo\.org/records?/(\d+)", about.record)
    if not about.md5 or not record:
        return None
    files = {file: Entry(int(record[1]), md5=md5) for file, md5 in about.md5.items()}
    read = f"--config.data.preset={name} --config.data.source={{folder}}"
    return FileSet(about.title, read, files)


def fetch(name: str, wanted: Sequence[str], folder: Path) -> None:
    """Files of a set, all without `wanted`, into folder/NAME; says where each is and what is next.

    Raises:
        UserError: as `files_of` and `download.fetch_entry`; a file that the set does not have.
    """
    known = files_of(name)
    for file in wanted:
        if file not in known.files:
            raise UserError(f"{name}: no file {file}; expected of {', '.join(known.files)}")
    chosen = {file: known.files[file] for file in wanted or known.files}
    goal = folder / Path(name).stem
    print(_extent(name, chosen, goal), flush=True)
    paths = [download.fetch_entry(f, entry, goal, whole=True) for f, entry in chosen.items()]
    packed = [command for path in paths if (command := unpacking(path))]
    print(*paths, sep="\n")
    print(*(f"unpack it: {command}" for command in packed), sep="\n", end="\n" if packed else "")
    print(f"next: {known.read.format(folder=shlex.quote(str(goal)))}")


def _extent(name: str, files: Mapping[str, Entry], goal: Path) -> str:
    """How much is to come, and how much room there is."""
    sizes = [entry.size for entry in files.values()]
    total = f"{sum(sizes) / 1e9:.2f} GB" if all(sizes) else "sizes as the servers tell"
    there = next(parent for parent in (goal, *goal.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    many = "1 file" if len(files) == 1 else f"{len(files)} files"
    return f"{name}: {many}, {total}, into {goal} ({free:.0f} GB free)"


def unpacking(path: Path) -> str:
    """The command that unpacks a file, "" for one that is read as it is."""
    for ends, command in UNPACK.items():
        if path.name.endswith(ends):
            where = {"path": path, "folder": path.parent}
            return command.format(**{key: shlex.quote(str(at)) for key, at in where.items()})
    return ""
