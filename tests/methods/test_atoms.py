"""Whole numbers and spikes in resonant methods: draws lie where data do."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import data, inputs, training
from jaxad.commands.train import bench
from jaxad.methods import cathode
from jaxad.methods.stages import atoms, weak

BENCH = bench(training.fit)


def events(n):
    """A multiplicity, a feature with a spike at 0, and one without; masses [GeV]."""
    rng = np.random.default_rng(3)
    tau = np.where(rng.random(n) < 0.3, 0, 0.2 + rng.random(n))
    x = np.column_stack([rng.poisson(4, n), tau, rng.normal(size=n)])
    return x.astype(np.float32), rng.uniform(2500, 4500, n).astype(np.float32)


def small(method, folder):
    config = importlib.import_module(f"jaxad.configs.{method}").get_config("smoke")
    (x, m), label = events(2400), np.arange(2400) % 20 == 0
    np.savez(folder / "own.npz", x=x, m=m, label=label)
    own = {"source": str(folder / "own.npz"), "label_key": "label", "signals": "s=1"}
    own |= {"mass_key": "m", "window": "3.3-3.7", "inject": 50, "cache": ""}
    config.data = data.get_config("events", format="features", **own)
    config.inputs = inputs.get_config("features")
    config.flow.update({"hidden": (8,), "n_layers": 1, "coupling": "affine", "correction": 0})
    for section in ("flow_train", "region_train", "train"):
        if section in config:
            config[section].update({"epochs": 2, "keep_best": 1, "ensemble": 1})
    config.classifier.update({"members": 1})
    return config


def test_draws_of_cathode_lie_on_the_atoms_of_data(tmp_path):
    config = small("cathode", tmp_path)
    dataset = data.load(config.data)
    events = weak.data_events(config, dataset)
    background = cathode.fit_background(config, events, BENCH)
    region = {key: values[events["inside"]] for key, values in events.items()}
    drawn = cathode.template(config, background, region["m"], "template")["x"]
    assert set(np.unique(drawn[:, 0])) <= set(range(20))
    assert abs((drawn[:, 1] == 0).mean() - 0.3) < 0.1
    assert not ((drawn[:, 1] > 0) & (drawn[:, 1] < 0.02)).any()
    assert len(np.unique(drawn[:, 2])) > 0.99 * len(drawn)
    assert not atoms.found_in(events["x"][:, 2:])


@pytest.mark.parametrize(
    "method",
    [
        "anode",
        *(pytest.param(n, marks=pytest.mark.long) for n in ("cathode", "lacathode", "ranode")),
    ],
)
def test_scores_of_an_atom_are_those_of_all_that_it_is_spread_over(method, tmp_path):
    config = small(method, tmp_path)
    module = importlib.import_module(f"jaxad.methods.{method}")
    fitted = module.fit(config, data.load(config.data), BENCH)
    x, m = events(40)
    one = np.where(x[:, :2] == np.floor(x[:, :2]), [[0.7, 1e-3]], 0)
    moved = x + np.column_stack([one, np.zeros(40)]).astype(np.float32)
    scores = [
        next(iter(module.feature_scores(config)(fitted, jnp.array(m) / 1000, rows, rows).values()))
        for rows in (jnp.array(x), jnp.array(moved))
    ]
    np.testing.assert_array_equal(*scores)
    assert np.isfinite(scores[0]).all() and np.std(scores[0]) > 0
