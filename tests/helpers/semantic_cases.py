"""The samples in files of the user's own, in every variant that docs/data.md promises.

What the published formats hold of them is in `published_cases`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from semantic_samples import (
    N_SIGNAL,
    REORDERED,
    ROUNDED,
    SAME,
    SAMPLES,
    SIGNAL,
    N,
    Written,
    hit_sample,
    image_sample,
    table_sample,
)
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


def chosen_sample(v: Variants, name: str) -> tuple[np.ndarray, str]:
    """The sample `name`, or the same with an event without any particle, and its name."""
    sample = v.pick("sample", (name, f"{name}, one empty"))
    return SAMPLES[sample][0](), sample


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
    x, sample = chosen_sample(v, "jets")
    x = turned(v, arranged(v, x)) * (v.pick("unit", UNITS), 1, 1)
    tolerance = tolerance_of(v)
    x = v.typed(x, FLOATS | (HALVES if tolerance < ROUNDED else {}))
    settings = own_files(v, folder, x) | {"format": "ptetaphi", "units": v.chosen["unit"]}
    method = v.pick("input", JET_INPUTS)
    return _written(v, settings, x, sample, method, tolerance)


def own_epxpypz(v: Variants, folder: Path) -> Written:
    x, sample = chosen_sample(v, "jets")
    x = v.typed(four_momenta(arranged(v, x)) * v.pick("unit", UNITS), FLOATS)
    settings = own_files(v, folder, x) | {"format": "epxpypz", "units": v.chosen["unit"]}
    method = v.pick("input", JET_INPUTS)
    return _written(v, settings, x, sample, method, ROUNDED)


def own_trigger(v: Variants, folder: Path) -> Written:
    x, sample = chosen_sample(v, "trigger")
    x = turned(v, x) * (v.pick("unit", UNITS), 1, 1)
    tolerance = tolerance_of(v)
    x = v.typed(x, FLOATS | (HALVES if tolerance < ROUNDED else {}))
    settings = own_files(v, folder, x) | {"format": "ptetaphi", "units": v.chosen["unit"]}
    return _written(v, settings, x, sample, v.pick("input", TRIGGER_INPUTS), tolerance)


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

    x, sample = chosen_sample(v, "jets")
    x = turned(v, arranged(v, x, slots=(0,)))
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
    write_arrays(folder / "train.npz", {"x": x, "y": SIGNAL}, "npz")
    settings = {"name": "events", "source": "train.npz", "label_key": "y", "signals": "s=1"}
    branches = ",".join(map("=".join, zip(("pt", "eta", "phi"), names, strict=True)))
    method = v.pick("input", JET_INPUTS)
    tolerance = max(REORDERED, tolerance_of(v))
    return Written(settings, files, x, SIGNAL, sample, method, tolerance, branches=branches)


OWN = {
    "own (pT, eta, phi)": own_ptetaphi,
    "own (E, px, py, pz)": own_epxpypz,
    "own trigger events": own_trigger,
    "own images": own_images,
    "own table": own_table,
    "own ROOT trees, scored": root_tree,
}
