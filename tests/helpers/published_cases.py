"""The samples of `semantic_cases` in the published formats."""

from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import semantic_cases as own
import semantic_samples as samples
from lhco_events import fake_particles, write_frame
from semantic_samples import N_SIGNAL, ROUNDED, SAME, SIGNAL, N, Written
from stored_variants import (
    FLOATS,
    HALVES,
    HDF5,
    ORDERS,
    WAYS,
    WHOLE,
    Place,
    Variants,
    container,
    said,
    write_arrays,
)

from jaxad.data import adc2021, jets, lhco
from jaxad.data.lhco_raw import N_PARTICLES, cluster_events
from jaxad.data.toptagging import LABEL, MOMENTA
from jaxad.data.window import PARTS
from jaxad.observables.derived import dijet
from jaxad.simulation.frames import write_table

FRAMES = ("fixed", "table", "table, blosc")


def _frame_variant(v: Variants) -> None:
    v.pick("frame", FRAMES)
    v.pick("columns", ("in order", "any order"))
    v.pick("more columns", ("none", "some"))


def _write_frame(
    v: Variants, path: Path, values: np.ndarray, columns: list[str], label: np.ndarray, name: str
) -> None:
    """A frame of `values` (n, columns) and the label, in the variant of `_frame_variant`."""
    rest = {name: label}
    if v.chosen["more columns"] == "some":
        more = {"event": np.arange(len(label)), "tau_valid": np.ones(len(label))}
        rest = {key: column.astype(label.dtype) for key, column in more.items()} | rest
    others = np.stack(list(rest.values()), 1)
    order = np.arange(len(columns))
    if v.chosen["columns"] == "any order":
        order = np.random.default_rng(1).permutation(order)
    columns = [columns[i] for i in order]
    if v.chosen["frame"] == "fixed":
        together = np.concatenate([others, values[:, order]], 1)
        write_frame(path, together.astype(values.dtype), [*rest, *columns])
        return
    blocks = [(columns, values.dtype), (list(rest), label.dtype)]
    plain = path.with_name("plain") if "blosc" in v.chosen["frame"] else path
    write_table(plain, "table", blocks, [[values[:, order], others]], len(values))
    if plain != path:
        import tables

        filters = tables.Filters(complevel=5, complib="blosc", shuffle=True)
        tables.copy_file(str(plain), str(path), filters=filters, overwrite=True)
        plain.unlink()


def toptagging(v: Variants, folder: Path) -> Written:
    n_constituents = v.pick("n_constituents", (200, 14))
    x = (
        samples.jet_sample()
        if n_constituents == 14
        else own.arranged(v, samples.jet_sample(), (0, 186))
    )
    x = np.pad(own.four_momenta(x), ((0, 0), (0, 200 - x.shape[1]), (0, 0)))
    _frame_variant(v)
    x = x.astype(v.pick("type", ("f4", "f8")))
    label = SIGNAL.astype(v.pick("label type", ("i8", "i4", "f4")))
    split = v.pick("split", ("random", "published"))
    settings = {"name": "toptagging", "n_jets": 0, "n_constituents": n_constituents}
    settings |= {"split": split, "on_disk": v.pick("rows", {"in memory": False, "on disk": True})}
    index = None
    if split == "random":
        place = Place(v, folder, "h5")
        files, rows = place.files, [np.arange(N)[s] for s in place.split(N)]
        settings |= {"source": place.source, "train_fraction": 0.5, "val_fraction": 0.2}
        paths = place.paths
    else:
        paths = [folder / f"{name}.h5" for name in ("train", "val", "test")]
        rows = [np.r_[0:6], np.r_[6:8], np.r_[8:16]]
        way = v.pick("path", WAYS)
        files = [said(path, folder, way) for path in paths]
        settings |= {"source": str(folder)}
        index = np.concatenate(rows)
    for path, chosen in zip(paths, rows, strict=True):
        _write_frame(v, path, x[chosen].reshape(len(chosen), 800), MOMENTA, label[chosen], LABEL)
    x = x[:, :n_constituents] if index is None else x[index, :n_constituents]
    method = v.pick("input", own.JET_INPUTS)
    signal = SIGNAL if index is None else SIGNAL[index]
    all_read = split == "published"
    return Written(settings, files, x, signal, "jets", method, ROUNDED, index, all_read)


