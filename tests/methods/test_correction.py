"""A density's samples corrected by what the sidebands say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from small_task import assert_equal
from threadpoolctl import threadpool_limits

from jaxad.errors import UserError
from jaxad.inputs.logit import fit_logit_scaler
from jaxad.methods.stages import boosting, correction, densities, density, frame

N = 10_000


def wrong(correction: int = 1) -> tuple[ConfigDict, dict, dict]:
    """A density, and sidebands in 2-2.4 and 2.6-3 TeV of which it lacks a factor 0.6 + 0.8 x."""
    rng = np.random.default_rng(0)
    flow = density.get_config(n_layers=1, hidden=(4,), correction=correction)
    x = rng.random((N, 2)).astype(np.float32)
    params = jax.jit(density.network(flow, 2).init)(jax.random.key(0), x[:2], x[:2, :1])
    fitted = {
        "params": jax.tree.map(lambda a: a[None, None], params),
        "scaler": {k: np.asarray(v) for k, v in fit_logit_scaler(x, 1e-6)._asdict().items()},
        "mass": {"mean": np.float32(2.5), "scale": np.float32(0.3), "log": np.float32(0)},
    }
    config = ConfigDict({"seed": 0, "flow": flow})
    m = (rng.uniform(2, 2.4, N) + rng.choice([0, 0.6], N)).astype(np.float32)
    x = density.sample(config, fitted, "sidebands", m)
    kept = rng.random(N) * 1.4 < 0.6 + 0.8 * x[:, 0]
    return config, fitted, {"x": x[kept], "m": m[kept]}


def corrected_by(config: ConfigDict, fitted: dict, rows: dict) -> dict:
    (found,) = densities.corrected([densities.Uncorrected(config, fitted, rows, "density")])
    return found


@pytest.fixture(scope="module")
def case():
    config, fitted, sidebands = wrong(correction=2)
    return config, fitted, sidebands, corrected_by(config, fitted, sidebands)


def test_samples_in_a_gap_lose_the_fault_that_sidebands_show(case):
    config, fitted, sidebands, corrected = case
    gap = np.full(30_000, 2.5)
    before, after = (density.sample(config, f, "gap", gap).mean(0) for f in (fitted, corrected))
    truth = sidebands["x"].mean(axis=0)
    assert abs(before[0] - truth[0]) > 0.05
    assert abs(after[0] - truth[0]) < 0.3 * abs(before[0] - truth[0])
    assert abs(after[1] - truth[1]) < 0.008


def test_the_same_draws_come_again_and_others_for_something_else(case):
    config, *_, corrected = case
    m = np.full(500, 2.5)
    first, again = (density.sample(config, corrected, "one", m) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != density.sample(config, corrected, "two", m)).all()
    assert ((first > 0) & (first < 1)).all()


def test_without_classifiers_a_density_stays_as_it_is():
    config, fitted, sidebands = wrong(correction=0)
    assert corrected_by(config, fitted, sidebands) == fitted


@pytest.mark.parametrize("data_weight", [1.0, 3.0])
def test_draws_are_accepted_in_proportion_to_bounded_weights(data_weight, monkeypatch):
    monkeypatch.setattr(correction, "SLOW", correction.SLOW._replace(trees=80))
    rng = np.random.default_rng(1)
    n = 6_000
    x, m = rng.random((n, 2)).astype(np.float32), rng.random(n).astype(np.float32)
    data = {"x": x[x[:, 0] > 0.5], "m": m[x[:, 0] > 0.5]}
    data["weight"] = np.full(len(data["m"]), data_weight)
    draws = {"x": x, "m": m, "weight": np.ones(n)}
    (found,) = correction.fit([correction.Case(1, data, draws, 0, "density")])
    assert found["bound"] == pytest.approx(correction.LARGEST)
    for low, share in ((0.1, 1 / correction.LARGEST**2), (0.9, 0.96)):
        at = np.stack([np.full(n, low, np.float32), x[:, 1]], axis=1)
        kept = correction.accepted(found, at, m, rng.random(n)).mean()
        assert kept == pytest.approx(share, abs=0.03)


def test_a_correction_is_arrays_alone(case):
    *_, corrected = case
    assert all(
        isinstance(leaf, np.ndarray | np.generic | jnp.ndarray)
        for leaf in jax.tree.leaves(corrected["correction"])
    )


def test_cases_have_the_weights_that_they_have_alone(monkeypatch):
    rng = np.random.default_rng(1)
    cases = []
    for n in (3000, 2000, 2500):
        data, draws = ({"x": rng.random((k, 2)), "m": rng.random(k)} for k in (n, 2 * n))
        data["x"][:, 0] **= 0.8
        cases.append(correction.Case(1, data, draws, n, "density"))
    monkeypatch.setattr(correction, "SLOW", correction.SLOW._replace(trees=16))
    alone = [correction.fit([one])[0] for one in cases]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    size = boosting.memory(*correction._split(4 * correction.FILLED), n_features=3)
    monkeypatch.setattr(correction, "MEMORY", 2 * size)  # so that there is a second chunk
    for one, other in zip(alone, correction.fit(cases), strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other
        )
        assert one["trees"]["value"].shape[1] == correction.TREES
        assert one["trees"]["value"].std() > 0


def test_weights_are_the_same_bits_on_any_number_of_cores(monkeypatch):
    monkeypatch.setattr(correction, "SLOW", correction.SLOW._replace(trees=16))
    rng = np.random.default_rng(1)
    data, draws = ({"x": rng.random((n, 2)), "m": rng.random(n)} for n in (2000, 4000))
    found = []
    for cores in (1, 3):
        with threadpool_limits(cores, user_api="openmp"):
            found.append(correction.fit([correction.Case(3, data, draws, 0, "density")])[0])
    assert_equal(*found)


def test_rows_are_filled_up_to_few_sizes():
    sizes = set()
    for n in range(100, 400_000, 501):
        rows = {"x": np.empty((n, 0)), "m": np.empty(n)}
        case = correction.Case(1, rows, {"m": rows["m"][:0]}, 0, "density")
        bag, size = correction._bag(case), correction._size(case)
        assert all(a <= b for a, b in zip(*map(correction._split, (bag, size)), strict=True))
        assert size <= max(1.25 * bag, bag + correction.FILLED)
        sizes.add(size)
    assert len(sizes) <= 4 * 6


def test_trees_that_no_memory_holds_are_refused(monkeypatch):
    rows = {"x": np.empty((300_000, 200)), "m": np.empty(300_000)}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match=r"8.6 GB, found 13.\d GB, .* 201 features .*correction=0"):
        correction.fit([correction.Case(1, rows, rows, 0, "density")])


def test_networks_draw_together_what_each_draws_alone():
    config, fitted, _ = wrong()
    alike = density._alike([256, 512, 256], 2)
    assert alike == [[0, 2], [1, 1]]
    keys = density._keys(np.uint32(0), np.uint32(1), *np.array([[0, 1, 2], [0, 0, 9]], np.uint32))
    params = jax.tree.map(lambda a: np.stack([a[0, 0], a[0, 0] + 0.5, a[0, 0]]), fitted["params"])
    seen = frame.of(fitted)
    m = np.random.default_rng(0).uniform(2, 3, (3, 256)).astype(np.float32)
    flow = density.network(config.flow, 2)
    together = np.asarray(density._draw(flow, seen, params, keys, m))
    for i, drawn in enumerate(together):
        one = jax.tree.map(lambda a, i=i: a[i : i + 1], params)
        alone = density._draw(flow, seen, one, keys[i : i + 1], m[i : i + 1])
        np.testing.assert_allclose(drawn, alone[0], rtol=1e-4, atol=1e-5)
    assert (together[0] != together[2]).any()


@pytest.mark.long
def test_sorted_masses_meet_all_networks_everywhere():
    config, fitted, sidebands = wrong()
    # Two networks, of which the second draws something else altogether.
    fitted["params"] = jax.tree.map(
        lambda a: np.stack([a[0, 0], a[0, 0] + 0.5])[None], fitted["params"]
    )
    m = np.linspace(2, 3, 20_000, dtype=np.float32)
    low, high = (part.mean(axis=0) for part in np.split(density.sample(config, fitted, "m", m), 2))
    np.testing.assert_allclose(low, high, atol=0.05)
    ordered = np.argsort(sidebands["m"])
    means = []
    for rows in (sidebands, {name: values[ordered] for name, values in sidebands.items()}):
        corrected = corrected_by(config, fitted, rows)
        means.append(density.sample(config, corrected, "gap", np.full(20_000, 2.5)).mean(axis=0))
    np.testing.assert_allclose(*means, atol=0.015)
