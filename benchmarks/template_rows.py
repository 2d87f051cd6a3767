"""Rows of the tables of `benchmarks.template`: what was measured in false windows.

Runs are of one way: of every seed, of every source, what `benchmarks.template.measure` found.
"""

from collections.abc import Sequence

import numpy as np

from jaxad.methods.stages import frame
from jaxad.metrics import closure, counting, moments
from jaxad.search import template

EFFICIENCIES = (0.2, 0.05, 0.01)
COPIES = 100
ORDER = 3


def header(what: str) -> str:
    """Of the rows of `line`, `exact` and `smooth`."""
    return (
        f"| {what} | pull, mean: largest, rms | width: largest, rms | of seeds alone | "
        "n / b - 1 at 20 % | 5 % | 1 % |\n|---|---|---|---|---|---|---|"
    )


def above(found: dict[str, list], least: float) -> dict[str, list]:
    """What was measured in the windows that begin at `least` [GeV] or above."""
    kept = [i for i, name in enumerate(found["windows"]) if float(name.split("-")[0]) >= least]
    return {key: [values[i] for i in kept] for key, values in found.items()}


def line(way: str, runs: Sequence[Sequence[dict]]) -> str:
    """A row of the table; runs: of every seed, of every source.

    The error of the excess is its scatter over windows, of the mean over seeds.
    """
    pulls, n, b = _by_window(runs)
    means, widths = np.nanmean(pulls, axis=(0, 1)), np.nanstd(pulls, axis=1, ddof=1).mean(axis=0)
    seeds = f"{_rms(np.nanstd(pulls, axis=0, ddof=1)):.2f}" if len(runs) > 1 else "-"
    delta = n.sum(axis=1) / b.sum(axis=1) - 1
    error = (n / b - 1).mean(axis=0).std(axis=0, ddof=1) / np.sqrt(n.shape[1])
    shown = " | ".join(
        f"{np.median(d):+.1%} [{d.min():+.1%}, {d.max():+.1%}] ± {e:.1%}"
        for d, e in zip(delta.T, error, strict=True)
    )
    return (
        f"| {way} | {np.abs(means).max():.2f}, {_rms(means):.2f} | "
        f"{widths.max():.2f}, {_rms(widths):.2f} | {seeds} | {shown} |"
    )


def paired(ways: Sequence[str], runs: Sequence[Sequence[Sequence[dict]]]) -> str:
    """A row of two ways' difference, second less first: of the excess, and of the squared pulls.

    Window by window, of means over seeds, with its scatter over windows as error.
    """
    excess, squares = [], []
    for pulls, n, b in map(_by_window, runs):
        excess.append((n / b - 1).mean(axis=0))
        squares.append(np.nanmean(pulls.mean(axis=0) ** 2, axis=(1, 2)))
    change = np.column_stack([excess[1] - excess[0], squares[1] - squares[0]])
    error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
    *cells, (square, of_square) = zip(change.mean(axis=0), error, strict=True)
    shown = " | ".join(f"{d:+.1%} ± {e:.1%}" for d, e in cells)
    return f"| {ways[1]} less {ways[0]} | {shown} | {square:+.2f} ± {of_square:.2f} |"


def corrected(way: str, runs: Sequence[Sequence[dict]], count_factor: float) -> str:
    """A row of what a search would make of each window, the others of its source its false ones.

    The width, over windows and seeds, of the nominal significance of an excess over the expectation
    that the mean of the others corrects, with the error of that. count_factor: template rows that
    count, for an event.

    Raises:
        UserError: a source of two windows.
    """
    z = [
        _by_the_others(np.array(one["n"]), np.array(one["b"]), count_factor)
        for seed in runs
        for one in seed
    ]
    widths = np.concatenate(z).std(axis=0)
    return f"| {way} | {' | '.join(f'{width:.2f}' for width in widths)} |"


def copies(runs: Sequence[Sequence[dict]]) -> list[list[dict]]:
    """`COPIES` runs with the expectations of the first, and counts of a template without fault."""
    rng = np.random.default_rng(0)

    def drawn(b: np.ndarray) -> np.ndarray:
        return rng.binomial(np.rint(b / EFFICIENCIES).astype(int), EFFICIENCIES)

    return [
        [{"n": drawn(np.array(one["b"])), "b": one["b"]} for one in runs[0]] for _ in range(COPIES)
    ]


