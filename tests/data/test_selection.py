"""Selections: what the language means, in every kind of file, and one line for what it does not."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxad import data
from jaxad.data import jagged
from jaxad.data.expression import Lists, parsed
from jaxad.data.places import open_named
from jaxad.errors import UserError
from jaxad.report.html import html_report

N = 40


def lists_of(values):
    counts = np.array([len(row) for row in values])
    return Lists(counts, np.concatenate([np.asarray(row, np.float32) for row in values]))


COLUMNS = {
    "pt": lists_of([[400, 30], [], [310], [20, 10, 5]]),
    "eta": lists_of([[0.1, -3], [], [2], [0, 1, -1]]),
    "n": np.array([2, 0, 1, 3], np.uint8),
    "HLT_Mu50": np.array([True, False, True, True]),
    "flag": np.array([1, 0, 1, 1], np.int32),
    "jets": np.arange(12, dtype=np.float32).reshape(4, 3),
    "run": np.array([1, 2, 2**53 + 1, 4], np.uint64),
    "Jet.pt": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n > 1", [1, 0, 0, 1]),
        ("pt[0] > 300 & n == 2 & HLT_Mu50", [1, 0, 0, 0]),
        ("pt[0]>300&&HLT_Mu50", [1, 0, 1, 0]),
        ("pt[-1] < 20 || n == 0", [0, 1, 0, 1]),
        # What an event does not have compares as false, whatever the comparison.
        ("pt[1] != 30", [0, 0, 0, 1]),
        ("~(pt[0] > 300)", [0, 1, 0, 1]),
        ("!HLT_Mu50", [0, 1, 0, 0]),
        ("~flag | n > 2", [0, 1, 0, 1]),
        ("count(pt) >= 2", [1, 0, 0, 1]),
        ("count(pt > 8 & abs(eta) < 2.5) == 2", [0, 0, 0, 1]),
        ("count(pt > 100 * n) == 1", [1, 0, 1, 0]),
        ("count(jets > 4) == 1", [0, 1, 0, 0]),
        ("jets[-1] - jets[0] == 2 & jets[1] >= 4", [0, 1, 1, 1]),
        ("1 <= n < 3", [1, 0, 1, 0]),
        ("n - 3 < -1", [0, 1, 1, 0]),  # no wrapping of unsigned integers
        ("n * 200 > 300", [1, 0, 0, 1]),
        ("run == 9007199254740993", [0, 0, 1, 0]),
        ("Jet.pt > 0.1", [1, 1, 1, 1]),  # in double precision, as ROOT has it
        ("`Jet.pt` > .25", [0, 0, 1, 1]),
    ],
)
def test_what_it_means(text, expected):
    selection = parsed(text)
    found = selection.passed(COLUMNS, 4, 0) == len(selection.terms)
    assert found.tolist() == [bool(one) for one in expected]


def test_terms_are_passed_one_after_another():
    selection = parsed("(n > 0 | flag) & pt[0] > 25  &  HLT_Mu50&~(n == 2)")
    assert selection.terms == ("n > 0 | flag", "pt[0] > 25", "HLT_Mu50", "~(n == 2)")
    assert selection.passed(COLUMNS, 4, 0).tolist() == [3, 0, 4, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("n >", r"cannot be read \(invalid syntax\): expected comparisons joined by &,"),
        ("n > '3'", "'3': is not of the language"),
        ("__import__('os').system('x')", "no such function: abs"),
        ("sqrt(n) > 2", r"sqrt\(n\): no such function: abs\(...\) and count\(...\)"),
        ("[i for i in n]", "is not of the language"),
        ("n ** 2 > 3", "is not of the language"),
        ("n if flag else n", "is not of the language"),
        ("(lambda: 1)() > 0", "no such function"),
        ("pt[n] > 3", r"pt\[n\]: expected the number of an entry"),
        ("pt[0:2] > 3", "expected the number of an entry"),
        ("(pt + 1)[0] > 3", "only columns have entries"),
        ("~n > 3", r"~n > 3: write ~\(n > 3\)"),
        ("n", "n is a number: expected true or false, or a comparison such as n > 0"),
        ("pt > 3", "pt > 3: is true or false for each entry of a list"),
        ("count(n) > 3", r"count\(n\): expected lists"),
        ("count(pt > jets[0] & pt > 1 & short > 3)", "lists of 2 and 1 entries at row 7: compare"),
        ("jets[5] > 0", r"jets has the shape \(n, 3\): no entry 5"),
        ("images[1] > 0", r"images\[1\] > 0: is true or false for each entry"),
        ("images > 0", r"images has the shape \(n, 2, 2\) an event: say which number"),
        ("odd > 0", "odd > 0: not a number at row 9"),
        ("n > 0 & " * 400 + "n", "expected at most 2000 characters"),
        ("-" * 1900 + "n > 0", "cannot be read"),
    ],
)
def test_refused(text, message):
    columns = COLUMNS | {
        "short": lists_of([[1], [], [1], [1, 2, 3]]),
        "images": np.zeros((4, 2, 2)),
        "odd": np.array([1, 2, np.nan, 3]),
    }
    with pytest.raises(UserError, match=message) as error:
        parsed(text).passed(columns, 4, 7)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("data.selection: ")


@pytest.fixture(scope="module")
def events():
    """Particles in lists, and what is one number an event."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 6, N)
    x = np.zeros((N, 5, 3), np.float32)
    x[..., 0] = np.sort(rng.uniform(20, 500, (N, 5)), axis=1)[:, ::-1]
    x[..., 1:] = rng.normal(size=(N, 5, 2))
    x[np.arange(5) >= counts[:, None]] = 0
    numbers = {"n": counts.astype(np.int32), "HLT": rng.random(N) < 0.7}
    return x, numbers | {"w": rng.random(N).astype(np.float32), "label": np.arange(N) % 2}


