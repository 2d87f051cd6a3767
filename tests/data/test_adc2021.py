"""The ADC2021 reader on files of its layout, sound and damaged."""

import h5py
import numpy as np
import pytest

import jaxad.data as data
from jaxad.data import adc2021
from jaxad.data.dataset import counts
from jaxad.errors import UserError
from jaxad.inputs.trigger import clean, mask


def _events(n, seed):
    rng = np.random.default_rng(seed)
    events = np.zeros((n, 19, 4))
    events[..., 0] = rng.exponential(40, (n, 19))
    events[..., 1:3] = rng.uniform(-2, 2, (n, 19, 2))
    events[..., 3] = adc2021.CLASS
    events[:, 0, 1] = 0
    events[:, 3:5] = 0
    events[:, 7:9] = 0
    return events


def _write_events(path, events, key="Particles", names=b"Pt Eta Phi Class"):
    with h5py.File(path, "w") as file:
        file[key] = events
        file[f"{key}_Names"] = np.array(names.split())
    return path


@pytest.fixture
def adc(tmp_path):
    _write_events(tmp_path / "background_for_training.h5", _events(1000, 0))
    for seed, stem in enumerate(adc2021.SIGNALS.values(), 1):
        suffix = "_filtered" if seed % 2 else ""
        _write_events(tmp_path / f"{stem}{suffix}.h5", _events(50 * seed, seed))
    return tmp_path


def test_adc2021_reads_background_and_signals(adc):
    dataset = data.load(data.get_config("adc2021", source=str(adc)))
    assert counts(dataset) == {
        "train": 640,
        "val": 160,
        "test": 200,
        **{"signals.A4l": 50, "signals.LQ": 100, "signals.h0": 150, "signals.hch": 200},
    }
    rows = dataset.signals["LQ"]
    np.testing.assert_array_equal(rows["x"], _events(100, 2)[..., :3].astype(np.float32))
    np.testing.assert_array_equal(rows["met"], rows["x"][:, 0, 0])
    np.testing.assert_array_equal(rows["multiplicity"], mask(rows["x"])[:, 1:].sum(axis=1))
    assert len(np.unique(np.concatenate([dataset.train["met"], dataset.test["met"]]))) == 840


def test_adc2021_limits_and_own_signals(adc):
    own = f"mine={adc / 'hToTauTau_13TeV_PU20_filtered.h5'}"
    config = data.get_config("adc2021", source=str(adc), signals=own, n_events=100, n_signal=20)
    assert counts(data.load(config)) == {"train": 64, "val": 16, "test": 20, "signals.mine": 20}


def test_a_sample_is_one_file_and_a_signal_is_no_background(adc):
    """The first file of several would stand for all of them."""
    background = adc / "background_for_training.h5"
    several = data.get_config("adc2021", source=str(adc / "*.h5"))
    with pytest.raises(UserError, match=r"data.source: expected one file, found 5 as .*\*\.h5"):
        data.load(several)
    several.update(source=str(background), signals=f"mine={adc / 'h*.h5'}")
    with pytest.raises(UserError, match=r"data.signals: expected one file, found 2 as"):
        data.load(several)
    several.signals = f"mine={adc / 'nothing.h5'}"
    with pytest.raises(UserError, match=r"no such file; give data.signals a file"):
        data.load(several)
    for source in (adc, background):
        several.update(source=str(source), signals=f"mine={background}")
        with pytest.raises(UserError, match=r"data.signals: mine: .*ing.h5 is also the background"):
            data.load(several)


def _class(events):
    events[7, 5, 3] = 4


def _degrees(events):
    events[7, 5, 2] = 90


def _hole(events):
    events[7, 5, 0] = np.nan


def _all_mev(events):
    events[..., 0] *= 1000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_class, r"Particles\[7, 5\]: found a class that does not belong to its row"),
        (_degrees, r"Particles\[7, 5\]: found a phi beyond 4 pi"),
        (_hole, r"Particles\[7, 5\]: found a NaN or infinity"),
        (_all_mev, "looks like MeV"),
    ],
)
def test_adc2021_values_that_cannot_be(adc, damage, message):
    events = _events(100, 0)
    damage(events)
    _write_events(adc / "background_for_training.h5", events)
    with pytest.raises(UserError, match=message):
        data.load(data.get_config("adc2021", source=str(adc)))


def test_angles_of_padding_and_beyond_pi_are_right(adc):
    """pT = 0 is padding, whatever the angles say, and phi = 6.82 is the direction of 0.54."""
    path, events = adc / "background_for_training.h5", _events(100, 0)
    plain = adc2021.read_events(_write_events(path, events), 0, 0)
    empty = events[..., 0] == 0
    events[empty] = (0, -999, -999, 0)
    events[..., 2] = np.where(empty, -999, events[..., 2] + 2 * np.pi)
    assert events[..., 2].max() > 6.82
    odd = adc2021.read_events(_write_events(path, events), 0, 0)
    for name in plain.keys() - {"x"}:
        np.testing.assert_array_equal(odd[name], plain[name])
    np.testing.assert_allclose(clean(odd["x"]), clean(plain["x"]), atol=2e-6)


def test_adc2021_layouts_that_are_others(adc):
    config = data.get_config("adc2021", source=str(adc))
    path = adc / "background_for_training.h5"
    _write_events(path, _events(10, 0)[..., :3])
    with pytest.raises(UserError, match=r"Particles: expected shape \(N, 19, 4\), found \(10, 19"):
        data.load(config)
    _write_events(path, _events(10, 0), key="Data")
    with pytest.raises(UserError, match=r"no dataset 'Particles'; found Data \(10, 19, 4\)"):
        data.load(config)
    _write_events(path, _events(10, 0), names=b"Eta Phi Pt Class")
    with pytest.raises(UserError, match="Particles_Names: expected Pt, Eta, Phi, Class, found"):
        data.load(config)
    path.unlink()
    with pytest.raises(
        UserError, match=r"or background_for_training_filtered.h5, neither is there"
    ):
        data.load(config)
