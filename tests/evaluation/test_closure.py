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
    return config, dataset, closure.measure(config, dataset, BENCH)


def test_false_windows_are_counted_in_events_that_trained_nothing(measured):
    config, dataset, found = measured
    rows = dataset.extra["sideband"]
    assert np.shape(found["n"]) == np.shape(found["passed"]) == (2, len(closure.SHARES))
    for (low, high), size, drawn in zip(
        found["windows"], found["size"], found["drawn"], strict=True
    ):
        assert high < 3300 or low > 3700
        assert size == ((rows["mass"] > low) & (rows["mass"] < high)).sum()
        assert drawn == round(config.method.oversampling * size)
    assert (np.diff(found["n"]) >= 0).all() and (np.diff(found["passed"]) >= 0).all()
    # Few trees, and so few scores: ties pass.
    assert (np.array(found["passed"]) >= np.outer(found["drawn"], closure.SHARES) - 1).all()
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
    assert closure.measure(config, other, BENCH) == found


def test_what_cannot_be_asked_for_is_refused_before_anything_trains(source, measured):
    _, dataset, _ = measured
    assert closure.windows(smallest(source, n=0), dataset) == []
    message = r"method.closure_windows: expected 0, or 2 and more, found 1"
    with pytest.raises(UserError, match=message):
        closure.windows(smallest(source, n=1), dataset)
    message = r"method.closure_windows: expected 90 windows of 50 or more events beside 3300-3700"
    with pytest.raises(UserError, match=message):
        closure.windows(smallest(source, n=90), dataset)
    weight = 1.0 + np.arange(len(dataset.test["x"])) % 2
    weighted = dataclasses.replace(dataset, test=dataset.test | {"weight": weight})
    with pytest.raises(UserError, match=r"closure_windows: expected 0, as it counts events, and"):
        closure.windows(smallest(source), weighted)
    alone = dataclasses.replace(dataset, extra={})
    with pytest.raises(UserError, match=r"method.closure_windows: .* without sidebands nothing"):
        closure.windows(smallest(source), alone)


def test_counts_become_a_correction_and_an_error_by_cut():
    shares, drawn = closure.SHARES, np.array([4000, 4000, 8000])
    flaws = np.array([1.1, 1.15, 1.25])
    measured = {
        "windows": [[2500.0, 2600.0], [2600.0, 2700.0], [4100.0, 4700.0]],
        "size": [1000, 1000, 2000],
        "drawn": drawn.tolist(),
        "n": np.outer(flaws * drawn / 4, shares).tolist(),
        "passed": np.outer(drawn, shares).tolist(),
    }
    found = {f"{share:g}": closure.summary(measured, share) for share in (0.2, 0.01, 0.0)}
    for one, share in zip(found.values(), (0.2, 0.01, shares[0]), strict=True):
        assert one["delta"] == pytest.approx([0.1, 0.15, 0.25])
        near = shares[np.argmin(np.abs(np.log(shares / share)))]
        assert near == pytest.approx(share, rel=0.07)
        errors = [(1 - near) * 1.25 / (near * n) for n in (1000, 1000, 2000)]
        assert one["delta_error"] == pytest.approx(np.sqrt(errors))
    said = closure.said(found)
    assert said.startswith("error of the template by 3 false windows")
    assert "cut of 0.2: n / b - 1 = +16.7% ±" in said
    assert closure.summary({}, 0.2) is None
    assert closure.said({"0.2": None}).startswith("statistical error of the template only: ")


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
        assert stored == {} and not any(found["closure"].values())
        assert all(one["delta"] == 0 for one in found["template"].values())
        return
    assert len(stored["windows"]) == 2
    for name, one in found["template"].items():
        tested = found["closure"][name]
        assert one["delta"] == pytest.approx(max(tested["mean"], -0.5))
        if one["significance"] is not None:
            assert one["relative_errors"]["closure"] > 0
