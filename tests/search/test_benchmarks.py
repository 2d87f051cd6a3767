"""The benchmarks of pseudo-experiments run, as small as can be."""

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

from benchmarks import calibration, power, pseudo, template, uniformity
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
    uniformity.main(["--sets=3", "--toys=25", f"--figure={tmp_path / 'uniformity.png'}"])
    assert capsys.readouterr().out.count("| calibrated |") == 4
    assert (tmp_path / "uniformity.png").stat().st_size > 0


def test_the_ideal_finds_what_is_injected():
    z = np.median(power.ideal(20), axis=1)
    assert (np.diff(z) > 0).all()
    assert z[0] > power.SIGMAS[0] and z[-1] > 10


def test_a_density_is_judged_in_false_windows_once(tmp_path, capsys):
    events, results = tmp_path / "simulated.h5", tmp_path / "results"
    write_frame(events, fake_events(2500, 0), [*lhco.JETS, "label"])
    small = ["flow_train.epochs=1", "flow.hidden=[8]", "flow.n_layers=1", "classifier.folds=2"]
    small += ["search.closure_windows=2", 'classifier.name="discriminant"']
    command = [str(events), "--ways", "one", f"--results={results}", "--set", *small]
    template.main(command)
    shown = capsys.readouterr().out
    (row,) = (line for line in shown.splitlines() if line.startswith("| one |"))
    assert row.count("±") == 3
    (kept,) = results.glob("*.json")
    made = kept.stat().st_mtime_ns
    template.main(command)
    assert capsys.readouterr().out == shown
    assert kept.stat().st_mtime_ns == made


def test_the_table_of_densities_has_means_widths_and_excesses():
    pulls = np.zeros((2, 1, 5))
    pulls[0, 0, 0], pulls[1, 0, 0] = 0.5, 1.5
    runs = [[{"pulls": pulls.tolist(), "n": [[11.0], [13.0]], "b": [[10.0], [10.0]]}]]
    row = template.line("one", runs)
    assert row.startswith("| one | 1.00, 0.45 | 0.50, 0.22 | +20.0% [+20.0%, +20.0%] ± 22.4% |")
