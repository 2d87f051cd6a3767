"""A search's table: one sample in every kind of file, folds by id, and every refusal."""

import sys

import h5py
import numpy as np
import pytest
from lhco_events import fake_events, fake_particles, write_frame
from ml_collections import ConfigDict

import jaxad
from jaxad import data, inputs
from jaxad.__main__ import main
from jaxad.commands import evaluate, train
from jaxad.configs import features_ae
from jaxad.data import folds, from_mapping, get_config, lhco, search_table, table_summary
from jaxad.data.columns import require_apart
from jaxad.data.dequantisation import dequantised, floored
from jaxad.data.folds import fold_sizes
from jaxad.data.table import Origin, make_table, sentinel
from jaxad.errors import UserError
from jaxad.search import table as search
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


def _plain(path, columns):
    with h5py.File(path, "w") as file:
        file["about"] = np.arange(3)
        for name, values in columns.items():
            file[name] = values


def _compound(path, columns):
    with h5py.File(path, "w") as file:
        file["deep/events"] = records(flat(columns))


def _frame(path, columns):
    names = [*FLOATS, "v[0]", "v[1]"]
    blocks = [(names, np.float64), ([*WHOLE], np.int64)]
    parts = [np.column_stack([flat(columns)[name] for name in group]) for group, _ in blocks]
    frames.write_table(path, "df", blocks, [parts], N)


def _npz(path, columns):
    np.savez_compressed(path, **columns)


def _npz_records(path, columns):
    np.savez(path, events=records(flat(columns)))


def _npy(path, columns):
    np.save(path, records(flat(columns)))


def _csv(path, columns):
    write_csv(path, flat(columns))


def _parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(flat(columns)), path)


def _root(path, columns):
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


@pytest.fixture(scope="module")
def expected():
    return from_mapping(sample(), **ASKED)


def test_the_table_holds_what_the_columns_say(expected):
    columns = sample()
    names = ("n", "tau2", "tau10", "v[1]", "tau2_missing")
    assert expected.names == names and expected.x.dtype == np.float32
    flag = columns["tau2"] == -999
    filled = np.where(flag, np.median(columns["tau2"][~flag]), columns["tau2"])
    wanted = [columns["n"], filled, columns["tau10"], columns["v"][:, 1], flag]
    np.testing.assert_array_equal(expected.x, np.column_stack(wanted).astype(np.float32))
    np.testing.assert_array_equal(expected.mass, columns["mjj"] * 1000)
    np.testing.assert_array_equal(expected.weight, columns["w"])
    np.testing.assert_array_equal(expected.label, columns["label"])
    np.testing.assert_array_equal(expected.ids, np.c_[columns["run"], columns["event"]])
    assert expected.integer.tolist() == [True, False, False, False, True]
    assert (
        expected.spikes[1] == np.float32(filled[7])
        and np.isnan(expected.spikes[[0, 2, 3, 4]]).all()
    )
    assert expected.info["missing"] == {"tau2": 40}
    assert (expected.mass_name, expected.mass_unit) == ("mjj", "TeV")


