"""LHC Olympics 2020 R&D events (Kasieczka et al., Zenodo 4536377) for resonant searches.

QCD dijets with an injected W' (3.5 TeV) -> X (500) Y (100) signal, from the official feature file
of jets, from raw particles, or from the arrays that the CATHODE reference code prepares (Hallin et
al., arXiv:2109.00546). train and val are *data*: background with the injected signal in it, over
the whole mass range; test and the signals lie in the signal region and serve only to evaluate.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data import cache, checks, download, lhco_raw
from jaxad.data.array_files import opened, stored_array
from jaxad.data.dataset import Dataset, Rows, concatenate, n_rows, take
from jaxad.data.pandas_table import PandasTable
from jaxad.data.splits import split_indices
from jaxad.errors import UserError
from jaxad.simulation import simulate
from jaxad.simulation.lhco import FEATURES

JETS = list(FEATURES)
PARTS = {"train": 1 / 2, "val": 1 / 6, "test": 1 / 3}
EXTRA_PARTS = {"train": 200_000, "val": 66_666}
MAX_TEST_SIGNAL = 20_000
SIGNAL = "Wprime"
FEATURE_FILE = "events_anomalydetection_v2.features.h5"
EXTRA_FILE = "events_anomalydetection_qcd_extra_inneronly_features.h5"

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


def jet_features(jets: Array, shift: float = 0.0, delta_r: bool = False) -> Array:
    """Dijet mass and features of `jets` (..., 14), columns `JETS` [GeV].

    Returns (..., 5): mjj [TeV], mJ1 and dmJ = mJ2 - mJ1 >= 0 [TeV], tau21 of J1 and of J2, where
    J1 is the lighter jet and tau21 = tau2 / (1e-5 + tau1); with `delta_r` also dR_jj (..., 6).
    The `shift` adds shift * mjj to both masses (arXiv:2109.00546, section V).
    """
    j1, j2 = jets[..., :7], jets[..., 7:]
    energy = [jnp.sqrt((j[..., :4] ** 2).sum(axis=-1)) for j in (j1, j2)]
    # m^2 as a sum of positive terms: the jets are nearly back to back.
    dot = energy[0] * energy[1] - (j1[..., :3] * j2[..., :3]).sum(axis=-1)
    mjj = jnp.sqrt(j1[..., 3] ** 2 + j2[..., 3] ** 2 + 2 * dot) / 1000
    swap = (j1[..., 3] > j2[..., 3])[..., None]
    light, heavy = jnp.where(swap, j2, j1), jnp.where(swap, j1, j2)
    columns = [
        mjj,
        light[..., 3] / 1000 + shift * mjj,
        (heavy[..., 3] - light[..., 3]) / 1000 + shift * mjj,
        light[..., 5] / (1e-5 + light[..., 4]),
        heavy[..., 5] / (1e-5 + heavy[..., 4]),
    ]
    if delta_r:
        eta = [jnp.arcsinh(j[..., 2] / jnp.hypot(j[..., 0], j[..., 1])) for j in (j1, j2)]
        phi = jnp.arctan2(j1[..., 1], j1[..., 0]) - jnp.arctan2(j2[..., 1], j2[..., 0])
        phi = (phi + jnp.pi) % (2 * jnp.pi) - jnp.pi
        columns.append(jnp.hypot(eta[0] - eta[1], phi))
    return jnp.stack(columns, axis=-1)


def observe(x: Array, shift: float = 0.0, delta_r: bool = False) -> tuple[Array, Array]:
    """mjj [TeV] (...,) and features (..., F) of raw rows: jets (..., 14), or [mjj, features]."""
    if x.shape[-1] == len(JETS):
        x = jet_features(x, shift, delta_r)
    return x[..., 0], x[..., 1:]


def load(config: ConfigDict) -> Dataset:
    """Data in train and val, background of the signal region in test, signal of it in signals.

    Rows: x is (N, 14) float32, columns `JETS` [GeV], or (N, 1 + F) [mjj, features] where the
    source holds prepared arrays; mass [GeV] (mjj) and label (0 QCD, 1 signal), both (N,) float32.
    extra: "sideband" (background of the test part outside the signal region), and where there is
    enough of it "background" and "signal" of the signal region for idealised and supervised
    training. Splits 1/2, 1/6, 1/3 of background and injected signal, seeded.
    """
    if not config.window_low < config.window_high:
        raise UserError(
            f"data.window_low: expected below window_high, found {config.window_low} >= "
            f"{config.window_high}"
        )
    if config.source == "simulation":
        folder = cache.root(config.cache) / (
            f"lhco-n{config.n_simulated}-s{config.n_simulated_signal}-seed{config.simulation_seed}"
        )
        files = _simulate(folder, config)
    elif config.source == "download":
        files = [_download(FEATURE_FILE, config)]
    elif _is_prepared(config.source):
        return _prepared(Path(config.source), config)
    else:
        files = checks.resolve(config.source, "*.h5")
    jets, label = (
        np.concatenate(parts)
        for parts in zip(*(read_jets(_features(path, config)) for path in files), strict=True)
    )
    extra = None
    if config.extra_background == "download":
        extra = read_jets(_download(EXTRA_FILE, config))[0]
    elif config.extra_background:
        extra = read_jets(_features(Path(config.extra_background).expanduser(), config))[0]
    return _split(_rows(jets, label, config), config, extra, [str(path) for path in files])


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
    """
    with PandasTable(path) as table:
        table.require([*JETS, "label"])
        values = table.read([*JETS, "label"], dtype=np.float32)
        if "tau_valid" in table.columns:
            values = values[table.read(["tau_valid"])[:, 0] == 1]
    checks.require_finite(values, path, "features")
    checks.require_gev(np.hypot(values[:, 0], values[:, 1]), path, "pxj1, pyj1")
    return values[:, :-1], values[:, -1]


