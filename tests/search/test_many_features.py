"""Searches with many named columns, by networks and by trees."""

import json

import numpy as np
import pytest

from jaxad import data, training
from jaxad.commands.train import bench
from jaxad.configs import search as search_config
from jaxad.search import run
from jaxad.search.settings import settled

N_FEATURES = 24


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(600, N_FEATURES)).astype(np.float32)
    path = tmp_path_factory.mktemp("many") / "events.npz"
    named = {f"x{i}": column for i, column in enumerate(columns.T)}
    np.savez(path, mjj=rng.uniform(2800, 4200, 600), **named)
    return path


def exact(config, table, window, bench):
    """The law of the columns, which do not depend on the mass."""

    def draw(n, what):
        rng = np.random.default_rng([len(what), n])
        x = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
        return {"x": x, "m": rng.uniform(window.low, window.high, n)}

    return run.Draws(draw, [])


@pytest.mark.parametrize("name", ["auto", "network"])
def test_a_search_in_24_columns(name, table, tmp_path, capsys):
    config = search_config.get_config("smoke")
    own = {"source": str(table), "mass": "mjj", "features": "x*", "cache": str(tmp_path)}
    config.data = data.get_config("events", **own)
    config.classifier.update(
        {"name": name, "hidden": (8,), "folds": 2, "max_iter": 3, "feature_fraction": 0.3}
    )
    config.search.update(
        {"windows": "3300-3700", "efficiencies": (0.1,), "closure_windows": 0, "count_factor": 4.0}
    )
    run.search(config, tmp_path / "run", bench(training.fit), 2, draws_of=exact)
    found = json.loads((tmp_path / "run" / "search" / "search.json").read_text())
    (window,) = found["windows"]
    assert window["cuts"]["0.1"]["n_toys"] == 2
    said = "classifier.name=auto: trees, for 24 features: networks up to 5"
    assert (said in capsys.readouterr().out) == (name == "auto")


def test_few_features_are_left_to_networks(capsys):
    config = search_config.get_config()
    assert config.classifier.name == "auto"
    assert settled(config, 5).classifier.name == "network"
    assert settled(config, 6).classifier.name == "trees"
    assert "classifier.name=auto: network, for 5 features" in capsys.readouterr().out
    config.classifier.name = "network"
    assert settled(config, 50).classifier.name == "network"
