"""The benchmarks of pseudo-experiments run, as small as can be."""

import json

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

from benchmarks import (
    calibration,
    power,
    pseudo,
    sidebands,
    signals,
    swapped,
    template,
    template_rows,
    uniformity,
)
from jaxad.data import lhco
from jaxad.search import toys


@pytest.mark.long
def test_rates_are_printed(capsys):
    pseudo.main(["--tiny"])
    out = capsys.readouterr().out
    assert "member-steps/s" in out
    assert "| 120,000 |" in out


@pytest.mark.long
def test_what_is_wrong_with_which_way_is_printed(capsys):
    calibration.main(["--toys=40", "--sets=2"])
    out = capsys.readouterr().out
    assert out.count("| in-sample | 0.") == 2
    assert "| 40 |" in out


def test_counts_of_many_data_sets_are_those_of_the_search():
    rows = uniformity.pool_of(uniformity.analytic, (200, 400, 1500), 0.1, np.random.default_rng(0))
    out_of_fold, in_sample = uniformity.observed(rows)
    recipe = toys.get_config(name="discriminant")
    expected = toys.counts(rows, recipe, uniformity.EFFICIENCIES, 1, [0]).sum(axis=1)[0]
    assert out_of_fold.tolist() == expected.tolist()
    assert (in_sample > expected).all()


def test_p_values_of_many_data_sets_are_printed(tmp_path, capsys):
    uniformity.main(["--sets=2", "--toys=8", f"--figure={tmp_path / 'uniformity.png'}"])
    assert capsys.readouterr().out.count("| calibrated |") == 4
    assert (tmp_path / "uniformity.png").stat().st_size > 0


def test_the_ideal_finds_what_is_injected():
    z = np.median(power.ideal(20), axis=1)
    assert (np.diff(z) > 0).all()
    assert z[0] > power.SIGMAS[0] and z[-1] > 10


@pytest.mark.long
def test_a_density_is_judged_in_false_windows_once(tmp_path, capsys):
    events, results = tmp_path / "simulated.h5", tmp_path / "results"
    write_frame(events, fake_events(2500, 0), [*lhco.JETS, "label"])
    small = ["flow_train.epochs=1", "flow.hidden=[8]", "flow.n_layers=1", "classifier.folds=2"]
    small += ["search.closure_windows=2", 'classifier.name="discriminant"']
    command = [str(events), "--seeds=2", "--ways", "one", "--set", *small]
    template.main([*command, f"--results={results}", "--at-once=2"])
    shown = capsys.readouterr().out
    assert [line.count("±") for line in shown.splitlines() if line.startswith("| one")] == [3]
    made = {kept: kept.stat().st_mtime_ns for kept in results.glob("*.json")}
    assert len(made) == 2
    template.main([*command, f"--results={results}"])
    assert capsys.readouterr().out == shown
    assert all(kept.stat().st_mtime_ns == at for kept, at in made.items())
    template.main([*command, f"--results={tmp_path / 'alone'}"])
    for kept in made:
        together, alone = (
            json.loads((folder / kept.name).read_text())["found"]["pulls"]
            for folder in (results, tmp_path / "alone")
        )
        np.testing.assert_allclose(together, alone, atol=0.2)


@pytest.mark.long
def test_what_is_drawn_has_the_masses_and_the_range_of_the_events(tmp_path):
    events = tmp_path / "simulated.h5"
    write_frame(events, fake_events(2500, 0), [*lhco.JETS, "label"])
    config = template.run_of(str(events), "one", 0, {"search.closure_windows": 2}, tmp_path).config
    real, drawn, other = (template.asked_of(config, way).table for way in ("", "lines", "frame"))
    config.seed, config.flow.n_layers = 1, 1  # of a run, not of what is drawn
    again = template.asked_of(config, "lines").table
    np.testing.assert_array_equal(real.mass, drawn.mass)
    np.testing.assert_array_equal(drawn.x, again.x)
    assert (drawn.x != real.x).mean() > 0.99 and (drawn.x != other.x).mean() > 0.99
    assert (drawn.x.min(axis=0) >= real.x.min(axis=0)).all()
    assert (drawn.x.max(axis=0) <= real.x.max(axis=0)).all()
    low, high = np.quantile(real.x, (0.3, 0.7), axis=0)
    assert ((low < np.median(drawn.x, axis=0)) & (np.median(drawn.x, axis=0) < high)).all()


