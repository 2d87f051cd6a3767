"""Networks on sets: what their scores do not depend on, training, and exports that agree."""

import jax
import numpy as np
import pytest
from random_jets import random_jets
from random_sets import LAYOUT, assert_exports_agree, changed, random_scorer, set_scorer

from jaxad import methods
from jaxad.configs import set_autoencoder
from jaxad.errors import UserError
from jaxad.methods import settings
from jaxad.methods.stages import sets
from jaxad.models.sets import DeepSets, Transformer

LONG = pytest.mark.long


@pytest.fixture(scope="module")
def jets():
    return random_jets(1, 30, 20, spread=0.1)


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("deep_sets", "chamfer"),
        pytest.param("transformer", "chamfer", marks=LONG),
        pytest.param("deep_sets", "energy_mover", marks=LONG),
        pytest.param("deep_sets", "summaries", marks=LONG),
    ],
)
def test_scores_depend_on_the_particles_alone(model, loss, jets):
    scorer = set_scorer(model, loss)
    fn = jax.jit(lambda x: scorer.fn(scorer.params, x))
    expected = np.asarray(fn(jets))
    assert np.ptp(expected) > 1e-3
    # Single precision of the sums; of the transport also that of its iterations.
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if loss != "chamfer" else {"rtol": 1e-5, "atol": 1e-5}
    for name, same in changed(jets).items():
        np.testing.assert_allclose(fn(same), expected, err_msg=name, **tolerance)
    assert np.isfinite(fn(np.zeros((2, 20, 3), np.float32))).all()


@pytest.mark.parametrize("n", [3, 2 * sets.CPU_ROWS])
def test_the_default_score_is_the_first_of_few_events_and_of_many(n):
    scorer, jets = random_scorer("contrastive"), random_jets(1, n, 20, spread=0.1)
    scores = scorer.scores(jets)
    assert scorer.names == ["nearest_neighbours", "mahalanobis"]
    np.testing.assert_allclose(scorer(jets), scores["nearest_neighbours"], rtol=1e-4)
    assert np.abs(scores["mahalanobis"] / scores["nearest_neighbours"] - 1).min() > 1e-2


@pytest.mark.parametrize("network", [DeepSets(6), Transformer(6, layers=2, width=16)])
def test_slots_without_a_particle_change_no_summary(network):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 9, 4)).astype(np.float32)
    present = (np.arange(9) < rng.integers(1, 9, (5, 1))).astype(np.float32)
    present[0] = 0
    apply = jax.jit(network.apply)
    params = jax.jit(network.init)(jax.random.key(0), x, present)
    expected = np.asarray(apply(params, x, present))
    assert np.isfinite(expected).all()
    order = rng.permutation(9)
    found = apply(params, x[:, order], present[:, order])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Whatever stands in them.
    other = np.where(present[..., None] > 0, x, 7.0)
    np.testing.assert_allclose(apply(params, other, present), expected, atol=1e-5)


def test_deep_sets_export(jets, tmp_path):
    assert_exports_agree(set_scorer(), jets, ("onnx", "cpp"), tmp_path)


@LONG
@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("deep_sets", "chamfer"),
        ("transformer", "chamfer"),
        ("transformer", "summaries"),
        ("deep_sets", "summaries"),
        ("deep_sets", "energy_mover"),
    ],
)
def test_every_network_and_loss_exports(model, loss, jets, tmp_path):
    formats = ("onnx", "stablehlo") if loss == "summaries" else ("onnx", "stablehlo", "cpp")
    assert_exports_agree(set_scorer(model, loss), jets, formats, tmp_path)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"name": "dense"}, "model.name: expected deep_sets or transformer, found 'dense"),
        ("model", {"name": "transformer", "heads": 3}, "model.heads: expected a divisor of model"),
        ("method", {"loss": "mse"}, "method.loss: expected one of chamfer, energy_mover, summ"),
    ],
)
def test_networks_that_cannot_be(section, changes, message):
    config = set_autoencoder.get_config()
    config[section].update(changes)
    with pytest.raises(UserError, match=message):
        methods.get("set_autoencoder").scores(config, LAYOUT)


def test_settings_that_change_nothing():
    config = set_autoencoder.get_config()
    assert {"model.layers", "inputs.efp_degree"} <= {*settings.idle(config)}
    assert not {"inputs.n_particles", "inputs.n_pixels", "method.loss"} & {*settings.idle(config)}
    config.method.loss, config.model.name = "summaries", "transformer"
    idle = settings.idle(config)
    assert {"model.n_slots", "method.radius"} <= {*idle}
    assert not {"model.layers", "inputs.efp_degree"} & {*idle}
