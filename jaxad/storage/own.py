"""What a command may replace: what jaxad wrote, and nothing else.

Single files in a folder of the user's (tables, figures) are known by their digests in a file
`.jaxad.json` beside them; folders that are replaced whole, by the names that they may hold.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from jaxad.errors import UserError
from jaxad.storage.atomic import replacing, write_text

LEDGER = ".jaxad.json"


def same(a: str | os.PathLike, b: str | os.PathLike) -> bool:
    """Whether two paths are one file or folder: by links, hard links or other spellings too."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def is_json_with(path: Path, *keys: str) -> bool:
    """Whether a file is a JSON object that has these keys."""
    try:
        return {*keys} <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def foreign(folder: Path, own: Collection[str]) -> str | None:
    """The first file below a folder that is none of its `own`, by its path from there, if any.

    A name of `own` that ends with "/" stands for all that is below it. An empty folder counts as a
    file of its name.
    """
    for place, folders, files in os.walk(folder):
        names = files + [f for f in folders if (Path(place) / f).is_symlink()]
        if not folders and not files and Path(place) != folder:
            names = [""]
        for name in sorted(names):
            path = (Path(place) / name).relative_to(folder).as_posix()
            below = any(known.endswith("/") and path.startswith(known) for known in own)
            if path not in own and not below:
                return path
    return None


def require_own_folder(folder: Path, own: Collection[str], mend: str) -> None:
    """Refuses a folder that holds what jaxad did not write, or where the shell stands.

    Raises:
        UserError: with `mend`, what to do instead.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file: {mend}")
    here = Path.cwd()
    if folder.exists() and here.is_relative_to(folder.resolve()):
        raise UserError(f"{folder}: is replaced whole, and the current folder is inside: {mend}")
    stranger = foreign(folder, own)
    if stranger is not None:
        raise UserError(f"{folder}: holds something else, {stranger}: move it, or {mend}")


def claim(folder: Path, mend: str) -> None:
    """Create a folder of a program's own, where it may replace whatever it finds.

    Raises:
        UserError: with `mend`, where it holds something and was not claimed before.
    """
    mark = folder / ".claimed"
    if not mark.is_file() and folder.exists():
        require_own_folder(folder, (), mend)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _digests(folder: Path) -> dict[str, list[str]]:
    """File name -> digests of what jaxad wrote or was about to write there."""
    try:
        found = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_own(path: Path, mend: str) -> None:
    """Refuses to replace a file that jaxad did not write there, or that was changed since.

    Raises:
        UserError: with `mend`, what to do instead.
    """
    _require_known(path, _digests(path.parent).get(path.name, []), mend)


def _require_known(path: Path, digests: Collection[str], mend: str) -> None:
    if path.is_dir() or (path.is_file() and _digest(path) not in digests):
        raise UserError(f"{path}: is there, and jaxad did not write it: move it, or {mend}")


@contextlib.contextmanager
def replacing_own(path: Path, mend: str) -> Iterator[Path]:
    """`replacing` of a file that jaxad wrote before, or that is not there.

    Raises:
        UserError: with `mend`, where something else is there.
    """
    require_own(path, mend)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        yield temporary
        # Before the file itself, so that a kill leaves none that is unknown.
        digests = _digests(path.parent)
        known = [_digest(file) for file in (path, temporary) if file.exists()]
        _remember(path.parent, digests | {path.name: known})


def require_all_own(folder: Path, names: Collection[str], mend: str) -> None:
    """Refuses files below a folder that `replace_all` may not replace or remove.

    Args:
        names: paths from the folder of what is to be written, beside what was written before.

    Raises:
        UserError: with `mend`, where one of them was not written by jaxad, or was changed since.
    """
    known = _digests(folder)
    for name in sorted({*names, *known}):
        _require_known(folder / name, known.get(name, []), mend)


def replace_all(folder: Path, files: Mapping[str, bytes], mend: str) -> None:
    """Writes files below a folder in place of all that an earlier call wrote there.

    Those of the earlier call that are not among them are removed, so that nothing of it is left.

    Args:
        files: path from the folder -> content.

    Raises:
        UserError: as of `require_all_own`, before anything is written.
    """
    require_all_own(folder, files, mend)
    known = _digests(folder)
    new = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    # Before the files themselves, so that a kill leaves none that is unknown.
    _remember(folder, known | {name: [*known.get(name, []), new[name]] for name in new})
    for name in known.keys() - files.keys():
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    _remember(folder, {name: [digest] for name, digest in new.items()})


def _remember(folder: Path, digests: Mapping[str, list[str]]) -> None:
    write_text(folder / LEDGER, json.dumps(digests, indent=1) + "\n")
