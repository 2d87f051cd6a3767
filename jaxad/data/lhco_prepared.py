"""Arrays of LHC Olympics events as two public codes prepare them for CATHODE (arXiv:2109.00546).

Files NAME.npy (N, 6) of mjj, mJ1, dmJ [TeV], tau21_J1, tau21_J2 and the label, 0 or 1; "inner" is
the signal region, 3.3-3.7 TeV, "outer" all else:

    sk_cathode and LaCATHODE    {inner,outer}data_{train,val,test}, all data; innerdata_extrasig,
                                innerdata_extrabkg_{train,val,test}
    the original CATHODE        {inner,outer}data_train, innerdata_val, and outerdata_test, which
                                chooses the density's epochs: data; innerdata_test, further
                                background and signal; innerdata_extrasig_{train,val},
                                innerdata_extrabkg_{train,val,test}; perhaps in separated_data/

Of the data the density and the classifiers learn; of what is called extra, and of the original's
test file, no search may count an event. innerdata_{train,val,test} must be there, other files may
be missing or empty where a method does without them.
"""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks
from jaxad.data.array_files import opened, stored_array
from jaxad.data.layout import Layout
from jaxad.data.raw_events import require_events
from jaxad.data.table import Origin
from jaxad.data.window import PARTS
from jaxad.errors import UserError
from jaxad.observables.derived import dijet_names
from jaxad.storage.paths import expanded

FIXED = ("n_signal", "signal_over_background", "extra_background", "shift", "delta_r")
"""Settings of a feature file that say what these arrays already are."""
FOLDER = "separated_data"
MARGIN = 1e-4  # TeV: what rounding may move across a border of the window

Arrays = dict[str, np.ndarray]


def is_prepared(source: str | Path) -> bool:
    """Whether a folder holds such arrays."""
    folder = expanded(source)
    return any((place / "innerdata_train.npy").is_file() for place in (folder, folder / FOLDER))


def layout(n_columns: int) -> Layout:
    """Of rows without their label."""
    named = dijet_names()
    others = tuple((f"feature_{i}", "") for i in range(len(named), n_columns))
    return Layout("features", (n_columns,), columns=(named + others)[:n_columns], mass="mjj")


def array(path: Path) -> np.ndarray:
    """The rows (N, 2 + features) float32 of a file, the label last.

    Raises:
        UserError: no such file, another layout, NaN, a label that is neither 0 nor 1.
    """
    values = _array(path)
    checks.require_labels(values[:, -1], path, "label", (0, 1))
    return values