def _rows(x: np.ndarray, label: np.ndarray, config: ConfigDict) -> Rows:
    mass = np.asarray(observe(jnp.asarray(x), config.shift, config.delta_r)[0]) * 1000
    return {"x": x, "mass": mass.astype(np.float32), "label": label.astype(np.float32)}


def in_window(rows: Rows, config: ConfigDict) -> np.ndarray:
    """Which rows lie in the signal region, bool (N,)."""
    mass = rows["mass"] / 1000
    return (mass > config.window_low) & (mass < config.window_high)


def _n_injected(signal: Rows, background: Rows, config: ConfigDict) -> int:
    """Signal events to inject: as many as asked for, or as give S/B in the signal region."""
    n = config.n_signal
    if config.signal_over_background > 0:
        n_background = in_window(background, config).sum()
        n = round(
            config.signal_over_background * n_background / in_window(signal, config).mean().item()
        )
    if not 0 <= n <= n_rows(signal):
        raise UserError(f"data.n_signal: expected 0 to {n_rows(signal)} events, found {n}")
    return n


def _split(rows: Rows, config: ConfigDict, extra: np.ndarray | None, files: list[str]) -> Dataset:
    signal = take(rows, rows["label"] == 1)
    background = take(rows, rows["label"] == 0)
    signal = take(signal, np.random.default_rng([config.seed, 1]).permutation(n_rows(signal)))
    n_injected = _n_injected(signal, background, config)
    parts = {
        name: take(background, index)
        for name, index in split_indices(n_rows(background), PARTS, config.seed).items()
    }
    edges = np.rint(np.cumsum([0, *PARTS.values()]) * n_injected).astype(int)
    for name, low, high in zip(PARTS, edges[:-1], edges[1:], strict=True):
        parts[name] = concatenate([parts[name], take(signal, slice(low, high))])
    spare = take(signal, slice(n_injected, None))
    spare = take(spare, in_window(spare, config))
    spares = {"signal": spare}
    if extra is not None:
        more = _rows(extra, np.zeros(len(extra)), config)
        spares["background"] = take(more, in_window(more, config))
    return _assemble(parts, spares, config, files)


