"""Presets of further containers: files with the published names give the events in them."""

import gzip
import re

import h5py
import numpy as np
import pytest
from published_layouts import BACKGROUND, CASES, DARKMACHINES, N, lists, write_parquet

from jaxad import data
from jaxad.data import event_text
from jaxad.data.dataset import counts
from jaxad.data.event_text import column
from jaxad.errors import UserError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name -> source, a file of it and its first event, written where they are asked for."""
    made = {}

    def written(name):
        if name not in made:
            made[name] = CASES[name][0](tmp_path_factory.mktemp(name))
        return made[name]

    return written


def loaded(name, source, **changes):
    return data.load(data.get_config("events", preset=name, source=str(source), **changes))


@pytest.mark.parametrize("name", CASES)
def test_published_layouts_give_the_events_in_them(files, name):
    source, file, first = files(name)
    config = data.get_config("events", preset=name, source=str(source))
    with data.open_events(config, str(file)) as events:
        found = np.asarray(events[0:1])[0]
    n = min(len(found), len(first))  # lists are as long as the longest, not as those of the set
    np.testing.assert_allclose(found[:n], first[:n], rtol=2e-6, atol=1e-4)
    assert not found[n:].any() and not first[n:].any()
    dataset = data.load(config)
    n = counts(dataset)
    assert {k: n[f"signals.{k}"] for k in dataset.signals} == CASES[name][1]
    assert n["train"] + n["val"] + n["test"] == BACKGROUND.get(name, N)


def test_real_jets_as_lists_of_parquet_are_the_same_jets(shared_data, tmp_path):
    with h5py.File(shared_data / "jets_hls4ml_20k.h5") as file:
        x, label = file["constituents"][:1000], file["label"][:1000]
    np.savez(tmp_path / "a.npz", x=x, label=label)
    names, there = ("j1_pt", "j1_etarel", "j1_phirel"), x[..., 0] > 0
    columns = {name: (lists(x[..., c], there), "float32") for c, name in enumerate(names)}
    write_parquet(tmp_path / "train.parquet", columns | {"label": (label, "int8")})
    same = {"n_particles": 60, "max_cut": 0.2}
    own = {"label_key": "label", "background": "0,1", "signals": "W=2,Z=3,t=4"}
    expected = data.load(data.get_config("events", source=str(tmp_path / "a.npz"), **own, **same))
    found = loaded("hls4ml_parquet", tmp_path, **same)
    assert found.info["digest"] == expected.info["digest"]


@pytest.mark.parametrize("name", CASES)
def test_a_name_that_is_not_there_has_three_neighbours(files, name):
    source, *_ = files(name)
    config = data.get_config("events", preset=name, source=str(source))
    key = re.search(r"[A-Za-z]\w*[^\W\d_]\w*", config.x_key)[0]
    config.x_key = config.x_key.replace(key, f"{key}s", 1)
    near = "" if name == "lhco_kitchensink" else "; nearest [^,;]+, [^,;]+, [^,;]+;"
    with pytest.raises(UserError, match=rf"no (column|branch|dataset) '{key}s.*'; found .*{near}"):
        data.load(config)


def test_jets_of_one_event_stay_together(files):
    source, *_ = files("pfnano")
    dataset = loaded("pfnano", source)
    events = {part: set(map(tuple, rows["event"])) for part, rows in dataset.parts()}
    assert sum(map(len, events.values())) == N == len(set.union(*events.values()))
    with pytest.raises(UserError, match=r"test events have the id of one that trains.*split=id"):
        loaded("pfnano", source, split="random")


def test_one_link_where_candidates_stand_in_the_table_of_links(files):
    uproot, awkward = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    source, *_ = files("pfnano")
    path = source.replace("pfnano.root", "flat.root").removesuffix(":Events")
    with uproot.open(source) as tree, uproot.recreate(path) as file:
        index = tree["FatJetPFCands_pFCandsIdx"].array()
        names = ("pt", "eta", "phi", "mass", "puppiWeight")
        flat = {k: tree[f"PFCands_{k}"].array()[index] for k in names}
        flat["jetIdx"] = tree["FatJetPFCands_jetIdx"].array()
        ids = ("run", "luminosityBlock", "event")
        jets = {k: tree[f"FatJet_{k}"].array() for k in ("pt", "msoftdrop")}
        events = {k: tree[k].array(library="np") for k in ids}
        events |= {"FatJetPFCands": awkward.zip(flat), "FatJet": awkward.zip(jets)}
        file.mktree("Events", events)
    keys = {"x_key": ",".join(f"FatJetPFCands_{k}" for k in names[:4])}
    keys |= {"particle_weight_key": "FatJetPFCands_puppiWeight", "links": "FatJetPFCands_jetIdx"}
    found = loaded("pfnano", f"{path}:Events", **keys)
    assert found.info["digest"] == loaded("pfnano", source).info["digest"]
    with pytest.raises(UserError, match=r"data.links: expected numbers of FatJet_pt, which has 2"):
        loaded("pfnano", f"{path}:Events", **keys | {"links": "FatJetPFCands_pt"})
    with pytest.raises(UserError, match=r"a list that is not of FatJet: name .* in data.links"):
        loaded("pfnano", f"{path}:Events", **keys | {"links": ""})


def test_an_event_with_one_muon_is_refused_not_zero(files):
    source, *_ = files("dimuon")
    changes = {"x_key": "Muon_pt[2],Muon_eta[2]", "mass_key": "Muon_pt[0]", "selection": ""}
    with pytest.raises(UserError, match=r"Muon_pt\[2\],Muon_eta\[2\]: NaN or infinity at row"):
        loaded("dimuon", source, **changes)
    with pytest.raises(UserError, match=r"Muon_pt: .* counted from their start, found \[-1\]"):
        loaded("dimuon", source, x_key="Muon_pt[-1],Muon_eta[0]")


def test_a_selection_of_jets_of_events(files):
    """A term holds for the jet that is a row, and for what its event has once."""
    source, *_ = files("nanoaod_fatjets")
    dataset = loaded("nanoaod_fatjets", source, selection="FatJet_pt >= 30 & run > 300010")
    rows = np.concatenate([part["x"] for _, part in dataset.parts()])
    whole = loaded("nanoaod_fatjets", source)
    everything = np.concatenate([part["x"] for _, part in whole.parts()])
    ids = np.concatenate([part["event"] for _, part in whole.parts()])
    kept = (everything[:, 0] >= 30) & (ids[:, 0] > 300010)
    assert set(rows[:, 0]) == set(everything[kept, 0]) and len(rows) == kept.sum()
    assert dataset.info["cut_flow"]["background"][0]["events"] == len(everything)


def test_features_are_called_as_their_columns(files):
    source, *_ = files("dimuon")
    names = [name for name, _ in loaded("dimuon", source).layout.columns]
    assert names[:3] == ["mass", "Muon_pt[0]", "Muon_pt[1]"] and len(names) == 9


def test_pickles_are_refused_and_told_where_the_muons_are(tmp_path):
    path = tmp_path / "all_mu_0.pkl"
    path.write_bytes(b"\x80\x04\x95not opened")
    for name in ("all_mu_0.pkl", "all_mu_0.npz", "all_mu_0.root", "all_mu_0.h5", "all_mu_0.csv"):
        path.with_name(name).write_bytes(path.read_bytes())
        with pytest.raises(UserError, match=r"a pickle, which would run code .* record 30555"):
            data.load(data.get_config("events", source=str(path.with_name(name))))


def test_types_of_objects_are_blocks_of_slots(files):
    source, *_ = files("darkmachines")
    rows = loaded("darkmachines", source, val_fraction=0.3)
    x = np.concatenate([rows.train["x"], rows.val["x"], rows.test["x"]])
    (second,) = x[x[:, 0, 0] == 100000]
    assert np.flatnonzero(second[:, 0]).tolist() == [0, 16, 21, 30]  # MET, b, e-, m+
    np.testing.assert_array_equal(second[30], np.float32([65000, 1.1, 0]))
    weights = np.concatenate([part["weight"] for _, part in rows.parts()])
    assert np.sort(weights)[:2].tolist() == [-0.25, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((",0.1,1.5;", ",0.1;"), r"line 1: object 1: expected type,E,pt,eta,phi, found 'j,310000,"),
        ((";j,410000", " j,410000"), r"line 1: object 1: expected type,E,pt,eta,phi, found"),
        (("m+,70000", "x,70000"), r"line 2: object 3: expected a type of j, b, .*, found 'x'"),
        (("65000", "6x000"), r"line 2: expected a number, found '6x000'"),
        (("3;njets;-0.25;", "3;njets;"), r"line 3: expected event; process; weight; MET; METphi"),
        (("ttbar;1.5;", "ttbar;1.5;;"), r"line 2: expected event; process; weight"),
        (("2;ttbar;1.5", "2;ttbar;one"), r"line 2: expected a number, found 'one'"),
        ((";e-,", ";;e-,"), r"line 2: object 2: expected type,E,pt,eta,phi, found ''"),
    ],
)
def test_half_objects_are_refused_with_their_line(tmp_path, change, message):
    assert change[0] in DARKMACHINES
    path = tmp_path / "background_chan1_7.79.csv"
    path.write_text(DARKMACHINES.replace(*change))
    with pytest.raises(UserError, match=message):
        column(path, "j_pt")


def test_lines_of_events_block_by_block_inside_gzip_and_on_disk(files, tmp_path, monkeypatch):
    _, path, _ = files("darkmachines")
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    expected = loaded("darkmachines", path, val_fraction=0.3).info["digest"]
    for size, where in ((1 << 20, packed), (100, path), (100, packed)):
        monkeypatch.setattr("jaxad.data.text_file.BLOCK", size)
        monkeypatch.setattr("jaxad.data.event_text._parsed", {})
        own = {"on_disk": True, "cache": str(tmp_path / str(size)), "val_fraction": 0.3}
        assert loaded("darkmachines", where, **own).info["digest"] == expected
        (parsed,) = event_text._parsed.values()
        assert isinstance(parsed.objects, np.memmap) and (len(parsed.rows) > 3) == (size == 100)
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(UserError, match=r"gz: cannot be read as a gzip file"):
        loaded("darkmachines", packed)


def test_a_process_is_a_class(files):
    """Labels as texts, of the file's own column."""
    source, *_ = files("darkmachines")
    names = {"label_key": "process", "label_names": "njets,ttbar", "signals": "ttbar=1"}
    dataset = loaded("darkmachines", source, **names)
    assert counts(dataset)["signals.ttbar"] == 1
    with pytest.raises(
        UserError, match=r"labels are texts, 'njets', 'ttbar': set data.label_names="
    ):
        loaded("darkmachines", source, **names | {"label_names": ""})
    with pytest.raises(UserError, match=r"one of data.label_names=njets, found 'ttbar'"):
        loaded("darkmachines", source, **names | {"label_names": "njets"})
