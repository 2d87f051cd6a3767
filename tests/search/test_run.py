"""The whole search of a small table with an exact template: blinded, opened, resumed, weighted."""

import json

import h5py
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxad import data, training
from jaxad.commands.train import bench
from jaxad.configs import search as search_config
from jaxad.data.false_windows import Window, false_windows
from jaxad.errors import UserError
from jaxad.methods.stages import density
from jaxad.metrics.families import Family
from jaxad.search import inject, pool, run, spectra
from jaxad.search.table import search_table
from jaxad.search.weights import event_weight
from jaxad.search.windows import windows_of
from jaxad.simulation import resonance

QUICK, N = 40, 3000
CUTS = (0.1, 0.02)


def exact(config, table, window, bench):
    """Draws of the law of the background, in the window and in its false ones."""

    def draws(place):
        def draw(n, what):
            rng = np.random.default_rng([len(what), int(place.low)])
            rows = resonance.in_window(n, place.low, place.high, rng)
            return rows | {"x": rows["x"][:, :2]}

        return draw

    false = false_windows(window, table.mass, config.search.closure_windows)
    return run.Draws(draws(window), [(place, draws(place)) for place in false])


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    events, signal = resonance.background(N - 40, rng), resonance.signal(40, rng)
    rows = {name: np.concatenate([events[name], signal[name]]) for name in ("x", "m")}
    named = {f"x{i}": column for i, column in enumerate(rows["x"].T[:2])}
    return {"mjj": rows["m"], "event": np.arange(N), **named}


def config_of(folder, columns, weight=None, **changes):
    path = folder / "events.npz"
    weights = {} if weight is None else {"w": weight}
    np.savez(path, **columns, **weights)
    config = search_config.get_config("smoke")
    own = {"source": str(path), "mass": "mjj", "features": "x*", "id": "event"}
    own |= {"weight": "w"} if weights else {}
    config.data = data.get_config("events", cache=str(folder / "cache"), **own)
    config.classifier.update({"name": "discriminant", "n_cosines": 20, "folds": 3})
    config.search.update({"windows": "3300-3700", "efficiencies": CUTS, "spectrum": "exponential"})
    config.search.update({"closure_windows": 2} | changes)
    return config


def searched(config, workdir, n_toys=QUICK, unblind=True):
    return run.search(config, workdir, bench(training.fit), n_toys, unblind, draws_of=exact)


def cuts_of(content):
    (window,) = content["windows"]
    return window["cuts"]


def test_a_search_is_blind_then_open_and_goes_on(columns, tmp_path, capsys):
    config = config_of(tmp_path, columns)
    searched(config, tmp_path / "run", n_toys=10, unblind=False)
    shown = searched(config, tmp_path / "run")
    written = json.loads((tmp_path / "run/search/search.json").read_text())
    assert written == json.loads(json.dumps(shown))
    with h5py.File(tmp_path / "run/search/scores.h5") as file:
        assert len(file["3300-3700/u"]) == N
    with h5py.File(tmp_path / "run/search/toys.h5") as file:
        assert file["3300-3700/counts"].shape == (QUICK + 1, 3, 2)
        assert file["3300-3700/counts"].dtype == np.int32

    capsys.readouterr()
    hidden = searched(config, tmp_path / "other", unblind=False)
    said = capsys.readouterr().out
    assert "observed counts are blinded" in said and "weighted" not in said
    assert "cannot claim: 40 pseudo-experiments reach p = 0.024 at best" in said
    assert not (tmp_path / "other/search/scores.h5").exists()
    assert hidden["blind"] and hidden["global"] is None
    assert shown["global"]["p"] < 0.2  # there is a signal
    for name in ("settings_hash", "cannot_claim", "n_trainings"):
        assert shown[name] == hidden[name]
    for cut, one in cuts_of(hidden).items():
        opened = cuts_of(shown)[cut]
        assert set(opened) - set(one) == {
            *("n", "z_nominal", "p_nominal", "z_workspace", "p_local", "extrapolated")
        }
        assert isinstance(opened["n"], int) and one["event_weight"] == 1
        del opened["limit"]["observed"]
        assert {name: opened[name] for name in one} == one


