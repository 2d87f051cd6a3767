"""Methods on small or odd events of one's own: one line for what cannot be, and the reason."""

import json

import numpy as np
import pytest
from random_jets import random_jets
from random_scorers import trigger_data

from jaxad import data, inputs, load
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.configs import (
    adc2021_shallow,
    adc2021_vae,
    cathode,
    cct,
    codae,
    features_ae,
    iad,
    qcd_or_what,
    toptagging_ae,
)
from jaxad.errors import UserError
from jaxad.methods.stages import density

N = 200
EVENTS = {
    "one column": lambda rng: rng.normal(size=(N, 1)),
    "two columns": lambda rng: rng.normal(size=(N, 2)),
    "a constant column": lambda rng: rng.normal(size=(N, 3)) * [1, 0, 1] + 7,
    "images": lambda rng: rng.poisson(0.5, (N, 9, 14)),
    "jets": lambda rng: random_jets(1, N, 14),
    "trigger": lambda rng: trigger_data(N),
}


def experiment(module, folder, events, **settings):
    """The smoke variant of a config on such events, a few of which are signal; not trained yet."""
    rng = np.random.default_rng(0)
    source = folder / "own.npz"
    label = np.arange(N) % 4 == 0
    np.savez(source, x=EVENTS[events](rng), label=label, m=rng.uniform(2800, 4200, N))
    config = module.get_config("smoke")
    own = {"source": str(source), "label_key": "label", "signals": "s=1", "cache": str(folder)}
    own["format"] = {"images": "image", "jets": "ptetaphi", "trigger": "ptetaphi"}.get(
        events, "features"
    )
    config.data = data.get_config("events", **own | settings)
    config.inputs = inputs.get_config(
        {"images": "image", "jets": "jet_observables", "trigger": "trigger_event"}.get(
            events, "features"
        )
    )
    config.baselines = ()
    if "augment" in config.method:
        config.method.augment = False
    return config


def changed(module, folder, events, changes, **settings):
    config = experiment(module, folder, events, **settings)
    config.update_from_flattened_dict(changes)
    return config


SEARCH = {"mass_key": "m", "window": "3.3-3.7", "inject": 4}


@pytest.mark.parametrize(
    ("module", "events", "changes", "settings", "message"),
    [
        (features_ae, "one column", {"method.name": "pca"}, {}, "pca: takes two or more numbers"),
        (features_ae, "a constant column", {}, {}, r"column 1 \(x\[1\]\) is constant"),
        (iad, "a constant column", {}, SEARCH, "column 1 is constant"),
        (codae, "images", {}, {}, r"codae: takes images of 11 or more pixels .*\(9, 14\)"),
        (qcd_or_what, "images", {}, {}, r"qcd_or_what: takes images of 11 to .*\(9, 14\)"),
        (cct, "images", {}, {"supervised": True, "signals": ""}, "data.supervised: needs classes"),
        (
            adc2021_shallow,
            "one column",
            {"method.name": "gaussian_mixture", "method.n_components": 500},
            {},
            "method.n_components: expected at most the .* training events",
        ),
        (
            adc2021_shallow,
            "one column",
            {"method.name": "nearest_neighbours", "method.n_neighbours": 500},
            {},
            "method.n_neighbours: expected at most the .* training events",
        ),
        (adc2021_vae, "jets", {"inputs.name": "particles"}, {}, "gives sets of any particles"),
        (adc2021_vae, "trigger", {"inputs.name": "particles"}, {}, "gives sets of any particles"),
        (
            features_ae,
            "two columns",
            {"baselines": ("observables", "weight")},
            {},
            "'weight' is neither a method nor an observable",
        ),
    ],
)
def test_refused_before_any_training(module, events, changes, settings, message, tmp_path):
    config = changed(module, tmp_path, events, changes, **settings)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "scorer").exists()


def test_two_columns_leave_pca_something_to_miss(tmp_path):
    config = experiment(features_ae, tmp_path, "two columns")
    config.method.name = "pca"
    train(config, tmp_path / "run")
    scorer = load(tmp_path / "run")
    assert scorer.params["components"].shape == (1, 2)
    assert scorer.background.std() > 0.1


def test_a_network_of_one_column_trains(tmp_path):
    train(experiment(features_ae, tmp_path, "one column"), tmp_path / "run")
    assert np.isfinite(load(tmp_path / "run").background).all()


@pytest.mark.long
def test_methods_of_one_cache_keep_their_inputs_apart(tmp_path):
    """CoDAE sees pixels in [0, 1], the autoencoder images that sum to one: whoever comes first."""
    config = changed(
        toptagging_ae,
        tmp_path,
        "jets",
        {"inputs.name": "jet_image", "inputs.n_pixels": 12, "train.epochs": 1, "model.width": 4},
    )
    images = np.random.default_rng(0).poisson(0.3, (N, 12, 12)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=images, label=np.arange(N) % 4 == 0)
    config.data.update(source=str(tmp_path / "images.npz"), format="image")
    config.inputs = inputs.get_config("image", pixels="energy", max_energy=2.0)
    train(config, tmp_path / "alone")
    other = codae.get_config("smoke")
    other.data, other.inputs, other.baselines = config.data, config.inputs, ()
    other.data.cache = config.data.cache = str(tmp_path / "shared")
    other.method.augment = False
    train(other, tmp_path / "first")
    train(config, tmp_path / "second")
    alone, second = load(tmp_path / "alone"), load(tmp_path / "second")
    np.testing.assert_array_equal(second(images), alone(images))


def test_a_window_with_a_handful_of_events_is_refused():
    with pytest.raises(UserError, match="expected 5 or more events of data in it, found 3"):
        density.sample_mass(np.array([3.4, 3.5, 3.6]), 10, np.random.default_rng(0), 0.01)


@pytest.mark.parametrize("window", [pytest.param("3.3-3.7", marks=pytest.mark.long), "2.81-3.1"])
def test_a_search_in_own_events_is_evaluated_even_where_no_fit_is_possible(window, tmp_path):
    config = experiment(cathode, tmp_path, "two columns", **SEARCH | {"window": window})
    config.flow.update({"n_layers": 2, "hidden": (8,), "correction": 0})
    config.flow_train.update({"epochs": 1, "keep_best": 1})
    config.classifier.update({"name": "trees", "members": 1})
    train(config, tmp_path / "run")
    metrics = evaluate(tmp_path / "run", n_bootstrap=0)
    fits, counted = metrics["discovery"]["sideband"], metrics["discovery"]["template"]
    assert "reason" in fits["1"] and fits["1"]["reason"].startswith("sideband fit: ")
    assert counted["0.2"] == {"reason": fits["1"]["reason"]}
    assert json.loads((tmp_path / "run" / "eval" / "metrics.json").read_text()) == metrics
    assert (tmp_path / "run" / "eval" / "report.html").exists()
