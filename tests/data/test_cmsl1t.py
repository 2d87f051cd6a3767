"""The CMS L1T reader on made-up files of both layouts, sound and damaged."""

import itertools
import json

import h5py
import numpy as np
import pytest

import jaxad.data as data
from jaxad.commands import rates, score
from jaxad.commands.evaluate import write_scores
from jaxad.commands.train import train
from jaxad.configs import adc2021_shallow
from jaxad.data import cmsl1t
from jaxad.data.dataset import counts
from jaxad.errors import UserError
from jaxad.inputs.trigger_integer import counts as integers
from jaxad.scorer import load

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

INTS = pa.list_(pa.int16())
# Counts of pT, eta, phi, and the names of further columns, which nothing reads.
COLLECTIONS = {
    "muons": (("muonIEt", "muonIEtaAtVtx", "muonIPhiAtVtx"), ("muonQual", "muonIEtUnconstrained")),
    "jets": (("jetIEt", "jetIEta", "jetIPhi"), ("jetHwQual", "jetRawEt")),
    "egammas": (("egIEt", "egIEta", "egIPhi"), ("egIso",)),
    "taus": (("tauIEt", "tauIEta", "tauIPhi"), ("tauIso",)),
}
SUMS = dict.fromkeys(("MET", "MHT", "FET", "FHT"), ("Et", "phi")) | {"ET": ("Et", "ETTEM")}
RUNS = np.array([396102, 398183])


def random_events(n, seed, label=0):
    """Columns (collection, name) -> a list, or a number, for each of n events."""
    rng = np.random.default_rng(seed)
    events = {}
    for name, (columns, further) in COLLECTIONS.items():
        sizes = rng.integers(0, 9, n)
        muon = name == "muons"
        eta, phi = (225, 576) if muon else (115, 144)
        low, high = (1, -eta, 0), (400, eta, phi)
        for i, column in enumerate((*columns, *further)):
            draw = [rng.integers(low[i % 3], high[i % 3], size) for size in sizes]
            if not muon and i == 0:
                draw = [np.sort(values)[::-1] for values in draw]
            events[name, column] = draw
    for name, columns in SUMS.items():
        events |= {(name, column): list(rng.integers(1, 144, (n, 1))) for column in columns}
    events["HT", "Et"] = list(rng.integers(0, 900, (n, 1)))
    events["HT", "tower_count"] = list(rng.integers(0, 90, (n, 1)))
    events["", "run"] = np.sort(rng.choice(RUNS, n))
    events["", "lumi"] = rng.integers(1, 900, n)
    events["", "time"] = 23 * events["", "lumi"] + (1 << 24)  # float32 would drop its last bits
    events["", "nPV_True"] = rng.poisson(50, n)
    events["", "L1bit"] = rng.random(n) < 0.1
    events["", "label"] = np.full(n, label)
    events["", "order"] = np.arange(n)
    return events


def table_of(events, rows, prefix):
    """The rows as a table; nPV_True as float32 in data, int32 in simulation."""
    columns = {}
    for (collection, name), values in events.items():
        full = f"{collection}_{name}" if prefix and collection else name
        if collection:
            columns[full] = pa.array([list(map(int, each)) for each in values[rows]], INTS)
        else:
            dtype = np.float32 if name == "nPV_True" and events["", "label"][0] == 0 else None
            columns[full] = pa.array(np.asarray(values[rows], dtype))
    return pa.table(columns)


def write_mirror(folder, name, split, events, parts=2):
    """`data/SET/SPLIT-NNNNN-of-NNNNN.parquet`, in groups of 7 rows."""
    (folder / "data" / name).mkdir(parents=True, exist_ok=True)
    n = len(events["", "run"])
    ends = np.linspace(0, n, parts + 1).astype(int)
    for i, (low, high) in enumerate(itertools.pairwise(ends)):
        path = folder / "data" / name / f"{split}-{i:05d}-of-{parts:05d}.parquet"
        table = table_of(events, slice(low, high), prefix=True)
        parquet.write_table(table, path, row_group_size=7)


def write_record(folder, kind, name, split, events):
    """`KIND/SET/SPLIT/COLLECTION/*.parquet`; collections are cut at other rows than one another."""
    n = len(events["", "run"])
    for number, collection in enumerate(sorted({own for own, _ in events})):
        own = {key: values for key, values in events.items() if key[0] == collection}
        own["", "label"] = events["", "label"]
        where = folder / kind / name / split / (collection or "event_info")
        where.mkdir(parents=True)
        cut = 1 + number
        for i, rows in enumerate((slice(0, cut), slice(cut, n))):
            table = table_of(own, rows, prefix=False)
            table = table if not collection else table.drop_columns("label")
            parquet.write_table(table, where / f"{i}.parquet")


