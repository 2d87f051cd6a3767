"""Reader of the multi-prong jets: published layout, cut, split, observables, and refused files."""

import h5py
import numpy as np
import pytest
from random_jets import jets_of_600_gev, write

from jaxad.data import get_config, load
from jaxad.data.jets import BACKGROUND, SIGNALS
from jaxad.errors import UserError
from jaxad.inputs.observables import observables
from jaxad.observables.efp import compute_efps
from jaxad.observables.kinematics import epxpypz_to_ptetaphi, epxpypz_to_ptyphi

N_JETS = 60


@pytest.fixture
def folder(tmp_path):
    """Every third background jet has the wrong pT; observables number the events."""
    momenta = jets_of_600_gev(0, N_JETS)
    momenta[::3] *= 1.5
    obs = np.broadcast_to(np.arange(N_JETS)[:, None, None], (N_JETS, 2, 9)).astype(np.float32)
    write(tmp_path / BACKGROUND, momenta, obs)
    for i, name in enumerate(("top_174", "W_59")):
        write(tmp_path / SIGNALS[name], jets_of_600_gev(i + 1, 8, 40))
    return tmp_path


def config(source, **changes):
    return get_config("jets", source=str(source), n_constituents=32, **changes)


def test_published_layout(folder):
    data = load(config(folder))
    assert set(data.signals) == {"top_174", "W_59"}
    parts = (data.train, data.val, data.test)
    assert [len(part["x"]) for part in parts] == [24, 3, 13]
    for part in (*parts, *data.signals.values()):
        assert part["x"].shape[1:] == (32, 4) and part["x"].dtype == np.float32
        pt = np.hypot(part["x"][..., 1], part["x"][..., 2])
        assert np.all(np.diff(pt, axis=1) <= 0)
        assert np.all((part["pt"] >= 550) & (part["pt"] <= 650))
    momenta = jets_of_600_gev(0, N_JETS)
    events = np.concatenate([part["tau1"] for part in parts]).astype(int)
    assert sorted(events) == [i for i in range(N_JETS) if i % 3]
    assert data.test["tau1"].min() > max(data.train["tau1"].max(), data.val["tau1"].max())
    total = np.concatenate([part["x"] for part in parts]).sum(axis=1)
    np.testing.assert_allclose(total, momenta.sum(axis=1)[events], rtol=1e-4, atol=0.05)


def test_limits_and_hardest_constituents(folder):
    data = load(config(folder, n_jets=12))
    assert sum(len(part["x"]) for part in (data.train, data.val, data.test)) == 12
    few = load(get_config("jets", source=str(folder / BACKGROUND), n_constituents=5))
    whole = load(config(folder))
    np.testing.assert_array_equal(few.test["x"], whole.test["x"][:, :5])
    np.testing.assert_array_equal(few.test["mass"], whole.test["mass"])


def test_observables_are_cached_for_these_jets_only(folder, tmp_path, monkeypatch):
    data = load(config(folder)).test
    x, graphs = data["x"], {"wedge": ((0, 1), (0, 2))}
    made = observables(x, graphs, tmp_path / "cache")
    particles = np.asarray(epxpypz_to_ptyphi(x))
    expected = np.column_stack([data["mass"], data["pt"], compute_efps(graphs, particles)])
    np.testing.assert_allclose(made, expected, rtol=1e-4)
    massless = np.asarray(epxpypz_to_ptetaphi(x))
    np.testing.assert_allclose(observables(massless, graphs, tmp_path / "cache"), made, rtol=0.02)
    monkeypatch.setattr("jaxad.inputs.observables.compute_efps", None)
    np.testing.assert_array_equal(observables(x, graphs, tmp_path / "cache"), made)
    with pytest.raises(TypeError):
        observables(x[:5], graphs, tmp_path / "cache")


def test_bad_files_and_settings_are_named(folder):
    momenta = jets_of_600_gev(0, 9)
    background = folder / BACKGROUND

    def refused(match, **changes):
        with pytest.raises(UserError, match=match):
            load(config(folder, **changes))

    refused("n_jets", n_jets=-1)
    refused("pt_min < pt_max", pt_min=700.0)
    refused("no jet with", pt_min=10.0, pt_max=20.0)
    write(background, 1000 * momenta)
    refused("MeV")
    write(background, momenta, width=6)
    refused("five numbers a particle, found .* at row 0")
    write(background, momenta, np.zeros((9, 2, 8), np.float32))
    refused(r"obs: expected shape \(N, N, 9\), found \(9, 2, 8\)")
    momenta[4, 0, 0] = np.inf
    write(background, momenta)
    refused("NaN or infinity at row 4")
    with h5py.File(background, "w") as file:
        file["objects/jets/constituents"] = np.zeros((9, 2, 3))
        file["objects/jets/obs"] = np.zeros((9, 2, 9))
    refused("variable-length")
    background.write_bytes(b"not HDF5")
    refused("expected an HDF5 file")
    background.unlink()
    refused("no such file")