def _assemble(
    parts: dict[str, Rows], spares: dict[str, Rows], config: ConfigDict, files: list[str]
) -> Dataset:
    test, extra = parts["test"], {}
    inside, is_signal = in_window(test, config), test["label"] == 1
    test_background = take(test, inside & ~is_signal)
    test_signal = concatenate(
        [take(test, inside & is_signal), take(spares["signal"], slice(0, MAX_TEST_SIGNAL))]
    )
    extra["sideband"] = take(test, ~inside & ~is_signal)
    if n_rows(spares["signal"]) > MAX_TEST_SIGNAL:
        extra["signal"] = take(spares["signal"], slice(MAX_TEST_SIGNAL, None))
    if "background" in spares:
        n_training = sum(EXTRA_PARTS.values())
        extra["background"] = take(spares["background"], slice(0, n_training))
        rest = take(spares["background"], slice(n_training, None))
        test_background = concatenate([test_background, rest])
    injected = {name: int(parts[name]["label"].sum()) for name in PARTS}
    in_region = {
        name: int((parts[name]["label"] * in_window(parts[name], config)).sum()) for name in PARTS
    }
    return Dataset(
        train=parts["train"],
        val=parts["val"],
        test=test_background,
        signals={SIGNAL: test_signal},
        extra=extra,
        info={
            "name": "lhco",
            "source": config.source,
            "files": files,
            "format": "features",
            "units": "GeV" if parts["train"]["x"].shape[1] == len(JETS) else "TeV",
            "selection": "anti-kT R=1.0, leading pT > 1200 GeV, 13 TeV",
            "window": [config.window_low, config.window_high],
            "injected": injected,
            "injected_in_window": in_region,
            "seed": config.seed,
        },
    )


def _is_prepared(source: str) -> bool:
    return (Path(source).expanduser() / "innerdata_train.npy").is_file()


def _prepared(folder: Path, config: ConfigDict) -> Dataset:
    """Arrays of the reference code: columns mjj, mJ1, dmJ [TeV], tau21_J1, tau21_J2, label."""
    if config.shift or config.delta_r or config.signal_over_background:
        raise UserError(
            f"{folder}: prepared arrays have their features and injection fixed; "
            "shift, delta_r and signal_over_background need a feature file"
        )

    def read(name: str) -> Rows:
        path = folder.expanduser() / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"{path}: no such file; expected the arrays of the CATHODE code")
        with opened(path) as file, checks.reading(path, "array"):
            values = np.asarray(stored_array(file, "", path))
        if values.ndim != 2 or values.shape[1] < 3:
            raise UserError(f"{path}: expected (N, 2 + features), found shape {values.shape}")
        values = checks.finite_float32(values, path, "array")
        return _rows(values[:, :-1], values[:, -1], config)

    parts = {
        name: concatenate([read(f"innerdata_{name}"), read(f"outerdata_{name}")]) for name in PARTS
    }
    spare = read("innerdata_extrasig")
    spares = {"signal": take(spare, in_window(spare, config))}
    extra = [f"innerdata_extrabkg_{name}" for name in PARTS]
    found = [name for name in extra if (folder.expanduser() / f"{name}.npy").is_file()]
    if found:
        more = concatenate([read(name) for name in found])
        spares["background"] = take(more, in_window(more, config))
    return _assemble(parts, spares, config, [str(folder)])


def _simulate(folder: Path, config: ConfigDict) -> list[Path]:
    workers = config.workers or None
    background = simulate(
        "lhco", folder / "background", config.n_simulated, config.simulation_seed, workers
    )
    signal = simulate(
        "lhco_signal", folder / "signal", config.n_simulated_signal, config.simulation_seed, workers
    )
    return [*background, *signal]