def _array(path: Path) -> np.ndarray:
    """The rows of a file, whatever its last column."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected the arrays of the CATHODE code")
    with opened(path) as file, checks.reading(path, "array"):
        values = np.asarray(stored_array(file, "", path))
    if values.ndim != 2 or values.shape[1] < 3:
        raise UserError(f"{path}: expected (N, 2 + features), found shape {values.shape}")
    values = checks.finite_float32(values, path, "array")
    require_events(layout(values.shape[1] - 1), values[:, :-1], path, "array")
    checks.require_filled(values[:, :-1], path, "array")
    return values


class _Folder:
    """The arrays that are there; those of `FOLDER` come first."""

    def __init__(self, folder: Path):
        self._places = [place for place in (folder / FOLDER, folder) if place.is_dir()]
        self.files: list[Path] = []
        self._width = 0

    def _path(self, name: str) -> Path:
        paths = [place / f"{name}.npy" for place in self._places]
        return next((path for path in paths if path.is_file()), paths[0])

    def holds(self, name: str) -> bool:
        """Whether the array lies beside the others of the signal region."""
        return (self._places[0] / f"{name}.npy").is_file()

    def labelled(self, name: str) -> bool:
        """Whether the last column of an array holds labels: 0 and 1 and nothing else."""
        values = _array(self._path(name))[:, -1]
        return bool(np.isin(values, (0, 1)).all())

    def read(self, *names: str, needed: bool = False, labelled: bool = True) -> np.ndarray:
        """The rows of the named arrays that are there, one after another; perhaps none."""
        found = [np.zeros((0, self._width), np.float32)] if self._width else []
        for path in map(self._path, names):
            if path.is_file() or needed:
                values = array(path) if labelled else _array(path)
                if self._width and values.shape[1] != self._width:
                    raise UserError(
                        f"{path}: expected {self._width} columns as in {self.files[0].name}, "
                        f"found {values.shape[1]}"
                    )
                self._width = values.shape[1]
                self.files.append(path)
                found.append(values)
        return np.concatenate(found)


def _is_original(folder: _Folder) -> bool:
    """Whether test events are further ones: a folder of sk_cathode has its extra signal uncut."""
    if folder.holds("innerdata_extrasig") or folder.holds("outerdata_val"):
        return False
    return any(folder.holds(f"innerdata_extrasig_{part}") for part in ("train", "val"))


def data_rows(source: Path) -> tuple[np.ndarray, np.ndarray | None, Origin]:
    """All data of a folder: mjj and features (N, 1 + F), their labels (N,), where each row stands.

    inner before outer, each train, val, test; of the original's folder innerdata_test is further
    background and signal, and no data. The last column of the arrays is the label where it holds
    0 and 1 alone; else the arrays have none.

    Raises:
        UserError: a file that is missing or damaged, or of other columns.
    """
    folder = _Folder(expanded(source))
    labelled = folder.labelled("innerdata_train")
    inner = [part for part in PARTS if part != "test" or not _is_original(folder)]
    names = [*(f"innerdata_{part}" for part in inner), *(f"outerdata_{part}" for part in PARTS)]
    parts, starts = [], []
    for number, name in enumerate(names):
        n_files = len(folder.files)
        rows = folder.read(name, needed=number < len(inner), labelled=labelled)
        if len(folder.files) > n_files:
            starts.append(sum(map(len, parts)))
            parts.append(rows)
    values = np.concatenate(parts)
    origin = Origin(tuple(map(str, folder.files)), tuple(starts))
    return (values[:, :-1], values[:, -1], origin) if labelled else (values, None, origin)


def read(source: Path, config: ConfigDict) -> tuple[Arrays, Arrays, list[Path]]:
    """Data by part, the spares of `jaxad.data.window.assemble`, and the files.

    Raises:
        UserError: a file that is missing or damaged, a window whose test events are not all there.
    """
    folder = _Folder(expanded(source))
    inner = {part: folder.read(f"innerdata_{part}", needed=True) for part in PARTS}
    original = _is_original(folder)
    outer_names = {"train": "train", "val": "test"} if original else {part: part for part in PARTS}
    outer = {part: folder.read(f"outerdata_{name}") for part, name in outer_names.items()}
    parts = {part: np.concatenate([inner[part], rows]) for part, rows in outer.items()}
    spares = {
        "signal": folder.read("innerdata_extrasig"),
        "training signal": folder.read("innerdata_extrasig_train", "innerdata_extrasig_val"),
        "background": folder.read("innerdata_extrabkg_train", "innerdata_extrabkg_val"),
        "test background": folder.read("innerdata_extrabkg_test"),
    }
    if original:
        is_signal = inner["test"][:, -1] == 1
        spares["signal"] = inner["test"][is_signal]
        spares["test background"] = np.concatenate(
            [inner["test"][~is_signal], spares["test background"]]
        )
        parts["test"] = inner["test"][:0]
    low, high = config.window_low + MARGIN, config.window_high - MARGIN
    masses = np.concatenate([rows[:, 0] for rows in outer.values()])
    beside = int(((masses > low) & (masses < high)).sum())
    if beside and original:
        raise UserError(
            f"{source}: data.window_low, data.window_high: expected a window inside the one that "
            f"the arrays were prepared for, whose test events lie there alone; found {beside} "
            "events of outerdata in it"
        )
    if beside and any(map(len, spares.values())):
        print(
            f"{source}: {beside} events of outerdata lie in the window: the extra events, which "
            "cover a part of it, are left out"
        )
        spares = {name: rows[:0] for name, rows in spares.items()}
    return parts, spares, folder.files
