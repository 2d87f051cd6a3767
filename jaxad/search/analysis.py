"""From counts of data and pseudo-experiments to p-values: what `search.json` says of a cut.

Nothing here looks at an event. The counts of toy 0 are those of the data: blinded, they are not
read, and every other number is the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from jaxad.data.false_windows import Window
from jaxad.metrics import closure, counting, likelihood, pseudo, resonance
from jaxad.search.pool import COUNTING, Pool
from jaxad.training import streams
from jaxad.training.streams import Purpose

SCAN = 3  # windows, from which on crossings are counted


class Sizes(NamedTuple):
    """What is scored: data, and rows of template to count with fold by fold (K,).

    Attributes:
        data: events of the likelihood: sum of weights over `event_weight`.
        event_weight: sum(w^2) / sum(w) of all data of the window; 1 where they have no weights.
        weighted: whether some count more than others, so that no sum of them is a whole number.
    """

    data: float
    template: np.ndarray
    event_weight: float = 1.0
    weighted: bool = False

    @property
    def scale(self) -> float | None:
        """Of `counting.nominal_z`: counts are in units of it already."""
        return 1.0 if self.weighted else None


class FalseCount(NamedTuple):
    """What a false window has, and (cuts,) events of its likelihood that pass there."""

    window: Window
    size: Sizes
    counts: np.ndarray


class Normalisation(NamedTuple):
    """Events in the window by a fit of the sidebands, of the data and of (B,) toy spectra.

    Of weighted data these are events of the likelihood, as in `Sizes`.

    Attributes:
        expected, error: by the fit of the data.
        events: (B,) in the window of each toy spectrum.
        refitted: (B,) what the fit of its sidebands expects there.
    """

    expected: float
    error: float
    events: np.ndarray
    refitted: np.ndarray


class Cut(NamedTuple):
    """One cut of one window; events are those of the likelihood, as in `Sizes`.

    Attributes:
        efficiency: of the background.
        n: events of data that pass.
        b: expected, corrected by closure; r: template rows that say so.
        relative: errors of b, "template", "fit" and "closure", as fractions of it.
        delta: mean of n / b - 1 in the false windows.
        z: nominal significance of the data; z_toys: (B,) of pseudo-experiments.
        pulls: (B,) of their counts; width: of these, which the folds widen.
        closure: of `metrics.closure.summary`; None without false windows.
        dispersion: variance over mean of n: 1 - efficiency where the window's own events are the
            normalisation, since the count is then binomial; else 1.
        event_weight: sum of weights that one event of the likelihood is.
    """

    efficiency: float
    n: float
    b: float
    r: int
    relative: dict[str, float]
    delta: float
    z: float
    z_toys: np.ndarray
    pulls: np.ndarray
    width: float
    closure: dict[str, Any] | None
    dispersion: float
    event_weight: float


def sizes(pool: Pool, folds: Sequence[int]) -> Sizes:
    """Of the folds that are scored."""
    scored = np.isin(pool.fold, folds)
    template = pool.fold[scored & (pool.role == COUNTING)]
    data, unit = scored & pool.observed, pool.event_weight
    n = float(pool.weight[data].sum(dtype=np.float64)) / unit if pool.weighted else int(data.sum())
    rows = np.bincount(template, minlength=pool.folds)[list(folds)]
    return Sizes(n, rows, unit, pool.weighted)


def cut(
    counts: np.ndarray,
    size: Sizes,
    efficiency: float,
    false: Sequence[tuple[Sizes, float]],
    normalisation: Normalisation | None,
    seed: int,
) -> Cut:
    """The significances of one cut.

    Args:
        counts: (1 + B,) events of the likelihood that pass, the data first: of `toys.counts`.
        false: sizes and events that pass of every false window.
        normalisation: None: the window's own events.
        seed: of what disturbs the pseudo-experiments.
    """
    toys = counts[1:] if size.weighted else counts[1:].astype(np.int64)
    pulls = counting.pull(toys, size.data, size.template, efficiency)
    width = max(float(pulls.std(ddof=1)), 1.0) if len(toys) > 1 else 1.0
    b = float(counting.expected_count(size.data, size.template, efficiency))
    rng = streams.generator(seed, Purpose.TOY_FLAW, "background")
    expected, refitted, fit = None, None, 0.0
    if normalisation is not None:
        expected, refitted = normalisation.expected, normalisation.refitted
        fit = normalisation.error / expected
        # Of its own, lest the flaws of nested cuts part.
        numbers = streams.generator(seed, Purpose.TOY_NUMBER, "background")
        toys = _renumbered(toys, size.data, normalisation.events, numbers)
        b *= expected / size.data
    tested = _closure(false, efficiency, width)
    delta, relative = closure.correction(tested)
    if tested is not None:
        toys = closure.disturb(toys, b, tested, rng)

    def significance(n: np.ndarray, events: np.ndarray | float | None) -> np.ndarray:
        return counting.nominal_z(
            *(n, size.data, size.template, efficiency, fit, relative, events),
            delta=delta,
            scale=size.scale,
        )

    rank = int(counting.cut_rank(size.template, efficiency))
    return Cut(
        efficiency=efficiency,
        n=counts[0].item(),
        b=b * (1 + delta),
        r=rank,
        relative={"template": rank**-0.5, "fit": fit, "closure": relative},
        delta=delta,
        z=float(significance(counts[0], expected)),
        z_toys=np.asarray(significance(toys, refitted)) if len(toys) else np.zeros(0),
        pulls=pulls,
        width=width,
        closure=tested,
        dispersion=1 - efficiency if normalisation is None else 1.0,
        event_weight=size.event_weight,
    )


def _closure(
    false: Sequence[tuple[Sizes, float]], efficiency: float, width: float
) -> dict[str, Any] | None:
    """Of false windows, whose own events are their normalisation, whatever that of the window."""
    if len(false) < 2:
        return None
    expected = [counting.expected_count(size.data, size.template, efficiency) for size, _ in false]
    ranks = [counting.cut_rank(size.template, efficiency) for size, _ in false]
    passed = [n for _, n in false]
    return closure.summary(passed, expected, ranks, width, efficiency)


def _renumbered(
    n: np.ndarray, n_data: float, events: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Counts of toys whose windows have as many events as their spectra say."""
    kept = closure.thinned(n, np.minimum(events / n_data, 1.0), rng)
    return kept + closure.thinned(np.maximum(events - n_data, 0), np.minimum(n / n_data, 1.0), rng)