def published_jets(v: Variants, folder: Path) -> Written:
    """Ragged jets, five numbers a particle, the leading jet of several."""
    x = own.four_momenta(own.arranged(v, samples.jet_sample(), (0,)))
    dtype, n_jets = v.pick("type", {"f4": "<f4", "f8": "<f8"}), v.pick("jets an event", (1, 2, 3))
    options = v.pick("compression", {k: HDF5[k] for k in ("contiguous", "gzip, shuffle", "lzf")})
    paths = [folder / jets.BACKGROUND, folder / jets.SIGNALS["W_80"]]
    for path, chosen in zip(paths, (~SIGNAL, SIGNAL), strict=True):
        rows = np.empty((chosen.sum(), n_jets), object)
        for i, jet in enumerate(x[chosen]):
            there = jet[jet[:, 0] > 0]
            junk = np.full((len(there), 1), 99.0)
            rows[i, 0] = np.concatenate([there, junk], 1).ravel().astype(dtype)
            rows[i, 1:] = [np.arange(5, dtype=dtype)] * (n_jets - 1)
        with h5py.File(path, "w") as file:
            group = file.create_group("objects/jets")
            group.create_dataset("constituents", data=rows, dtype=h5py.vlen_dtype(dtype))
            group.create_dataset("obs", data=np.zeros((*rows.shape, 9), dtype), **options)
    way = v.pick("path", WAYS)
    n_constituents = v.pick("n_constituents", (150, 14))
    settings = {"name": "jets", "pt_min": 0.0, "pt_max": 1e4, "n_constituents": n_constituents}
    settings["source"] = v.pick("source", {"folder": str(folder), "file": str(paths[0])})
    files = [said(path, folder, way) for path in paths]
    method = v.pick("input", own.JET_INPUTS)
    return Written(settings, files, x, SIGNAL, "jets", method, ROUNDED)


def published_trigger(v: Variants, folder: Path) -> Written:
    x = own.turned(v, samples.trigger_sample())
    classes = np.where(x[..., 0] > 0, adc2021.CLASS, 0)
    tolerance = own.tolerance_of(v)
    x = np.concatenate([x, classes[..., None]], -1)
    x = v.typed(x, FLOATS | (HALVES if tolerance < ROUNDED else {}))
    compression, names = v.pick("compression", tuple(HDF5)), v.pick("names", ("given", "none"))
    if v.pick("files", ("of the challenge", "others")) == "others":
        place = Place(v, folder, "h5", parts=(2,))
        paths, files, groups = place.paths, place.files, [~SIGNAL, SIGNAL]
        settings = {"source": files[0], "signals": f"s={files[1]}"}
    else:
        end = v.pick("ending", ("", "_filtered"))
        stems, way = (adc2021.BACKGROUND, *adc2021.SIGNALS.values()), v.pick("path", WAYS)
        paths = [folder / f"{stem}{end}.h5" for stem in stems]
        files = [said(path, folder, way) for path in paths]
        groups = [~SIGNAL, *np.split(np.arange(N - N_SIGNAL, N), N_SIGNAL)]
        settings = {"source": str(folder)}
    for path, chosen in zip(paths, groups, strict=True):
        arrays = {"Particles": x[chosen]}
        if names == "given":
            arrays["Particles_Names"] = np.array(b"Pt Eta Phi Class".split())
        write_arrays(path, arrays, compression)
    settings["name"], method = "adc2021", v.pick("input", own.TRIGGER_INPUTS)
    return Written(settings, files, x[..., :3], SIGNAL, "trigger", method, tolerance)


def published_images(v: Variants, folder: Path) -> Written:
    """QCD in train and test, a signal in test: npz files of images, or HDF5 files of cells."""
    x = samples.detector_sample()
    groups = {
        "train/qcd_1": range(8),
        "test/qcd_2": range(8, 12),
        "test/suep_gensim_h200": range(12, 16),
    }
    kind, compression = container(v, ("npz", "deflated npz", "h5"))
    x = v.typed(x, FLOATS | HALVES | WHOLE)
    way, files = v.pick("path", WAYS), []
    for name, chosen in groups.items():
        path, images = folder / f"{name}.{kind}", x[list(chosen)]
        path.parent.mkdir(exist_ok=True)
        if kind == "npz":
            label = np.full(len(images), "suep" in name)
            shape = v.chosen.get("label shape") or v.pick("label shape", ("(n,)", "(n, 1)"))
            label = label if shape == "(n,)" else label[:, None]
            arrays = {"images": images, "labels": label.astype(int), "masses": 2.0 * label}
        else:
            cells = np.zeros((3, len(images), 286, 360), x.dtype)
            cells[:, :, ::5, 2::5] = images.transpose(3, 0, 2, 1)
            arrays = dict(zip(("ImageTrk_PUcorr", "ImageECAL", "ImageHCAL"), cells, strict=True))
            arrays["NTrk_PUcorr"] = np.ones(len(images))
        write_arrays(path, arrays, compression)
        files.append(said(path, folder, way))
    settings = {"name": "codae", "source": str(folder)}
    settings["on_disk"] = v.pick("rows", {"in memory": False, "on disk": True})
    return Written(settings, files, x, SIGNAL, "detector", v.pick("input", own.IMAGE_INPUTS))


