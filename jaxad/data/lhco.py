"""LHC Olympics 2020 R&D events (Kasieczka et al., Zenodo 4536377) for resonant searches.

QCD dijets with an injected W' (3.5 TeV) -> X (500) Y (100) signal, from the official feature file
of jets, from raw particles, or from the arrays that the CATHODE codes prepare
(`jaxad.data.lhco_prepared`). train and val are *data*: background with the injected signal in it,
over the whole mass range; test and the signals lie in the signal region and serve only to evaluate.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxad.data import checks, download, lhco_prepared, lhco_raw, simulated
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.data.layout import Layout
from jaxad.data.pandas_table import PandasTable, is_frame
from jaxad.data.raw_events import require_events
from jaxad.data.rows import Events
from jaxad.data.table import Origin, Table, make_table
from jaxad.data.window import (
    assemble,
    checked_window,
    further_background,
    in_window,
    injected,
    injected_among,
)
from jaxad.errors import UserError
from jaxad.observables.derived import DIJET_COLUMNS, dijet, dijet_names
from jaxad.simulation import simulate
from jaxad.storage import cache
from jaxad.storage.paths import expanded

JETS = [name for name, _ in DIJET_COLUMNS]
SIGNAL = "Wprime"
LABELS = (0, 1)  # QCD, signal
FEATURE_FILE = "events_anomalydetection_v2.features.h5"
EXTRA_FILE = "events_anomalydetection_qcd_extra_inneronly_features.h5"
TWO_JETS = Layout("features", (len(JETS),), columns=DIJET_COLUMNS)

DEFAULTS = {
    "window_low": 3.3,  # signal region in mjj [TeV]
    "window_high": 3.7,
    "n_signal": 1000,  # injected signal events over the whole mass range
    "signal_over_background": 0.0,  # of the signal region; above 0 it replaces n_signal
    "shift": 0.0,  # mJ1 += shift mjj, dmJ += shift mjj
    "delta_r": False,  # the fifth feature dR_jj
    "extra_background": "",  # "download" or a feature file: more background of the signal region
    "n_simulated": 20_000,  # background events
    "n_simulated_signal": 4_000,
    "simulation_seed": 0,
    "workers": 0,  # 0: all cores
}
WHOLE = {"extra_background": ""}
"""Settings where no event is set apart."""


FIXED = "they have their features and injected events fixed: leave it out, or give a feature file"


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings that change nothing with the others as they are, and why."""
    found = simulated.idle(config)
    if lhco_prepared.is_prepared(config.source):
        found |= dict.fromkeys(lhco_prepared.FIXED, f"of prepared arrays: {FIXED}")
    elif config.signal_over_background > 0:
        found["n_signal"] = "data.signal_over_background takes its place: set one of them"
    return found


def load(config: ConfigDict) -> Dataset:
    """Data in train and val, background of the signal region in test, signal of it in signals.

    Rows: x is (N, 14) float32, columns `JETS` [GeV], or (N, 1 + F) [mjj, features] where the
    source holds prepared arrays; mass [GeV] (mjj) and label (0 QCD, 1 signal), both (N,) float32.
    extra: "sideband" (background of the test part outside the signal region), and where there is
    enough of it "background" and "signal" of the signal region for idealised and supervised
    training. Splits 1/2, 1/6, 1/3 of background and injected signal, seeded. Events of
    `extra_background` beyond those that train join the test background, behind the
    `info["held_out"]["background"]` events that are data: no search counts them.
    """
    setting = "data.window_low, data.window_high"
    checked_window(config.window_low, config.window_high, setting)
    if lhco_prepared.is_prepared(config.source):
        return _prepared(config)
    files = _files(config)
    jets, label = (
        np.concatenate(parts)
        for parts in zip(*(read_jets(_features(path, config)) for path in files), strict=True)
    )
    extra = None
    if config.extra_background:
        path = _extra_file(config)
        extra, extra_label = read_jets(_features(path, config))
        _require_further(path, extra_label, files)
        files = [*files, path]
    return _split(_rows(jets, label, config), config, extra, [str(path) for path in files])


def _files(config: ConfigDict) -> list[Path]:
    """Feature or raw files: simulated, downloaded or the user's."""
    if config.source == "simulation":
        folder = cache.root(config.cache) / (
            f"lhco-n{config.n_simulated}-s{config.n_simulated_signal}-seed{config.simulation_seed}"
        )
        return _simulate(folder, config)
    if config.source == "download":
        return [_download(FEATURE_FILE, config)]
    return checks.resolve(config.source, "*.h5")