SPLITS = {"train": 60, "valid": 20, "test": 20}


def cleaned(events):
    """Events that the standard cleaning keeps."""
    keep = np.asarray(events["", "order"]) != -1
    for column, full in cmsl1t.FULL.items():
        keep &= np.array([max(values, default=0) < full for values in events[column]])
    return keep


def expected_events(events, rows):
    """Events (n, 19, 3) as one writes them by hand, object by object."""
    x = np.zeros((len(rows), 19, 3))
    for i, row in enumerate(rows):

        def physical(pt, eta, phi, unit, n_phi):
            angle = (phi + 0.5) * 2 * np.pi / n_phi
            return pt, eta * unit, angle - 2 * np.pi * (angle >= np.pi)

        if len(events["MET", "Et"][row]) and events["MET", "Et"][row][0]:
            met = events["MET", "Et"][row][0] / 2, 0, events["MET", "phi"][row][0]
            x[i, 0] = physical(*met, 0.0435, 144)
        for name, first, last in (("egammas", 1, 5), ("muons", 5, 9), ("jets", 9, 19)):
            muon = name == "muons"
            found = zip(
                *(events[name, column][row] for column in COLLECTIONS[name][0]), strict=True
            )
            found = sorted(((pt - muon, eta, phi) for pt, eta, phi in found), key=lambda o: -o[0])
            found = [own for own in found if own[0] > 0]
            for slot, (pt, eta, phi) in zip(range(first, last), found, strict=False):
                units = (0.010875, 576) if muon else (0.0435, 144)
                x[i, slot] = physical(pt / 2, eta, phi, *units)
    return x


@pytest.fixture(scope="module")
def samples():
    """Events of every set and split; some saturated, one empty, muons in no order."""
    found = {}
    for seed, (name, label) in enumerate((("zb_2025", 0), ("SingleNeutrino", -1), ("TTbar", 7))):
        splits = SPLITS if label == 0 else {"valid": 9, "test": 15}
        found[name] = {s: random_events(n, [seed, n], label) for s, n in splits.items()}
    train = found["zb_2025"]["train"]
    for name, (columns, further) in COLLECTIONS.items():
        for column in (*columns, *further):
            train[name, column][3] = np.zeros(0, int)
    for name in ("MET", "FET"):
        train[name, "Et"][3] = train[name, "phi"][3] = np.zeros(0, int)
    three = {"muonIEt": [5, 90, 1], "muonIEtaAtVtx": [-1, 2, 3], "muonIPhiAtVtx": [575, 0, 9]}
    for column in (*COLLECTIONS["muons"][0], *COLLECTIONS["muons"][1]):
        train["muons", column][4] = np.array(three.get(column, [0, 0, 0]))
    for row, (column, full) in enumerate(cmsl1t.FULL.items(), 10):
        train[column][row] = np.maximum(train[column][row], 1)
        if not len(train[column][row]):
            for other in COLLECTIONS[column[0]][0]:
                train[column[0], other][row] = np.array([1])
        train[column][row][0] = full
    train["", "order"][20] = -1
    return found


@pytest.fixture(scope="module")
def folders(samples, tmp_path_factory):
    """The same events in both layouts."""
    mirror, record = tmp_path_factory.mktemp("mirror"), tmp_path_factory.mktemp("record")
    kinds = {"zb_2025": "zerobias", "SingleNeutrino": "background", "TTbar": "signal"}
    for name, splits in samples.items():
        for split, events in splits.items():
            write_mirror(mirror, name, split, events)
            write_record(record, kinds[name], name, split, events)
    (mirror / "seeds" / "zb_2025").mkdir(parents=True)
    (mirror / "seeds" / "zb_2025" / "train-00000-of-00001.parquet").touch()
    return {"mirror": mirror, "record": record}


