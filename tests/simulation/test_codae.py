"""Dark showers and event images: conservation laws, layout, agreement with the real sample."""

from pathlib import Path

import numpy as np
import pytest

from jaxad.data import codae as reader
from jaxad.report.simulation import draw
from jaxad.simulation import codae as simulation
from jaxad.simulation import dark_showers


def invariant_mass(p: np.ndarray) -> np.ndarray:
    return np.sqrt(p[..., 0] ** 2 - np.square(p[..., 1:]).sum(axis=-1))


def moving(mass: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    momentum = rng.normal(0, 200, (len(mass), 3))
    energy = np.sqrt(mass**2 + np.square(momentum).sum(axis=1))
    return np.column_stack([energy, momentum])


def test_decays_conserve_four_momentum():
    rng = np.random.default_rng(0)
    parent = moving(np.full(50, 0.7), rng)
    products = dark_showers.two_body(parent, np.full(50, 0.10566), rng)
    np.testing.assert_allclose(products[:50] + products[50:], parent, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(invariant_mass(products), 0.10566, atol=1e-3)


@pytest.mark.parametrize("mass", [125.0, 1000.0])
def test_showers_use_up_the_mediator(mass):
    rng = np.random.default_rng(1)
    mediator = moving(np.full(40, mass), rng)
    shower = dark_showers.suep(mediator, rng)
    p = np.stack([shower.e, shower.px, shower.py, shower.pz], axis=1)
    total = np.stack([np.bincount(shower.event, column) for column in p.T], axis=1)
    np.testing.assert_allclose(total, mediator, rtol=1e-6, atol=1e-3)
    assert np.all(np.diff(shower.event) >= 0)
    assert np.bincount(shower.event, shower.charge).max() == 0
    pions = np.mean(np.abs(shower.pdg) == 211)
    assert abs(pions - 0.7) < 4 * np.sqrt(0.7 * 0.3 / (len(shower.pdg) / 2))
    assert set(np.sign(shower.pdg) * shower.charge) == {1.0, -1.0}


def test_thermal_spectrum():
    rng = np.random.default_rng(2)
    p = dark_showers._thermal_momenta(200_000, rng)
    grid = np.linspace(0, 60, 60_001)
    density = grid**2 * np.exp(-np.sqrt(grid**2 + 4) / 2)
    mean = np.sum(grid * density) / np.sum(density)
    assert abs(p.mean() - mean) < 5 * p.std() / np.sqrt(len(p))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Four of the eleven files, as `simulate` writes them."""
    folder = tmp_path_factory.mktemp("codae")
    sizes = {
        "train/qcd_gensim_0.npz": 20,
        "test/qcd_gensim_1.npz": 8,
        "test/suep_gensim_h1000_0.npz": 6,
        "test/svj_2100_0.npz": 6,
    }
    for i, (file, n) in enumerate(sizes.items()):
        process = simulation.FILES[file]
        rows = simulation.generate(process, n, np.random.default_rng(i))
        np.savez(folder / f"{i}.npz", **rows)
        (folder / file).parent.mkdir(exist_ok=True)
        simulation._write(folder / file, Path(file).name, {process: [folder / f"{i}.npz"]})
    return folder


def config(folder):
    from jaxad.configs import codae

    settings = codae.get_config("smoke").data
    settings.source = str(folder)
    settings.n_events = 0
    return settings


def test_the_reader_takes_it(sample):
    dataset = reader.load(config(sample))
    assert len(dataset.train["x"]) + len(dataset.val["x"]) == 20
    assert len(dataset.test["x"]) == 8
    assert list(dataset.signals) == ["SUEP_1000", "SVJ_2100"]
    tracks = dataset.train["x"][..., 0]
    assert np.all((tracks > 0).sum((1, 2)) <= dataset.train["n_tracks"])
    heavy, qcd = (rows["n_tracks"].mean() for rows in (dataset.signals["SUEP_1000"], dataset.test))
    assert heavy > 2 * qcd


def test_its_check_is_drawn(sample, tmp_path):
    paths = [sample / file for file in simulation.FILES if (sample / file).exists()]
    assert draw("codae", paths, tmp_path / "check.png").stat().st_size > 10_000


def test_same_seed_same_events():
    one, other = (simulation.generate("qcd", 2, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one["images"], other["images"])


def test_qcd_resembles_the_published_events(sample, shared_data):
    simulated = reader.load(config(sample)).train
    real = reader.load(config(shared_data / "codae")).train
    for key in ("n_tracks", "hits"):
        spread = real[key].std() / np.sqrt(len(simulated[key]))
        assert abs(simulated[key].mean() - real[key].mean()) < 4 * spread
    for channel in (1, 2):
        a, b = ((rows["x"][..., channel] > 0).sum((1, 2)).mean() for rows in (simulated, real))
        assert 0.9 < a / b < 1.4
