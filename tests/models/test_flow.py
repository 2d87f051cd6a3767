"""Properties of the conditional densities: invertible, normalised, reached by the condition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_flows import events, random_params

from jaxad.errors import UserError
from jaxad.models.autoregressive import Autoregressive
from jaxad.models.flow import FlowMatching, RealNVP, coupling_masks, log_prob_by_level

AFFINE = RealNVP(n_features=4, n_layers=4, hidden=(16,))
SPLINE = RealNVP(n_features=4, n_layers=2, hidden=(16,), coupling="spline", n_bins=4, bound=4.0)
MASKED = Autoregressive(n_features=4, n_layers=3, hidden=(16,))
MASKED_SPLINE = Autoregressive(
    n_features=4, n_layers=2, hidden=(16,), coupling="spline", n_bins=4, bound=4.0
)
POLYNOMIAL = MASKED_SPLINE.clone(order=3)
MATCHING = FlowMatching(n_features=4, hidden=(16, 16), n_steps=8)
FLOWS = pytest.mark.parametrize(
    "flow",
    [AFFINE, SPLINE, MASKED, MASKED_SPLINE, POLYNOMIAL, MATCHING],
    ids=["affine", "spline", "masked", "masked spline", "polynomial", "matching"],
)

MANY = pytest.mark.parametrize("n_features", [4, pytest.param(20, marks=pytest.mark.long)])


@pytest.mark.parametrize(("flow", "tolerance"), [(AFFINE, 1e-5), (SPLINE, 1e-4)])
def test_round_trip(flow, tolerance):
    params, (x, m) = random_params(flow), events()

    @jax.jit
    def there_and_back(params, x, m):
        bijector = flow.apply(params, m, method=flow.distribution).bijector
        return bijector.forward(bijector.inverse(x))

    assert np.abs(there_and_back(params, x, m) - x).max() < tolerance


@MANY
@FLOWS
def test_log_prob_is_base_density_plus_autodiff_jacobian(flow, n_features):
    flow = flow.clone(n_features=n_features)
    params, (x, m) = random_params(flow), events(n_features)

    def latent(row, m):
        return flow.apply(params, row[None], m[None], method=flow.latent)[0]

    @jax.jit
    def by_autodiff(x, m):
        log_det = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(latent))(x, m))[1]
        return jax.scipy.stats.norm.logpdf(jax.vmap(latent)(x, m)).sum(axis=-1) + log_det

    log_prob = jax.jit(flow.apply)(params, x, m)
    np.testing.assert_allclose(log_prob, by_autodiff(x, m), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("flow", [AFFINE, SPLINE], ids=["affine", "spline"])
def test_gradient_by_level_is_the_plain_one(flow):
    """Of the parameters, the events and the condition; two members at once too."""
    params, (x, m) = jax.tree.map(lambda a: jnp.stack([a, 0.9 * a]), random_params(flow)), events()

    def gradient(log_prob):
        value = jax.value_and_grad(lambda *a: jnp.sin(log_prob(*a)).mean(), argnums=(0, 1, 2))
        return jax.jit(jax.vmap(value, in_axes=(0, None, None)))(params, x, m)

    by_level, plain = gradient(partial(log_prob_by_level, flow)), gradient(flow.apply)
    assert jax.tree.structure(by_level) == jax.tree.structure(plain)
    for found, expected in zip(jax.tree.leaves(by_level), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "flow",
    [
        RealNVP(n_features=2, n_layers=2, hidden=(16,)),
        RealNVP(n_features=2, n_layers=2, hidden=(16,), coupling="spline", n_bins=4, bound=4.0),
        Autoregressive(2, n_layers=2, hidden=(16,)),
        Autoregressive(2, n_layers=2, hidden=(16,), coupling="spline", n_bins=4, bound=4.0),
        FlowMatching(n_features=2, hidden=(16, 16), n_steps=8),
    ],
    ids=["affine", "spline", "masked", "masked spline", "matching"],
)
def test_density_integrates_to_one(flow):
    params, n = random_params(flow), 120
    density_of = jax.jit(flow.apply)
    axis = (jnp.arange(n) + 0.5) / n * 24 - 12
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for m in (-1.0, 2.0):
        density = jnp.exp(density_of(params, grid, jnp.full((len(grid), 1), m)))
        assert float(density.sum()) * (24 / n) ** 2 == pytest.approx(1, abs=0.01)


@FLOWS
def test_every_feature_responds_to_the_condition(flow):
    params, (x, m) = random_params(flow), events()

    def latent(m):
        return flow.apply(params, x, m, method=flow.latent)

    response = jax.jit(lambda m: jax.jvp(latent, (m,), (jnp.ones_like(m),))[1])(m)
    assert (np.abs(response).mean(axis=0) > 1e-3).all()


@MANY
@FLOWS
def test_samples_follow_the_density(flow, n_features):
    flow = flow.clone(n_features=n_features)
    params, m = random_params(flow), jnp.full((4000, 1), 0.5)

    @jax.jit
    def latent_of_samples(params, key, m):
        drawn = flow.apply(params, key, m, method=flow.sample)
        return flow.apply(params, drawn, m, method=flow.latent)

    latent = latent_of_samples(params, jax.random.key(5), m)
    np.testing.assert_allclose(latent.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(latent.T), np.eye(n_features), atol=0.12)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5])
def test_masks_alternate_and_couple_every_pair(n_features):
    masks = coupling_masks(n_features, 24)
    assert (~masks).any(axis=0).all()
    given = {(i, j) for mask in masks for i in np.flatnonzero(~mask) for j in np.flatnonzero(mask)}
    assert len(given) == n_features * (n_features - 1)


def test_unknown_coupling_is_named():
    x, m = events()
    for kind in (RealNVP, Autoregressive):
        with pytest.raises(UserError, match="coupling"):
            kind(n_features=4, coupling="cubic").init(jax.random.key(0), x, m)


def test_masks_of_many_features_halve_them_in_many_ways():
    masks = coupling_masks(57, 12)
    assert masks.shape == (12, 57) and set(masks.sum(axis=1)) == {28, 29}
    np.testing.assert_array_equal(masks[::2], ~masks[1::2])
    together = (masks[:, :, None] == masks[:, None]).all(axis=0)
    assert together.sum() < 57 * 3  # few features stand on the same side always