@pytest.mark.parametrize("layout", ["mirror", "record"])
def test_both_layouts_give_the_events_of_a_trigger(samples, folders, layout, capsys):
    dataset = data.load(data.get_config("cmsl1t", source=str(folders[layout])))
    keep = {split: np.flatnonzero(cleaned(own)) for split, own in samples["zb_2025"].items()}
    assert counts(dataset) == {"train": 52, "val": 20, "test": 20, "signals.TTbar": 15}
    assert len(keep["train"]) == 52 and dataset.info["saturated"]["train"] == 8
    assert "saturated events are left out: 8 of train\n" in capsys.readouterr().err
    parts = {"train": dataset.train, "valid": dataset.val, "test": dataset.test}
    for split, rows in parts.items():
        events = samples["zb_2025"][split]
        expected = expected_events(events, keep[split])
        np.testing.assert_allclose(rows["x"], expected, rtol=1e-6, atol=1e-6)
        for name, dtype in cmsl1t.BESIDE.items():
            assert rows[name].dtype == dtype
            np.testing.assert_array_equal(rows[name], events["", name][keep[split]])
    assert not dataset.train["x"][3].any()  # the empty event
    muons = dataset.train["x"][4, 5:9]
    np.testing.assert_allclose(muons[:, 0], [44.5, 2.0, 0, 0])
    assert muons[1, 1] == np.float32(-0.010875) and not muons[2:].any()
    assert dataset.signals["TTbar"]["label"].tolist() == [7] * 15
    np.testing.assert_array_equal(dataset.train["met"], dataset.train["x"][:, 0, 0])


def test_counts_of_the_events_are_those_of_the_files(samples, folders):
    """The middle of every count lies in it; a muon's pT counts from 1 in the files."""
    rows = data.load(data.get_config("cmsl1t", source=str(folders["mirror"]))).test
    found = np.asarray(integers(rows["x"])).reshape(-1, 19, 3)
    events = samples["zb_2025"]["test"]
    for row in range(len(found)):
        for name, first, n in (("egammas", 1, 4), ("jets", 9, 10), ("muons", 5, 4)):
            own = np.array([events[name, column][row] for column in COLLECTIONS[name][0]]).T
            own[:, 0] -= name == "muons"
            own = own[np.argsort(-own[:, 0], kind="stable")][:n]
            own = own[own[:, 0] > 0]
            np.testing.assert_array_equal(found[row, first : first + len(own)], own)


def test_limits_and_chosen_signals(folders):
    own = "top=TTbar,neutrinos=SingleNeutrino"
    config = data.get_config(
        "cmsl1t", source=str(folders["record"]), signals=own, n_events=10, n_signal=5
    )
    found = counts(data.load(config))
    assert found.pop("train") <= 10  # saturated events are left out of those
    assert found == {"val": 10, "test": 10, "signals.top": 5, "signals.neutrinos": 5}
    config.signals = "top=zb_2025"
    with pytest.raises(UserError, match=r"data.signals: top: expected one of the sets .*/TTbar, f"):
        data.load(config)


def test_files_are_scored_row_by_row(samples, folders, tmp_path, monkeypatch):
    """Any trigger method trains on it; saturated events have a score, as every row of a file."""
    monkeypatch.chdir(tmp_path)
    config = adc2021_shallow.get_config("smoke")
    config.data.update(name="cmsl1t", source=str(folders["mirror"]), n_signal=10)
    config.inputs.name, config.method.n_trees = "trigger_integer", 5
    train(config, tmp_path / "run")
    mirror = folders["mirror"] / "data/zb_2025/train-00001-of-00002.parquet"
    record = folders["record"] / "zerobias/zb_2025/train/muons/1.parquet"
    assert score.main(["run", str(mirror), str(record), "--out", "scores.h5"]) == 0
    with h5py.File("scores.h5") as file:
        (name,) = set(file) - {"file", "row"}
        found = [file[name][:][file["file"][:] == i] for i in range(2)]
    scorer = load("run")
    events = expected_events(samples["zb_2025"]["train"], range(60)).astype(np.float32)
    everything = scorer(events)
    np.testing.assert_allclose(found[0], everything[30:], rtol=1e-5)
    assert len(found[1]) < 60
    np.testing.assert_allclose(found[1], everything[-len(found[1]) :], rtol=1e-5)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (("jets", "jetIPhi"), [144], r"jets_jetIPhi: row 2: expected a count from 0 to 143, found"),
        (("muons", "muonIEt"), [512], r"row 2: expected a count from 0 to 511, found 512"),
        (("egammas", "egIEta"), [-129], r"row 2: expected a count from -128 to 127, found -129"),
        (("MET", "Et"), [], r"MET_Et: row 2: expected a list of one, found one of 0"),
        (("MET", "phi"), [3, 4], r"MET_phi: row 2: expected a list of one, found one of 2"),
        (("jets", "jetIEta"), [1, 2], r"row 2: expected 1 values as in jetIEt, found 2"),
        (("", "label"), 3, r"label: row 2: expected that of zero bias, found 3"),
    ],
)
def test_what_no_trigger_can_have_counted(tmp_path, column, values, message):
    for split in SPLITS:
        events = random_events(5, 0)
        for name in ("jets", "muons", "egammas"):
            for own in (*COLLECTIONS[name][0], *COLLECTIONS[name][1]):
                events[name, own][2] = np.array([1])
        events[column][2] = values if column[0] == "" else np.array(values)
        write_mirror(tmp_path, "zb", split, events, parts=1)
    with pytest.raises(UserError, match=message) as error:
        data.load(data.get_config("cmsl1t", source=str(tmp_path)))
    assert "train-00000-of-00001.parquet: " in str(error.value) and "\n" not in str(error.value)


