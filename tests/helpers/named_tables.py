"""One table of events with a mass, in every kind of file that has named columns."""

import h5py
import numpy as np
import pytest

from jaxad.data import get_config, search_table
from jaxad.simulation import frames

N = 400
ASKED = {
    "features": "n,tau*,v[1]",
    "mass": "mjj",
    "mass_unit": "TeV",
    "weight": "w",
    "label": "label",
    "id": "run,event",
    "missing": "tau2:-999",
}
NOTHING = dict.fromkeys(ASKED, "") | {"mass_unit": "GeV"}
FLOATS = ("mjj", "tau10", "tau2", "w")
WHOLE = ("n", "label", "run", "event")


def sample(seed=0):
    """Columns in another order than any setting asks for; ids that only int64 tells apart."""
    rng = np.random.default_rng(seed)
    tau2 = rng.random(N)
    tau2[7:47] = -999
    return {
        "event": 2**53 + np.arange(N),
        "tau10": rng.random(N),
        "label": (np.arange(N) % 9 == 0).astype(np.int64),
        "mjj": 2 + rng.exponential(0.5, N),
        "n": rng.poisson(5, N),
        "tau2": tau2,
        "w": 0.5 + rng.random(N),
        "run": rng.integers(1, 4, N),
        "v": rng.normal(size=(N, 2)),
    }


def flat(columns):
    """The same with v[0] and v[1] as columns of their own."""
    own = {name: values for name, values in columns.items() if name != "v"}
    return own | {f"v[{i}]": columns["v"][:, i] for i in range(2)}


def records(columns):
    dtype = [(name, values.dtype) for name, values in columns.items()]
    found = np.empty(N, dtype)
    for name, values in columns.items():
        found[name] = values
    return found


def write_csv(path, columns):
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_plain(path, columns):
    with h5py.File(path, "w") as file:
        file["about"] = np.arange(3)
        for name, values in columns.items():
            file[name] = values


def write_compound(path, columns):
    with h5py.File(path, "w") as file:
        file["deep/events"] = records(flat(columns))


def write_pandas(path, columns):
    names = [*FLOATS, "v[0]", "v[1]"]
    blocks = [(names, np.float64), ([*WHOLE], np.int64)]
    parts = [np.column_stack([flat(columns)[name] for name in group]) for group, _ in blocks]
    frames.write_table(path, "df", blocks, [parts], N)


def write_npz(path, columns):
    np.savez_compressed(path, **columns)


def write_npz_records(path, columns):
    np.savez(path, events=records(flat(columns)))


def write_npy(path, columns):
    np.save(path, records(flat(columns)))


def as_csv(path, columns):
    write_csv(path, flat(columns))


def write_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(flat(columns)), path)


def write_root(path, columns):
    uproot = pytest.importorskip("uproot")
    named = {"vx": columns["v"][:, 0], "vy": columns["v"][:, 1], "jets": columns["v"]}
    with uproot.recreate(path) as file:
        file["Events"] = {name: v for name, v in columns.items() if name != "v"} | named
        file["Other"] = {"run": np.arange(2)}


def table_of(path, **changes):
    return search_table(get_config("events", source=str(path), **{**ASKED, **changes}))


def same(a, b, but=("info",)):
    for name, left, right in zip(a._fields, a, b, strict=True):
        if name in but:
            continue
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, err_msg=name)
        else:
            assert left == right, name


def spoilt(**changes):
    columns = flat(sample())
    for name, (row, value) in changes.items():
        columns[name] = columns[name].astype(float)
        columns[name][row] = value
    return columns
