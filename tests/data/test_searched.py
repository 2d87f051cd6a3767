"""Data of every reader as the table of a search."""

import numpy as np
import pytest
from lhco_events import fake_events, fake_particles, write_frame
from ml_collections import ConfigDict
from named_tables import same

from jaxad import data, inputs
from jaxad.data import get_config, lhco, search_table
from jaxad.errors import UserError
from jaxad.search import table as search


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
