"""The nominal number of one cut: a count against a template, with the errors of its background.

Three forms of one question, n events over b, of which r template rows are the measure:

- the window's own number of events, no other error: exactly beta-binomial (`beta_binomial_p`);
- a fitted normalisation or an error of closure: profile likelihood (`profile_z`), which without
  them is eq. 17 of Li and Ma (ApJ 272 (1983) 317);
- an upper limit on the signal by CLs (A. Read, J. Phys. G 28 (2002) 2693; `upper_limit`).

All take arrays of any shapes that broadcast (toys, cuts), and work in double precision. Errors of
the normalisation and of closure are RELATIVE throughout: 0.03 is 3 % of the background.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri_exp

from jaxad.errors import UserError
from jaxad.metrics import Array, checked_scores, checked_values
from jaxad.metrics.likelihood import expected_limit, limit_method, profile_z, upper_limit

__all__ = [
    "beta_binomial_p",
    "conformal_u",
    "cut_rank",
    "expected_count",
    "expected_limit",
    "limit_method",
    "nominal_z",
    "profile_z",
    "pull",
    "upper_limit",
    "weight_scale",
]


def conformal_u(
    scores: ArrayLike,
    template_scores: ArrayLike,
    weights: ArrayLike | None = None,
    template_weights: ArrayLike | None = None,
) -> Array:
    """Share of the template that scores at least as high: u (N,), small for anomalous events.

    scores: (N,) of data; template_scores: (M,) of rows that trained nothing, of the same fold.
    u = (1 + #{template >= s}) / (1 + M), uniform if data = template (V. Vovk et al., "Algorithmic
    Learning in a Random World", 2005). With weights (N,) and (M,), w(x) = data / template:
    u = (w + sum w_j [s_j >= s]) / (w + sum w_j) (R. Tibshirani et al., arXiv:1904.06019, eq. 7).
    Ties count against the event.

    Raises:
        UserError: a score is not finite, a weight is not positive, or only one kind is weighted.

    Examples:
        >>> print(conformal_u([3.0, 1.0], [0.0, 1.0, 2.0]))
        [0.25 0.75]
    """
    s = checked_scores(scores, "data").astype(np.float64)
    template = checked_scores(template_scores, "template").astype(np.float64)
    order = np.argsort(template)
    first = np.searchsorted(template[order], s, "left")
    if weights is None and template_weights is None:
        return (1 + len(template) - first) / (1 + len(template))
    if weights is None or template_weights is None:
        raise UserError("weights: expected those of the data and of the template, found one of two")
    w = checked_values(weights, "weights", s.shape)
    w_template = checked_values(template_weights, "template_weights", template.shape)
    for name, values in (("weights", w), ("template_weights", w_template)):
        if values.size and values.min() <= 0:
            raise UserError(f"{name}: expected positive numbers, found {values.min():.3g}")
    above = np.append(np.cumsum(w_template[order][::-1])[::-1], 0.0)
    return (w + above[first]) / (w + above[0])


def cut_rank(n_template: int | Sequence[int], efficiency: ArrayLike) -> Array:
    """r, the template rows that a cut u <= `efficiency` is set by: floor(eps (M + 1)).

    n_template: M, or those of k folds, whose r are summed. A data event passes if it scores above
    the r-th largest of the template. Same shape as `efficiency`.

    Raises:
        UserError: an efficiency is not between 0 and 1, or a fold has too few rows for it.

    Examples:
        >>> print(cut_rank(9_999, 0.001), cut_rank([499, 499], 0.01))
        10 10
    """
    size = np.atleast_1d(n_template)
    efficiency = np.asarray(efficiency, np.float64)
    if not ((efficiency > 0) & (efficiency <= 1)).all():
        raise UserError(f"efficiency: expected values in (0, 1], found {efficiency}")
    ranks = np.floor(efficiency[..., None] * (size + 1) + 1e-9).astype(np.int64)
    ranks = np.minimum(ranks, size)
    if (ranks < 1).any():
        raise UserError(
            f"n_template: expected at least {int(np.ceil(1 / efficiency.min())) - 1} template rows "
            f"in every fold for a cut at {efficiency.min():g}, found {size.min()}: draw more"
        )
    return ranks.sum(-1)


def _log_tails(n: Array, n_data: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """ln P(X >= n) and ln P(X <= n), X ~ BetaBinomial(n_data; a, b), by the ratios of its terms."""
    n, n_data, a, b = np.broadcast_arrays(n, n_data, a, b)
    upper, lower = np.empty(n.shape), np.empty(n.shape)
    laws, law = np.unique(
        np.stack([v.ravel() for v in (n_data, a, b)], 1).astype(np.int64),
        axis=0,
        return_inverse=True,
    )
    law = law.reshape(n.shape)
    for number, (size, alpha, beta) in enumerate(laws):
        j = np.arange(size, dtype=np.float64)
        ratio = (size - j) * (j + alpha) / ((j + 1) * (size - 1 - j + beta))
        terms = np.concatenate([[0.0], np.cumsum(np.log(ratio))])
        below = np.logaddexp.accumulate(terms)
        above = np.logaddexp.accumulate(terms[::-1])[::-1]
        here = law == number
        upper[here], lower[here] = above[n[here]] - above[0], below[n[here]] - above[0]
    return np.minimum(upper, 0.0), np.minimum(lower, 0.0)


def _checked_counts(n: ArrayLike, n_data: ArrayLike) -> tuple[Array, Array]:
    """Whole numbers 0 <= n <= N as int64."""
    n, n_data = np.asarray(n), np.asarray(n_data)
    if (n != np.floor(n)).any() or (n_data != np.floor(n_data)).any():
        raise UserError("n: expected whole numbers of events; give weighted ones with their scale")
    if (n < 0).any() or (n > n_data).any():
        raise UserError(
            f"n: expected 0 to n_data = {n_data.max()} events, found {n.min()}-{n.max()}"
        )
    return n.astype(np.int64), n_data.astype(np.int64)


def _law(n_template: int | Sequence[int], efficiency: ArrayLike) -> tuple[Array, Array]:
    """Parameters (r, M + k - r) of the beta law of a cut's background efficiency."""
    size = np.atleast_1d(n_template)
    rank = cut_rank(n_template, efficiency)
    return rank, size.sum() + len(size) - rank


def beta_binomial_p(
    n: ArrayLike, n_data: ArrayLike, n_template: int | Sequence[int], efficiency: ArrayLike
) -> Array:
    """P(X >= n) that at least n of N data score above the r-th largest of M template rows.

    X ~ BetaBinomial(N; r, M + 1 - r), r = floor(eps (M + 1)): exact for any score that saw neither,
    if data = template; the template's own error is in it. n, n_data: events that pass, and all,
    broadcast with `efficiency`. n_template: M, or (k,) of the folds, whose r and M are summed,
    BetaBinomial(N; sum r, sum M + k - sum r), the mean of every fold being kept. That sum is
    NOMINAL, not calibrated: what two folds share by chance is learned from the one and counted in
    the other, and the true law is wider; `pseudo.local_p` calibrates it.

    Raises:
        UserError: counts are not whole or exceed N, or there are too few template rows for the cut.

    Examples:
        >>> print(beta_binomial_p(130, 1000, 16_000, 0.1).round(5))
        0.00182
    """
    n, n_data = _checked_counts(n, n_data)
    return np.exp(_log_tails(n, n_data, *_law(n_template, efficiency))[0])


def expected_count(
    normalisation: ArrayLike, n_template: int | Sequence[int], efficiency: ArrayLike
) -> Array:
    """b, the background that passes: normalisation r / (M + 1), of k folds sum r / (sum M + k).

    normalisation: events before the cut, the window's own N or a fit's. Divided by M + 1, not M:
    the mean share of data above the r-th largest of M.
    """
    rank, rest = _law(n_template, efficiency)
    return np.asarray(normalisation, np.float64) * rank / (rank + rest)


def pull(
    n: ArrayLike, n_data: ArrayLike, n_template: int | Sequence[int], efficiency: ArrayLike
) -> Array:
    """(n - mean) / standard deviation of the beta-binomial law of `beta_binomial_p`.

    Its width over toys is what the law misses, phi of `closure.summary`. The significance serves
    worse for that: where counts are few its steps are wide, and rounded towards 0.
    """
    n, n_data = (np.asarray(v, np.float64) for v in (n, n_data))
    a, b = _law(n_template, efficiency)
    total = a + b
    variance = n_data * a * b * (total + n_data) / (total**2 * (total + 1.0))
    return (n - n_data * a / total) / np.sqrt(variance)


def nominal_z(
    n: ArrayLike,
    n_data: ArrayLike,
    n_template: int | Sequence[int],
    efficiency: ArrayLike,
    sigma_fit: ArrayLike = 0.0,
    sigma_closure: ArrayLike = 0.0,
    expected: ArrayLike | None = None,
    *,
    delta: ArrayLike = 0.0,
    scale: float | None = None,
) -> Array:
    """Signed nominal significance of a cut u <= eps, in sigma, before any calibration by toys.

    n: events that pass, summed over folds; n_data: N, all events of the window; n_template: M, or
    (k,) of the folds (over which r and M are summed), of a weighted template its
    (sum w)^2 / sum w^2 rounded down; efficiency: eps. n, n_data and efficiency broadcast: toys
    (T, E), cuts (E,).
    expected: B_fit, the sidebands' normalisation of the window before the cut, with its relative
    error sigma_fit; None for the window's own N. delta, sigma_closure: mean of the closure test and
    its relative error; b becomes b (1 + delta). scale: sum w^2 / sum w of weighted data
    (`weight_scale`), n and N being sums of weights; None where each event counts 1.

    Without any of these it is the exact beta-binomial: p = P(X >= n) for an excess, P(X <= n) for
    a deficit, 0 where neither is below one half. Else `profile_z`, of the window's own N with n, b
    and r divided by 1 - eps, the variance of a binomial count over its mean.

    Over k folds the result is NOMINAL, not calibrated: unbiased, but its law is wider than the one
    used here, and false alarms at 3 sigma are several times too many (arXiv:2512.13787).

    Raises:
        UserError: as `beta_binomial_p` and `profile_z`; or an error of a fit without `expected`.

    Examples:
        >>> print(nominal_z([80, 130], 1000, 16_000, 0.1).round(2))
        [-2.04  2.91]
        >>> print(nominal_z(130, 1000, 16_000, 0.1, expected=950, sigma_fit=0.03).round(2))
        3.16
    """
    own = expected is None
    if own and np.any(np.asarray(sigma_fit) != 0):
        raise UserError("sigma_fit: expected 0 where the window's own events are the normalisation")
    plain = scale is None and not np.any(delta) and not np.any(sigma_closure)
    if own and np.any(np.asarray(efficiency) >= 1):
        raise UserError("efficiency: expected a cut below 1: of its own events a window passes all")
    if own and plain:
        n, n_data = _checked_counts(n, n_data)
        upper, lower = _log_tails(n, n_data, *_law(n_template, efficiency))
        return np.maximum(-ndtri_exp(upper), 0.0) + np.minimum(ndtri_exp(lower), 0.0)
    b = expected_count(n_data if own else expected, n_template, efficiency)
    b = b * (1 + np.asarray(delta, np.float64))
    unit = 1.0 if scale is None else scale
    # Of a fixed N the count is binomial: counts over 1 - eps have the variance of Poisson ones.
    thin = 1 - np.asarray(efficiency, np.float64) if own else 1.0
    r = cut_rank(n_template, efficiency) / thin
    n = np.asarray(n, np.float64)
    return profile_z(n / (unit * thin), b / (unit * thin), r, sigma_fit, sigma_closure)


def weight_scale(sum_w: ArrayLike, sum_w2: ArrayLike) -> Array:
    """sum w^2 / sum w: weighted counts divided by it are Poisson in mean and variance.

    Take the same scale for n and b (that of all data of the window, where few pass), and multiply
    a limit by it. A weighted template has r = (sum w)^2 / sum w^2 (G. Bohm and G. Zech, NIM A 748
    (2014) 1).

    Examples:
        >>> print(weight_scale(sum_w=50.0, sum_w2=25.0))
        0.5
    """
    sum_w, sum_w2 = (np.asarray(v, np.float64) for v in (sum_w, sum_w2))
    if not ((sum_w > 0) & (sum_w2 > 0)).all():
        raise UserError("weights: expected positive sums of w and w^2")
    return sum_w2 / sum_w