@pytest.mark.long
def test_weights_of_one_are_none_and_of_two_twice_the_limit(columns, tmp_path):
    changes = {"normalise": "fit", "power": (40.0,), "power_sets": 20}
    changes["inject"] = "gauss:3500:50"
    found = []
    for name, weight in (("none", None), ("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        weights = None if weight is None else np.full(N, weight)
        sums = {} if weight is None else {"power": (40.0 * weight,)}
        config = config_of(tmp_path / name, columns, weights, **(changes | sums))
        found.append(searched(config, tmp_path / name / "run"))
    none, one, two = found
    assert cuts_of(one) == cuts_of(none)
    assert one["global"] == none["global"]
    for entry in ("conformal", "sculpting", "power", "template", "order"):
        assert one["windows"][0][entry] == none["windows"][0][entry]
    spectra = [content["windows"][0]["spectra"] for content in found]
    for cut, fit in spectra[0].items():
        assert {k: spectra[1][cut][k] for k in fit} == fit
        assert spectra[2][cut]["expected"] == pytest.approx(2 * fit["expected"])
        assert spectra[2][cut]["bumphunter"] == fit["bumphunter"]
    assert two["global"] == none["global"]
    assert two["windows"][0]["power"]["points"] == none["windows"][0]["power"]["points"]
    assert two["windows"][0]["n_data"] == 2 * none["windows"][0]["n_data"]
    for cut, double in cuts_of(two).items():
        single = cuts_of(none)[cut]
        for name in ("z_nominal", "p_local", "z_workspace"):
            assert double[name] == single[name]
        assert double["n"] == 2 * single["n"]
        for name in ("median", "observed"):
            assert double["limit"][name] == pytest.approx(2 * single["limit"][name])


@pytest.mark.parametrize("normalise", ["window", "fit"])
def test_weighted_events_are_searched(normalise, columns, tmp_path, capsys):
    weight = 0.01 * (0.2 + np.random.default_rng(1).exponential(size=N))
    config = config_of(tmp_path, columns, weight, normalise=normalise)
    found = searched(config, tmp_path / "run")
    said = capsys.readouterr().out
    inside = (columns["mjj"] > 3300) & (columns["mjj"] < 3700)
    unit = (weight[inside] ** 2).sum() / weight[inside].sum()
    assert f"one event of the likelihood is {unit:.4g}" in said
    assert any("where weights do not depend on the features" in s for s in found["cannot_claim"])
    (window,) = found["windows"]
    assert window["n_data"] == pytest.approx(weight[inside].sum())
    expected, rel = window["n_data"], 1e-6
    if normalise == "fit":  # whose order may be another
        expected, rel = window["spectra"]["1"]["expected"], 0.05
    for one in window["cuts"].values():
        assert one["event_weight"] == pytest.approx(unit)
        share = one["r"] / (window["n_template"] + 3)
        assert one["b"] / (1 + one["delta"]) == pytest.approx(share * expected, rel=rel)
        assert 0.5 < one["coverage"]["width"] < 1.6
    assert window["cuts"]["0.02"]["p_local"]["p"] < 0.2
    with h5py.File(tmp_path / "run/search/scores.h5") as file:
        group = file["3300-3700"]
        passing = (group["u"][:] <= 0.02) & group["in_window"][:]
        total = weight[group["id"][:, 0][passing]].sum()
    assert window["cuts"]["0.02"]["n"] == pytest.approx(total)
    assert window["spectra"]["1"]["observed"] == pytest.approx(window["n_data"])


def test_toy_spectra_fluctuate_as_weighted_events_do(columns, tmp_path):
    weight = 0.01 * (0.2 + np.random.default_rng(1).exponential(size=N))
    config = config_of(tmp_path, columns, weight)
    table, window = search_table(config), Window(3300, 3700)
    every = np.ones(N, bool)
    found = spectra.normalisation(config, table, window, Family("exponential", 2), 400, every)
    pulls = (found.events - found.refitted) / np.sqrt(found.expected + found.error**2)
    assert abs(pulls.mean()) < 0.2 and 0.9 < pulls.std() < 1.1
    unit = event_weight(weight[window.holds(table.mass)])
    inside = weight[window.holds(table.mass)].sum()
    assert found.expected * unit == pytest.approx(inside, rel=0.25)


def test_an_exact_half_split_is_claimed_of_plain_events_alone(columns, tmp_path):
    said = {}
    for name, weight in (("plain", None), ("weighted", np.linspace(1, 2, N))):
        (tmp_path / name).mkdir()
        config = config_of(tmp_path / name, columns, weight, closure_windows=0, half_split=True)
        said[name] = searched(config, tmp_path / name / "run", n_toys=0, unblind=False)
    assert any("exact for one cut" in text for text in said["plain"]["cannot_claim"])
    assert not any("exact for one cut" in text for text in said["weighted"]["cannot_claim"])


def test_memory_and_injected_signal_may_change_on_the_way(columns, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)  # as a density leaves
    config = config_of(tmp_path, columns, closure_windows=0)
    first = searched(config, folder)
    config.search.update({"chunk": 3, "power": (40.0,), "power_sets": 10})
    config.search.inject = "gauss:3500:50"
    again = searched(config, folder)
    assert cuts_of(again) == cuts_of(first) and again["settings_hash"] == first["settings_hash"]
    assert again["windows"][0]["power"]["injected"] == [40.0]
    assert json.loads((folder / "config.json").read_text())["search"]["chunk"] == 3
    config.search.fold_salt = 1
    with pytest.raises(UserError, match=r"another config \(search.fold_salt: 0 there, 1 now\)"):
        searched(config, folder)


def test_a_half_split_expects_half_of_the_events(columns, tmp_path):
    changes = {"normalise": "fit", "half_split": True, "closure_windows": 0}
    config = config_of(tmp_path, columns, **changes)
    (window,) = searched(config, tmp_path / "run")["windows"]
    one = window["cuts"]["0.1"]
    share = one["r"] / (window["n_template"] + 1)
    assert one["b"] == pytest.approx(share * window["n_data"], rel=0.15)
    assert one["b"] == pytest.approx(share * window["spectra"]["1"]["expected"], rel=0.05)
    assert abs(one["coverage"]["mean"]) < 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"closure_windows": 1}, r"search\.closure_windows: expected 0, or 2 and more, found 1"),
        ({"efficiencies": (0.1, 0.1)}, r"search\.efficiencies: expected no cut twice"),
        ({"normalise": "sidebands"}, r"search\.normalise: .* found 'sidebands'"),
        ({"spectrum": "cubic"}, r"spectrum: expected one of .* found 'cubic'"),
        ({"power": (20.0, -5.0)}, r"search\.power: .* 0 or more, found \(20\.0, -5\.0\)"),
        ({"power": (20.0,)}, r"search\.inject: .* in GeV, or a file, found none"),
        ({"power": (20.0,), "inject": "gauss:3500"}, r"search\.inject: .* found 'gauss:3500'"),
        (
            {"power": (9e3,), "inject": "gauss:3500:50"},
            r"search\.power: .* at most 1\d\d in a fold",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message, columns, tmp_path):
    config = config_of(tmp_path, columns, **({"closure_windows": 0} | changes))
    with pytest.raises(UserError, match=message):
        searched(config, tmp_path / "run", n_toys=1)