def search_table(config: ConfigDict) -> Table:
    """All data of a search: mjj, and mJ1, dmJ [TeV], tau21_J1, tau21_J2, perhaps dR_jj.

    Of labelled events the background and `n_signal` random events of signal, in the order of the
    files; of events without label, as the black boxes are, all. Of prepared arrays all that are
    data: train, val and test of inner and outer.

    Raises:
        UserError: as `load`; some files with and some without label; a number of signal events to
            inject where nothing says which they are.
    """
    about = {"name": "lhco", "source": str(config.source)}
    if lhco_prepared.is_prepared(config.source):
        _require_fixed(config)
        values, label, origin = lhco_prepared.data_rows(Path(config.source))
        columns = lhco_prepared.layout(values.shape[1]).columns
    else:
        jets, label, origin = _all_jets(_files(config), config)
        values = np.asarray(dijet(jnp.asarray(jets), config.shift, config.delta_r))
        columns = dijet_names(config.delta_r)
        if label is None:
            _require_labels(config)
        else:
            mass = 1000 * values[:, 0]
            n = _n_injected({"mass": mass[label == 1]}, {"mass": mass[label == 0]}, config)
            kept = injected_among(label == 0, label == 1, n, config.seed)
            values, label = values[kept], label[kept]
            origin = origin._replace(rows=origin.rows[kept])
    (mass, unit), *features = columns
    return make_table(
        {name: values[:, place] for place, (name, _) in enumerate(features, 1)},
        values[:, 0],
        origin,
        units=[unit for _, unit in features],
        mass_name=mass,
        mass_unit=unit,
        label=label,
        info=about | {"files": [*origin.files]},
    )


def _all_jets(
    files: list[Path], config: ConfigDict
) -> tuple[np.ndarray, np.ndarray | None, Origin]:
    """Jets (N, 14) and labels (N,) of all files, None without, and where they stand."""
    jets, labels, rows, starts = [], [], [], [0]
    for path in files:
        values, label, numbers, n_rows = _jets_of(_features(path, config))
        if labels and (label is None) != (labels[0] is None):
            raise UserError(f"{path}: label: some files of {config.source} have one, some none")
        jets.append(values)
        labels.append(label)
        rows.append(numbers + starts[-1])
        starts.append(starts[-1] + n_rows)
    origin = Origin(tuple(map(str, files)), tuple(starts[:-1]), np.concatenate(rows))
    return np.concatenate(jets), None if labels[0] is None else np.concatenate(labels), origin


def _require_labels(config: ConfigDict) -> None:
    """Refuses settings that say what to inject, where no event is known to be signal."""
    for name in ("n_signal", "signal_over_background"):
        if config[name] not in (0, DEFAULTS[name]):
            raise UserError(
                f"data.{name}: {config.source} has no label, so that all of it is data: leave it "
                "out"
            )


def _extra_file(config: ConfigDict) -> Path:
    if config.extra_background == "download":
        return _download(EXTRA_FILE, config)
    return expanded(config.extra_background)


def _require_further(path: Path, label: np.ndarray, files: list[Path]) -> None:
    """Refuses extra background that holds signal, or events that are data already."""
    if path.resolve() in {file.resolve() for file in files}:
        raise UserError(
            f"data.extra_background: {path} is also of data.source: give a file of further events"
        )
    if label.any():
        raise UserError(
            f"{path}: label: expected background alone (0) in data.extra_background, found "
            f"{int(label.sum()):,} events of signal (1): leave them out of the file"
        )


def _download(name: str, config: ConfigDict) -> Path:
    return download.fetch("lhco", name, cache.root(config.cache) / "download")


def _features(path: Path, config: ConfigDict) -> Path:
    """`path`, or the feature file of a raw one, which the cache keeps."""
    with PandasTable(path) as table:
        if not lhco_raw.is_raw(table):
            return path
    name = cache.key(lhco_raw.request(path) | {"folder": str(path.resolve().parent)})
    folder = cache.root(config.cache) / f"lhco-raw-{name}"
    return lhco_raw.feature_file(path, folder, config.workers or None)