def summary(one: Cut, shown: bool) -> dict[str, Any]:
    """A cut in `search.json`; what was observed only if it is `shown`.

    n, b and limits are sums of weights of the data: events of the likelihood times `event_weight`.
    """
    errors, unit = (one.b, one.r, one.relative["fit"], one.relative["closure"]), one.event_weight
    limit: dict[str, Any] = {k: unit * s for k, s in likelihood.expected_limit(*errors).items()}
    limit["method"] = likelihood.limit_method(one.b)
    found = {
        "b": one.b * unit,
        "r": one.r,
        "relative_errors": one.relative | {"folds_width": one.width},
        "delta": one.delta,
        "dispersion": one.dispersion,
        "event_weight": unit,
        "closure": one.closure,
        "limit": limit,
        "coverage": pseudo.coverage(one.z_toys, one.pulls) if len(one.z_toys) >= 20 else None,
        "n_toys": len(one.z_toys),
    }
    if not shown:
        return found
    limit["observed"] = unit * float(likelihood.upper_limit(one.n, *errors))
    scaled = (value / one.dispersion for value in (one.n, one.b, one.r))
    seen = {"n": one.n if unit == 1 else one.n * unit}
    seen |= {"z_nominal": one.z, "p_nominal": float(ndtr(-one.z))}
    seen |= {"p_local": None, "extrapolated": None}
    seen["z_workspace"] = float(likelihood.profile_z(*scaled, *errors[2:]))
    if len(one.z_toys):
        seen["p_local"] = pseudo.local_p(one.z, one.z_toys)
        if seen["p_local"]["is_bound"]:
            seen["extrapolated"] = pseudo.extrapolate(one.z, one.z_toys)
    return found | seen