def test_weighted_signal_is_injected_by_its_weights(columns, tmp_path):
    weight = np.exp(columns["x1"] / 2)
    config = config_of(tmp_path, columns, weight)
    config.search.inject = config.data.source
    rows = inject.signal(config, search_table(config), {})
    assert len(rows["m"]) / N == pytest.approx(weight.mean() / weight.max(), rel=0.1)
    assert rows["x"][:, 1].mean() == pytest.approx(
        np.average(columns["x1"], weights=weight), abs=0.15
    )


def test_two_rows_of_one_id_of_a_signal_are_in_one_fold(columns, tmp_path):
    config = config_of(tmp_path, columns | {"event": np.arange(N) // 2})
    config.search.inject = config.data.source
    fold = inject.dealt(inject.signal(config, search_table(config), {})["fold_key"], 3)
    assert (fold[::2] == fold[1::2]).all() and np.bincount(fold).tolist() == [N // 3] * 3


def test_a_signal_of_a_file_has_the_spikes_of_the_data(columns, tmp_path):
    config = config_of(tmp_path, columns)
    config.search.inject = config.data.source
    table = search_table(config)
    spikes, widths = np.full((2, len(table.names)), np.nan, np.float32)
    spikes[0], widths[0] = 0.5, 0.25
    rows = inject.signal(config, table._replace(spikes=spikes, spike_widths=widths), {})
    near = (table.x[:, 0] >= 0.5) & (table.x[:, 0] < 0.75)
    assert near.sum() > 100
    assert (rows["x"][near, 0] == 0.5).all()
    assert (rows["x"][~near] == table.x[~near]).all()


def test_template_masses_follow_the_weights(columns):
    m = columns["mjj"].astype(np.float32) / 1000
    m, rng = m[(m > 3.3) & (m < 3.7)], np.random.default_rng(0)
    weight = np.exp(5 * m)
    drawn = density.sample_mass(m, 20_000, rng, 0.01, weight)
    assert drawn.mean() == pytest.approx(np.average(m, weights=weight), abs=0.005)
    assert abs(drawn.mean() - m.mean()) > 0.03


def test_negative_weights_are_refused(columns, tmp_path):
    weight = np.ones(N)
    weight[17] = -1
    config = config_of(tmp_path, columns, weight)
    with pytest.raises(UserError, match=r"a weight that is not above 0"):
        searched(config, tmp_path / "run")


@pytest.mark.long
def test_a_density_learns_from_weighted_events(columns, tmp_path):
    """Heavier events lie higher in x1, given the mass: so does the template."""
    weight = np.exp(columns["x1"] / 2)
    means = {}
    for name, weights in (("weighted", weight), ("not", None)):
        (tmp_path / name).mkdir()
        config = config_of(tmp_path / name, columns, weights, closure_windows=0)
        config.flow_train.epochs = 60
        table = search_table(config)
        (window,) = windows_of(config, table.mass, table.mass_unit)
        draws = run.densities(config, table, window, bench(training.fit))
        means[name] = draws.window(4000, "test")["x"][:, 1].mean()
        data, drawn = draws.sidebands()
        assert ("weight" in data) == ("weight" in drawn) == (name == "weighted")
    assert means["weighted"] > means["not"] + 0.3  # 0.5 of the law


@pytest.mark.parametrize("weighted", [True, False])
def test_a_template_is_compared_with_the_data_as_their_weights_have_them(weighted):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)).astype(np.float32)
    weight = np.exp(x[:, 0] / 2)  # a Gaussian that is displaced by 0.5
    data = {"x": x, "m": np.linspace(3301, 3699, 3000), "fold": np.arange(3000) % 2}
    data |= {"row": np.arange(3000), "weight": weight if weighted else np.ones(3000)}
    draws = [
        {"x": rng.normal((0.5, 0), 1, (n, 2)).astype(np.float32), "m": np.full(n, 3500.0)}
        for n in (400, 6000)
    ]
    rows = pool.make(data, *draws, folds=2)
    found = run._quality(ConfigDict({"seed": 0}), rows, ("a", "b"))
    pull = found["pulls"]["a"]["mean"]
    assert abs(found["pulls"]["b"]["mean"]) < 4
    assert abs(pull) < 4 if weighted else pull > 15
    assert (found["auc"] < 0.55) == weighted
