"""Two-sample tests and pulls of equal and different samples; scans end to end."""

import json

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

from jaxad import data, methods
from jaxad.commands import evaluate, scan
from jaxad.commands import train as run
from jaxad.configs import anode, cathode, iad, ranode, supervised
from jaxad.data import lhco
from jaxad.data.window import held_out_data, in_window
from jaxad.errors import UserError
from jaxad.evaluation import resonant as search
from jaxad.methods import cwola
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
    assert {line.get_label() for line in refused} == {"none: scan.json says why"}


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
    config.flow.correction = 0
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
    older = json.loads(evaluated.read_text())
    told = older["summary"].pop("reasons")  # as it was written before
    evaluated.write_text(json.dumps(older))
    scan.scan(config, tmp_path / "scan", "signal_over_background", ["0.3"], 1)
    assert json.loads(evaluated.read_text())["summary"]["reasons"] == told


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
    rows = held_out_data(data.load(config.data))
    inside = in_window(rows, (3.3, 3.7))
    score, label = scorer(rows["x"])[inside], rows["label"][inside]
    for efficiency in search.EFFICIENCIES[:3]:
        counted = found["discovery"]["template"][f"{efficiency:g}"]
        assert counted["expected"] == pytest.approx(efficiency * expected, rel=0.3)
        assert np.isfinite(counted["significance"])
        passed = np.argsort(-score)[: counted["observed"]]
        assert counted["true_background"] == (label[passed] == 0).sum()


@pytest.fixture
def prepared(tmp_path):
    """A folder of prepared arrays with `n` events a part beside the window."""

    def write(n, name="arrays"):
        rng, folder = np.random.default_rng(0), tmp_path / name
        folder.mkdir()
        for part in ("train", "val", "test"):
            label = np.arange(90) % 9 == 0
            inner = np.c_[rng.uniform(3.31, 3.69, 90), rng.random((90, 4)) - label[:, None], label]
            outer = np.c_[rng.uniform(2.5, 3.2, n), rng.random((n, 4)), np.zeros(n)]
            np.save(folder / f"innerdata_{part}.npy", inner.astype(np.float32))
            np.save(folder / f"outerdata_{part}.npy", outer.astype(np.float32))
        np.save(folder / "innerdata_extrasig.npy", inner[label].astype(np.float32))
        return folder

    return write


def few_trees(experiment, source):
    config = experiment.get_config("smoke")
    config.data.update({"source": str(source), "n_signal": 1000})
    config.classifier.update({"name": "trees", "members": 1, "folds": 2, "max_iter": 2})
    return config


@pytest.mark.parametrize(("experiment", "n"), [(supervised, 0), (iad, 3)])
def test_what_sidebands_would_tell_is_left_out_and_said(experiment, n, prepared, tmp_path):
    """Neither method needs them, and their ROC is as good without."""
    config = few_trees(experiment, prepared(n))
    config.classifier.folds = 2 if n else 0
    run.train(config, tmp_path / "run")
    metrics = evaluate.evaluate(tmp_path / "run", n_bootstrap=0)
    assert metrics["signals"]["Wprime"]["scores"]["anomaly"]["auc"] > 0
    page = (tmp_path / "run" / "eval" / "report.html").read_text()
    if n == 0:
        assert metrics["caution"].startswith("the test signal trained the classifiers")
        assert f"caution: {metrics['caution']}" in page
        why = metrics["left_out"]["discovery"]
        assert "without sidebands nothing says how many to expect" in why and why in page
        assert {"discovery", "sculpting"} == set(metrics["left_out"])
    else:
        assert not metrics["left_out"] and "caution" not in metrics
        assert metrics["discovery"]["sideband"]["1"]["reason"].startswith("sideband fit: expected")
    written = json.loads((tmp_path / "run" / "eval" / "metrics.json").read_text())
    assert written["left_out"] == metrics["left_out"]
    scorer = load(tmp_path / "run")
    summary = search.summary(scorer, data.load(scorer.config.data), metrics)
    assert summary["significance"] == [None]
    told = (
        metrics["left_out"].get("discovery") or metrics["discovery"]["sideband"]["0.01"]["reason"]
    )
    assert summary["reasons"]["significance"] == told