def crossings(cuts: Sequence[Sequence[Cut]]) -> dict[str, Any]:
    """Gross and Vitells' bound for a scan of windows in order of mass, by cut.

    Toys permute window by window: of windows that overlap they cross more often than the data
    would, and the bound is a loose one.
    """
    found = {}
    for row in zip(*cuts, strict=True):
        scans = np.stack([one.z_toys for one in row], axis=1)
        scan = [one.z for one in row]
        found[f"{row[0].efficiency:g}"] = resonance.look_elsewhere(scan, scans)
    return found


def together(cuts: Sequence[Sequence[Cut]], overlapping: bool) -> dict[str, Any]:
    """Global p of all windows and cuts, "best" being (window, cut).

    Windows are permuted one by one, which says nothing of how those that overlap go together:
    Bonferroni's sum over them holds whatever they do. Others are independent.
    """
    each = [
        pseudo.global_p([[c.z for c in row]], np.stack([c.z_toys for c in row], axis=1)[:, None])
        for row in cuts
    ]
    if len(each) == 1:
        return each[0] | {"best": list(each[0]["best"])}
    found = {"gross_vitells": crossings(cuts)} if len(each) >= SCAN else {}
    found |= pseudo.combine(each, "bonferroni" if overlapping else "sidak")
    _, which = each[found["best"]]["best"]
    return found | {"best": [found["best"], which], "p_local": each[found["best"]]["p_local"]}


def power(
    counts: np.ndarray,
    size: Sizes,
    row: Sequence[Cut],
    normalisation: Normalisation | None,
    signal: float,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Calibrated significances of experiments with a signal, by cut.

    Args:
        counts: (S, cuts) of these; row: the cuts, with pseudo-experiments without signal.
        normalisation: of the cuts; the sidebands of an experiment are those of a toy spectrum.
        signal: events of it in the window, which these sidebands do not expect.
        seed: of the flaw of the template, which experiments with a signal have as well.

    Returns:
        cut -> {"median", "low", "high"} of the calibrated significance, 16 to 84 % band, as far as
        pseudo-experiments reach; "power_2", "power_3": shares beyond 2 and 3 sigma.
    """
    found = {}
    for n, one in zip(counts.T, row, strict=True):
        rng, expected = streams.generator(seed, Purpose.TOY_FLAW, "signal"), None
        if normalisation is not None:
            numbers = streams.generator(seed, Purpose.TOY_NUMBER, "signal")
            which = numbers.integers(len(normalisation.events), size=len(n))
            expected = normalisation.refitted[which]
            n = _renumbered(n, size.data, normalisation.events[which] + round(signal), numbers)
        if one.closure is not None:
            n = closure.disturb(n, one.b / (1 + one.delta), one.closure, rng)
        z = counting.nominal_z(
            *(n, size.data, size.template, one.efficiency),
            *(one.relative["fit"], one.relative["closure"], expected),
            delta=one.delta,
            scale=size.scale,
        )
        toys = np.sort(one.z_toys)
        p = (1 + len(toys) - np.searchsorted(toys, z, side="left")) / (1 + len(toys))
        p = np.minimum(p, 1 - 0.5 / (1 + len(toys)))
        low, median, high = np.quantile(-ndtri(p), (0.16, 0.5, 0.84))
        shares = {f"power_{level}": float((p <= ndtr(-level)).mean()) for level in (2, 3)}
        quantiles = {"median": float(median), "low": float(low), "high": float(high)}
        found[f"{one.efficiency:g}"] = quantiles | shares
    return found
