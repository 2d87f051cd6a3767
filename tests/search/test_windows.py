"""Where a search looks, and where it tests its template."""

import numpy as np
import pytest

from jaxad.configs import search
from jaxad.data.false_windows import Window, false_windows
from jaxad.errors import UserError
from jaxad.search.windows import overlap, windows_of

MASS = 2600 + np.random.default_rng(0).exponential(450, 20_000)


def asked(unit="GeV", **changes):
    config = search.get_config("smoke")
    config.search.update(changes)
    return windows_of(config, MASS, unit)


def test_windows_are_in_the_unit_of_the_mass():
    assert asked(windows="3300-3700, 3700-4100") == [Window(3300, 3700), Window(3700, 4100)]
    assert asked("TeV", windows="3.3-3.7") == [Window(3300, 3700)]
    assert asked() == [Window(3300, 3700)]  # that of the data


def test_a_scan_by_width_and_by_resolution():
    scanned = asked(scan="3000:4000", width=400.0, step=200.0)
    assert [(w.low, w.high) for w in scanned] == [
        (3000, 3400), (3200, 3600), (3400, 3800), (3600, 4000)
    ]  # fmt: skip
    assert overlap(scanned) and not overlap(scanned[::2])
    by_resolution = asked(scan="3000:4000", resolution=0.03)
    assert all(w.high - w.low == pytest.approx(0.06 * w.low) for w in by_resolution)
    steps = np.diff([w.low for w in by_resolution])
    assert np.allclose(steps, 0.015 * np.array([w.low for w in by_resolution[:-1]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": "3300"}, "expected LOW-HIGH in GeV, found '3300'"),
        ({"windows": "3700-3300"}, "expected LOW-HIGH"),
        ({"windows": "3300-3700,3300-3700"}, "comes twice"),
        ({"windows": "3300-3700", "scan": "3000:4000"}, "set one of them"),
        ({"scan": "3000:4000"}, "search.width and search.step"),
        (
            {"windows": "3300-3700", "sqrt_s": 4000.0},
            "expected more than the largest mass",
        ),
    ],
)
def test_windows_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        asked(**changes)


def test_a_window_of_the_data_beside_one_of_the_search_is_refused():
    config = search.get_config("smoke")
    config.data.window, config.search.windows = "3.3-3.7", "3300-3700"
    with pytest.raises(UserError, match="take its place: leave it out"):
        windows_of(config, MASS, "GeV")


@pytest.mark.parametrize("n", [2, 6])
def test_false_windows_are_disjoint_clear_and_of_equal_counts(n):
    window = Window(3300.0, 3700.0)
    false = false_windows(window, MASS, n)
    counts = [int(w.holds(MASS).sum()) for w in false]
    assert len(false) == n
    assert max(counts) - min(counts) <= 1
    assert max(counts) <= window.holds(MASS).sum()
    assert not overlap(false)
    assert all(w.high <= 2900 + 1e-9 or w.low >= 4100 - 1e-9 for w in false)
    edges = min(w.low for w in false), max(w.high for w in false)
    for beyond in (edges[0] > MASS, edges[1] < MASS):
        assert beyond.sum() >= counts[0] // 2 - 1


def test_too_few_events_for_false_windows():
    with pytest.raises(UserError, match="expected 300 windows"):
        false_windows(Window(3300.0, 3700.0), MASS, 300)
