"""Public files: what is known of them, `downloads.toml`, and how one of them is got.

`jaxad data fetch NAME` takes all files of a set, `data.source=download` those that a run reads.
Addresses are tried in turn, what one of them brought is continued by the next, and what ends in the
folder has the published size and MD5.
"""

import http.client
import json
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxad.data.transfer import (
    ServerError,
    checked,
    fetch_url,
    http_reason,
    inside,
    open_url,
)
from jaxad.errors import UserError

ZENODO = "https://zenodo.org"
TABLE = Path(__file__).parent / "downloads.toml"


class Entry(NamedTuple):
    """One public file.

    Attributes:
        zenodo: number of its record.
        size: in bytes; None: the record is asked.
        md5: hexadecimal; None: the record is asked.
        mirrors: addresses beside those of the record.
        other_names: under which the same file is known.
    """

    zenodo: int
    size: int | None = None
    md5: str | None = None
    mirrors: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()


class FileSet(NamedTuple):
    """A table of `downloads.toml`.

    Attributes:
        title: what it is.
        read: the flags with which jaxad reads it, "{folder}" being where its files lie.
        files: by their names.
    """

    title: str
    read: str
    files: Mapping[str, Entry]


def _sets() -> dict[str, FileSet]:
    found = {}
    for name, table in tomllib.loads(TABLE.read_text(encoding="utf-8")).items():
        files = {
            file: Entry(
                about.get("zenodo", table["zenodo"]),
                about.get("size"),
                about.get("md5"),
                tuple(about.get("mirrors", ())),
                tuple(about.get("other_names", ())),
            )
            for file, about in table["files"].items()
        }
        found[name] = FileSet(table["title"], table["read"], files)
    return found


SETS = _sets()


def fetch(name: str, file: str, folder: str | Path, base: str = ZENODO) -> Path:
    """One file of a set, in folder/name/, fetched unless it is there.

    Args:
        name: a key of SETS.
        file: a key of SETS[name].files.
        folder: usually `cache.root(config.cache) / "download"`.
        base: of the addresses of Zenodo.

    Raises:
        UserError: an unknown file, or whatever `fetch_entry` raises.
    """
    if name not in SETS or file not in SETS[name].files:
        known = SETS[name].files if name in SETS else SETS
        raise UserError(f"download {name} {file}: expected one of {', '.join(known)}")
    return fetch_entry(file, SETS[name].files[file], Path(folder) / name, base)


def fetch_entry(
    file: str, entry: Entry, folder: Path, base: str = ZENODO, whole: bool = False
) -> Path:
    """A file from the first of its addresses that has it.

    Args:
        file: its name.
        entry: what is known of it.
        folder: where it shall lie; a file there is checked for its size and beginning.
        base: of the addresses of Zenodo.
        whole: check the MD5 of a file that is there, too.

    Raises:
        UserError: no address has it, its record tells no MD5, or whatever `fetch_url` raises.
    """
    for here in (inside(folder, other) for other in (file, *entry.other_names)):
        if here.exists():
            return checked(here, entry.size, entry.md5 if whole else None)
    if entry.md5 is None:
        file, entry = _ask(file, entry, folder, base)
    addresses = (
        f"{base}/records/{entry.zenodo}/files/{file}?download=1",
        f"{base}/api/records/{entry.zenodo}/files/{file}/content",
        *entry.mirrors,
    )
    return fetch_from(addresses, inside(folder, file), entry.size, entry.md5)


def fetch_from(
    addresses: Sequence[str], path: Path, size: int | None = None, md5: str | None = None
) -> Path:
    """The file at `path` from the first address that brings it whole and correct.

    Raises:
        UserError: of all addresses, each with its reason; or what would be no better elsewhere, a
            full disk or another process at work.
    """
    failed: list[ServerError] = []
    for number, url in enumerate(addresses):
        try:
            return fetch_url(url, path, size, md5)
        except ServerError as error:
            failed.append(error)
            if number + 1 < len(addresses):
                print(f"note: {error.url}: {error.reason}; trying another address", file=sys.stderr)
    if len(failed) == 1:
        raise failed[0]
    reasons = "; ".join(f"{error.url}: {error.reason}" for error in failed)
    raise UserError(
        f"{path.name}: none of {len(failed)} addresses gave it ({reasons}): run again later, it "
        f"will continue, or fetch it elsewhere and save it as {path.absolute()}"
    )


def _ask(file: str, entry: Entry, folder: Path, base: str) -> tuple[str, Entry]:
    """Name, size and MD5 of a file from its Zenodo record."""
    url = f"{base}/api/records/{entry.zenodo}"
    path = inside(folder, file)
    request = urllib.request.Request(url, headers={"User-Agent": "jaxad"})
    try:
        with open_url(request, path) as response:
            listed = {item["key"]: item for item in json.load(response)["files"]}
    except urllib.error.HTTPError as error:
        raise ServerError(url, *http_reason(error.code, path)) from None
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        raise UserError(f"{url}: expected the description of a Zenodo record; run again") from None
    name = next((name for name in (file, *entry.other_names) if name in listed), None)
    if name is None:
        raise UserError(f"{url}: no file {file}; the record has {', '.join(sorted(listed))}")
    kind, _, digest = str(listed[name].get("checksum", "")).partition(":")
    if kind != "md5" or not digest:
        raise UserError(
            f"{url}: {name}: expected its MD5, found none, and what is not checked is not "
            f"fetched; get it from {base}/records/{entry.zenodo} and save it as {path.absolute()}"
        )
    return name, entry._replace(size=listed[name].get("size"), md5=digest)