KINDS = {
    "plain.h5": _plain,
    "compound.hdf5": _compound,
    "frame.h5": _frame,
    "arrays.npz": _npz,
    "records.npz": _npz_records,
    "records.npy": _npy,
    "table.csv": _csv,
    "table.parquet": _parquet,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_bits(tmp_path, expected, name):
    KINDS[name](tmp_path / name, sample())
    found = table_of(tmp_path / name)
    same(found, expected)
    assert found.info["digest"] == expected.info["digest"]
    assert found.info["files"] == [str(tmp_path / name)]


def test_a_root_tree_gives_the_same_bits(tmp_path, expected):
    _root(tmp_path / "a.root", sample())
    source = f"{tmp_path}/a.root:Events"
    found = table_of(source, features="n,tau*,vy")
    same(found, expected, but=("info", "names"))
    many = table_of(f"{tmp_path}/*.root:Events", features="n,tau*,vy")
    assert many.info["digest"] == found.info["digest"]
    asked = {"features": "vy,n", "mass": "mjj"}
    with data.open_events(get_config("events", source="", **asked), source) as events:
        wanted = np.column_stack([sample()["mjj"], sample()["v"][:, 1], sample()["n"]])
        np.testing.assert_array_equal(events[3:5], wanted[3:5].astype(np.float32))
    with pytest.raises(UserError, match=r"jets: expected one number .* \(400, 2\)"):
        table_of(source, features="jets")
    with pytest.raises(UserError, match=r"expected FILE.root:TREE, one of Events, Other"):
        table_of(tmp_path / "a.root", features="n")


def test_frames_and_records_in_memory(expected):
    same(from_mapping(records(flat(sample())), **ASKED), expected)
    pandas = pytest.importorskip("pandas")
    same(from_mapping(pandas.DataFrame(flat(sample())), **ASKED), expected)
    with pytest.raises(UserError, match="list: expected a mapping of names to arrays"):
        from_mapping([1, 2], mass="m", features="a")


def test_columns_of_other_things_are_refused():
    columns = flat(sample())
    for spoil, message in (
        (np.array(["a"] * N), "tau10: expected one number an event, found <U1"),
        (np.ones((N, 2, 2)), r"tau10: expected one number .* \(400, 2, 2\)"),
        (np.ma.masked_less(columns["tau10"], 0.5), "tau10: masked values: fill them"),
        (np.ones(3), "tau10: expected 400 rows as in mjj, found 3"),
    ):
        with pytest.raises(UserError, match=message):
            from_mapping({**columns, "tau10": spoil}, **ASKED)


def test_several_files_are_one_sample(tmp_path, expected):
    columns = flat(sample())
    for name, rows in (("b1", slice(0, 150)), ("b2", slice(150, None))):
        part = {key: columns[key][rows] for key in sorted(columns, reverse=name == "b2")}
        write_csv(tmp_path / f"{name}.csv", part)
    same(table_of(f"{tmp_path}/b*.csv"), expected)
    write_csv(tmp_path / "b3.csv", {**columns, "event": columns["event"] + N, "tau3": columns["w"]})
    with pytest.raises(UserError, match=r"b3.csv: data.features finds other columns.*\(tau3\)"):
        table_of(f"{tmp_path}/b*.csv")
    write_csv(tmp_path / "b3.csv", _spoilt(mjj=(8, -1)))
    with pytest.raises(UserError, match=r"b3.csv: mjj: a mass that is not above 0 at row 8:"):
        table_of(f"{tmp_path}/b*.csv")
    write_csv(tmp_path / "b3.csv", columns)
    with pytest.raises(UserError, match=r"b3.csv: row 0: the same id.* row 0 of .*b1.csv: 400 ev"):
        table_of(f"{tmp_path}/b*.csv")


def test_the_label_changes_nothing_else(tmp_path):
    columns, asked = flat(sample()), {}
    tables = []
    for name in ("as_it_is", "shuffled", "dropped"):
        if name == "shuffled":
            columns["label"] = np.random.default_rng(1).permutation(columns["label"])
        if name == "dropped":
            del columns["label"]
            asked = {"label": ""}
        write_csv(tmp_path / f"{name}.csv", columns)
        tables.append(table_of(tmp_path / f"{name}.csv", **asked))
    assert (tables[0].label != tables[1].label).any() and tables[2].label is None
    for other in tables[1:]:
        same(tables[0], other, but=("info", "label"))
        assert other.info["digest"] == tables[0].info["digest"]
    no_label = {**ASKED, "label": "", "features": "n,tau10"}
    unnamed = table_of(tmp_path / "as_it_is.csv", **{**no_label, "missing": ""})
    assert unnamed.label is None and unnamed.names == ("n", "tau10")


def test_signals_are_injected_by_label_and_by_file(tmp_path):
    columns = flat(sample())
    write_csv(tmp_path / "a.csv", columns)
    signals = {"signals": "S=1", "inject": 10}
    by_label = table_of(tmp_path / "a.csv", **signals)
    background = np.flatnonzero(columns["label"] == 0)
    assert by_label.label.sum() == 10 and len(by_label.x) == len(background) + 10
    kept = np.flatnonzero(np.isin(columns["event"], by_label.ids[:, 1]))
    np.testing.assert_array_equal(columns["event"][kept], by_label.ids[:, 1])
    np.testing.assert_array_equal(columns["label"][kept], by_label.label)
    no_id = table_of(tmp_path / "a.csv", **signals, id="")
    np.testing.assert_array_equal(no_id.fold_key, kept)
    only = {key: values[columns["label"] == 0] for key, values in columns.items() if key != "label"}
    write_csv(tmp_path / "b.csv", only)
    own = {key: values[columns["label"] == 1] for key, values in columns.items() if key != "label"}
    write_csv(tmp_path / "s.csv", own)
    by_file = table_of(
        tmp_path / "b.csv", signals=f"S={tmp_path}/s.csv", inject=10, label="", missing="tau2:-999"
    )
    order = [np.lexsort(table.ids.T) for table in (by_label, by_file)]
    np.testing.assert_array_equal(by_label.x[order[0]], by_file.x[order[1]])
    np.testing.assert_array_equal(by_label.label[order[0]], by_file.label[order[1]])
    with pytest.raises(UserError, match="expected 0 to 45, found 46"):
        table_of(tmp_path / "a.csv", signals="S=1", inject=46)
    with pytest.raises(UserError, match=r"data.n_events: a search takes all events"):
        table_of(tmp_path / "a.csv", n_events=5)
    with pytest.raises(UserError, match=r"S is a label, which needs data.label"):
        table_of(tmp_path / "a.csv", signals="S=1", label="")
    with pytest.raises(UserError, match=r"data.inject: there is no signal to inject"):
        table_of(tmp_path / "a.csv", inject=5)


def test_folds_follow_the_ids_whatever_the_order():
    """Ids above 2^24, which float32 takes for their neighbours."""
    rng = np.random.default_rng(0)
    ids = 2**40 + np.arange(20_000)
    columns = {"m": 1 + rng.random(len(ids)), "a": rng.normal(size=len(ids)), "event": ids}
    asked = {"mass": "m", "features": "a", "id": "event"}
    table = from_mapping(columns, **asked)
    fold = folds(table.fold_key, 5, salt=3)
    order = rng.permutation(len(ids))
    shuffled = from_mapping({name: values[order] for name, values in columns.items()}, **asked)
    np.testing.assert_array_equal(folds(shuffled.fold_key, 5, salt=3), fold[order])
    agree = (fold[1:] == fold[:-1]).mean()
    assert abs(agree - 0.2) < 0.02, "neighbouring ids fall independently"
    assert abs((fold == folds(table.fold_key, 5, salt=4)).mean() - 0.2) < 0.02
    both = from_mapping({**columns, "run": ids % 7}, **{**asked, "id": "run,event"})
    assert len(np.unique(both.fold_key)) == len(ids)
    assert np.ptp(fold_sizes(folds(both.fold_key, 5), 5)) < 5 * np.sqrt(2 * 20_000 * 0.16)


def test_rows_of_one_id_share_a_fold_and_one_id_is_no_id():
    keys = np.repeat(np.arange(500, dtype=np.uint64), 4)
    fold = folds(keys, 5)
    assert (fold.reshape(500, 4) == fold[::4, None]).all()
    with pytest.raises(UserError, match=r"classifier.folds: folds of .* of 3 ids: one is empty"):
        folds(np.repeat(np.arange(3, dtype=np.uint64), 700), 5)
    uneven = np.arange(100_000, dtype=np.uint64)
    uneven = uneven[(folds(uneven, 5) != 2) | (uneven % 10 > 0)]
    with pytest.raises(UserError, match="fold 2 is more than 5 sigma off: take fewer folds"):
        folds(uneven, 5)
    with pytest.raises(UserError, match=r"classifier.folds: expected 2 or more, found 1"):
        folds(uneven, 1)


def _spoilt(**changes):
    columns = flat(sample())
    for name, (row, value) in changes.items():
        columns[name] = columns[name].astype(float)
        columns[name][row] = value
    return columns


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        (_spoilt(tau10=(5, np.nan)), {}, "tau10: NaN or infinity at row 5: .*missing=tau10:nan"),
        (_spoilt(tau10=(5, np.inf)), {}, "tau10: NaN or infinity at row 5: remove"),
        (_spoilt(tau10=(5, 1e39)), {}, "tau10: NaN or infinity at row 5: remove"),
        (_spoilt(tau10=(slice(None), 2.5)), {}, "tau10: every row has 2.5"),
        ({}, {"missing": ""}, r"tau2: -999, \d+ spreads .* at row 7 and 39 more: .*=tau2:-999"),
        (_spoilt(w=(9, -1)), {}, "weight: a weight that is not above 0 at row 9"),
        (_spoilt(w=(9, 0)), {}, "weight: a weight that is not above 0 at row 9"),
        (_spoilt(mjj=(3, 0)), {}, "mjj: a mass that is not above 0 at row 3"),
        (_spoilt(mjj=(3, np.nan)), {}, "mjj: NaN or infinity at row 3"),
        (_spoilt(mjj=(3, 2e5)), {}, "mjj: a mass beyond 1e8 GeV at row 3: is it in TeV"),
        ({}, {"mass_unit": "eV"}, "data.mass_unit: expected one of GeV, TeV, MeV, found 'eV'"),
        ({}, {"features": "n,mjj"}, "data.features: mjj is data.mass, which may not be a feature"),
        ({}, {"features": "n,w"}, "data.features: w is data.weight"),
        ({}, {"features": "label"}, "data.features: label is data.label"),
        ({}, {"features": "event"}, "data.features: event is data.id"),
        ({}, {"features": "n,n"}, "data.features: n comes twice"),
        ({}, {"features": "*", "label": ""}, r"data.features: \* would take label as a feature"),
        ({}, {"features": "n,tua*"}, r"no column 'tua\*'; found .*; set data.features"),
        ({}, {"mass": "m"}, "no column 'm'; found .*; set data.mass to some of these"),
        ({}, {"id": "run,evt"}, "no column 'evt'; .*data.id"),
        ({}, {"id": "tau10"}, "tau10: expected whole numbers, found .* at row 0"),
        ({}, {"missing": "tau2=-999"}, "data.missing: expected NAME:VALUE"),
        ({}, {"missing": "tau2:-999,n:-5"}, "data.missing: n: -5 stands in no row"),
        ({}, {"missing": "w:1"}, "data.missing: w is no feature; they are n, tau2"),
        (_spoilt(event=(0, 2**53)), {}, "event: 9007199254740992 at row 0, stored as float64"),
    ],
)
def test_what_is_refused(columns, asked, message):
    with pytest.raises(UserError, match=message):
        from_mapping(columns or flat(sample()), **{**ASKED, **asked})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the names of the columns, found nothing"),
        ("1,2\n3,4\n", "line 1: expected the names of the columns, found numbers"),
        ("m,m\n3,4\n", "line 1: the name 'm' twice"),
        ("m,\n3,4\n", "line 1: a column without a name"),
        ('"m",a\n3,4\n', "line 1: names in quotes"),
        ("m,a\n3,4\n5\n", "line 3: expected 2 fields as in line 1, found 1"),
        ("m,a\n3,4\n5,6,7\n", "line 3: expected 2 fields as in line 1, found 3"),
        ("m,a\n3,4\n\n5,6\n", "line 3: expected 2 fields as in line 1, found 1"),
        ('m,a\n3,"4"\n', "line 2: quotes"),
        ("m,a\n3,4\n5,x\n", "line 3: a: expected a number, found 'x'"),
        ("m,a\n3,4\n5,\n", "line 3: a: expected a number, found ''"),
        ("m,a\n3,4\n5.5,1\n", "line 3: m: expected a whole number, found '5.5'"),
        ("m;a\n3;4\n", "line 1: expected names of columns, separated by commas, found 'm;a'"),
        ("m,a\n", "no events"),
    ],
)
def test_a_bad_csv_file_is_named_by_its_line(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=f"a.csv: {message}"):
        table_of(tmp_path / "a.csv", **NOTHING | {"features": "a", "mass": "m", "id": "m"})


