"""What a file is by its first bytes, where it is not what its name says."""

from pathlib import Path

from jaxad.errors import UserError

HDF5 = b"\x89HDF\r\n\x1a\n"
PARQUET = b"PAR1"
MAGIC = {
    "an HDF5 file": HDF5,
    "a ROOT file": b"root",
    "a Parquet file": PARQUET,
    "an npy file": b"\x93NUMPY",
}
"""How files of each kind begin. Text has no such beginning."""
PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
DIMUON = (
    "the muons of dimuonAD (Zenodo 14618719) are in CMS NanoAOD too, record 30555 of "
    "opendata.cern.ch: preset=dimuon"
)


def head_of(path: Path, n_bytes: int = 64) -> bytes:
    """The first bytes of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(n_bytes)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def other(path: Path, head: bytes) -> str:
    """What a file that begins with `head` is, and perhaps the mend; "" where nothing tells."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return "a web page: fetch the file itself, it may need a login"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not its content: run git lfs pull there"
    if head.startswith(b"\x1f\x8b"):
        return f"one inside gzip: unpack it first, gunzip --stdout {path} > NEW{inner(path)}"
    if head.startswith(PICKLES):
        return f"a pickle, which would run code and is never read: save arrays; {DIMUON}"
    return next((kind for kind, start in MAGIC.items() if head.startswith(start)), "")


def inner(path: Path) -> str:
    """The ending of what is inside a file: .h5 of both a.h5 and a.h5.gz."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def require_kind(path: Path, kind: str) -> None:
    """Refuses a file that does not begin as those of a `kind` of `MAGIC` do.

    Raises:
        UserError: an empty or another file; a Parquet file without its end.
    """
    head = head_of(path)
    if not head:
        raise UserError(f"{path}: the file is empty; download or copy it again")
    if not head.startswith(MAGIC[kind]):
        found = other(path, head) or f"a file that starts with {head[:8]!r}"
        raise UserError(f"{path}: expected {kind}, found {found}")
    if kind == "a Parquet file":
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - len(PARQUET)))
            end = stream.read()
        if end != PARQUET or path.stat().st_size < 12:
            raise UserError(
                f"{path}: truncated: only {path.stat().st_size:,} bytes are here, and a Parquet "
                "file ends with PAR1; download or copy it again"
            )