@pytest.mark.long
def test_each_source_is_compared_with_the_template_of_all(tmp_path):
    small = {"flow_train.epochs": 1, "flow.hidden": [8], "flow.n_layers": 1, "flow.correction": 0}
    small |= {"classifier.name": "discriminant", "classifier.folds": 2, "flow_train.ensemble": 1}
    asked = []
    for seed in range(2):
        events = tmp_path / f"simulated_{seed}.h5"
        write_frame(events, fake_events(2500, seed), [*lhco.JETS, "label"])
        changes = small | {"search.closure_windows": 2}
        asked.append(
            template.asked_of(template.run_of(str(events), "one", seed, changes, tmp_path).config)
        )
    table = sidebands.joined([one.table for one in asked])
    np.testing.assert_array_equal(table.mass, np.concatenate([one.table.mass for one in asked]))
    assert len(table.x) == len(table.label) == len(table.fold_key) == 2 * 2500
    asked = [one._replace(window=asked[0].window, false=asked[0].false) for one in asked]
    found = sidebands.measured(asked)
    for one, of in zip(asked, found, strict=True):
        assert of["windows"] == [window.name for window in asked[0].false]
        inside = [window.holds(one.table.mass).sum() for window in asked[0].false]
        np.testing.assert_allclose(np.array(of["b"])[:, 0], 0.2 * np.array(inside))


@pytest.mark.long
def test_parts_of_windows_make_one_row_and_are_measured_once(tmp_path, monkeypatch, capsys):
    small = {"flow_train.epochs": 1, "flow.hidden": [8], "flow.n_layers": 1, "flow.correction": 0}
    small |= {"classifier.name": "discriminant", "classifier.folds": 2, "flow_train.ensemble": 1}
    monkeypatch.setitem(template.WAYS, "default", small | {"search.closure_windows": 4})
    sources = [str(tmp_path / f"simulated_{seed}.h5") for seed in range(2)]
    for seed, source in enumerate(sources):
        write_frame(source, fake_events(2500, seed), [*lhco.JETS, "label"])
    command = [*sources, f"--results={tmp_path / 'results'}"]
    sidebands.main(command)
    shown = capsys.readouterr().out
    made = {kept: kept.stat().st_mtime_ns for kept in (tmp_path / "results").glob("*.json")}
    found = [json.loads(kept.read_text())["found"] for kept in sorted(made)]
    assert [len(one["windows"]) for part in found for one in part] == [3, 3, 1, 1]
    whole = [{key: a[key] + b[key] for key in a} for a, b in zip(*found, strict=True)]
    assert shown.splitlines()[-1] == template.line("of all 2", [whole])
    sidebands.main(command)
    assert capsys.readouterr().out == shown
    assert all(kept.stat().st_mtime_ns == at for kept, at in made.items())


def test_the_table_of_densities_has_means_widths_and_excesses():
    pulls = np.zeros((2, 1, 5))
    pulls[0, 0, 0], pulls[1, 0, 0] = 0.5, 1.5
    runs = [[{"pulls": pulls.tolist(), "n": [[11.0], [13.0]], "b": [[10.0], [10.0]]}]]
    row = template.line("one", runs)
    assert template.line("one", runs * 2).startswith("| one | 1.00, 0.45 | 0.71, 0.32 | 0.00 |")
    assert row.startswith("| one | 1.00, 0.45 | 0.71, 0.32 | - | +20.0% [+20.0%, +20.0%] ± 10.0% |")
    lower = [[runs[0][0] | {"n": [[10.0], [13.0]], "pulls": (0 * pulls).tolist()}]]
    assert template.paired(("one", "lower"), [runs, lower]) == (
        "| lower less one | -5.0% ± 5.0% | -0.25 ± 0.20 |"
    )
    runs[0][0]["windows"] = ["2500-2600", "2600-2700"]
    assert template.above(runs[0][0], 2550)["n"] == [[13.0]]