def test_csv_blocks_line_ends_and_names(tmp_path, monkeypatch):
    """Blocks cut anywhere, CR LF, blank lines at the end, a header that begins with #."""
    columns = {name: flat(sample())[name] for name in ("mjj", "n", "event")}
    write_csv(tmp_path / "a.csv", columns)
    asked = {"features": "n", "mass": "mjj", "id": "event"}
    whole = table_of(tmp_path / "a.csv", **NOTHING | asked)
    text = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf# " + text.replace(b"\n", b"\r\n") + b"\r\n\n")
    for block in (7, 64, 1 << 20):
        monkeypatch.setattr("jaxad.data.csv_file.BLOCK", block)
        found = table_of(tmp_path / "a.csv", **NOTHING | asked)
        assert found.info["digest"] == whole.info["digest"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("mjj;x\n1;2\n", "line 1: expected names of columns, separated by commas, found 'mjj;x'"),
        ("mjj x\n1 2\n", "separated by commas, found 'mjj x'"),
        ("# made by me\nmjj,x\n1,2\n", "separated by commas, found 'made by me'"),
        ("mjj,x\r1,2\r3,4\r", "line 1: lines end by CR alone"),
        (",mjj,x\n0,1,2\n", r"without a name: .*pandas .*to_csv\(index=False\)"),
        ("mjj,x\n1,2\n3,\n", "line 3: x: expected a number, found '': write nan for no value"),
        ("mjj,x\n1,NA\n", "line 2: x: expected a number, found 'NA': write nan for no value"),
        ("mjj,x\n1,abc\n", "line 2: x: expected a number, found 'abc'$"),
    ],
)
def test_tables_of_other_programs_are_refused_by_their_cause(text, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(text.encode())
    with pytest.raises(UserError, match=message):
        table_of(tmp_path / "a.csv", **NOTHING | {"features": "x", "mass": "mjj"})


def test_a_glob_of_missing_values_means_the_features_that_have_them():
    rng = np.random.default_rng(0)
    columns = {"m": 1 + rng.random(99), "tau1": rng.random(99), "tau2": rng.random(99)}
    columns["tau2"][:9] = -999
    asked = {"mass": "m", "features": "tau*"}
    table = from_mapping(columns, **asked, missing="tau*:-999")
    assert table.names == ("tau1", "tau2", "tau2_missing") and table.info["missing"] == {"tau2": 9}
    for name in ("tau*:-1", "tau1:-999"):
        with pytest.raises(UserError, match=r"data.missing: tau1: .* stands in no row"):
            from_mapping(columns, **asked, missing=name)


def test_events_twice_without_ids_are_said():
    rng = np.random.default_rng(0)
    once = {"m": 1 + rng.random(50), "x": rng.random(50)}
    asked = {"mass": "m", "features": "x"}
    twice = {name: np.append(values, values[:20]) for name, values in once.items()}
    assert "equal to another" not in table_summary(from_mapping(once, **asked))
    assert "20 events are equal to another" in table_summary(from_mapping(twice, **asked))


def test_other_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("m,a\n")
    with pytest.raises(UserError, match=r"a.txt: expected a file of .h5, .*.csv, .parquet"):
        table_of(tmp_path / "a.txt")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"Parquet files need pyarrow: pip install 'jaxad\[parq"):
        table_of(tmp_path / "a.parquet")
    np.savez(tmp_path / "b.npz", mjj=np.ones(5), a=np.ones(4))
    with pytest.raises(UserError, match="mjj: expected 4 rows as in a, found 5"):
        table_of(tmp_path / "b.npz", **NOTHING | {"features": "a", "mass": "mjj"})


