"""Scaled features and the mass as densities see them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.methods.stages import density, frame


def rows(n: int = 20_000) -> dict[str, np.ndarray]:
    """Two features, of which mean and log of the spread of the logit are parabolas of log m.

    The last two rows are the edges, 0 and 1.
    """
    rng = np.random.default_rng(0)
    m = (2.5 + rng.exponential(0.6, n)).astype(np.float32)
    powers = np.vander(np.log(m), 3)
    logit = rng.normal(size=(n, 2)) * np.exp(powers @ [[0.3, 0], [-0.2, 0], [-1, -0.5]])
    logit += powers @ [[0, -0.5], [1, 1], [-0.5, 0]]
    x = 1 / (1 + np.exp(-logit))
    x[-2:] = [[0], [1]]
    return {"x": x.astype(np.float32), "m": m}


def settings(order: int) -> ConfigDict:
    return density.get_config(frame_order=order)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_scaled_features_come_back_and_their_jacobian_is_that_of_autodiff(order):
    fitted = frame.fit(settings(order), rows())
    assert ("moving" in fitted) == (order > 0)
    x, m = (rows()[key][:50] for key in ("x", "m"))

    def one(x, m):
        return frame.scaled(fitted, x[None], m[None])[0]

    @jax.jit
    def values(x, m):
        back = frame.unscaled(fitted, frame.scaled(fitted, x, m), m)
        expected = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(one))(x, m))[1]
        return back, frame.log_jacobian(fitted, x, m), expected

    back, found, expected = values(x, m)
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_moments_of_scaled_features_do_not_follow_the_mass():
    """In bins of equal content, within four standard errors; of a frame that stays they do."""
    data = rows()
    bins = np.array_split(np.argsort(data["m"][:-2]), 8)
    far = {}
    for order in (0, 3):
        z = frame.seen(frame.fit(settings(order), data), data)["x"]
        means = np.stack([z[i].mean(axis=0) / z[i].std(axis=0) for i in bins])
        spreads = np.stack([np.log(z[i].std(axis=0)) for i in bins])
        errors = np.sqrt(len(bins[0]))
        far[order] = np.abs(means).max() * errors, np.abs(spreads).max() * errors * np.sqrt(2)
    assert max(far[3]) < 4 and min(far[0]) > 8


def test_two_masses_are_enough():
    data = rows(4000)
    data["m"] = np.where(data["x"][:, 0] > 0.5, 2, 3).astype(np.float32)
    z = frame.seen(frame.fit(settings(3), data), data)["x"][:-2]
    for m in (2, 3):
        part = z[data["m"][:-2] == m]
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=0.02)
        np.testing.assert_allclose(part.std(axis=0), 1, atol=0.02)


@pytest.mark.parametrize("n", [10, 40, 120])
def test_few_rows_have_lower_orders(n):
    """Below 100 one frame for all masses, and never far from it."""
    data = {key: values[-n:] for key, values in rows().items()}
    fitted = frame.fit(settings(3), data)
    assert len(fitted.get("moving", {"mean": [0]})["mean"]) == max((n - 2) // 50, 1)
    z = np.asarray(jax.jit(frame.scaled)(fitted, data["x"], data["m"]))[:-2]
    assert np.abs(z).max() < 6


def test_one_event_far_off_sets_no_scale():
    data = rows(2000)
    data["m"][0] = 100
    near = frame.fit(settings(1), {key: values[1:] for key, values in data.items()})
    far = frame.fit(settings(1), data)
    assert abs(far["mass"]["scale"] / near["mass"]["scale"] - 1) < 0.1
    x, m = (data[key][1:-2] for key in ("x", "m"))
    scaled = jax.jit(frame.scaled)
    apart = np.abs(np.asarray(scaled(far, x, m)) - scaled(near, x, m))
    assert np.quantile(apart, 0.99) < 0.1


def test_the_mass_order_of_other_networks_changes_nothing():
    seen = [
        frame.fit(density.get_config(name="realnvp", mass_order=order), rows()) for order in (0, 2)
    ]
    assert seen[0]["mass"] == seen[1]["mass"]


def test_a_gap_and_weights_leave_the_moments_what_they_are():
    """Of a law that polynomials hold exactly, and of rows that count twice."""
    rng = np.random.default_rng(1)
    u = rng.uniform(-1, 1, 40_000)
    powers = np.stack([np.ones_like(u), u], 1)
    z = 0.5 - 0.3 * u + np.exp(0.2 + 0.4 * u) * rng.normal(size=len(u))
    kept = np.abs(u - 0.2) > 0.15
    mean, log_scale = frame._gaussian(z[kept], powers[kept], np.ones(kept.sum()))
    np.testing.assert_allclose(mean, [0.5, -0.3], atol=0.03)
    np.testing.assert_allclose(log_scale, [0.2, 0.4], atol=0.02)
    twice = np.where(u > 0, 2, 1)
    repeated = np.repeat(np.arange(len(u)), twice)
    by_weight = frame._gaussian(z, powers, twice.astype(float))
    by_rows = frame._gaussian(z[repeated], powers[repeated], np.ones(len(repeated)))
    np.testing.assert_allclose(by_weight, by_rows, rtol=1e-6)


def test_masses_without_a_logarithm_are_refused():
    with pytest.raises(UserError, match="expected masses above 0, found 1 others"):
        frame.mass("log", np.array([0.0, 1.0, 2.0]), within=False)
    with pytest.raises(UserError, match=r"flow.mass: expected shifted, log or linear"):
        frame.mass("root", np.ones(3), within=False)


def shifted(m: np.ndarray, at: np.ndarray) -> np.ndarray:
    fitted = {"mass": frame.mass("shifted", m, within=False)}
    return np.asarray(frame.condition(fitted, jnp.asarray(at, jnp.float32)))[:, 0]


def test_a_shift_spreads_the_masses_evenly_whatever_their_unit_and_beside_a_gap():
    rng = np.random.default_rng(0)
    m = 2.3 + rng.gamma(1.5, 0.5, 50_000)  # a turn-on and a falling spectrum
    at = np.quantile(m, (0.05, 0.5, 0.95))
    u = shifted(m, at)
    assert abs(u[0] + u[2] - 2 * u[1]) < 1e-3
    np.testing.assert_allclose(shifted(1e3 * m, 1e3 * at), u, atol=1e-3)
    beside = m[(m < 3.3) | (m > 3.7)]
    np.testing.assert_allclose(shifted(beside, at), u, atol=0.25)
    every = np.linspace(0, 10, 1001)
    steps = np.diff(shifted(m, every))
    assert (steps >= 0).all() and (steps[every[:-1] > 2.4] > 0).all()


@pytest.mark.parametrize("m", [np.linspace(-5, 5, 1001), -np.geomspace(1, 9, 1001), np.arange(9)])
def test_masses_that_are_not_skewed_to_the_right_enter_as_they_are(m):
    seen, m = shifted(m, m), m.astype(np.float32)
    np.testing.assert_allclose(seen, (m - m.mean()) / m.std(), atol=1e-5)


def test_a_shift_keeps_away_from_the_floor_below_which_masses_are_one():
    """Of a spectrum that begins with its maximum; of whole numbers, and of the last bits of one."""
    rng = np.random.default_rng(0)
    for m in (2.4 + rng.exponential(0.6, 20_000) ** 3, np.floor(rng.exponential(5, 9_000))):
        fitted = frame.mass("shifted", m, within=False)
        assert fitted["shift"] < fitted["floor"]
        u = shifted(m, np.sort(m))
        assert np.isfinite(u).all() and (np.diff(u) >= 0).all()
        assert len(np.unique(u[np.sort(m) <= fitted["floor"]])) == 1
    close = 125 + 7.63e-6 * rng.choice([0, 1, 5], 100)
    assert np.isfinite(shifted(close, close)).all()
