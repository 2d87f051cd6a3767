"""What is given by what in an autoregressive flow, its inverse, and many features."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from random_flows import events, random_params

from jaxad.models.autoregressive import Autoregressive

KINDS = pytest.mark.parametrize("coupling", ["affine", "spline"])


@KINDS
def test_a_feature_is_given_by_those_before_it_and_the_condition(coupling):
    """The condition reaches the first one of a block too."""
    flow = Autoregressive(4, n_layers=1, hidden=(16, 8), coupling=coupling)
    params, (x, m) = random_params(flow), events(n=16)

    def latent(x, m):
        return flow.apply(params, x[None], m[None], method=flow.latent)[0]

    of_x, of_m = jax.jit(jax.vmap(jax.jacfwd(latent, argnums=(0, 1))))(x, m)
    reached = np.abs(of_x).max(axis=0) > 1e-4
    np.testing.assert_array_equal(reached, np.tri(4, dtype=bool))
    assert (np.abs(of_m).max(axis=0) > 1e-3).all()


@KINDS
def test_the_density_of_the_first_feature_depends_on_the_condition(coupling):
    flow = Autoregressive(1, n_layers=1, hidden=(8,), coupling=coupling)
    params, (x, m) = random_params(flow), events(1)
    slope = jax.jit(jax.grad(lambda m: flow.apply(params, x, m).sum()))(m)
    assert np.mean(np.abs(slope) > 1e-3) > 0.9


def test_the_condition_enters_by_polynomials():
    """Shifts of a block are, its networks see the features alone; beyond 1 all is as at 1."""
    flow = Autoregressive(3, n_layers=1, hidden=(16,), order=2)
    params, (x, _) = random_params(flow), events(3, n=8)
    latent = jax.jit(lambda m: flow.apply(params, 0 * x, m, method=flow.latent)[:, 0])
    m = np.linspace(-1, 1, 8, dtype=np.float32)
    found = np.asarray(latent(m[:, None]), np.float64)
    assert np.abs(found - np.polyval(np.polyfit(m, found, 1), m)).max() > 1e-2
    np.testing.assert_allclose(found, np.polyval(np.polyfit(m, found, 2), m), atol=1e-5)
    log_prob = jax.jit(lambda m: flow.apply(params, x, jnp.full((8, 1), m)))
    np.testing.assert_array_equal(log_prob(3.0), log_prob(1.0))
    assert np.abs(log_prob(1.0) - log_prob(0.5)).min() > 1e-4


@pytest.mark.parametrize(
    ("n_features", "n_layers", "coupling", "order", "tolerance"),
    [
        (4, 3, "affine", 0, 1e-5),
        (4, 2, "spline", 0, 1e-4),
        (4, 3, "spline", 2, 1e-4),
        (20, 2, "affine", 0, 1e-4),
    ],
)
def test_round_trip(n_features, n_layers, coupling, order, tolerance):
    """With 20 features some units of 16 see none that another does not."""
    flow = Autoregressive(n_features, n_layers, hidden=(16, 16), coupling=coupling, order=order)
    params, (x, m) = random_params(flow), events(n_features)

    @jax.jit
    def there_and_back(params, x, m):
        z = flow.apply(params, x, m, method=flow.latent)
        return flow.apply(params, z, m, method=flow.inverse), z

    back, z = there_and_back(params, x, m)
    assert np.abs(z - x).mean() > 0.1
    assert np.abs(back - x).max() < tolerance


@pytest.mark.parametrize("n_layers", [1, 2])
def test_it_starts_as_the_identity(n_layers):
    flow, (x, m) = Autoregressive(4, n_layers, hidden=(8,)), events()
    params = jax.jit(flow.init)(jax.random.key(0), x, m)
    latent = jax.jit(lambda p: flow.apply(p, x, m, method=flow.latent))
    np.testing.assert_array_equal(latent(params), x)


def test_the_density_calls_each_network_once():
    flow, (x, m) = Autoregressive(7, n_layers=3, hidden=(8, 8)), events(7)
    text = str(jax.make_jaxpr(lambda: flow.apply(random_params(flow), x, m))())
    assert text.count("dot_general[") == 3 * 3


@KINDS
def test_members_at_once_are_members_one_by_one(coupling):
    flow = Autoregressive(3, n_layers=2, hidden=(8,), coupling=coupling, n_bins=4)
    (x, m), key = events(3), jax.random.key(1)
    members = [random_params(flow, seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
    for f in (flow.apply, lambda p, x, m: flow.apply(p, key, m, method=flow.sample)):
        at_once = jax.jit(jax.vmap(f, in_axes=(0, None, None)))(stacked, x, m)
        one = jax.jit(f)
        each = [one(p, x, m) for p in members]
        np.testing.assert_allclose(at_once, np.stack(each), rtol=1e-4, atol=1e-4)


def correlated(n_features: int):
    """Draws (x, m) of a Gaussian around a line in m, and its mean negative log-likelihood."""
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(n_features, n_features)))[0]
    spread = np.linspace(0.3, 1.5, n_features)
    exact = n_features / 2 * np.log(2 * np.pi * np.e) + np.log(spread).sum()
    factor, line = jnp.asarray(mixing * spread), jnp.linspace(-1, 1, n_features)

    def draw(key):
        x, m = jax.random.split(key)
        m = jax.random.normal(m, (512, 1))
        return jax.random.normal(x, (512, n_features)) @ factor.T + m * line, m

    return draw, exact


def test_twenty_correlated_features_reach_the_exact_likelihood():
    """Within 0.15, from more than 3 above it."""
    draw, exact = correlated(20)
    flow = Autoregressive(20, n_layers=2, hidden=(64,))
    params = jax.jit(flow.init)(jax.random.key(0), *draw(jax.random.key(1)))
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 300))

    def nll(params, key):
        return -flow.apply(params, *draw(key)).mean()

    def step(carry, key):
        params, state = carry
        updates, state = optimizer.update(jax.grad(nll)(params, key), state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def trained(params, keys):
        params, _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)[0]
        return params, jax.lax.map(lambda key: nll(params, key), keys[:40]).mean()

    before = float(jax.jit(nll)(params, jax.random.key(2)))
    params, after = trained(params, jax.random.split(jax.random.key(3), 300))
    assert before - exact > 3 and abs(after - exact) < 0.15
    x, m = draw(jax.random.key(4))
    z = jax.jit(lambda p: flow.apply(p, x, m, method=flow.latent))(params)
    back = jax.jit(lambda p: flow.apply(p, z, m, method=flow.inverse))(params)
    assert np.abs(back - x).max() < 1e-4