def test_records_of_overlapping_fields_are_damaged():
    """HDF5 ends the process that reads them."""
    fields = {"names": ["a", "b"], "formats": ["f8", "f8"], "offsets": [8, 0], "itemsize": 16}
    require_apart(np.dtype(fields), "a.h5", "x")
    with pytest.raises(UserError, match=r"a.h5: x: records of overlapping fields"):
        require_apart(np.dtype({**fields, "offsets": [0, 4]}), "a.h5", "x")


def test_what_parquet_alone_can_hold(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"m": [1.0, 2.0, 3.0], "n": [1, None, 3], "s": ["a", "b", "c"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    asked = NOTHING | {"mass": "m"}
    for features, message in (
        ("n", "n: NaN or infinity at row 1"),
        ("s", "s: expected one"),
    ):
        with pytest.raises(UserError, match=message):
            table_of(tmp_path / "a.parquet", **asked | {"features": features})
    (tmp_path / "a.parquet").write_bytes(b"PAR1oops")
    with pytest.raises(UserError, match="cannot be read as a Parquet file"):
        table_of(tmp_path / "a.parquet", **asked | {"features": "n"})


def test_sentinels_are_told_from_tails():
    rng = np.random.default_rng(0)
    for values in (rng.exponential(1, 5000), rng.standard_cauchy(5000), rng.poisson(3, 5000)):
        assert sentinel(values) is None
    flags = (rng.random(5000) < 0.005).astype(int)
    assert sentinel(flags) is None and sentinel(flags + 2 * (rng.random(5000) < 0.002)) is None
    for n_bad in (6, 2500, 4500):
        for values in (rng.normal(size=5000), rng.poisson(30, 5000).astype(float)):
            values[:n_bad] = -999
            assert sentinel(values)[0] == -999
    values = rng.normal(size=5000)
    values[:1500], values[1500:3000] = -999, -998
    assert sentinel(values)[0] == -999


def test_whole_numbers_and_spikes_are_spread_and_put_back():
    rng = np.random.default_rng(0)
    n = 5000
    tau = np.where(rng.random(n) < 0.1, 0, 0.2 + rng.random(n))
    features = {"n": rng.poisson(3, n), "tau": tau, "x": rng.normal(size=n)}
    big = {"huge": 2**23 + rng.integers(0, 1000, n)}
    table = make_table(features | big, 1 + rng.random(n), Origin(("memory",)))
    assert table.integer.tolist() == [True, False, False, True]
    assert table.spikes[1] == 0 and np.isnan(table.spikes[[0, 2, 3]]).all()
    spread = dequantised(table.x, table, seed=1)
    np.testing.assert_array_equal(spread, dequantised(table.x, table, seed=1))
    np.testing.assert_array_equal(spread[:, 2], table.x[:, 2])
    np.testing.assert_array_equal(floored(spread, table), table.x)
    uniform = spread[:, 0] - table.x[:, 0]
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.02
    at = tau == 0
    assert len(np.unique(spread[at, 1])) > 0.9 * at.sum() and spread[at, 1].max() < 0.2001
    drawn = floored(np.array([[-1.5, 0.1, 0.3, 0], [99, 0.5, 0.3, 2**23]], np.float32), table)
    assert drawn[0].tolist() == [0, 0, np.float32(0.3), table.x[:, 3].min()]
    assert drawn[1, 0] == table.x[:, 0].max() and drawn[1, 1] == 0.5


def test_dijets_with_and_without_label(tmp_path):
    events = fake_events(600, 100)
    write_frame(tmp_path / "a.h5", events, [*lhco.JETS, "label"])
    table = search_table(get_config("lhco", source=str(tmp_path / "a.h5"), n_signal=30))
    kept = np.flatnonzero(np.isin(np.arange(len(events)), table.fold_key))
    assert table.label.sum() == 30 and len(table.x) == 630
    np.testing.assert_array_equal(events[kept, -1], table.label)
    assert table.names == ("mJ1", "dmJ", "tau21_J1", "tau21_J2") and table.units[0] == "TeV"
    dataset = data.load(get_config("lhco", source=str(tmp_path / "a.h5"), n_signal=30))
    parts = [dataset.train, dataset.val]
    seen = np.concatenate([part["mass"] for part in parts])
    assert np.isin(seen, table.mass.astype(np.float32)).all(), "the same events are injected"
    write_frame(tmp_path / "b.h5", events[:, :-1], lhco.JETS)
    unlabelled = search_table(get_config("lhco", source=str(tmp_path / "b.h5")))
    assert unlabelled.label is None and len(unlabelled.x) == 700
    np.testing.assert_array_equal(table.x, unlabelled.x[kept])
    every = search_table(get_config("lhco", source=str(tmp_path / "a.h5"), n_signal=100))
    same(every, unlabelled, but=("info", "label"))
    assert every.info["digest"] == unlabelled.info["digest"]
    with pytest.raises(UserError, match=r"data.n_signal: .*b.h5 has no label"):
        search_table(get_config("lhco", source=str(tmp_path / "b.h5"), n_signal=3))
    with pytest.raises(UserError, match=r"b.h5: no column 'label'"):
        data.load(get_config("lhco", source=str(tmp_path / "b.h5")))
    with pytest.raises(UserError, match=r"some files of .* have one, some none"):
        search_table(get_config("lhco", source=str(tmp_path)))


def test_raw_events_without_label(tmp_path):
    pytest.importorskip("fastjet")
    rows = fake_particles(30)
    write_frame(tmp_path / "box.h5", rows[:, :-1], [str(i) for i in range(2100)])
    write_frame(tmp_path / "labelled.h5", rows, [str(i) for i in range(2101)])
    asked = {"cache": str(tmp_path / "cache"), "workers": 1}
    n_signal = int(rows[:, -1].sum())
    box = search_table(get_config("lhco", source=str(tmp_path / "box.h5"), **asked))
    labelled = search_table(
        get_config("lhco", source=str(tmp_path / "labelled.h5"), n_signal=n_signal, **asked)
    )
    same(box, labelled, but=("info", "label"))
    assert box.info["digest"] == labelled.info["digest"] and labelled.label.sum() == n_signal


def test_prepared_arrays_are_all_data(tmp_path):
    rng = np.random.default_rng(0)
    for labelled in (True, False):
        for name in ("inner", "outer"):
            for part in ("train", "val", "test"):
                rows = np.random.default_rng([len(name + part), ord(part[1])]).random((50, 6)) + 2
                rows[:, 0] = 3.5 if name == "inner" else 3
                rows[:, 0] += np.linspace(0, 0.1, 50)
                rows[:, 5] = np.arange(50) % 5 == 0
                folder = tmp_path / str(labelled)
                folder.mkdir(exist_ok=True)
                rows = rows if labelled else rows[:, :-1]
                np.save(folder / f"{name}data_{part}.npy", rows.astype(np.float32))
        np.save(folder / "innerdata_extrasig.npy", rng.random((9, 6)))
    table, unlabelled = (
        search_table(get_config("lhco", source=str(tmp_path / str(labelled))))
        for labelled in (True, False)
    )
    assert len(table.x) == 300 and table.label.sum() == 60 and unlabelled.label is None
    same(table, unlabelled, but=("info", "label"))


def test_observables_of_particles_by_name(tmp_path):
    rng = np.random.default_rng(0)
    jets = rng.normal(0, 0.1, (300, 12, 3))
    jets[..., 0] = rng.exponential(20, (300, 12))
    jets[rng.random((300, 12)) < 0.3] = 0
    np.savez(tmp_path / "a.npz", x=jets, label=np.arange(300) % 2, evt=np.arange(300) // 2)
    asked = {"features": "multiplicity,pt", "label": "label", "id": "evt"}

    def table(**changes):
        section = get_config("events", **{"source": str(tmp_path / "a.npz"), **asked, **changes})
        settings = inputs.get_config("jet_observables", max_degree=0)
        return search.search_table(ConfigDict({"data": section, "inputs": settings}))

    by_name = table()
    rows = data.load(get_config("events", source=str(tmp_path / "a.npz"))).train
    assert by_name.names == ("multiplicity", "pt") and by_name.units == ("", "GeV")
    assert by_name.integer[0] and by_name.label.sum() == 150 and by_name.ids.shape == (300, 1)
    assert np.isin(rows["mass"], by_name.mass.astype(np.float32)).all()
    of_inputs = table(features="", label="", id="", label_key="label", id_key="evt")
    assert of_inputs.names == ("pt", "multiplicity")
    np.testing.assert_array_equal(of_inputs.x[:, ::-1], by_name.x)
    for features, message in (("mass", "mass is the"), ("tau*", "no observable")):
        with pytest.raises(UserError, match=message):
            table(features=features)
    for source in ("a.csv", "columns.npz"):
        np.savez(tmp_path / source, pt=np.ones(3))
        with pytest.raises(UserError, match=r"data.mass: a search needs a mass: name its column"):
            table(source=str(tmp_path / source))


def test_named_columns_train_and_score(tmp_path, capsys):
    """The same numbers by name, whatever the order of the columns and the kind of the file."""
    columns = flat(sample())
    columns["tau2"] = np.abs(columns["tau2"]) % 1
    write_csv(tmp_path / "a.csv", columns)
    np.savez(tmp_path / "b.npz", **{name: columns[name] for name in sorted(columns)})
    asked = {"features": "n,tau*", "mass": "mjj", "mass_unit": "TeV", "id": "run,event"}
    signals = {"label": "label", "signals": "S=1"}
    config = get_config("events", source=str(tmp_path / "a.csv"), **asked, **signals)
    dataset = data.load(config)
    assert [name for name, _ in dataset.layout.columns] == ["mjj", "n", "tau2", "tau10"]
    assert dataset.layout.columns[0] == ("mjj", "TeV") and dataset.layout.mass == "mjj"
    np.testing.assert_allclose(dataset.train["mass"], 1000 * dataset.train["x"][:, 0], rtol=2e-7)
    assert dataset.train["event"].shape == (len(dataset.train["x"]), 2)
    other = data.load(get_config("events", source=str(tmp_path / "b.npz"), **asked, **signals))
    assert other.info["digest"] == dataset.info["digest"]
    with data.open_events(config, str(tmp_path / "b.npz")) as events:
        expected = np.column_stack([columns[name] for name in ("mjj", "n", "tau2", "tau10")])
        np.testing.assert_array_equal(events[5:9], expected[5:9].astype(np.float32))
    with pytest.raises(UserError, match=r"data.missing: values are filled in a search alone"):
        data.load(get_config("events", source=str(tmp_path / "a.csv"), **asked, missing="n:0"))
    flags = [f"--config.data.{key}={value}" for key, value in (asked | {"label": "label"}).items()]
    show = ["data", "show", "--config=features_ae", f"--config.data.source={tmp_path}/a.csv"]
    assert main([*show, *flags]) == 0
    said = capsys.readouterr().out
    assert "400 events, 3 features" in said and "folds: " in said and "mjj" in said
    with pytest.raises(SystemExit):
        main([*show, *flags, "--config.data.mass_key=mjj"])
    assert "beside data.features it is data.mass: set that" in capsys.readouterr().err


def test_a_table_without_signal_is_trained_evaluated_and_scored(tmp_path, capsys):
    columns = {name: flat(sample())[name] for name in ("v[1]", "tau10", "n")}
    write_csv(tmp_path / "a.csv", columns)
    np.savez(tmp_path / "b.npz", **columns, label=np.zeros(N))
    config = features_ae.get_config("smoke")
    config.method.name, config.baselines, config.data.n_events = "pca", (), 0
    config.data.update({"source": str(tmp_path / "a.csv"), "features": "n,tau*,v[1]"})
    train.train(config, tmp_path / "run")
    metrics = evaluate.evaluate(tmp_path / "run", n_bootstrap=0)
    assert metrics["signals"] == {}
    said = capsys.readouterr().out
    assert "no AUC, efficiencies and SIC: they need a signal" in said and "max SIC" not in said
    files = [str(tmp_path / name) for name in ("a.csv", "b.npz")]
    assert main(["score", str(tmp_path / "run"), *files, "--out", str(tmp_path / "s.h5")]) == 0
    with h5py.File(tmp_path / "s.h5") as file:
        scores = file["mse"][:]
    np.testing.assert_array_equal(scores[:N], scores[N:])
    x = np.column_stack([columns[name] for name in ("n", "tau10", "v[1]")]).astype(np.float32)
    np.testing.assert_allclose(jaxad.load(tmp_path / "run")(x), scores[:N], rtol=1e-5, atol=1e-6)
