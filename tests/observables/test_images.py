"""Jet images against numpy.histogram2d and EnergyFlow, symmetries, event images by definition."""

from functools import partial

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_jets import random_jets

from jaxad.devices.batches import in_batches
from jaxad.observables import images
from jaxad.observables.kinematics import relative

aligned_image = partial(images.jet_image, n_pixels=40, half_width=1.0, align=True)


def histogram(particles, n_pixels, half_width):
    edges = np.linspace(-half_width, half_width, n_pixels + 1)
    result = []
    for pt, eta, phi in np.moveaxis(particles, -1, 1):
        image = np.histogram2d(phi, eta, bins=[edges, edges], weights=pt)[0]
        result.append(image / image.sum())
    return np.array(result)


@pytest.mark.parametrize("n_pixels, half_width", [(16, 0.8), (40, 1.0), (7, 0.3)])
def test_plain_image_is_numpy_histogram2d(n_pixels, half_width):
    particles = random_jets(0)
    found = images.jet_image(particles, n_pixels, half_width)
    assert found.shape == (len(particles), n_pixels, n_pixels) and found.dtype == jnp.float32
    expected = histogram(np.asarray(relative(particles)), n_pixels, half_width)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("n_pixels, half_width", [(16, 0.8), (40, 1.0), (3, 0.3)])
def test_bins_equal_numpy_on_and_beside_every_edge(n_pixels, half_width):
    edges = np.linspace(-half_width, half_width, n_pixels + 1)
    on = edges.astype(np.float32)
    x = np.concatenate(
        [on, np.nextafter(on, np.float32(-9)), np.nextafter(on, np.float32(9)), [-5, 5]]
    ).astype(np.float32)
    x = x[(x == 0) | (np.abs(x) > 1e-30)]  # compiled code may flush denormals to zero
    found = np.asarray(images._histogram_bin(x, n_pixels, half_width))
    inside = (found >= 0) & (found < n_pixels)
    for value, index, kept in zip(x, found, inside, strict=True):
        counts = np.histogram(np.float64(value), bins=edges)[0]
        assert counts.sum() == kept
        assert not kept or counts[index] == 1


def test_image_across_the_phi_wrap_equals_the_image_away_from_it():
    particles = random_jets(1)
    turned = particles.copy()
    present = particles[..., 0] > 0
    jet_phi = np.asarray(particles[:, 0, 2])[:, None]
    for target in (0.0, np.pi - 0.05):
        phi = particles[..., 2] - jet_phi + target
        turned[..., 2] = np.where(present, (phi + np.pi) % (2 * np.pi) - np.pi, 0)
        for image in (images.jet_image, aligned_image):
            difference = np.abs(np.asarray(image(turned)) - np.asarray(image(particles)))
            # A particle within rounding of an edge may change pixels; nothing else may move.
            assert np.mean(difference.sum(axis=(1, 2)) > 1e-4) < 0.05


def test_images_sum_to_one_and_an_empty_jet_is_zero():
    particles = random_jets(2)
    particles[3] = 0
    for image in (images.jet_image, aligned_image):
        total = np.asarray(image(particles)).sum(axis=(1, 2))
        np.testing.assert_allclose(np.delete(total, 3), 1, rtol=1e-5)
        assert total[3] == 0


def test_aligned_image_does_not_see_shifts_rotations_or_reflections():
    particles = random_jets(3, n_jets=300).astype(np.float64)
    present = particles[..., 0] > 0
    angle = 0.7
    eta, phi = particles[..., 1], particles[..., 2] - particles[:, :1, 2]
    phi = (phi + np.pi) % (2 * np.pi) - np.pi
    moved = particles.copy()
    moved[..., 1] = np.where(present, 0.3 - np.cos(angle) * eta + np.sin(angle) * phi, 0)
    moved[..., 2] = np.where(present, 0.1 + np.sin(angle) * eta + np.cos(angle) * phi, 0)
    before, after = (np.asarray(aligned_image(p.astype(np.float32))) for p in (particles, moved))
    assert np.mean(np.abs(before - after).sum(axis=(1, 2)) > 1e-4) < 0.05


def energyflow_image(particles):
    import energyflow as ef
    from energyflow.utils import image_utils

    result = []
    for jet in particles.astype(np.float64):
        jet = jet[jet[:, 0] > 0]
        jet = ef.center_ptyphims(jet, center="ptscheme")
        jet = ef.reflect_ptyphims(ef.rotate_ptyphims(jet))
        result.append(image_utils.pixelate(jet, npix=40, img_width=2.0)[..., 0])
    return np.array(result)


def away_from_the_wrap(particles):
    return particles[np.abs(particles[:, 0, 2]) < 1.5]


def test_aligned_image_equals_energyflow():
    from jaxad.observables.graphs import import_energyflow

    try:
        import_energyflow()
    except Exception as error:
        pytest.skip(str(error))
    particles = away_from_the_wrap(random_jets(4, n_jets=400))
    difference = np.abs(np.asarray(aligned_image(particles)) - energyflow_image(particles))
    moved = difference.sum(axis=(1, 2)) > 1e-4
    assert len(particles) > 100 and moved.mean() < 0.02
    with jax.enable_x64(True):
        exact = np.asarray(aligned_image(particles.astype(np.float64)))
    np.testing.assert_allclose(exact, energyflow_image(particles), atol=1e-12)


def test_real_jets_equal_energyflow_and_numpy(shared_data):
    with h5py.File(shared_data / "jets_hls4ml_20k.h5") as file:
        particles = file["constituents"][:300]
    rng = np.random.default_rng(0)
    # The published coordinates lie on a grid whose points are pixel edges: move them off it.
    smear = rng.uniform(-0.009, 0.009, (*particles.shape[:2], 2)) * (particles[..., :1] > 0)
    particles[..., 1:] += smear
    found = np.asarray(images.jet_image(particles))
    expected = histogram(np.asarray(relative(particles)), 16, 0.8)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    difference = np.abs(np.asarray(aligned_image(particles)) - energyflow_image(particles))
    assert np.mean(difference.sum(axis=(1, 2)) > 1e-4) < 0.05


def test_in_batches_equals_one_call_for_any_batch_size():
    particles = random_jets(5, n_jets=53)
    for batch_size in (10, 53, 4096):
        found = in_batches(lambda x: x.max(axis=1), particles, "largest", batch_size)
        np.testing.assert_array_equal(found, particles.max(axis=1))
    assert in_batches(lambda x: x.max(axis=1), particles[:0], "largest").shape == (0, 3)


def test_from_cells_pools_five_by_five_with_same_padding():
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 9, (3, 2, 286, 360)).astype(np.float32)
    found = np.asarray(images.from_cells(*cells))
    assert found.shape == (2, 72, 58, 3) and found.dtype == np.float32
    assert found.sum() == cells.sum()
    for channel in range(3):
        for row, column in [(0, 0), (10, 1), (71, 57), (30, 29)]:
            eta = slice(max(5 * column - 2, 0), 5 * column + 3)
            block = cells[channel, :, eta, 5 * row : 5 * row + 5]
            np.testing.assert_array_equal(found[:, row, column, channel], block.sum(axis=(1, 2)))