def _one(shift: float) -> dict:
    """A run of `swapped` whose density is `shift` above the truth in every moment."""
    rng = np.random.default_rng(0)
    m = rng.uniform(2.7, 4.1, 900)
    truth = {"x": rng.normal(size=(900, 4)), "m": m}
    at = dict(zip(m, truth["x"], strict=True))
    moments = swapped.by_mass(
        lambda masses, stage: np.array([at[mass] for mass in masses]) + shift, truth, rng
    )
    networks = [[0.7, 3.0], [0.8, 4.0], [0.75, 3.5]]
    return {"nll": 5.28, "ensemble": [0.85, 5.0], "networks": networks, "moments": moments}


def test_swapped_parts_have_merits_and_moments_by_mass():
    rows = swapped.tables({"exact": [_one(0.0)], "high": [_one(0.0), _one(1.0)]})
    assert rows[2].startswith("| exact | 5.2800 [5.2800, 5.2800] | 0.850 [0.850, 0.850], 5.00")
    assert "| 0.750 [0.700, 0.800], 3.50 [3.00, 4.00] | 0.750 [0.750, 0.750], 3.50" in rows[2]
    bins = [row for row in rows if row.startswith(("| 2.", "| 3."))]
    assert len(bins) == (len(swapped.EDGES) - 1) * len(swapped.FEATURES) * len(
        swapped.moments.NAMES
    )
    header = rows.index("| spread of dmJ [TeV] at mjj [TeV] | true background | exact | high |")
    true, exact = rows[header + 2].split("|")[2:4]
    assert true.split("±")[0].strip() == exact.split("[")[0].strip()
    pulls = {
        row.split("|")[1].strip(): [float(cell) for cell in row.split("|")[2:-1]]
        for row in rows[-8:]
    }
    assert max(map(abs, pulls["exact, dmJ"])) < 0.3
    assert pulls["high, dmJ"][0] > 2 and abs(pulls["high, dmJ"][1]) < 0.3


def test_signals_have_a_row_of_every_density(tmp_path):
    runs = [[0.85, 5.0, 6.0], [0.87, 5.2, 6.4]]
    assert signals.row("heavy", [runs, [[0.9, None, 6.0]]]) == (
        "| heavy | 0.860 [0.850, 0.870] | 5.10 [5.00, 5.20] | 6.20 [6.00, 6.40] | "
        "0.900 [0.900, 0.900] | - | 6.00 [6.00, 6.00] |"
    )


def test_a_signal_and_a_background_become_one_source(tmp_path):
    background, signal = tmp_path / "simulated_1" / "events.h5", tmp_path / "signal_heavy"
    for file in (background, signal / "signal.h5"):
        file.parent.mkdir()
        file.touch()
    for _ in range(2):
        folder = signals.folder_of(background, signal, tmp_path / "runs")
        assert folder.name == "simulated_1-signal_heavy"
        assert sorted(file.name for file in folder.iterdir()) == ["events.h5", "signal.h5"]


def test_windows_of_one_flaw_are_corrected_by_each_other():
    """Of a template that is 10 % low as of an exact one; windows that differ have a wider z."""
    rng, n_data = np.random.default_rng(0), 5_000
    cuts = np.array(template_rows.EFFICIENCIES)
    b = [(n_data * cuts).tolist()] * 6

    def widths(runs):
        cells = template_rows.corrected("way", runs, 16.0).strip("| ").split(" | ")[1:]
        return np.array(cells, float)

    def runs(flaws):
        n = [rng.binomial(n_data, flaws[:, None] * cuts) for _ in range(40)]
        return [[{"n": one, "b": b} for one in n]]

    exact = widths(template_rows.copies([[{"b": b}]]))
    assert (np.abs(exact - 0.92) < 0.06).all()
    assert (np.abs(widths(runs(np.full(6, 1.1))) - exact) < 0.12).all()
    assert (widths(runs(np.array([1.5, *np.full(5, 1.0)])))[:2] > exact[:2] + 0.2).all()
