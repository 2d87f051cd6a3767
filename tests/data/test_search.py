"""A search in one's own events: labels, windows, masses, and what is refused."""

import numpy as np
import pytest
from random_jets import random_jets

from jaxad import data
from jaxad.data.window import held_out_data, in_window
from jaxad.errors import UserError

N = 600


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.default_rng(0)
    label = rng.choice([0, 1, 4], N, p=[0.5, 0.3, 0.2])
    mass = np.where(label == 4, rng.normal(3.5, 0.03, N), rng.uniform(2.8, 4.2, N)) * 1000
    path = tmp_path_factory.mktemp("search") / "table.npz"
    np.savez(path, x=rng.normal(size=(N, 3)), m=mass, label=label)
    return str(path)


def settings(source, **changes):
    own = {"format": "features", "mass_key": "m", "label_key": "label", "signals": "s=4"}
    own |= {"source": source, "window": "3.3-3.7", "inject": 30, "background": "0,1"}
    return data.get_config("events", **own | changes)


@pytest.mark.parametrize(("background", "signal"), [("0,1", 4), ("1", 0), ("0", 1)])
def test_labels_of_any_number_are_background_and_signal(source, background, signal):
    """Truth is which class was named signal, whatever number the file gives it."""
    config = settings(source, background=background, signals=f"s={signal}", inject=12)
    dataset = data.load(config)
    assert dataset.info["injected"] == {"train": 6, "val": 2, "test": 4}
    for part, n in dataset.info["injected"].items():
        if part != "test":
            assert getattr(dataset, part)["label"].sum() == n
    with np.load(source) as file:
        wanted = np.isin(file["label"], [int(b) for b in background.split(",")])
        truth = {row.tobytes() for row in file["x"][wanted].astype(np.float32)}
    background = [row[1:].tobytes() for row in dataset.test["x"]]
    assert background and set(background) <= truth
    assert set(dataset.test["label"]) == {0} and set(dataset.extra["sideband"]["label"]) == {0}
    assert set(dataset.signals["s"]["label"]) == {1}
    assert not {row[1:].tobytes() for row in dataset.signals["s"]["x"]} & truth


def test_the_window_parts_the_events(source):
    dataset = data.load(settings(source))
    assert in_window(dataset.test, (3.3, 3.7)).all()
    assert not in_window(dataset.extra["sideband"], (3.3, 3.7)).any()


def test_a_mass_column_goes_to_the_disk_too(source, tmp_path):
    in_memory = data.load(settings(source))
    on_disk = data.load(settings(source, on_disk=True, cache=str(tmp_path)))
    assert isinstance(on_disk.train["x"], np.memmap)
    np.testing.assert_array_equal(on_disk.train["x"], in_memory.train["x"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": "3.7-3.3"}, "window: expected LOW < HIGH in TeV, found 3.7 and 3.3"),
        ({"window": "3300-3700"}, r"window 3300-3700 TeV: .* found masses from 2.8"),
        ({"window": "0-9"}, r"window 0-9 TeV: expected some events in it and some beside it"),
        ({"window": "3.3"}, "data.window: expected LOW-HIGH in TeV"),
        ({"window": ""}, "data.inject: .* set data.window"),
        ({"window": "", "inject": 0, "supervised": True, "signals": ""}, "data.supervised: needs"),
        ({"supervised": True}, "data.supervised: is not for a search"),
        ({"inject": 10**6}, "signal events to inject: expected 0 to"),
        ({"mass_key": ""}, "set data.mass_key"),
    ],
)
def test_refusals(source, changes, message):
    with pytest.raises(UserError, match=message):
        data.load(settings(source, **changes))


def test_a_mass_beside_particles_is_refused(tmp_path):
    x = random_jets(0, 50, 8)
    np.savez(tmp_path / "jets.npz", x=x, m=np.ones(50), label=np.arange(50) % 2)
    own = {"source": str(tmp_path / "jets.npz"), "label_key": "label", "signals": "s=1"}
    config = data.get_config("events", observables="mass=m", window="0.1-0.2", **own)
    with pytest.raises(UserError, match="observables: mass: of particles a search takes"):
        data.load(config)
    config = data.get_config("events", observables="mass=m,pt=m,other=m", units="MeV", **own)
    rows = data.load(config).train
    assert set(rows["mass"]) == set(rows["pt"]) == {np.float32(1e-3)}
    assert set(rows["other"]) == {1}


def test_a_setting_of_another_reader_is_refused_where_it_was_asked_for():
    config = data.get_config("lhco")
    config.name, config.format = "events", "features"
    data.require_setting(config, "window")
    with pytest.raises(UserError, match=r"data.n_signal: not a setting .* set data.inject"):
        data.require_setting(config, "n_signal")


def test_other_data_are_tested_on_as_a_whole(source):
    """Signal injected or not, in the window all events are there, and what is data stays data."""
    dataset = data.load_all(settings(source))
    with np.load(source) as file:
        label, mass = file["label"], file["m"] / 1000
    inside = (mass > 3.3) & (mass < 3.7)
    assert len(dataset.test["x"]) == (inside & (label != 4)).sum()
    assert len(dataset.signals["s"]["x"]) == (inside & (label == 4)).sum()
    assert len(dataset.extra["sideband"]["x"]) == (~inside & (label != 4)).sum()
    rows = held_out_data(dataset)
    assert (rows["label"] == 0).sum() == (label != 4).sum() and rows["label"].sum() == 30
    assert dataset.info["injected"] == {"train": 0, "val": 0, "test": 30}


def test_data_that_trained_are_split_as_they_were(source):
    trained = data.load(settings(source))
    again = data.load_all(settings(source), trained.info["digest"])
    assert again.info == trained.info
