"""Figures of merit of events on disk, in blocks of a few rows: those of memory."""

import json

import numpy as np
import pytest

from jaxad import metrics
from jaxad.metrics import bands
from jaxad.metrics.sculpting import correlation, mass_sculpting
from jaxad.storage import on_disk, sorting

N_B, N_S = 700, 300
LEVELS = {"fprs": (0.1, 0.02, 0.01), "tprs": (0.4, 0.9)}


def scores_of(ties):
    rng = np.random.default_rng(0)
    b, s = rng.normal(0, 1, N_B), rng.normal(1, 1, N_S)
    if ties == "some":
        b, s = b.round(1), s.round(1)
    if ties == "one":  # more events of one score than a block holds
        b[rng.random(N_B) < 0.6] = s[rng.random(N_S) < 0.3] = 0.5
    return b.astype(np.float32), s.astype(np.float32)


def weights_of(kind):
    rng = np.random.default_rng(1)
    if kind == "none":
        return None
    b, s = (rng.exponential(size=n).astype(np.float32) for n in (N_B, N_S))
    if kind == "negative":
        b[rng.random(N_B) < 0.1] *= -1
        s[rng.random(N_S) < 0.1] *= -1
    return (b, None) if kind == "background" else (b, s)


def nearly(found, expected, tolerance=1e-12):
    """Whether what JSON holds is the same, numbers to that."""
    assert type(found) is type(expected)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            nearly(found[key], value, tolerance)
    elif isinstance(found, list):
        for pair in zip(found, expected, strict=True):
            nearly(*pair, tolerance)
    elif isinstance(found, float):
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)
    else:
        assert found == expected


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Puts arrays on a disk whose blocks hold a few rows."""

    def put(array):
        monkeypatch.setattr(on_disk, "BLOCK_ROWS", 97)
        return None if array is None else on_disk.joined([array], tmp_path)

    return put


@pytest.mark.parametrize(
    ("ties", "kind"),
    [
        ("no", "none"),
        ("one", "none"),
        ("some", "both"),
        ("some", "background"),
        ("one", "negative"),
    ],
)
def test_all_figures(ties, kind, stored, monkeypatch):
    scores, weights = scores_of(ties), weights_of(kind)
    monkeypatch.setattr(bands, "AT_ONCE", 1)
    expected = metrics.summarise(*scores, weights=weights, n_bootstrap=2, **LEVELS)
    assert 0.5 < expected["auc"] < 0.9 and expected["auc_bootstrap_err"] > 0
    grid = np.geomspace(1e-3, 1, 50)
    curve = metrics.roc(*scores, weights), metrics.roc_band(*scores, grid, weights)
    rate = metrics.rate_above(scores[0], 1.0, 1e6, weights and weights[0])
    x, own = [stored(one) for one in scores], weights and [stored(w) for w in weights]
    found = metrics.summarise(*x, weights=own, n_bootstrap=2, **LEVELS)
    nearly(json.loads(json.dumps(found)), json.loads(json.dumps(expected)))
    for kind_of, others in zip(
        (metrics.roc(*x, own), metrics.roc_band(*x, grid, own)), curve, strict=True
    ):
        for one, other in zip(kind_of, others, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    nearly(metrics.rate_above(x[0], 1.0, 1e6, own and own[0]), rate)


def test_replicas_one_by_one_are_those_of_blocks(monkeypatch):
    scores = scores_of("some")
    monkeypatch.setattr(bands, "AT_ONCE", N_B + N_S)
    expected = metrics.bootstrap(*scores, n=20, **LEVELS)
    monkeypatch.setattr(bands, "AT_ONCE", 1)
    found = metrics.bootstrap(*scores, n=20, **LEVELS)
    np.testing.assert_allclose(found["auc"], expected["auc"], rtol=1e-14)
    for kind in ("tpr_at_fpr", "fpr_at_tpr"):
        for key, values in expected[kind].items():
            np.testing.assert_array_equal(found[kind][key], values)


@pytest.mark.parametrize("weighted", [False, True])
def test_correlations_and_spectra(weighted, stored):
    score, _ = scores_of("one")
    mass = (100 + 10 * score + np.random.default_rng(2).normal(0, 9, N_B)).astype(np.float32)
    w = weights_of("negative")[0] if weighted else None
    expected = correlation(score, mass, w), mass_sculpting(mass, score)
    x, m, own = stored(score), stored(mass), stored(w)
    nearly(correlation(x, m, own), expected[0])
    nearly(mass_sculpting(m, x), expected[1])
    assert not correlation(x, on_disk.mapped(np.ones_like, x))["spearman"]


@pytest.mark.parametrize("n", [1, 97, 98, 2000])
@pytest.mark.parametrize("kind", ["distinct", "few", "one"])
def test_orders(n, kind, stored):
    rng = np.random.default_rng(n)
    x = {"distinct": rng.normal(size=n), "few": rng.integers(-2, 3, n), "one": np.zeros(n)}[kind]
    x, payload = x.astype(np.float32), rng.integers(0, 1 << 31, n)
    order = np.argsort(x, kind="stable")
    found = sorting.together(stored(x), stored(payload))
    for one, expected in zip(found, (x[order], payload[order]), strict=True):
        np.testing.assert_array_equal(one, expected)
        assert one.dtype == expected.dtype
        assert isinstance(one, np.memmap) == (n > 97)
    values, places = sorting.places(stored(x))
    np.testing.assert_array_equal(values[places], x)
    np.testing.assert_array_equal(np.sort(places), np.arange(n))


def test_nothing_is_put_beside_a_callers_file(tmp_path, monkeypatch):
    b, s = scores_of("no")
    np.save(tmp_path / "b.npy", b)
    mapped = np.load(tmp_path / "b.npy", mmap_mode="r")
    monkeypatch.setattr(on_disk, "empty", None)
    monkeypatch.setattr(on_disk, "joined", None)
    assert metrics.auc(mapped, s) == metrics.auc(b, s)