TEXT = "Jet_pt[0] > 150 & n >= 2 & HLT"
KEYS = {"x_key": "Jet_pt,Jet_eta,Jet_phi", "weight_key": "w", "label_key": "label"}


def written(folder, kind, x, numbers):
    """The events in a file of one kind."""
    columns = dict(zip(("Jet_pt", "Jet_eta", "Jet_phi"), np.moveaxis(x, -1, 0), strict=True))
    if kind == "npz":
        np.savez(folder / "x.npz", **columns, **numbers)
        return folder / "x.npz"
    if kind == "h5":
        with h5py.File(folder / "x.h5", "w") as file:
            for name, values in (columns | numbers).items():
                file[name] = values
        return folder / "x.h5"
    ak = pytest.importorskip("awkward")
    there = x[..., 0] > 0
    lists = {
        name: ak.Array([row[own] for row, own in zip(values, there, strict=True)])
        for name, values in columns.items()
    }
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        ak.to_parquet(ak.Array(lists | numbers), folder / "x.parquet", row_group_size=7)
        return folder / "x.parquet"
    uproot = pytest.importorskip("uproot")
    with uproot.recreate(folder / "x.root") as file:
        if kind == "tree":
            types = dict.fromkeys(lists, "var * float32")
            types |= {name: values.dtype for name, values in numbers.items()}
            file.mktree("Events", types)
            for part in (slice(0, 25), slice(25, N)):
                file["Events"].extend({k: v[part] for k, v in (lists | numbers).items()})
        else:
            file["Events"] = lists | numbers
    return f"{folder}/x.root:Events"


@pytest.mark.parametrize("kind", ["npz", "h5", "parquet", "tree", "ntuple"])
def test_every_kind_of_file_gives_the_same_events(kind, events, tmp_path):
    x, numbers = events
    source = written(tmp_path, kind, x, numbers)
    config = data.get_config("events", source=str(source), selection=TEXT, signals="s=1", **KEYS)
    dataset = data.load(config)
    kept = (x[:, 0, 0] > 150) & (numbers["n"] >= 2) & numbers["HLT"]
    assert 10 < kept.sum() < N - 5
    expected = x[kept & (numbers["label"] == 1)]
    found = dataset.signals["s"]["x"]
    np.testing.assert_array_equal(found, expected[:, : found.shape[1]])
    flow = dataset.info["cut_flow"]["s"]
    assert [line["term"] for line in flow] == ["read", "Jet_pt[0] > 150", "n >= 2", "HLT"]
    signal = numbers["label"] == 1
    first = signal & (x[:, 0, 0] > 150)
    assert [line["events"] for line in flow[:2]] == [signal.sum(), first.sum()]
    assert flow[-1]["events"] == len(found)
    assert flow[-1]["weight"] == pytest.approx(numbers["w"][signal & kept].sum(), rel=1e-6)
    assert "Jet_pt[0] > 150" in data.summary(dataset)
    assert json.dumps(dataset.info)


