"""Weights from a file to the thresholds and the report of a run."""

import json

import numpy as np
import pytest

from jaxad import data, inputs, load, metrics
from jaxad.commands import compare
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.configs import features_ae
from jaxad.errors import UserError

N = 600


def events(seed=0):
    """Weights of 0.5 to 2, and a tenth of the test negative; the signal lies off the background."""
    rng = np.random.default_rng(seed)
    label = np.arange(N) % 3 == 0
    x = rng.normal(size=(N, 4)) + label[:, None]
    return {"x": x, "label": label, "w": rng.choice([0.5, 1, 1.5, 2], N) * 1e-3}


def config_of(folder, arrays, **settings):
    np.savez(folder / "own.npz", **arrays)
    config = features_ae.get_config("smoke")
    own = {"source": str(folder / "own.npz"), "label_key": "label", "signals": "s=1"}
    own |= {"cache": str(folder), "format": "features", "test_fraction": 0.5}
    config.data = data.get_config("events", **own | settings)
    config.inputs = inputs.get_config("features")
    config.method.name, config.baselines = "mahalanobis", ()
    config.method.n_fit = 1000
    return config


def test_a_weighted_run(tmp_path, capsys):
    arrays = events()
    train(config_of(tmp_path, arrays, weight_key="w"), tmp_path / "run")
    assert "weights of background: sum " in capsys.readouterr().out
    found = evaluate(tmp_path / "run", n_bootstrap=10)
    scorer, dataset = load(tmp_path / "run"), data.load(load(tmp_path / "run").config.data)
    b, s = (scorer(rows["x"]) for rows in (dataset.test, dataset.signals["s"]))
    weights = dataset.test["weight"], dataset.signals["s"]["weight"]
    (own,) = found["signals"]["s"]["scores"].values()
    assert own["auc"] == metrics.auc(b, s, weights) != metrics.auc(b, s)
    cut = scorer.threshold(fpr=0.2)
    assert cut["threshold"] == metrics.threshold_at_fpr(b, 0.2, weights[0])["threshold"]
    assert scorer.rate(cut["threshold"], 1.0)["rate"] == pytest.approx(cut["fpr"])
    about = found["weights"]["background"]
    assert about["n"] == len(b) and about["effective"] < len(b) and about["negative"] == 0
    said = capsys.readouterr().out
    assert "events as good as" in said and "is not bounded" not in said
    for stored, own in zip(
        compare.read_curves(tmp_path / "run", found)["s"].weights, weights, strict=True
    ):
        np.testing.assert_array_equal(stored, own)
    page = (tmp_path / "run" / "eval" / "report.html").read_text()
    assert "weights of background: sum " in page and "count events once" in page


def test_negative_weights_are_refused_in_training_alone(tmp_path, capsys):
    arrays = events()
    arrays["w"][::7] *= -0.5
    config = config_of(tmp_path, arrays, weight_key="w")
    with pytest.raises(UserError, match=r"weights are negative, .* set data.negative_weights to"):
        train(config, tmp_path / "refused")
    config.data.negative_weights = "absolute"
    train(config, tmp_path / "run")
    found = evaluate(tmp_path / "run", n_bootstrap=0)
    assert found["weights"]["s"]["negative"] == pytest.approx(1 / 7, abs=0.01)
    assert "AUC with negative weights is not bounded" in capsys.readouterr().out
    json.dumps(found, allow_nan=False)
    config.data.negative_weights = "square"
    with pytest.raises(UserError, match=r"data.negative_weights: expected one of absolute, drop,"):
        data.load(config.data)


def test_weights_of_one_class_alone(tmp_path):
    arrays = events()
    np.savez(tmp_path / "signal.npz", x=arrays["x"])
    config = config_of(tmp_path, arrays, weight_key="w")
    config.data.signals = f"s={tmp_path}/signal.npz"
    with pytest.raises(UserError, match=r"signal.npz: no array 'w'; found x .* all classes have"):
        data.load(config.data)
