"""Smooth spectra: closed forms, units, batches, weights, the order, calibration on toys."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.metrics import regression, resonance, spectrum
from jaxad.metrics.families import Family, basis
from jaxad.metrics.likelihood import profile_z

WINDOW, SPAN = (3300.0, 3700.0), (2600.0, 5000.0)  # GeV
EDGES = spectrum.bin_edges(WINDOW, SPAN, 100.0)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
INSIDE = np.abs(CENTRES - 3500) < 200


def exponential_counts(n):
    """Expected events (K,) of n above 2600 GeV, falling by e in 450 GeV."""
    return -n * np.diff(np.exp(-(EDGES - SPAN[0]) / 450))


def masses(n, seed):
    rng = np.random.default_rng(seed)
    return SPAN[0] + rng.exponential(450, rng.poisson(n))


def pulls(counts, fits):
    """Of what is observed in the window, the error of the fit included."""
    error = np.sqrt(fits.expected + fits.error**2)
    return (counts[:, INSIDE].sum(1) - fits.expected) / error


def test_bins_have_the_window_among_their_edges():
    for border in WINDOW:
        assert np.abs(EDGES - border).min() < 1e-9
    assert np.ptp(np.diff(EDGES)) < 1e-9
    assert EDGES[0] == pytest.approx(SPAN[0]) and EDGES[-1] == pytest.approx(SPAN[1])


def test_the_span_of_a_fit_is_clear_of_the_turn_on():
    m = masses(50_000, 2)
    m = m[np.random.default_rng(2).uniform(size=len(m)) < (m - 2600) / 300]
    low, high = spectrum.fit_span(m, 100.0)
    assert 2950 < low < 3250 and high == np.quantile(m, 0.999)
    with pytest.raises(UserError, match="found none"):
        spectrum.fit_span([], 100.0)


@pytest.mark.parametrize(
    ("family", "log_density"),
    [
        (Family("dijet", 3), lambda m: 8 * np.log1p(-m / 13e3) - 5 * np.log(m / 13e3)),
        (
            Family("dijet", 4),
            lambda m: 8 * np.log1p(-m / 13e3) - 5 * np.log(m / 13e3) - 0.3 * np.log(m / 13e3) ** 2,
        ),
        (Family("exponential", 2), lambda m: -m / 450),
        (Family("exponential", 4), lambda m: -m / 450 + (m / 4e3) ** 2 - (m / 5e3) ** 3),
        (Family("power", 2), lambda m: -7 * np.log(m)),
        (Family("power", 3), lambda m: -7 * np.log(m) - np.log(m / 3e3) ** 2),
    ],
    ids=lambda v: f"{v.name}{v.n_parameters}" if isinstance(v, Family) else "",
)
def test_every_family_returns_the_function_it_is_given(family, log_density):
    fine = (EDGES[:-1, None] + np.linspace(0, 100, 201)[1::2]).ravel()
    density = np.exp(log_density(fine) - log_density(fine[0]))
    counts = 1e5 * density.reshape(len(CENTRES), -1).sum(1) / density.sum()
    fits = spectrum.refit(counts[None], EDGES, WINDOW, family)
    np.testing.assert_allclose(fits.fit[0], counts, rtol=2e-4)
    assert fits.expected[0] == pytest.approx(counts[INSIDE].sum(), rel=1e-5)
    assert fits.deviance[0] < 1e-4 and fits.ndof == (~INSIDE).sum() - family.n_parameters


def test_the_unit_of_the_mass_is_free():
    m = masses(20_000, 0)
    for family in (Family("dijet", 4), Family("exponential", 3), Family("power", 4)):
        gev = spectrum.expectation(m, WINDOW, family, span=SPAN)
        tev = spectrum.expectation(
            m / 1000, (3.3, 3.7), family._replace(sqrt_s=13.0), span=(2.6, 5.0)
        )
        assert gev["counts"] == tev["counts"] and gev["chi2"] == pytest.approx(tev["chi2"])
        assert gev["expected"] == pytest.approx(tev["expected"], rel=1e-9)
        assert gev["error"] == pytest.approx(tev["error"], rel=1e-6)
        json.dumps(gev, allow_nan=False)
    assert resonance.sideband_fit(m / 1000, (3.3, 3.7), span=(2.6, 5.0))["expected"] == (
        pytest.approx(spectrum.expectation(m, WINDOW, Family(), span=SPAN)["expected"], rel=1e-9)
    )


def test_spectra_fitted_together_are_as_fitted_alone():
    counts = np.random.default_rng(0).poisson(exponential_counts(5_000), (200, len(CENTRES)))
    counts[7] = 0
    counts[8] = np.where(CENTRES > 4_700, 1, 0)
    together = spectrum.refit(counts, EDGES, WINDOW, Family("dijet", 3))
    for i in (0, 7, 8, 199):
        alone = spectrum.refit(counts[i : i + 1], EDGES, WINDOW, Family("dijet", 3))
        np.testing.assert_allclose(together.expected[i], alone.expected[0], rtol=1e-6)
        np.testing.assert_allclose(together.error[i], alone.error[0], rtol=1e-6)
    undetermined = np.isnan(together.expected)
    assert undetermined[7] and undetermined.sum() < 5
    assert (undetermined == np.isnan(together.error)).all()


def test_the_error_is_that_of_the_fits():
    counts = np.random.default_rng(1).poisson(exponential_counts(50_000), (400, len(CENTRES)))
    for family in (Family("exponential", 2), Family("exponential", 4), Family("dijet", 5)):
        fits = spectrum.refit(counts, EDGES, WINDOW, family)
        assert fits.error.mean() == pytest.approx(fits.expected.std(), rel=0.12)
        assert fits.deviance.mean() / fits.ndof == pytest.approx(1, abs=0.08)


def test_weights_widen_the_error_as_their_squares_do():
    """Of weights that fluctuate and rise with the mass."""
    z, p_values = [], []
    for seed in range(150):
        m = masses(20_000, seed)
        weights = 10 * np.random.default_rng(seed).gamma(1, size=len(m)) * (m / 3000) ** 2
        options = {"span": SPAN, "weights": weights}
        fit = spectrum.expectation(m, WINDOW, Family("exponential", 4), **options)
        variance = (weights[(m > WINDOW[0]) & (m < WINDOW[1])] ** 2).sum()
        z.append((fit["observed"] - fit["expected"]) / np.sqrt(variance + fit["error"] ** 2))
        p_values.append(fit["fit_p_value"])
    assert abs(np.mean(z)) < 0.25 and np.std(z) == pytest.approx(1, abs=0.15)
    assert 0.35 < np.mean(p_values) < 0.65
    plain = spectrum.expectation(m, WINDOW, Family(), span=SPAN)
    heavier = spectrum.expectation(m, WINDOW, Family(), span=SPAN, weights=np.full(len(m), 3.0))
    assert heavier["event_weight"] == pytest.approx(3)
    for key in ("expected", "error", "observed"):
        assert heavier[key] == pytest.approx(3 * plain[key])
    assert heavier["chi2"] == pytest.approx(plain["chi2"])


@pytest.mark.parametrize("n", [20_000, pytest.param(400_000, marks=pytest.mark.long)])
def test_the_normalisation_is_calibrated_before_and_after_any_cut(n):
    """An exponential fitted with dijet functions, whose order every spectrum chooses of itself.

    The cut is a random one, its share of the background known from 16 N template events.
    """
    rng = np.random.default_rng(n)
    counts = rng.poisson(exponential_counts(n), (600, len(CENTRES)))
    families = [
        spectrum.order(row, EDGES, WINDOW, "dijet", n_toys=100, seed=i).family
        for i, row in enumerate(counts)
    ]
    expected, error = np.empty((2, len(counts)))
    for family in set(families):
        chosen = np.array([f == family for f in families])
        fits = spectrum.refit(counts[chosen], EDGES, WINDOW, family)
        expected[chosen], error[chosen] = fits.expected, fits.error
    observed = counts[:, INSIDE].sum(1)
    for efficiency in (1, 0.2, 0.05, 0.01):
        n_pass, r = (rng.binomial(m * observed, efficiency) for m in (1, 16))
        b = expected * r / (16 * observed)
        z = profile_z(n_pass, b, r, sigma_fit=error / expected)
        assert abs(z.mean()) < 0.2 and 0.9 < z.std() < 1.1
    if n == 400_000:
        three = spectrum.refit(counts, EDGES, WINDOW, Family("dijet", 3))
        assert pulls(counts, three).mean() == pytest.approx(-0.55, abs=0.15)
        assert np.mean([f.n_parameters == 3 for f in families]) < 0.15


def test_the_order_is_raised_where_the_data_call_for_it():
    chosen = spectrum.choose_order(masses(400_000, 1), WINDOW, "dijet", span=SPAN)
    assert chosen.family.n_parameters > 3
    first = chosen.steps[0]
    assert first["n_parameters"] == 3 and first["p_likelihood_ratio"] < 0.05
    assert "spurious" not in first
    for step in chosen.steps[:-1]:
        called_for = step["p_likelihood_ratio"] < 0.05 or abs(step["spurious"]["mean"]) >= 0.2
        assert called_for
    deviances = [step["deviance"] for step in chosen.steps]
    assert sorted(deviances, reverse=True) == deviances
    assert chosen.reason.startswith(f"{chosen.family.n_parameters} parameters")


def test_the_order_says_what_it_could_not_test():
    options = {"span": SPAN, "n_toys": 200}
    passed = spectrum.choose_order(masses(20_000, 3), WINDOW, "exponential", **options)
    assert passed.passed and abs(passed.steps[-1]["spurious"]["mean"]) < 0.2
    assert "mean pull of" in passed.reason
    few = [2650.0, 2750.0, 3150.0, 4250.0] * 3
    last = spectrum.choose_order(few, WINDOW, "power", level=1.0, **options)
    assert not last.passed and "12 events in 4 bins do not fix one more" in last.reason
    most = spectrum.choose_order(masses(20_000, 3), WINDOW, "power", level=1.01, **options)
    assert most.family.n_parameters == 7 and "no family of more than 7" in most.reason
    json.dumps([last.steps, most.steps], allow_nan=False)


def test_the_order_and_the_expectation_do_not_see_the_window():
    m = masses(20_000, 5)
    signal = np.append(m, np.full(500, 3550.0))
    options = {"span": SPAN, "n_toys": 100}
    chosen = [spectrum.choose_order(mass, WINDOW, "dijet", **options) for mass in (m, signal)]
    assert chosen[0] == chosen[1]
    before, after = (
        spectrum.expectation(mass, WINDOW, chosen[0].family, span=SPAN) for mass in (m, signal)
    )
    assert after.pop("observed") == before.pop("observed") + 500
    assert after.pop("counts") != before.pop("counts")
    assert before == after


def test_every_cut_has_a_fit_or_a_reason():
    m = masses(50_000, 4)
    u = np.random.default_rng(4).uniform(size=len(m))
    cuts = {f"{efficiency:g}": u <= efficiency for efficiency in (1, 0.1, 0.01, 1e-4)}
    fits = spectrum.fits_of_cuts(m, cuts, WINDOW, "dijet", span=SPAN, n_toys=200)
    for name, efficiency in (("1", 1), ("0.1", 0.1), ("0.01", 0.01)):
        assert fits[name]["edges"] == fits["1"]["edges"]
        assert fits[name]["observed"] == (cuts[name] & (m > 3300) & (m < 3700)).sum()
        pull = fits[name]["expected"] - efficiency * fits["1"]["expected"]
        assert abs(pull) < 4 * fits[name]["error"]
        assert "parameters" in fits[name]["order"]
    assert "do not fix the dijet function" in fits["0.0001"]["reason"]
    options = {"span": SPAN, "n_toys": 200, "weights": np.full(len(m), 2.0)}
    weighted = spectrum.fits_of_cuts(m, {"0.1": cuts["0.1"]}, WINDOW, "dijet", **options)
    assert weighted["0.1"]["expected"] == pytest.approx(2 * fits["0.1"]["expected"])


def test_a_smooth_spectrum_of_the_same_family_has_no_spurious_signal():
    truth = exponential_counts(20_000)
    arguments = (truth, EDGES, WINDOW, Family("exponential", 3), 1500)
    spurious = spectrum.spurious_signal(*arguments, seed=0)
    assert abs(spurious["mean"]) < 4 * spurious["error"] and 0.9 < spurious["width"] < 1.1
    assert spectrum.spurious_signal(*arguments, seed=0) == spurious
    power = spectrum.spurious_signal(truth, EDGES, WINDOW, Family("power", 2), 200, seed=0)
    assert abs(power["mean"]) > 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"family": Family("gauss", 3)}, "dijet, exponential, power, found 'gauss'"),
        ({"family": Family("dijet", 2)}, "dijet: expected 3 to 6 parameters, found 2"),
        ({"family": Family("dijet", 4, 13.0)}, "same unit"),
        ({"family": Family("power", 2), "span": (-100, 5000)}, "above 0 of a power law"),
        ({"window": (8000, 8400)}, "inside the range of the fit"),
        ({"weights": np.zeros(3000)}, "weights: expected values above 0, found 0"),
        ({"weights": np.ones(5)}, r"weights: expected shape \(3000,\)"),
        ({"span": (3200, 3900)}, "filled bins of 100 outside 3300-3700, found"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(changed, words):
    options = SimpleNamespace(window=WINDOW, family=Family(), span=SPAN, weights=None)
    vars(options).update(changed)
    m = np.full(3000, 2700.0)
    m[:500] = np.linspace(2600, 5000, 500)
    with pytest.raises(UserError, match=words) as error:
        spectrum.expectation(
            m, options.window, options.family, span=options.span, weights=options.weights
        )
    assert "\n" not in str(error.value)


def test_the_regression_is_the_maximum_of_the_likelihood():
    columns = basis(EDGES, Family("exponential", 3))
    counts = np.random.default_rng(2).poisson(exponential_counts(3_000), (1, len(CENTRES)))
    parameters, inverse = regression.fit(columns, counts)
    best = regression.deviance(counts, regression.expected(columns, parameters)[0]).sum()
    for direction in np.linalg.cholesky(inverse[0]).T:
        for sign in (1, -1):
            moved = regression.expected(columns, parameters + sign * direction)[0]
            assert regression.deviance(counts, moved).sum() == pytest.approx(best + 1, abs=0.15)