def test_a_table_is_cut(tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)).round(3)
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="a,b,c", comments="")
    own = {"source": str(tmp_path / "t.csv"), "features": "a,b", "selection": "abs(c) < 1 & a > 0"}
    dataset = data.load(data.get_config("events", **own))
    kept = (np.abs(rows[:, 2]) < 1) & (rows[:, 0] > 0)
    total = sum(len(part["x"]) for part in (dataset.train, dataset.val, dataset.test))
    assert total == kept.sum() == dataset.info["cut_flow"]["background"][-1]["events"]
    own |= {"features": "a,b", "mass": "c", "selection": "c > 0"}
    table = data.search_table(data.get_config("events", **own))
    assert len(table.x) == (rows[:, 2] > 0).sum()
    assert table.info["cut_flow"]["all files"][1]["events"] == len(table.x)
    assert "c > 0" in data.table_summary(table)


def test_a_trigger_that_one_file_lacks(events, tmp_path):
    x, numbers = events
    for name, trigger in (("a", "HLT_Mu50"), ("b", "HLT_Mu55")):
        np.savez(tmp_path / f"{name}.npz", x=x, **{trigger: numbers["HLT"]})
    own = {"source": str(tmp_path / "*.npz"), "selection": "HLT_Mu50"}
    with pytest.raises(UserError) as error:
        data.load(data.get_config("events", **own))
    assert str(error.value) == (
        f"{tmp_path}/b.npz: data.selection: 'HLT_Mu50' is absent in this file ({tmp_path}/a.npz "
        "has it); the nearest names are HLT_Mu55"
    )


def test_signals_of_files_of_their_own_are_cut_too(events, tmp_path):
    x, numbers = events
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=x, n=numbers["n"])
    own = {"source": str(tmp_path / "a.npz"), "signals": f"s={tmp_path}/b.npz"}
    dataset = data.load(data.get_config("events", selection="n >= 3", n_events=9, **own))
    kept = x[numbers["n"] >= 3]
    assert len(dataset.signals["s"]["x"]) == 9
    assert {row.tobytes() for row in dataset.signals["s"]["x"]} <= {row.tobytes() for row in kept}
    flows = dataset.info["cut_flow"]
    assert flows["s"] == flows["background"] and flows["s"][-1]["events"] == len(kept)


def test_nothing_passes(events, tmp_path):
    x, numbers = events
    np.savez(tmp_path / "x.npz", x=x, **numbers)
    own = {"source": str(tmp_path / "x.npz"), "selection": "n > 1 & n > 100"}
    with pytest.raises(UserError, match=r"no event of background passes: read 40, n > 1 .* 0$"):
        data.load(data.get_config("events", **own))
    own["selection"] = "n > 1 & 3 > 2"
    assert data.load(data.get_config("events", **own)).info["cut_flow"]["background"][2]["events"]
    own["selection"] = "3 > 2"
    with pytest.raises(UserError, match=r"data.selection: names no column"):
        data.load(data.get_config("events", **own))


def test_the_report_shows_the_cut_flow():
    flow = {"background": [{"term": "read", "events": 10}, {"term": "pt[0] > 3", "events": 4}]}
    page = html_report(metrics={"signals": {}, "data": {"cut_flow": flow}}, figures={}, title="t")
    assert "<h2>Selection</h2>" in page and "pt[0] &gt; 3" in page


def test_columns_are_read_block_by_block(events, tmp_path, monkeypatch):
    """Whatever the blocks, and from any row on."""
    x, numbers = events
    monkeypatch.setattr(jagged, "AT_ONCE", 3)
    for kind in ("parquet", "tree", "ntuple"):
        source = written(tmp_path, kind, x, numbers)
        with open_named(Path(source), "Jet_pt", "") as column:
            for rows in (slice(0, 4), slice(4, 31), slice(2, 9), slice(39, 40), slice(5, 5)):
                expected = x[rows, :, 0]
                np.testing.assert_array_equal(column[rows], expected[:, : column.shape[1]])
        with open_named(Path(source), "n", "") as column:
            np.testing.assert_array_equal(column[0:N], numbers["n"])
            assert column.shape == (N,)
