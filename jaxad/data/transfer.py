"""One public file over HTTP: resumed where it stopped, checked, renamed last.

A transfer goes to NAME.part beside its goal; run again after an interruption it continues (HTTP
Range), from another address too. A web page or a Git LFS pointer in the place of the file is told
by its first bytes, and is never kept.
"""

import errno
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from jaxad.errors import UserError
from jaxad.storage import lock

TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 20
HEAD = 512


class ServerError(UserError):
    """An address does not give the file: another may.

    Attributes:
        url: the address.
        reason: what it did.
        mend: what to do where there is no other.
    """

    def __init__(self, url: str, reason: str, mend: str):
        super().__init__(f"{url}: {reason}; {mend}")
        self.url, self.reason, self.mend = url, reason, mend


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
        path: where it shall lie; a file there is checked for its size and beginning.
        size: in bytes; the server's announcement is refused when it differs.
        md5: hexadecimal; None leaves the content unchecked.

    Raises:
        ServerError: no connection, an HTTP error, a web page or pointer in the place of the file, a
            wrong size or checksum.
        UserError: a full or read-only disk, another process at work on the same file.
    """
    path = Path(path)
    if path.exists():
        return checked(path, size)
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url}: expected an http or https address")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            lock.hold(stream, f"{part}: another process is downloading this file; wait for it")
            _transfer(url, stream, path, size)
            if md5 is not None and (found := _md5_of(part)) != md5:
                part.unlink()
                reason = f"expected MD5 {md5}, found {found}"
                raise ServerError(url, reason, "the damaged copy was removed, run again")
            os.replace(part, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or str(error)
        mend = "free some space and run again, it will continue" if full else "set data.cache"
        raise UserError(f"{part}: cannot be written ({reason}); {mend}") from None
    return path


def checked(path: Path, size: int | None, md5: str | None = None) -> Path:
    """A file that is there.

    Raises:
        UserError: a web page or pointer in its place, another size, another MD5.
    """
    with path.open("rb") as stream:
        instead = _impostor(stream.read(HEAD))
    found = path.stat().st_size
    if instead:
        raise UserError(
            f"{path}: expected the published file, found {instead} of {found:,} bytes; delete it "
            "to download it again"
        )
    if size is not None and found != size:
        raise UserError(
            f"{path}: expected {size:,} bytes, found {found:,}; delete it to download it again"
        )
    if md5 is not None and (digest := _md5_of(path)) != md5:
        raise UserError(
            f"{path}: expected MD5 {md5}, found {digest}; delete it to download it again"
        )
    return path


def open_url(request: urllib.request.Request, path: Path) -> http.client.HTTPResponse:
    """The answer to a request for what shall lie at `path`.

    Raises:
        HTTPError: the server refuses.
        ServerError: no server.
    """
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = f"cannot be reached ({getattr(error, 'reason', error)})"
        mend = "check the connection and run again, or fetch it elsewhere and save it as"
        raise ServerError(request.full_url, reason, f"{mend} {path.absolute()}") from None


def http_reason(code: int, path: Path) -> tuple[str, str]:
    """What an HTTP status means for a download, and the mend."""
    if code in (429, 500, 502, 503, 504):
        return f"the server is busy (HTTP {code})", "run again later, it will continue"
    what = "no such file there" if code in (404, 410) else "refused"
    return f"{what} (HTTP {code})", f"fetch it elsewhere and save it as {path.absolute()}"


def _impostor(head: bytes) -> str | None:
    """What a file that starts so is instead of data."""
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        return "a web page"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return None


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
            reason = f"the transfer stopped at {found:,} of {total:,} bytes"
            raise ServerError(url, reason, "run again, it will continue")


def _one_connection(
    url: str, stream: BinaryIO, path: Path, have: int, size: int | None
) -> int | None:
    """One request, written to the stream; the file's full size if the server tells."""
    headers = {"User-Agent": "jaxad", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = open_url(urllib.request.Request(url, headers=headers), path)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return _one_connection(url, stream, path, 0, size)
        raise ServerError(url, *http_reason(error.code, path)) from None
    with response:
        start, total = _where(response, stream.name, have)
        head = _read(response, HEAD)
        if instead := _sent_instead(response, head or b"", start):
            mend = f"nothing of it was kept: fetch the file elsewhere and save it as {path}"
            raise ServerError(url, f"sent {instead} in the place of the file", mend)
        if size is not None and total is not None and total != size:
            reason = f"expected {size:,} bytes, the server offers {total:,}"
            raise ServerError(url, reason, "the file there is not the published one")
        if start == 0 and stream.seek(0, os.SEEK_END):
            stream.truncate(0)
        free = shutil.disk_usage(path.parent).free
        if total is not None and total - start > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        complete = _copy(response, head, stream, path.name, start, total)
    if total is None and size is None and not complete:
        raise ServerError(url, "the transfer broke off", "run again")
    return size if total is None else total


def _where(response: http.client.HTTPResponse, part: str, have: int) -> tuple[int, int | None]:
    """The offset from which this answer goes on, and the full size."""
    if response.status == http.client.PARTIAL_CONTENT:
        found = response.headers.get("Content-Range", "")
        start, _, rest = found.removeprefix("bytes ").partition("-")
        total = rest.partition("/")[2]
        if start == str(have):
            return have, int(total) if total.isdigit() else None
        reason = f"asked to go on at byte {have}, the server answered {found!r}"
        raise ServerError(response.url, reason, f"delete {part} and run again")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _sent_instead(response: http.client.HTTPResponse, head: bytes, start: int) -> str | None:
    """What comes instead of data; of a part from the middle only the server's word is known."""
    if start == 0:
        return _impostor(head)
    return "a web page" if response.headers.get_content_type() == "text/html" else None


def _read(response: http.client.HTTPResponse, n_bytes: int) -> bytes | None:
    """At most so many bytes, b"" at the end; None when the connection broke."""
    try:
        return response.read(n_bytes)
    except (OSError, http.client.HTTPException):
        return None


def _copy(
    response: http.client.HTTPResponse,
    block: bytes | None,
    stream: BinaryIO,
    label: str,
    have: int,
    total: int | None,
) -> bool:
    """Copies `block` and what follows; False when the connection broke."""
    with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=label, delay=1) as bar:
        while block:
            stream.write(block)
            bar.update(len(block))
            block = _read(response, BLOCK)
    stream.flush()
    return block is not None


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
