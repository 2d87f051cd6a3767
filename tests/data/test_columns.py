"""Named columns: one sample in every kind of file, labels, and training on them."""

import sys

import h5py
import numpy as np
import pytest
from named_tables import (
    ASKED,
    NOTHING,
    N,
    as_csv,
    flat,
    records,
    same,
    sample,
    spoilt,
    table_of,
    write_compound,
    write_csv,
    write_npy,
    write_npz,
    write_npz_records,
    write_pandas,
    write_parquet,
    write_plain,
    write_root,
)

import jaxad
from jaxad import data
from jaxad.__main__ import main
from jaxad.commands import evaluate, train
from jaxad.configs import features_ae
from jaxad.data import from_mapping, get_config
from jaxad.data.columns import require_apart
from jaxad.errors import UserError


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
    "plain.h5": write_plain,
    "compound.hdf5": write_compound,
    "frame.h5": write_pandas,
    "arrays.npz": write_npz,
    "records.npz": write_npz_records,
    "records.npy": write_npy,
    "table.csv": as_csv,
    "table.parquet": write_parquet,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_bits(tmp_path, expected, name):
    KINDS[name](tmp_path / name, sample())
    found = table_of(tmp_path / name)
    same(found, expected)
    assert found.info["digest"] == expected.info["digest"]
    assert found.info["files"] == [str(tmp_path / name)]


def test_a_root_tree_gives_the_same_bits(tmp_path, expected):
    write_root(tmp_path / "a.root", sample())
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
    write_csv(tmp_path / "b3.csv", spoilt(mjj=(8, -1)))
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


def test_other_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("m,a\n")
    with pytest.raises(UserError, match=r"a.txt: expected a file of .h5, .*.csv, .parquet"):
        table_of(tmp_path / "a.txt")
    (tmp_path / "a.parquet").write_bytes(b"PAR1" * 3)
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
    with pytest.raises(UserError, match="truncated: only 8 bytes are here, and a Parquet"):
        table_of(tmp_path / "a.parquet", **asked | {"features": "n"})


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