def _search(**settings: Any) -> dict[str, Any]:
    return {"name": "lhco", "n_signal": 6, "window_low": 3.0, "window_high": 4.0, **settings}


def features(v: Variants, folder: Path) -> Written:
    rows = samples.dijet_sample()
    _frame_variant(v)
    x = rows[:, :-1].astype(v.pick("type", ("f4", "f8")))
    label = rows[:, -1].astype(v.pick("label type", ("i8", "i4", "f4")))
    place = Place(v, folder, "h5")
    for path, chosen in zip(place.paths, place.split(len(x)), strict=True):
        _write_frame(v, path, x[chosen], lhco.JETS, label[chosen], "label")
    settings = _search(source=place.source)
    return Written(
        settings, place.files, x, rows[:, -1] == 1, "dijets", "features", ROUNDED, all_read=False
    )


def prepared(v: Variants, folder: Path) -> Written:
    """The arrays of the reference code, in its seven files."""
    table, label = samples.table_sample(), samples.dijet_sample()[:, -1]
    inner = (table[:, 0] > 3) & (table[:, 0] < 4)
    signal = np.flatnonzero(inner & (label == 1))
    spare, rest = signal[:3], np.setdiff1d(np.arange(len(table)), signal[:3])
    groups = {"innerdata_extrasig": spare}
    for side, chosen in (("inner", inner), ("outer", ~inner)):
        parts = np.array_split(rest[chosen[rest]], 3)
        groups |= {f"{side}data_{name}": p for name, p in zip(PARTS, parts, strict=True)}
    x = v.typed(np.c_[table, label], FLOATS)
    way, files = v.pick("path", WAYS), []
    for name, chosen in groups.items():
        np.save(folder / f"{name}.npy", ORDERS[v.chosen["memory"]](x[chosen]))
        files.append(said(folder / f"{name}.npy", folder, way))
    index = np.concatenate(list(groups.values()))
    settings = {"name": "lhco", "source": str(folder), "window_low": 3.0, "window_high": 4.0}
    x, signal = x[index, :-1], label[index] == 1
    return Written(settings, files, x, signal, "dijets", "features", SAME, index, all_read=False)


@cache
def raw_events() -> np.ndarray:
    return fake_particles(36, 12, seed=1)


@cache
def raw_table() -> np.ndarray:
    jets_of = cluster_events(raw_events()[:, :-1].reshape(-1, N_PARTICLES, 3))
    return np.asarray(dijet(jets_of.astype(np.float32)), np.float32)


samples.SAMPLES["raw"] = raw_table, samples.PREPARED


def raw(v: Variants, folder: Path) -> Written:
    """Raw events, which FastJet clusters; the scorer takes their features."""
    rows = raw_events()
    x = own.arranged(v, rows[:, :-1].reshape(len(rows), N_PARTICLES, 3), (0,))
    x = own.turned(v, x).reshape(len(rows), -1).astype(v.pick("type", ("f4", "f8")))
    place = Place(v, folder, "h5", parts=(1, 2))
    for path, chosen in zip(place.paths, place.split(len(x)), strict=True):
        values = np.c_[x[chosen], rows[chosen, -1]].astype(x.dtype)
        write_frame(path, values, [str(i) for i in range(values.shape[1])])
    settings = _search(source=place.source, workers=1, n_signal=4, window_low=1.3, window_high=1.5)
    jets_of = cluster_events(x.reshape(len(rows), N_PARTICLES, 3))
    return Written(
        settings, place.files, jets_of, rows[:, -1] == 1, "raw", "features", ROUNDED, all_read=False
    )


PUBLISHED = {
    "toptagging": toptagging,
    "jets": published_jets,
    "adc2021": published_trigger,
    "codae": published_images,
    "lhco, features": features,
    "lhco, prepared arrays": prepared,
    "lhco, raw events": raw,
}