def test_methods_name_the_sidebands_that_they_need(prepared, tmp_path):
    config = few_trees(cathode, prepared(0))
    message = r"cathode learns the background beside the window: .* found 0 and 0"
    with pytest.raises(UserError, match=message):
        run.train(config, tmp_path / "cathode")
    config.method = {"name": "cwola", "sideband": 0.2}
    message = r"method.sideband=0.2 TeV: expected events below and above it, found 0 and 0"
    with pytest.raises(UserError, match=message):
        cwola.fit(config, data.load(config.data), run.bench(None))


def test_a_window_without_data_to_choose_epochs_by_is_refused(prepared):
    folder = prepared(3)
    np.save(folder / "innerdata_val.npy", np.zeros((0, 6), np.float32))
    config = few_trees(anode, folder)
    with pytest.raises(UserError, match=r"anode learns the data in the window: .* found 90 and 0"):
        methods.get("anode").fit(config, data.load(config.data), run.bench(None))


def test_a_data_set_without_data_in_the_window_is_refused(prepared, tmp_path):
    config = few_trees(iad, prepared(40))
    config.data.update({"window_low": 3.3001, "window_high": 3.3102})
    with pytest.raises(UserError, match=r"arrays: test: no events left|expected 5 or more events"):
        run.train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("what", "values", "message"),
    [
        ("n_signal", ["0", "100"], "n_signal: would change nothing: of prepared arrays"),
        ("extra_background", ["a"], "extra_background: would change nothing: of prepared arrays"),
        ("n_simulated", ["9"], "n_simulated: would change nothing"),
        ("inject", ["9"], "data.inject: not a setting of data.name='lhco'"),
        ("nothing", ["9"], "data.nothing: not a setting of data.name='lhco'"),
    ],
)
def test_scans_of_what_changes_nothing_are_refused(what, values, message, prepared, tmp_path):
    with pytest.raises(UserError, match=message):
        scan.scan(few_trees(iad, prepared(3)), tmp_path / "scan", what, values, 1)
    assert not (tmp_path / "scan").exists()


def test_a_scan_of_no_signal_over_background_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected values above 0, found 0, for which data"):
        scan.scan(cathode.get_config(), tmp_path, "signal_over_background", ["0.01", "0.0"], 1)


def test_a_window_scan_asks_the_reader_what_its_window_is_called(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(scan, "train", lambda config, _: seen.append(config.data))
    monkeypatch.setattr(
        scan,
        "summarised",
        lambda _: {"significance": [1.0], "sic": [], "max_sic": [], "reasons": {}},
    )
    monkeypatch.setattr(scan.report, "scan_figure", lambda *_: None)
    monkeypatch.setattr(scan.report, "save_figures", lambda *_: None)
    for name in ("events", "lhco"):
        config = cathode.get_config()
        config.data.name = name
        scan.scan(config, tmp_path, "window", ["2.9-3.1"], 1)
    assert seen[0].window == "2.9-3.1"
    assert (seen[1].window_low, seen[1].window_high) == (2.9, 3.1)


def test_a_scan_says_why_a_figure_is_missing():
    few = {"SIC at FPR 1e-2": "17 background events"}
    results = [
        {"value": "2.7-3.1", "reasons": {"significance": "outside the fit"}},
        {"value": "2.9-3.3", "reasons": few},
        {"value": "3.1-3.5", "reasons": few},
        {"value": "3.1-3.5", "reasons": few},
        {"value": "3.3-3.7", "reasons": {}},
        {"value": "3.3-3.7", "reasons": few},
    ]
    assert scan._notes(results) == [
        "2.7-3.1: no significance: outside the fit",
        "2.9-3.3, 3.1-3.5, 3.3-3.7 (1 of 2 seeds): no SIC at FPR 1e-2: 17 background events",
    ]


def test_windows_without_a_significance_are_no_zeros():
    """A window that could not be fitted is no window that fluctuates to 0."""
    results = [{"value": v, "significance": [s]} for v, s in (("a", 2.0), ("b", None), ("c", 1.0))]
    found = scan._look_elsewhere(results, ["a", "b", "c"])
    assert found["windows"] == ["a", "c"] and found["z_local"] == 2.0
    assert found["upcrossings"] == 0
    assert scan._look_elsewhere(results[1:2], ["b"])["reason"] == "no window has a significance"
