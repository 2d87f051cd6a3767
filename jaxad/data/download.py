"""Public files from Zenodo: resumed where they stopped, checked against size and MD5, renamed last.

`jaxad data download` lists the files; with the name of a set it fetches them, which is
also what `data.source=download` does. A transfer goes to NAME.part beside its goal; run the same
command again after an interruption and it continues (HTTP Range).
"""

import errno
import hashlib
import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from jaxad.errors import UserError
from jaxad.storage import lock

ZENODO = "https://zenodo.org"
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 20


class Entry(NamedTuple):
    """One file of a Zenodo record; size and MD5 where known, else the record itself is asked."""

    record: int
    size: int | None = None
    md5: str | None = None
    other_names: tuple[str, ...] = ()


def _filtered(name: str, record: int) -> dict[str, Entry]:
    return {f"{name}.h5": Entry(record, other_names=(f"{name}_filtered.h5",))}


SETS: dict[str, dict[str, Entry]] = {
    "toptagging": {
        "train.h5": Entry(2603256, 1_038_496_555, "45663819f47c13724f67eb0fd80bfa5c"),
        "val.h5": Entry(2603256, 347_378_076, "dca4b7248027618f041f9baa86d360fc"),
        "test.h5": Entry(2603256, 347_849_376, "13163479dee30a5fe546e4536cc3d04d"),
    },
    "adc2021": {
        "background_for_training.h5": Entry(5046389),
        **_filtered("Ato4l_lepFilter_13TeV", 5046446),
        **_filtered("leptoquark_LOWMASS_lepFilter_13TeV", 5055454),
        **_filtered("hToTauTau_13TeV_PU20", 5061633),
        **_filtered("hChToTauNu_13TeV_PU20", 5061688),
    },
    "lhco": {
        "events_anomalydetection_v2.features.h5": Entry(4536377),
        "events_anomalydetection_qcd_extra_inneronly_features.h5": Entry(5759087),
        "events_anomalydetection.h5": Entry(4536377),
    },
    "jets": {
        "qcd_dijet.h5": Entry(4641460),
        "top_100k_01.h5": Entry(4614656),
        "W_100k_01.h5": Entry(4614656),
        "h3_m174_h80_100k_01.h5": Entry(4614656),
        "h3_m174_h20_100k_01.h5": Entry(4614656),
        "top_m80_100k_01_new.h5": Entry(4614656),
        "W_m120_100k_01.h5": Entry(4614656),
        "W_m174_100k_01.h5": Entry(4614656),
        "W_m59_100k_01.h5": Entry(4614656),
    },
}


def fetch(name: str, file: str, folder: str | Path, base: str = ZENODO) -> Path:
    """One file of a set, in folder/name/, fetched unless it is there.

    Args:
      name: a key of SETS.
      file: a key of SETS[name].
      folder: usually `cache.root(config.cache) / "download"`.
      base: the server, for mirrors.

    Raises:
      UserError: an unknown file, or whatever `fetch_url` raises.
    """
    if name not in SETS or file not in SETS[name]:
        known = list(SETS.get(name, SETS))
        raise UserError(f"download {name} {file}: expected one of {', '.join(known)}")
    entry = SETS[name][file]
    folder = Path(folder) / name
    for here in (inside(folder, other) for other in (file, *entry.other_names)):
        if here.exists():
            return _existing(here, entry.size)
    if entry.md5 is None:
        file, entry = _ask(file, entry, folder, base)
    url = f"{base}/records/{entry.record}/files/{file}?download=1"
    return fetch_url(url, inside(folder, file), entry.size, entry.md5)


def inside(folder: Path, file: str) -> Path:
    """folder/file for a plain file name; anything that could leave the folder is refused."""
    plain = file == Path(file).name and "\\" not in file and "\0" not in file
    if not plain or file.startswith(".") or not file:
        raise UserError(f"{file!r}: not a plain file name; nothing is written outside {folder}")
    return folder / file