def test_folders_and_files_that_are_others(samples, tmp_path):
    def refused(match):
        with pytest.raises(UserError, match=match) as error:
            data.load(config)
        assert "\n" not in str(error.value)

    config = data.get_config("cmsl1t", source=str(tmp_path))
    refused(r"expected data/SET/SPLIT-NNNNN-of-NNNNN.parquet or .*, found none")
    config.source = "simulation"
    refused("data.source: the CMS L1T set is neither simulated nor downloaded")
    config.source = str(tmp_path)
    events = random_events(9, 0)
    write_mirror(tmp_path, "top", "test", random_events(9, 0, 4))
    refused("no set of zero bias .label 0.; found top")
    write_mirror(tmp_path, "zb", "train", events)
    refused("zb: no files of the split val")
    for split in ("validation", "test"):
        write_mirror(tmp_path, "zb", split, events)
    assert counts(data.load(config))["val"] == 9
    first = tmp_path / "data/zb/train-00000-of-00002.parquet"
    content = first.read_bytes()
    first.write_bytes(content[:900])
    refused("train-00000-of-00002.parquet: truncated: only 900 bytes are here, and a Parquet")
    first.unlink()
    refused("zb: train: expected 2 files, found 1: number 0 is missing")
    first.write_bytes(content)
    table = parquet.read_table(first)
    parquet.write_table(table.drop_columns("FET_Et"), first)
    refused("no column 'FET_Et'; found muons_muonIEt")
    nothing = pa.array([None] * len(table), INTS)
    at = table.schema.get_field_index("jets_jetIEt")
    parquet.write_table(table.set_column(at, "jets_jetIEt", nothing), first)
    refused("jets_jetIEt: 4 rows have no value")
    first.rename(first.with_name("odd-00000-of-00001.parquet"))
    refused("expected a split train, valid or test, found 'odd'")


def test_collections_of_a_record_have_the_same_rows(tmp_path):
    for split in SPLITS:
        write_record(tmp_path, "zerobias", "zb", split, random_events(20, 0))
    (tmp_path / "zerobias/zb/train/jets/1.parquet").unlink()
    with pytest.raises(UserError, match=r"train/jets: expected 20 rows as in \w+, found \d+: d"):
        data.load(data.get_config("cmsl1t", source=str(tmp_path)))


def test_rates_are_followed_in_bins_of_time_in_two_runs(tmp_path):
    """By what an evaluation writes: the columns of the files beside the scores."""
    for split in SPLITS:
        write_mirror(tmp_path, "zb", split, random_events(200, 0))
    test = data.load(data.get_config("cmsl1t", source=str(tmp_path))).test
    classes, name = {"background": test}, str(tmp_path / "scores.h5")
    scores = np.round(test["sum_pt"] / 8)[None]
    write_scores(tmp_path / "scores.h5", {"background": {"sum": scores}}, classes)
    how = ["--period", "run", "--against", "time", "lumi", "--out", str(tmp_path / "out")]
    assert rates.main([f"{name}:background/sum", "--rates", "0.2", *how]) == 0
    steady = json.loads((tmp_path / "out" / "rates.json").read_text())["stability"]
    bins = steady["columns"]["time"]["bins"]["first"]
    assert len(bins["n"]) > 5 and sum(bins["n"]) == np.sum(test["run"] == RUNS[0])
    assert min(bins["low"]) == test["time"][test["run"] == RUNS[0]].min()
    per = {name: steady["columns"][name]["slope"]["first"]["slope"] for name in ("time", "lumi")}
    assert per["lumi"] == pytest.approx(23 * per["time"], rel=1e-6)


def test_columns_beside_that_no_file_has_are_left_out(tmp_path):
    for split in SPLITS:
        events = random_events(9, 0)
        del events["", "nPV_True"], events["", "order"]
        write_mirror(tmp_path, "zb", split, events, parts=1)
    dataset = data.load(data.get_config("cmsl1t", source=str(tmp_path)))
    assert "nPV_True" not in dataset.train and "nPV_True" not in dataset.labels
    assert set(dataset.train["run"]) <= set(RUNS)
