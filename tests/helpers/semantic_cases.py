"""One physical sample, and the user's own files of it in every variant that docs/data.md promises.

The sample in its plainest form, float32 in GeV, says what every score must be. What the published
formats hold of it is in `published_cases`.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lhco_events import fake_events
from random_jets import random_jets
from random_scorers import PREPARED, TRIGGER, trigger_data
from stored_variants import (
    ARRAYS,
    FLOATS,
    HALVES,
    LABELS,
    WHOLE,
    Place,
    Variants,
    container,
    write_arrays,
)

from jaxad.data.layout import Layout
from jaxad.observables.derived import dijet

N, N_SIGNAL = 16, 4
SIGNAL = np.arange(N) >= N - N_SIGNAL
SAME = 1e-5
"""Tolerance of scores, relative to themselves and the spread of all: of the same numbers."""
REORDERED = 1e-4
"""Of sums in another order."""
ROUNDED = 3e-3
"""Of numbers that float32 rounds: 1000 times as large, turned by 2 pi, or E and p that cancel."""


class Written(NamedTuple):
    """One sample in one variant.

    Attributes:
        settings: of the reader.
        files: as `jaxad score` is given them.
        x: raw events (n, ...) of these files, in their order, and in some type and order.
        signal: which of them are signal.
        sample: name in `SAMPLES`.
        method: name in `INPUTS`.
        tolerance: of the scores.
        index: number of the sample's event that each row is; None: in their order.
        all_read: whether all events are in the data set.
        branches: of ROOT files, for `jaxad score --branches`.
    """

    settings: dict[str, Any]
    files: list[str]
    x: np.ndarray
    signal: np.ndarray
    sample: str
    method: str
    tolerance: float = SAME
    index: np.ndarray | None = None
    all_read: bool = True
    branches: str = ""


# Samples ----------------------------------------------------------------------------------------


def halved(x: np.ndarray) -> np.ndarray:
    """Particles whose numbers float16 holds: pT of half a GeV, angles of 1/256."""
    there, steps = x[..., :1] > 0, np.float32((0.5, 1 / 256, 1 / 256))
    x = np.round(x / steps)
    x[..., 0] = np.maximum(x[..., 0], 1)
    return np.where(there, x * steps, 0).astype(np.float32)


@cache
def jet_sample() -> np.ndarray:
    """Jets (N, 14, 3), one of a single particle, one without any."""
    x = halved(random_jets(3, N, 14))
    x[2], x[5, 1:] = 0, 0
    return x


@cache
def trigger_sample() -> np.ndarray:
    """Events (N, 19, 3), one without any object."""
    x = halved(trigger_data(N, 5))
    x[2] = 0
    return x


@cache
def image_sample() -> np.ndarray:
    return np.random.default_rng(1).poisson(2, (N, 9, 7)).astype(np.float32)


@cache
def hit_sample() -> np.ndarray:
    return (image_sample() > 2).astype(np.float32)


@cache
def detector_sample() -> np.ndarray:
    rng = np.random.default_rng(2)
    hit = rng.random((N, 72, 58, 3)) < 0.02
    return (rng.poisson(9, hit.shape) * hit).astype(np.float32)


@cache
def dijet_sample() -> np.ndarray:
    """Jets (72, 14) [GeV] and their label, as the official features."""
    return fake_events(60, 12, 1)


@cache
def table_sample() -> np.ndarray:
    """The same as rows [mjj, features] of the CATHODE code."""
    return np.asarray(dijet(dijet_sample()[:, :-1]), np.float32)


SAMPLES: dict[str, tuple[Callable[[], np.ndarray], Layout]] = {
    "jets": (jet_sample, Layout("ptetaphi", (14, 3))),
    "trigger": (trigger_sample, TRIGGER),
    "images": (image_sample, Layout("image", (9, 7))),
    "hits": (hit_sample, Layout("image", (9, 7))),
    "detector": (detector_sample, Layout("image", (72, 58, 3))),
    "dijets": (table_sample, PREPARED),
}
INPUTS = {
    "observables": ("jet_observables", {"max_degree": 1}),
    "jet image": ("jet_image", {"n_pixels": 9}),
    "trigger": ("trigger_event", {}),
    "fraction": ("image", {}),
    "energies": ("image", {"pixels": "energies", "max_energy": 20.0}),
    "features": ("features", {}),
}
FILLERS = {"zeros": (0, 0, 0), "eta -999": (0, -999, -999), "any angles": (0, 99, 7)}
TURNS = {
    "-pi to pi": lambda phi, k: phi,
    "0 to 2 pi": lambda phi, k: phi % (2 * np.pi),
    "+ 2 pi k": lambda phi, k: phi + 2 * np.pi * k,
}
JET_INPUTS, IMAGE_INPUTS = ("observables", "jet image"), ("fraction", "energies")
TRIGGER_INPUTS = ("trigger", "trigger network")
UNITS = {"GeV": 1.0, "MeV": 1000.0}


# Variants of particles --------------------------------------------------------------------------


def arranged(v: Variants, x: np.ndarray, slots: tuple[int, ...] = (0, 1, 30)) -> np.ndarray:
    """Events (N, n, 3) with further empty slots, the particles in some order."""
    x = np.pad(x, ((0, 0), (0, v.pick("slots", slots)), (0, 0)))
    if v.pick("particles", ("hardest first", "any order")) == "any order":
        x = x[:, v.rng().permutation(x.shape[1])]
    return x


def turned(v: Variants, x: np.ndarray) -> np.ndarray:
    """Events (N, n, 3) in float64 with phi in other ranges, and something in the empty slots."""
    turn = v.pick("phi", TURNS)
    x = x.astype(float)
    if v.chosen["phi"] != "-pi to pi":
        x[..., 2] = turn(x[..., 2], v.rng().integers(-1, 2, x.shape[:2]))
    return np.where(x[..., :1] > 0, x, v.pick("padding", FILLERS))


def four_momenta(x: np.ndarray) -> np.ndarray:
    """(E, px, py, pz) float64 of massless (pT, eta, phi)."""
    pt, eta, phi = np.moveaxis(x.astype(float), -1, 0)
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], -1)


def tolerance_of(v: Variants) -> float:
    """By what was drawn."""
    rounded = v.chosen.get("phi", "-pi to pi") != "-pi to pi" or v.chosen.get("unit") == "MeV"
    if rounded:
        return ROUNDED
    return SAME if v.chosen.get("particles", "hardest first") == "hardest first" else REORDERED


# The user's own files ---------------------------------------------------------------------------


def own_files(v: Variants, folder: Path, x: np.ndarray, **more: np.ndarray) -> dict[str, Any]:
    """Files of `x` (n, ...), whose last quarter is signal, and of `more` (n,).

    Returns settings, and "files" and "signal" as in `Written`.
    """
    suffix, compression = container(v, [kind for kind in ARRAYS if kind != "npy" or not more])
    signal = np.arange(len(x)) >= len(x) * (N - N_SIGNAL) // N
    if suffix == "npy":
        place = Place(v, folder, suffix, parts=(2,))
        for path, chosen in zip(place.paths, (~signal, signal), strict=True):
            write_arrays(path, {"": x[chosen]}, compression)
        files = place.files
        signals = f"s={files[1]}"
        return {"source": files[0], "signals": signals, "files": files, "signal": signal}
    key = v.pick("key", ("x", "jets/particles", "p t"))
    known = v.pick("labels", {"0, 1": (0, 1), "5, 2": (5, 2), "-1, 1": (-1, 1)})
    types = LABELS | ({"bool": "?"} if known == (0, 1) else {})
    label = np.where(signal, *known[::-1]).astype(v.pick("label type", types))
    label = v.pick("label shape", {"(n,)": label, "(n, 1)": label[:, None]})
    place = Place(v, folder, suffix)
    for path, rows in zip(place.paths, place.split(len(x)), strict=True):
        arrays = {key: x, "y": label, **more}
        write_arrays(path, {name: a[rows] for name, a in arrays.items()}, compression)
    settings = {"source": place.source, "x_key": key, "label_key": "y", "files": place.files}
    settings["on_disk"] = v.pick("rows", {"in memory": False, "on disk": True})
    settings |= {"background": str(known[0]), "signals": f"s={known[1]}"}
    return settings | {"signal": signal}


def _written(
    v: Variants, settings: dict, x: np.ndarray, sample: str, method: str, tolerance: float
):
    settings = {"name": "events", **settings}
    files, signal = settings.pop("files"), settings.pop("signal")
    return Written(settings, files, x, signal, sample, method, tolerance)


def own_ptetaphi(v: Variants, folder: Path) -> Written:
    x = turned(v, arranged(v, jet_sample())) * (v.pick("unit", UNITS), 1, 1)
    tolerance = tolerance_of(v)
    x = v.typed(x, FLOATS | (HALVES if tolerance < ROUNDED else {}))
    settings = own_files(v, folder, x) | {"format": "ptetaphi", "units": v.chosen["unit"]}
    method = v.pick("input", JET_INPUTS)
    return _written(v, settings, x, "jets", method, tolerance)


def own_epxpypz(v: Variants, folder: Path) -> Written:
    x = v.typed(four_momenta(arranged(v, jet_sample())) * v.pick("unit", UNITS), FLOATS)
    settings = own_files(v, folder, x) | {"format": "epxpypz", "units": v.chosen["unit"]}
    method = v.pick("input", JET_INPUTS)
    return _written(v, settings, x, "jets", method, ROUNDED)


def own_trigger(v: Variants, folder: Path) -> Written:
    x = turned(v, trigger_sample()) * (v.pick("unit", UNITS), 1, 1)
    tolerance = tolerance_of(v)
    x = v.typed(x, FLOATS | (HALVES if tolerance < ROUNDED else {}))
    settings = own_files(v, folder, x) | {"format": "ptetaphi", "units": v.chosen["unit"]}
    return _written(v, settings, x, "trigger", v.pick("input", TRIGGER_INPUTS), tolerance)


def own_images(v: Variants, folder: Path) -> Written:
    x, sample = v.pick(
        "sample", {"counts": (image_sample(), "images"), "hits": (hit_sample(), "hits")}
    )
    x = v.typed(x, FLOATS | HALVES | WHOLE | ({"bool": "bool"} if sample == "hits" else {}))
    x = v.pick("channels", {"none": x, "one": x[..., None]})
    settings = own_files(v, folder, x) | {"format": "image"}
    return _written(v, settings, x, sample, v.pick("input", IMAGE_INPUTS), SAME)


def own_table(v: Variants, folder: Path) -> Written:
    """Features, with or without a mass beside them."""
    table, unit = table_sample().astype(float), v.pick("unit", UNITS)
    x, more = v.typed(table[:, 1:], FLOATS), {}
    settings = {"format": "features", "units": v.chosen["unit"]}
    if v.pick("mass", ("none", "beside")) == "beside":
        mass = (table[:, 0] * 1000 * unit).astype(v.pick("mass type", FLOATS))
        more = {"m": v.pick("mass shape", {"(n,)": mass, "(n, 1)": mass[:, None]})}
        settings["mass_key"] = "m"
    settings |= own_files(v, folder, x, **more)
    if more:
        x = np.concatenate([mass[:, None].astype(x.dtype), x], 1)
    return _written(v, settings, x, "dijets", "features", SAME)


def root_tree(v: Variants, folder: Path) -> Written:
    """Trained on npz; scored are trees of as many particles as there are, under other names."""
    import awkward
    import uproot

    write_arrays(folder / "train.npz", {"x": jet_sample(), "y": SIGNAL}, "npz")
    x = turned(v, arranged(v, jet_sample(), slots=(0,)))
    x = x.astype(v.pick("type", ("f4", "f8")))
    place = Place(v, folder, "root")
    tree = v.pick("tree", ("", "Events", "deep/Events"))
    names = v.pick("branches", (("pt", "eta", "phi"), ("Jet_pt", "Jet_eta", "Jet_phi")))
    for path, rows in zip(place.paths, place.split(N), strict=True):
        with uproot.recreate(path) as file:
            there = x[rows, :, 0] > 0
            columns = {
                name: awkward.unflatten(x[rows, :, i][there], there.sum(1))
                for i, name in enumerate(names)
            }
            file.mktree(tree or "t", {name: awkward.type(a).content for name, a in columns.items()})
            file[tree or "t"].extend(columns)
    files = [f"{name}:{tree}" if tree else name for name in place.files]
    settings = {"name": "events", "source": "train.npz", "label_key": "y", "signals": "s=1"}
    branches = ",".join(map("=".join, zip(("pt", "eta", "phi"), names, strict=True)))
    method = v.pick("input", JET_INPUTS)
    tolerance = max(REORDERED, tolerance_of(v))
    return Written(settings, files, x, SIGNAL, "jets", method, tolerance, branches=branches)


OWN = {
    "own (pT, eta, phi)": own_ptetaphi,
    "own (E, px, py, pz)": own_epxpypz,
    "own trigger events": own_trigger,
    "own images": own_images,
    "own table": own_table,
    "own ROOT trees, scored": root_tree,
}