def fetch_url(url: str, path: str | Path, size: int | None = None, md5: str | None = None) -> Path:
    """The file at `url`, saved as `path` once it is complete and correct.

    Args:
      url: http or https.
      path: where it shall lie; an existing file is only checked for its size.
      size: in bytes; the server's announcement is refused when it differs.
      md5: hexadecimal; None leaves the content unchecked.

    Raises:
      UserError: no connection, an HTTP error, a wrong size or checksum, a full or read-only disk,
        or another process at work on the same file.
    """
    path = Path(path)
    if path.exists():
        return _existing(path, size)
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url}: expected an http or https address")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            lock.hold(stream, f"{part}: another process is downloading this file; wait for it")
            _transfer(url, stream, path, size)
            if md5 is not None:
                _check_md5(part, md5, url)
            os.replace(part, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or str(error)
        mend = "free some space and run again, it will continue" if full else "set data.cache"
        raise UserError(f"{part}: cannot be written ({reason}); {mend}") from None
    return path


def _existing(path: Path, size: int | None) -> Path:
    found = path.stat().st_size
    if size is not None and found != size:
        raise UserError(
            f"{path}: expected {size:,} bytes, found {found:,}; delete it to download it again"
        )
    return path


def _transfer(url: str, stream: BinaryIO, path: Path, size: int | None) -> None:
    """Appends to the stream until all is there; goes on as long as a connection brings bytes."""
    while True:
        have = stream.seek(0, os.SEEK_END)
        if size is not None and have == size:
            return
        if size is not None and have > size:
            stream.truncate(0)
            have = 0
        total = _one_connection(url, stream, path, have, size)
        found = stream.seek(0, os.SEEK_END)
        if total is None or found == total:
            return
        if found <= have:
            raise UserError(
                f"{url}: the transfer stopped at {found:,} of {total:,} bytes; "
                "run again, it will continue"
            )


def _one_connection(
    url: str, stream: BinaryIO, path: Path, have: int, size: int | None
) -> int | None:
    """One request, written to the stream; the file's full size if the server tells."""
    headers = {"User-Agent": "jaxad", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = _open(urllib.request.Request(url, headers=headers), path)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            stream.truncate(0)
            return _one_connection(url, stream, path, 0, size)
        raise UserError(_http_message(url, error.code, path)) from None
    with response:
        have, total = _where(response, stream, have)
        if size is not None and total is not None and total != size:
            raise UserError(
                f"{url}: expected {size:,} bytes, the server offers {total:,}; the file there is "
                "not the published one"
            )
        free = shutil.disk_usage(path.parent).free
        if total is not None and total - have > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        complete = _copy(response, stream, path.name, have, total)
    if total is None and size is None and not complete:
        raise UserError(f"{url}: the transfer broke off; run again")
    return size if total is None else total


def _open(request: urllib.request.Request, path: Path):
    url = request.full_url
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url}: cannot be reached ({reason}); check the connection and run again, or fetch "
            f"it elsewhere and save it as {path.absolute()}"
        ) from None


def _http_message(url: str, code: int, path: Path) -> str:
    if code in (429, 500, 502, 503, 504):
        return f"{url}: the server is busy (HTTP {code}); run again later, it will continue"
    what = "no such file there" if code in (404, 410) else "refused"
    return f"{url}: {what} (HTTP {code}); fetch it elsewhere and save it as {path.absolute()}"


def _where(response, stream: BinaryIO, have: int) -> tuple[int, int | None]:
    """The offset from which this answer goes on, and the full size; restarts when it must."""
    if response.status == http.client.PARTIAL_CONTENT:
        start, _, rest = (
            response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")
        )
        total = rest.partition("/")[2]
        if start == str(have):
            return have, int(total) if total.isdigit() else None
        raise UserError(
            f"{response.url}: asked to go on at byte {have}, the server answered "
            f"{response.headers.get('Content-Range')!r}; delete {stream.name} and run again"
        )
    if have:
        stream.truncate(0)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _copy(response, stream: BinaryIO, label: str, have: int, total: int | None) -> bool:
    """Copies what comes; False when the connection broke (the caller also compares sizes)."""
    with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=label, delay=1) as bar:
        while True:
            try:
                block = response.read(BLOCK)
            except (OSError, http.client.HTTPException):
                return False
            if not block:
                stream.flush()
                return True
            stream.write(block)
            bar.update(len(block))


def _check_md5(part: Path, md5: str, url: str) -> None:
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != md5:
        part.unlink()
        raise UserError(
            f"{url}: expected MD5 {md5}, found {found}; the damaged copy was removed, run again"
        )


def _ask(file: str, entry: Entry, folder: Path, base: str) -> tuple[str, Entry]:
    """Name, size and MD5 of a file from its Zenodo record."""
    url = f"{base}/api/records/{entry.record}"
    request = urllib.request.Request(url, headers={"User-Agent": "jaxad"})
    try:
        with _open(request, inside(folder, file)) as response:
            listed = {item["key"]: item for item in json.load(response)["files"]}
    except urllib.error.HTTPError as error:
        raise UserError(_http_message(url, error.code, inside(folder, file))) from None
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        raise UserError(f"{url}: expected the description of a Zenodo record; run again") from None
    for name in (file, *entry.other_names):
        if name in listed:
            size, checksum = listed[name].get("size"), str(listed[name].get("checksum", ""))
            md5 = checksum.removeprefix("md5:") if checksum.startswith("md5:") else None
            return name, Entry(entry.record, size, md5)
    raise UserError(f"{url}: no file {file}; the record has {', '.join(sorted(listed))}")
