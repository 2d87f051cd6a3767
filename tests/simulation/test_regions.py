"""Calorimeter regions: where a deposit is counted, what is lost, and the files of a simulation."""

import itertools

import h5py
import numpy as np
import pytest

from jaxad import data, inputs
from jaxad.report.simulation import draw
from jaxad.simulation import regions
from jaxad.simulation.regions import REGION_EDGES, TOWER_EDGES, outliers, regions_of

TOWER = 2 * np.pi / 72


def places(image):
    """{(phi, eta): count} of one image."""
    return {tuple(map(int, place)): int(image[tuple(place)]) for place in np.argwhere(image)}


def counted(eta, phi, energy, *further):
    """The image of deposits of one event in one calorimeter, and in further ones."""
    calorimeters = [np.broadcast_arrays(0, *each) for each in ((eta, phi, energy), *further)]
    found = regions_of(1, *calorimeters)
    assert found.shape == (1, 18, 14) and found.dtype == np.uint16
    return places(found[0])


def test_edges_are_those_of_the_trigger():
    assert len(TOWER_EDGES) == 57 and len(REGION_EDGES) == 15
    half = [0, 0.348, 0.696, 1.044, 1.392, 1.740, 2.172, 3.0]
    np.testing.assert_allclose(REGION_EDGES[7:], half, atol=1e-12)
    np.testing.assert_array_equal(REGION_EDGES, -REGION_EDGES[::-1])
    np.testing.assert_allclose(np.diff(TOWER_EDGES[28:49]), 0.087)


def test_region_zero_of_phi_is_centred_and_holds_towers_71_72_1_and_2():
    """Tower 1 begins at phi = 0, whatever turns an angle has made."""
    for tower, region in {70: 17, 71: 0, 72: 0, 1: 0, 2: 0, 3: 1, 6: 1, 7: 2, 36: 9, 37: 9}.items():
        for turn in (-1, 0, 1):
            phi = (tower - 0.5) * TOWER + 2 * np.pi * turn
            assert counted(0.1, phi, 10.0) == {(region, 7): 20}
    middle = np.arange(18) * 4 * TOWER
    image = counted(0.1, middle[:, None] + [-1.9 * TOWER, 1.9 * TOWER], 1.0)
    assert image == {(region, 7): 4 for region in range(18)}


def test_regions_of_eta_ascend_and_end_at_three():
    for number, (low, high) in enumerate(itertools.pairwise(REGION_EDGES)):
        for eta in (low + 1e-6, high - 1e-6):
            assert counted(eta, 0.1, 7.0) == {(0, number): 14}
    assert not counted([-3.01, 3.0001, 5.0, -20.0], 0.1, 100.0)


def test_energy_is_counted_tower_by_tower_and_down():
    """0.4 + 0.4 GeV are one count in one tower of one calorimeter, and none in two."""
    assert counted([0.04, 0.04], 0.01, 0.4) == {(0, 7): 1}
    assert not counted([0.04, 0.1], 0.01, 0.4)
    assert not counted(0.04, 0.01, 0.4, (0.04, 0.01, 0.4))
    assert counted(0.04, 0.01, 0.99, (0.04, 0.01, 0.5)) == {(0, 7): 2}


def test_a_tower_holds_255_of_each_calorimeter_and_a_region_1023():
    assert counted(0.04, 0.01, 127.4) == {(0, 7): 254}
    assert counted(0.04, 0.01, 500.0) == {(0, 7): 255}
    assert counted(0.04, 0.01, 500.0, (0.04, 0.01, 500.0)) == {(0, 7): 510}
    towers = np.array([0.04, 0.13, 0.2, 0.3])
    assert counted(towers, 0.01, 127.5) == {(0, 7): 1020}
    assert counted(towers, 0.01, 127.5, (0.04, 0.01, 2.0)) == {(0, 7): 1023}


def test_every_tower_of_every_event_is_counted_once():
    rng = np.random.default_rng(0)
    event, eta = rng.integers(0, 5, 4000), rng.uniform(-3.5, 3.5, 4000)
    phi, energy = rng.uniform(-9, 9, 4000), rng.integers(1, 5, 4000) / 2
    found = regions_of(6, (event, eta, phi, energy)).sum(axis=(1, 2))
    inside = np.abs(eta) < 3
    np.testing.assert_array_equal(found, 2 * np.bincount(event, energy * inside, minlength=6))


def test_outliers_add_one_to_ten_regions_over_all_scales():
    rng = np.random.default_rng(1)
    images = rng.poisson(3, (3000, 18, 14)).astype(np.uint16)
    images[:, 0, 0] = 1023
    found = outliers(images, np.random.default_rng(2))
    assert found.dtype == np.uint16 and found.max() == 1023 and (found >= images).all()
    np.testing.assert_array_equal(found, outliers(images, np.random.default_rng(2)))
    changed = found != images
    assert set(changed[:, 1:].sum(axis=(1, 2))) == set(range(11))
    np.testing.assert_allclose(changed.mean(), 5.5 / 252, rtol=0.05)
    added = (found - images.astype(int))[changed & (images < 20)]
    decades = np.histogram(added[added < 1000], [1, 10, 100, 1000])[0] / len(added)
    np.testing.assert_allclose(decades, np.log(10) / np.log(1024), atol=0.02)


def test_simulated_files_are_read_as_images(tmp_path):
    """Zero bias, and what stands out of it, in the layout of CICADA's files."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("awkward")
    made = {"zero_bias": 30, "svj_2100": 12}
    for process, n in made.items():
        rows = regions.generate(process, n, np.random.default_rng(3))
        np.savez(tmp_path / f"{process}.npz", **rows)
        parts = {process: [tmp_path / f"{process}.npz"]}
        regions._write(tmp_path / f"{process}.h5", f"{process}.h5", parts)
    again = regions.generate("svj_2100", 12, np.random.default_rng(3))
    with h5py.File(tmp_path / "svj_2100.h5") as file:
        np.testing.assert_array_equal(file["CaloRegions"][:], again["CaloRegions"])
        assert file["AcceptanceFlag"][:].tolist() == [1] * 12
    config = data.get_config(
        "events",
        source=str(tmp_path / "zero_bias.h5"),
        x_key="CaloRegions",
        format="image",
        signals=f"SVJ={tmp_path / 'svj_2100.h5'}",
    )
    dataset = data.load(config)
    background, signal = dataset.train["x"], dataset.signals["SVJ"]["x"]
    assert background.shape[1:] == (18, 14) and background.dtype == np.float32
    assert 0.3 < (background > 0).mean() < 0.65 and 1.5 < background.mean() < 5
    assert signal.sum(axis=(1, 2)).mean() > 2 * background.sum(axis=(1, 2)).mean()
    chosen = inputs.get_config("image", pixels="energy", max_energy=1023.0)
    stage = inputs.stage(chosen, dataset.layout, ("image",), "m")
    found = np.asarray(stage.values(background)) * 1023
    np.testing.assert_array_equal(np.rint(found)[..., 0], background)
    paths = [tmp_path / f"{process}.h5" for process in made]
    assert draw("regions", paths, tmp_path / "check.png").stat().st_size > 10_000
