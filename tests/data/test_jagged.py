"""Jagged branches of ROOT files, and lists of Parquet, train as the same particles in arrays do."""

import shutil

import numpy as np
import pytest
from random_jets import random_jets

from jaxad import data
from jaxad.data import preset
from jaxad.data.dataset import counts
from jaxad.errors import UserError
from jaxad.observables.momenta import four_momenta

uproot = pytest.importorskip("uproot")
ak = pytest.importorskip("awkward")
N = 60
CLASSES = ["QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl"]


def lists(columns, there):
    """Columns (N, n) without the slots where nothing is."""
    return {
        k: ak.Array([v[row] for v, row in zip(c, there, strict=True)]) for k, c in columns.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """jetclass.root as published, nano.root of two trees and an empty event, and x.npz of it."""
    folder, x = tmp_path_factory.mktemp("root"), random_jets(0, N, 12)
    x[7] = 0
    there = x[..., 0] > 0
    pt, eta, phi = np.moveaxis(x, -1, 0)
    with uproot.recreate(folder / "nano.root") as file:
        jets = {"Jet_pt": pt, "Jet_eta": eta, "Jet_phi": phi}
        odd = {"Muon_phi": np.where(np.arange(N)[:, None] == 3, 0, phi)}
        branches = lists(jets, there) | lists(odd, there & (np.arange(N)[:, None] != 3))
        file["Events"] = branches | {"genWeight": np.arange(N, dtype=np.float32)}
        file["Runs"] = {"run": np.arange(2)}
    np.savez(folder / "x.npz", x=x, w=np.arange(N, dtype=np.float32))
    momenta = dict(
        zip(("energy", "px", "py", "pz"), np.moveaxis(four_momenta(x), -1, 0), strict=True)
    )
    momenta = {
        f"part_{name}": values.astype(np.float32)[:, ::-1] for name, values in momenta.items()
    }
    with uproot.recreate(folder / "jetclass.root") as file:
        hot = {f"label_{name}": np.arange(N) % 10 == i for i, name in enumerate(CLASSES)}
        types = [np.float32, *[bool] * 5, *[np.int32] * 4]
        hot = {k: v.astype(t) for (k, v), t in zip(hot.items(), types, strict=True)}
        more = {"jet_sdmass": np.arange(N, dtype=np.float32)}
        file["tree"] = lists(momenta, there[:, ::-1]) | hot | more
    return folder


NANO = {"x_key": "Jet_pt,Jet_eta,Jet_phi", "weight_key": "genWeight"}


def load(source, **settings):
    return data.load(data.get_config("events", source=str(source), **settings))


def test_a_tree_is_the_array_of_it(folder):
    jagged = load(f"{folder}/nano.root:Events", **NANO)
    arrays = load(folder / "x.npz", weight_key="w")
    for (_, found), (_, expected) in zip(jagged.parts(), arrays.parts(), strict=True):
        n = found["x"].shape[1]
        np.testing.assert_array_equal(found["x"], expected["x"][:, :n])
        assert not expected["x"][:, n:].any()
        for key in ("mass", "weight"):
            np.testing.assert_array_equal(found[key], expected[key])
    assert jagged.info["files"] == [f"{folder}/nano.root"]


def test_a_file_of_no_event_is_one_of_several(folder, tmp_path):
    """As skims write them; parts by the names of files, which trees are no part of."""
    shutil.copy(folder / "nano.root", tmp_path / "a.root")
    kinds = dict.fromkeys(("Jet_pt", "Jet_eta", "Jet_phi"), "var * float32")
    with uproot.recreate(tmp_path / "none.root") as file:
        file.mktree("Events", kinds | {"genWeight": "float32"})
    found = load(f"{tmp_path}/*.root:Events", **NANO, selection="Jet_pt[0] > 0")
    assert sum(n for n in counts(found).values()) == N - 1
    with pytest.raises(UserError, match=r"none.root:Events: Jet_pt,Jet_eta,Jet_phi: no events"):
        load(f"{tmp_path}/none.root:Events", **NANO)
    (tmp_path / "none.root").unlink()
    shutil.copy(tmp_path / "a.root", tmp_path / "b.root")
    found = load(f"{tmp_path}/[ab].root:Events", **NANO, split="train=a.root,test=b.root")
    assert counts(found)["test"] == N


def test_lists_of_parquet_are_the_tree(folder):
    pytest.importorskip("pyarrow")
    with uproot.open(f"{folder}/nano.root:Events") as tree:
        events = tree.arrays(["Jet_pt", "Jet_eta", "Jet_phi", "genWeight"])
    ak.to_parquet(events, folder / "x.parquet", row_group_size=7)
    found, expected = load(folder / "x.parquet", **NANO), load(f"{folder}/nano.root:Events", **NANO)
    assert found.info["digest"] == expected.info["digest"]
    with pytest.raises(UserError, match=r"no column 'Jet_phy'; found Jet_eta, .*; set data.x_key"):
        load(folder / "x.parquet", **NANO | {"x_key": "Jet_pt,Jet_eta,Jet_phy"})


def test_events_of_a_tree_are_scored_as_they_train(folder):
    config = data.get_config("events", source="", **NANO)
    with data.open_events(config, f"{folder}/nano.root:Events") as events:
        with np.load(folder / "x.npz") as file:
            x = file["x"][10:20]
        found = events[10:20]
        np.testing.assert_array_equal(found, x[:, : found.shape[1]])


def test_jetclass(folder):
    dataset = load(folder / "jetclass.root", preset="jetclass")
    assert list(dataset.signals) == CLASSES[1:]
    assert {n for name, n in counts(dataset).items() if name.startswith("signals")} == {6}
    with np.load(folder / "x.npz") as file:
        for _, rows in dataset.parts():
            index = rows["softdrop_mass"].astype(int)
            np.testing.assert_array_equal(rows["label"], index % 10)
            expected = four_momenta(file["x"][index]).astype(np.float32)
            np.testing.assert_array_equal(rows["x"], expected[:, : rows["x"].shape[1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_key": "Jet_pt,Jet_eta,Muon_phi"}, "Muon_phi: expected as many values as in .* row 3"),
        ({"x_key": "Jet_pt,Jet_eta,Jet_phy"}, "no branch 'Jet_phy'; found .*; set data.x_key"),
        ({"weight_key": "Jet_pt"}, "Jet_pt: expected one value an event"),
        ({"source": "nano.root"}, "expected FILE.root:TREE, one of Events, Runs"),
        ({"source": "gone.root:Events"}, "gone.root.*no such file"),
    ],
)
def test_refused(folder, changes, message):
    settings = NANO | {"source": "nano.root:Events"} | changes
    settings["source"] = f"{folder}/{settings['source']}"
    with pytest.raises(UserError, match=message) as error:
        load(**settings)
    assert "\n" not in str(error.value)


def test_every_label_of_jetclass_is_a_class():
    settings = preset.read("jetclass").settings
    assert settings["label_key"] == ",".join(f"label_{name}" for name in CLASSES)
    assert settings["signals"] == ",".join(f"{n}={i}" for i, n in enumerate(CLASSES) if i)