def _by_the_others(n: np.ndarray, b: np.ndarray, count_factor: float) -> np.ndarray:
    """Nominal significance (windows, cuts) of counts n over expectations b."""
    z = np.empty(n.shape)
    for (i, cut), passed in np.ndenumerate(n):
        efficiency, events = EFFICIENCIES[cut], b[i, cut] / EFFICIENCIES[cut]
        others, expected = np.delete(n[:, cut], i), np.delete(b[:, cut], i)
        found = closure.summary(others, expected, count_factor * expected, efficiency=efficiency)
        delta, error = closure.correction(found)
        z[i, cut] = counting.nominal_z(
            *(passed, round(events), round(count_factor * events), efficiency),
            sigma_closure=error,
            delta=delta,
        )
    return z


def _by_window(runs: Sequence[Sequence[dict]]) -> list[np.ndarray]:
    """Pulls (seeds, windows, F, 5), counts and expectations (seeds, windows, cuts)."""
    return [
        np.array([[w for one in seed for w in one[k]] for seed in runs], float)
        for k in ("pulls", "n", "b")
    ]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(values**2)))


def exact(asked: Sequence[template.Asked]) -> str:
    """The row of a template without fault: what so many windows show by chance.

    Median, 16 and 84 % of `COPIES` of their events, each drawn anew from themselves.
    """
    rng, pulls = np.random.default_rng(0), []
    for x in (one.table.x[w.holds(one.table.mass)].T for one in asked for w in one.false):
        error = np.stack([moments.moment_errors(feature, rng) for feature in x], axis=1)
        copies = (x[:, rng.integers(0, x.shape[1], x.shape[1])] for _ in range(COPIES))
        off = np.stack([moments.moments(copy) for copy in copies]) - moments.moments(x)
        pulls.append(off / np.where(error > 0, error, np.nan))
    found = np.stack(pulls, axis=1)  # (copies, windows, 5, F)
    shown = []
    for values in (np.abs(np.nanmean(found, axis=1)), np.nanstd(found, axis=1, ddof=1)):
        of_copies = np.nanmax(values, axis=(1, 2)), np.sqrt(np.nanmean(values**2, axis=(1, 2)))
        spread = (np.quantile(each, (0.5, 0.16, 0.84)) for each in of_copies)
        shown.append(", ".join("{:.2f} [{:.2f}, {:.2f}]".format(*each) for each in spread))
    return f"| without fault | {shown[0]} | {shown[1]} | - | - | - | - |"


def smooth(asked: Sequence[template.Asked], how: str) -> str:
    """The row of moments alone, each a polynomial of the mass fitted beside both windows.

    Nothing but smoothness is assumed, and nothing else can be wrong. Behind it, how wide its pulls
    are expected to be by the statistics of data and sidebands. how: the mass enters, `flow.mass`.
    """
    pulls, widths = [], []
    for (_, table, window, _), false in [(one, w) for one in asked for w in one.false]:
        inside = false.holds(table.mass)
        beside = ~(inside | window.holds(table.mass))
        seen = {"mass": frame.mass(how, table.mass[beside], within=True)}
        powers = np.vander(np.asarray(frame.condition(seen, table.mass), float)[:, 0], ORDER + 1)
        values = np.column_stack([_values(f, f[inside]) for f in table.x.astype(float).T])
        inverse = np.linalg.inv(powers[beside].T @ powers[beside])
        fitted = inverse @ (powers[beside].T @ values[beside])
        at = powers[inside].mean(axis=0)
        residual = values[beside] - powers[beside] @ fitted
        of_fit = ((powers[beside] @ inverse @ at)[:, None] * residual).std(axis=0)
        of_fit *= np.sqrt(beside.sum())
        of_data = values[inside].std(axis=0) / np.sqrt(inside.sum())
        pulls.append((at @ fitted - values[inside].mean(axis=0)) / of_data)
        widths.append(np.hypot(1, of_fit / of_data))
    means, spreads = np.mean(pulls, axis=0), np.std(pulls, axis=0, ddof=1)
    return (
        f"| order {ORDER} of m, {how} | {np.abs(means).max():.2f}, {_rms(means):.2f} | "
        f"{spreads.max():.2f}, {_rms(spreads):.2f}; expected {_rms(np.array(widths)):.2f} | "
        "- | - | - | - |"
    )


def _values(x: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Of a feature (N,), what has the moments of its values `inside` as means: (N, 5)."""
    mean, _, *quantiles = moments.moments(inside)
    return np.column_stack([x, (x - mean) ** 2, *(-1.0 * (x < q) for q in quantiles)])