def read_jets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Jets (N, 14) float32 (columns `JETS` [GeV]) and labels (N,) of a feature file.

    Rows that the file marks with tau_valid = 0 are left out.

    Raises:
        UserError: missing columns or rows, NaN, labels other than 0 and 1, momenta in MeV.
    """
    jets, label, *_ = _jets_of(path)
    if label is None:
        raise UserError(
            f"{path}: no column 'label', which says what is background and what signal: a search "
            "in unlabelled data, jaxad search, does without"
        )
    return jets, label


def _jets_of(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, int]:
    """Jets and labels as `read_jets`, None without, their rows (N,) and how many the file has."""
    with PandasTable(path) as table:
        labelled = "label" in table.columns
        columns = [*JETS, *(["label"] if labelled else [])]
        values = table.read(columns, dtype=np.float32)
        rows = np.arange(len(values))
        if "tau_valid" in table.columns:
            rows = rows[table.read(["tau_valid"])[:, 0] == 1]
            values = values[rows]
        n_rows = table.n_rows
    jets, label = values[:, : len(JETS)], values[:, -1] if labelled else None
    if label is not None:
        checks.require_labels(label, path, "label", LABELS, rows)
    checks.require_finite(values, path, "features", rows)
    checks.require_filled(jets, path, "features", rows)
    checks.require_gev(np.hypot(jets[:, 0], jets[:, 1]), path, "pxj1, pyj1")
    require_events(TWO_JETS, jets, path, "features", rows)
    return jets, label, rows, n_rows


def _rows(x: np.ndarray, label: np.ndarray, config: ConfigDict) -> Rows:
    mass = x[:, 0] if x.shape[1] != len(JETS) else _mjj(x, config)
    return {"x": x, "mass": np.asarray(mass * 1000, np.float32), "label": label.astype(np.float32)}


def _mjj(x: np.ndarray, config: ConfigDict) -> np.ndarray:
    return np.asarray(dijet(jnp.asarray(x), config.shift, config.delta_r)[:, 0])


def _layout(n_columns: int, config: ConfigDict) -> Layout:
    """Of jets, from which the features are derived, or of prepared rows [mjj, features]."""
    if n_columns == len(JETS):
        derived = {"name": "dijet", "shift": config.shift, "delta_r": config.delta_r}
        return replace(TWO_JETS, derived=derived, mass="mjj")
    return lhco_prepared.layout(n_columns)


class _Features:
    """Raw rows of a feature file: its jets."""

    def __init__(self, table: PandasTable):
        table.require(JETS)
        self._table = table

    def __len__(self) -> int:
        return self._table.n_rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        jets = self._table.read(JETS, start, stop, np.float32)
        checks.require_filled(jets, self._table.path, "features", start)
        require_events(TWO_JETS, jets, self._table.path, "features", start)
        return jets


def rows_of(path: Path, config: ConfigDict, stack: ExitStack) -> Events | None:
    """The rows of a feature file, of raw events or of a prepared array; None of any other file.

    A feature file has those rows too that it marks with tau_valid = 0 and that train nothing.
    """
    if path.suffix == ".npy" and lhco_prepared.is_prepared(path.parent):
        return lhco_prepared.array(path)[:, :-1]
    if not is_frame(path):
        return None
    return _Features(stack.enter_context(PandasTable(_features(path, config))))


def _n_injected(signal: Rows, background: Rows, config: ConfigDict) -> int:
    """Signal events to inject: as many as asked for, or as give S/B in the signal region."""
    if config.signal_over_background <= 0:
        return config.n_signal
    window = config.window_low, config.window_high
    n_background = in_window(background, window).sum()
    inside = in_window(signal, window).mean().item()
    if not inside:
        raise UserError("data.signal_over_background: no signal event lies in the signal region")
    return round(config.signal_over_background * n_background / inside)


def _split(rows: Rows, config: ConfigDict, extra: np.ndarray | None, files: list[str]) -> Dataset:
    background, signal = take(rows, rows["label"] == 0), take(rows, rows["label"] == 1)
    window, n = (config.window_low, config.window_high), _n_injected(signal, background, config)
    parts, spares = injected(background, signal, window, n, config.seed)
    if extra is not None:
        more = _rows(extra, np.zeros(len(extra)), config)
        spares |= further_background(more, window)
    return _assemble(parts, spares, config, files)


def _assemble(
    parts: dict[str, Rows], spares: dict[str, Rows], config: ConfigDict, files: list[str]
) -> Dataset:
    return assemble(
        parts,
        spares,
        SIGNAL,
        (config.window_low, config.window_high),
        layout=_layout(parts["train"]["x"].shape[1], config),
        labels={"mass": ("dijet mass", "GeV")},
        info={
            "name": "lhco",
            "source": config.source,
            "files": files,
            "selection": "anti-kT R=1.0, leading pT > 1200 GeV, 13 TeV",
            "seed": config.seed,
        },
    )


def _require_fixed(config: ConfigDict) -> None:
    """Refuses settings that say what prepared arrays already are."""
    for name in lhco_prepared.FIXED:
        if config[name] != DEFAULTS[name]:
            raise UserError(
                f"data.{name}: expected {DEFAULTS[name]!r}, its default, with the prepared arrays "
                f"of {config.source}, found {config[name]!r}: {FIXED}"
            )


def _prepared(config: ConfigDict) -> Dataset:
    def rows(values: np.ndarray) -> Rows:
        return _rows(values[:, :-1], values[:, -1], config)

    _require_fixed(config)
    parts, spares, files = lhco_prepared.read(Path(config.source), config)
    window, extra = (config.window_low, config.window_high), {}
    for name, values in spares.items():
        found = rows(values)
        extra[name] = take(found, in_window(found, window))
    parts = {name: rows(values) for name, values in parts.items()}
    return _assemble(parts, extra, config, [str(path) for path in files])


def _simulate(folder: Path, config: ConfigDict) -> list[Path]:
    workers = config.workers or None
    background = simulate(
        "lhco", folder / "background", config.n_simulated, config.simulation_seed, workers
    )
    signal = simulate(
        "lhco_signal", folder / "signal", config.n_simulated_signal, config.simulation_seed, workers
    )
    return [*background, *signal]
