"""False windows of a resonant run: what they may see, and what becomes of their counts."""

import dataclasses
import json

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

from jaxad import data, training
from jaxad.commands import evaluate
from jaxad.commands import train as run
from jaxad.configs import anode, cathode
from jaxad.data import lhco
from jaxad.errors import UserError
from jaxad.evaluation import closure
from jaxad.scorer import load

EFFICIENCIES = (0.2, 0.05)
BENCH = run.bench(training.fit)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("lhco") / "features.h5"
    write_frame(path, fake_events(4000, 300), [*lhco.JETS, "label"])
    return str(path)


def smallest(source, experiment=cathode, n=2):
    """A config whose densities are as small as can be."""
    config = experiment.get_config("smoke")
    config.data.update({"source": source, "n_signal": 100})
    config.method.closure_windows = n
    config.flow.update({"coupling": "affine", "n_layers": 1, "hidden": (4,), "correction": 0})
    config.flow_train.update({"epochs": 1, "keep_best": 1, "ensemble": 1})
    config.classifier.update({"name": "trees", "members": 1, "max_iter": 3})
    return config


@pytest.fixture(scope="module")
def measured(source):
    config = smallest(source)
    dataset = data.load(config.data)
    return config, dataset, closure.measure(config, dataset, BENCH, EFFICIENCIES)


def test_false_windows_are_counted_in_events_that_trained_nothing(measured):
    config, dataset, found = measured
    rows = dataset.extra["sideband"]
    assert np.shape(found["n"]) == np.shape(found["passed"]) == (2, len(EFFICIENCIES))
    for (low, high), size, drawn in zip(
        found["windows"], found["size"], found["drawn"], strict=True
    ):
        assert high < 3300 or low > 3700
        assert size == ((rows["mass"] > low) & (rows["mass"] < high)).sum()
        assert drawn == round(config.method.oversampling * size)
    assert (np.diff(found["n"]) <= 0).all() and (np.diff(found["passed"]) <= 0).all()
    json.dumps(found, allow_nan=False)


def test_neither_labels_nor_the_events_of_the_window_matter(measured):
    config, dataset, found = measured

    def spoilt(rows):
        inside = (rows["mass"] > 3300) & (rows["mass"] < 3700)
        x = np.where(inside[:, None], rows["x"][::-1], rows["x"])
        return rows | {"x": x, "label": np.zeros_like(rows["label"])}

    parts = {part: spoilt(getattr(dataset, part)) for part in ("train", "val")}
    # Of the test part those of the window are elsewhere, and none is looked at.
    other = dataclasses.replace(dataset, **parts, test=spoilt(dataset.test))
    assert closure.measure(config, other, BENCH, EFFICIENCIES) == found


def test_what_cannot_be_asked_for_is_refused_before_anything_trains(source, measured):
    _, dataset, _ = measured
    assert closure.windows(smallest(source, n=0), dataset) == []
    message = r"method.closure_windows: expected 0, or 2 and more, found 1"
    with pytest.raises(UserError, match=message):
        closure.windows(smallest(source, n=1), dataset)
    message = r"method.closure_windows: expected 90 windows of 50 or more events beside 3300-3700"
    with pytest.raises(UserError, match=message):
        closure.windows(smallest(source, n=90), dataset)
    alone = dataclasses.replace(dataset, extra={})
    with pytest.raises(UserError, match=r"method.closure_windows: .* without sidebands nothing"):
        closure.windows(smallest(source), alone)


def test_counts_become_a_correction_and_an_error_by_cut():
    measured = {
        "windows": [[2500.0, 2600.0], [2600.0, 2700.0], [4100.0, 4700.0]],
        "efficiencies": [0.2, 0.001],
        "size": [1000, 1000, 2000],
        "drawn": [4000, 4000, 8000],
        "n": [[220, 3], [230, 1], [500, 2]],
        "passed": [[800, 4], [800, 0], [1600, 2]],
    }
    found = closure.summaries(measured)
    assert found["0.001"] is None
    assert found["0.2"]["delta"] == pytest.approx([0.1, 0.15, 0.25])
    errors = [0.8 * (1 / b + 1 / 4 / b) for b in (200, 200, 400)]
    assert found["0.2"]["delta_error"] == pytest.approx(np.sqrt(errors))
    said = closure.said(measured)
    assert said.startswith("error of the template by 3 false windows") and "+16.7%" in said
    assert closure.summaries({}) == {}
    assert closure.said({}).startswith("statistical error of the template only: ")


@pytest.mark.parametrize(
    ("experiment", "n"),
    [
        pytest.param(cathode, 2, marks=pytest.mark.long),
        pytest.param(anode, 2, marks=pytest.mark.long),
        pytest.param(cathode, 0, marks=pytest.mark.long),
    ],
)
def test_an_evaluation_says_what_its_errors_hold(experiment, n, source, tmp_path):
    config = smallest(source, experiment, n)
    run.train(config, tmp_path / "run")
    metrics = evaluate.evaluate(tmp_path / "run", n_bootstrap=0)
    found = metrics["discovery"]
    page = (tmp_path / "run" / "eval" / "report.html").read_text()
    assert f"excess over the template: {found['errors'][:40]}" in page
    stored = load(tmp_path / "run").info.get("closure", {})
    stages = {json.loads(line)["stage"] for line in (tmp_path / "run" / "history.jsonl").open()}
    assert any(stage.startswith("closure ") for stage in stages) == bool(n)
    if not n:
        assert found["closure"] == stored == {} and "statistical error" in found["errors"]
        assert all(one.get("delta", 0) == 0 for one in found["template"].values())
        return
    tested = closure.summaries(stored)
    assert found["closure"] == json.loads(json.dumps(tested)) and len(stored["windows"]) == 2
    for name, one in found["template"].items():
        if one.get("significance") is not None and tested[name] is not None:
            assert one["delta"] == pytest.approx(max(tested[name]["mean"], -0.5))
            assert one["relative_errors"]["closure"] > 0
