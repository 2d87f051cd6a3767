"""Two-sample tests and pulls of equal and different samples; scans end to end."""

import json

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

from jaxad import data
from jaxad.commands import scan
from jaxad.commands import train as run
from jaxad.configs import cathode, ranode
from jaxad.data import lhco
from jaxad.data.window import in_window
from jaxad.evaluation import resonant as search
from jaxad.methods.stages import density
from jaxad.report import scan_figure, search_figures
from jaxad.scorer import load


def test_two_sample_auc():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1500, 2))
    same, different = search.two_sample_auc(a, b), search.two_sample_auc(a, b + 1)
    assert abs(same["auc"] - 0.5) < 0.04 and different["auc"] > 0.7


def test_pulls_are_unit_normal_for_equal_samples():
    rng = np.random.default_rng(1)
    found = search.pulls(rng.exponential(size=40_000), rng.exponential(size=10_000))
    assert np.std(found["pulls"]) == pytest.approx(1, abs=0.45)
    assert sum(found["expected"]) == pytest.approx(sum(found["counts"]))


def test_scans_leave_out_what_was_refused():
    results = [
        {"value": value, "sic": [None], "max_sic": [sic], "significance": [sic]}
        for value, sic in (("0.001", None), ("0.01", 2.0), ("0.02", 3.0), ("0.02", 5.0))
    ]
    axes = scan_figure(results, "signal_over_background").axes
    line = axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 4.0])
    refused = [lines[-1] for lines in (axes[0].lines, axes[1].lines)]
    assert [list(line.get_xdata()) for line in refused] == [[0], [0, 1, 2]]
    assert {line.get_label() for line in refused} == {"refused: too few events"}


def smallest(experiment, folder):
    """A config whose densities are as small as can be, on made-up events in `folder`."""
    source = folder / "features.h5"
    write_frame(source, fake_events(2000, 500), [*lhco.JETS, "label"])
    config = experiment.get_config("smoke")
    config.data.update({"source": str(source)})
    config.flow.update({"n_layers": 2, "hidden": (8,)})
    config.flow_train.update({"epochs": 1, "keep_best": 1})
    return config


@pytest.mark.slow
def test_scan_trains_evaluates_and_does_not_repeat_what_is_done(tmp_path, monkeypatch):
    stages, sample = [], density.sample

    def noted(config, fitted, stage, m):
        stages.append(stage)
        return sample(config, fitted, stage, m)

    monkeypatch.setattr(density, "sample", noted)
    config = smallest(cathode, tmp_path)
    config.classifier.update({"name": "trees", "members": 1})
    scan.scan(config, tmp_path / "scan", "signal_over_background", ["0.3"], 1)
    first = (tmp_path / "scan" / "scan.json").read_text()
    results = json.loads(first)
    assert [(result["value"], result["seed"]) for result in results] == [("0.3", 0)]
    # Classifiers, template quality and discovery each have samples of their own.
    assert len(stages) == 3 == len(set(stages))
    evaluated = tmp_path / "scan" / "signal_over_background-0.3-seed0" / "eval" / "search.json"
    assert json.loads(evaluated.read_text())["summary"]["max_sic"] == results[0]["max_sic"]
    written = evaluated.stat().st_mtime_ns
    scan.scan(config, tmp_path / "scan", "signal_over_background", ["0.3"], 1)
    assert (tmp_path / "scan" / "scan.json").read_text() == first
    assert evaluated.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_density_ratio_is_counted_against_its_background_samples(tmp_path):
    """R-ANODE's score says nothing outside the window: no fit after a cut, no sculpting."""
    config = smallest(ranode, tmp_path)
    config.signal_flow = config.flow
    config.train.update({"epochs": 1, "keep_best": 1})
    run.train(config, tmp_path / "run")
    scorer = load(tmp_path / "run")
    dataset = data.load(config.data)
    found = search.measure(scorer, dataset)
    figures = search_figures(found, dataset.info["window"], search.names_of(scorer), "mass")
    assert set(figures) == {"template", "discovery"} and "sculpting" not in found
    assert set(found["discovery"]["sideband"]) == {"1"}
    expected = found["discovery"]["sideband"]["1"]["expected"]
    rows = search.held_out_data(data.load(config.data))
    inside = in_window(rows, (3.3, 3.7))
    score, label = scorer(rows["x"])[inside], rows["label"][inside]
    for efficiency in search.EFFICIENCIES[:3]:
        counted = found["discovery"]["template"][f"{efficiency:g}"]
        assert counted["expected"] == pytest.approx(efficiency * expected, rel=0.3)
        assert np.isfinite(counted["significance"])
        passed = np.argsort(-score)[: counted["observed"]]
        assert counted["true_background"] == (label[passed] == 0).sum()
