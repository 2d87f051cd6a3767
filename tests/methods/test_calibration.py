"""Thresholds are set on events that trained nothing and chose no epoch, and hold on fresh ones."""

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

from jaxad import data, methods
from jaxad.commands.train import bench, build_scorer
from jaxad.configs import cathode, iad
from jaxad.data import lhco
from jaxad.errors import UserError
from jaxad.training import fit


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("lhco") / "features.h5"
    write_frame(path, fake_events(6000, 300), [*lhco.JETS, "label"])
    return str(path)


def experiment(module, source, **changes):
    config = module.get_config("smoke")
    config.data.update({"source": source, "n_signal": 0})
    config.flow.update({"n_layers": 2, "hidden": (8,)})
    config.classifier.update({"name": "trees", "members": 1} | changes)
    return config


def fresh_background(dataset):
    """Other events of the window, from the same distribution."""
    rows = fake_events(60_000, 0, seed=7)[:, :-1]
    layout = dataset.layout
    mass = np.asarray(methods.stage("cathode", cathode.get_config(), layout).mass(rows))
    low, high = dataset.info["window"]
    return rows[(mass > low) & (mass < high)]


@pytest.mark.parametrize("module", [pytest.param(cathode, marks=pytest.mark.long), iad])
def test_the_promised_rate_holds_on_fresh_background(module, source):
    """Trees, which remember what they were trained on, and no signal."""
    changes = {"folds": 2} if module is iad else {}
    config = experiment(module, source, **changes)
    dataset = data.load(config.data)
    name = config.method.name
    fitted = methods.get(name).fit(config, dataset, bench(fit))
    scorer = build_scorer(config, name, fitted, dataset)
    cut = scorer.threshold(0.2)
    flagged = float((scorer(fresh_background(dataset)) >= cut["threshold"]).mean())
    n = len(scorer.background)
    assert abs(flagged - cut["fpr"]) < 3 * np.sqrt(0.2 * 0.8 / n), (flagged, cut)
    assert cut["sample"].startswith("test background")


def test_calibration_events_trained_nothing(source):
    config = experiment(cathode, source)
    dataset = data.load(config.data)
    for name in ("cathode", "cwola", "anode", "supervised", "lacathode", "ranode"):
        x, *_ = methods.calibration(name, config, dataset)
        used = np.concatenate([dataset.train["x"], dataset.val["x"]])
        assert not {row.tobytes() for row in x} & {row.tobytes() for row in used}


def test_no_sample_is_said(source):
    config = experiment(iad, source, folds=0)
    dataset = data.load(config.data)
    fitted = methods.get("iad").fit(config, dataset, bench(fit))
    scorer = build_scorer(config, "iad", fitted, dataset)
    assert len(scorer.background) == 0
    for asked in (lambda: scorer.threshold(0.1), lambda: scorer.rate(0.5)):
        with pytest.raises(UserError, match="test background trained the classifiers: set"):
            asked()
