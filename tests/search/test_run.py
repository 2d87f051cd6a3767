"""The whole search of a small table with an exact template: blinded, opened, resumed, weighted."""

import json

import h5py
import numpy as np
import pytest

from jaxad import data, training
from jaxad.commands.train import bench
from jaxad.configs import search as search_config
from jaxad.errors import UserError
from jaxad.search import run
from jaxad.search.windows import false_windows
from jaxad.simulation import resonance

QUICK = 40
CUTS = (0.1, 0.02)


def exact(config, table, window, bench):
    """Draws of the law of the background, in the window and in its false ones."""

    def draws(place):
        def draw(n, what):
            rng = np.random.default_rng([len(what), int(place.low)])
            return resonance.in_window(n, place.low, place.high, rng)

        return draw

    false = false_windows(window, table.mass, config.search.closure_windows)
    return run.Draws(draws(window), [(place, draws(place)) for place in false])


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    events, signal = resonance.background(6000, rng), resonance.signal(60, rng)
    rows = {name: np.concatenate([events[name], signal[name]]) for name in ("x", "m")}
    named = {f"x{i}": column for i, column in enumerate(rows["x"].T)}
    return {"mjj": rows["m"], "event": np.arange(6060), **named}


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


def numbers(content):
    """What a search says of cuts and spectra, of any data set with the same events."""
    (window,) = content["windows"]
    return {name: window[name] for name in ("cuts", "spectra", "conformal", "sculpting")}


def test_a_search_is_blind_then_open_and_goes_on(columns, tmp_path, capsys):
    config = config_of(tmp_path, columns)
    hidden = searched(config, tmp_path / "run", unblind=False)
    said = capsys.readouterr().out
    assert "observed counts are blinded" in said and "weighted" not in said
    assert hidden["blind"] and hidden["global"] is None
    assert not (tmp_path / "run/search/scores.h5").exists()
    for one in cuts_of(hidden).values():
        assert not {"n", "z_nominal", "p_local"} & set(one)
        assert one["event_weight"] == 1

    shown = searched(config, tmp_path / "run")
    assert json.loads((tmp_path / "run/search/search.json").read_text()) == shown
    assert shown["settings_hash"] == hidden["settings_hash"]
    assert shown["cannot_claim"] == hidden["cannot_claim"]
    assert any("40 pseudo-experiments reach p = 0.024 at best" in s for s in shown["cannot_claim"])
    for cut, one in cuts_of(shown).items():
        assert isinstance(one["n"], int)
        assert {k: v for k, v in one.items() if k in cuts_of(hidden)[cut] and k != "limit"} == {
            k: v for k, v in cuts_of(hidden)[cut].items() if k != "limit"
        }
        assert 0 < one["p_local"]["p"] <= 1
    assert cuts_of(shown)["0.02"]["p_local"]["p"] < 0.1  # there is a signal
    assert shown["global"]["p"] < 0.2
    with h5py.File(tmp_path / "run/search/scores.h5") as file:
        assert len(file["3300-3700/u"]) == 6060
    with h5py.File(tmp_path / "run/search/toys.h5") as file:
        assert file["3300-3700/counts"].dtype == np.int32

    searched(config, tmp_path / "other", n_toys=10)
    assert numbers(searched(config, tmp_path / "other")) == numbers(shown)


def test_weights_of_one_are_none_and_of_two_twice_the_limit(columns, tmp_path):
    changes = {"normalise": "fit", "power": (40.0,), "power_sets": 20}
    changes["inject"] = "gauss:3500:50"
    found = []
    for name, weight in (("none", None), ("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        weights = None if weight is None else np.full(6060, weight)
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
    weight = 0.01 * (0.2 + np.random.default_rng(1).exponential(size=6060))
    config = config_of(tmp_path, columns, weight, normalise=normalise)
    found = searched(config, tmp_path / "run")
    said = capsys.readouterr().out
    inside = (columns["mjj"] > 3300) & (columns["mjj"] < 3700)
    unit = (weight[inside] ** 2).sum() / weight[inside].sum()
    assert f"one event of the likelihood is {unit:.4g}" in said
    assert any("where weights do not depend on the features" in s for s in found["cannot_claim"])
    (window,) = found["windows"]
    assert window["n_data"] == pytest.approx(weight[inside].sum())
    expected = window["n_data"] if normalise == "window" else window["spectra"]["1"]["expected"]
    for cut, one in window["cuts"].items():
        assert one["event_weight"] == pytest.approx(unit)
        raw = one["b"] / (1 + one["delta"])
        assert raw == pytest.approx(float(cut) * expected, rel=0.01)
        assert 0.5 < one["coverage"]["width"] < 1.6
    assert window["cuts"]["0.02"]["p_local"]["p"] < 0.2
    with h5py.File(tmp_path / "run/search/scores.h5") as file:
        group = file["3300-3700"]
        passing = (group["u"][:] <= 0.02) & group["in_window"][:]
        total = weight[group["id"][:, 0][passing]].sum()
    assert window["cuts"]["0.02"]["n"] == pytest.approx(total)
    assert window["spectra"]["1"]["observed"] == pytest.approx(window["n_data"])


def test_negative_weights_are_refused(columns, tmp_path):
    weight = np.ones(6060)
    weight[17] = -1
    config = config_of(tmp_path, columns, weight)
    with pytest.raises(UserError, match=r"a weight that is not above 0"):
        searched(config, tmp_path / "run")
