"""A count over a background known with errors: significance and upper limit of one likelihood.

L(mu, g, a, c) = Poisson(n; mu + b g K_f^a K_c^c) Poisson(r; r g) N(a; 0, 1) N(c; 0, 1): n events
over b, of which r template rows are the measure; K_f = 1 + sigma_fit is the error of the
normalisation and K_c = 1 + sigma_closure that of the template's shape, both relative (0.03 is
3 %). In HistFactory's terms: a `shapesys` and two `normsys` (CERN-OPEN-2012-016). Arrays of any
shapes that broadcast, in double precision.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincc, gammainccinv, log_ndtr, ndtr, xlogy

from jaxad.errors import UserError
from jaxad.metrics.given import Array

FEW = 25.0
"""Expected background below which limits count exactly rather than asymptotically."""


def _checked(
    n: ArrayLike, b: ArrayLike, r: ArrayLike, sigma_fit: ArrayLike, sigma_closure: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """n, b, r and ln^2 K_f + ln^2 K_c as float64 of one shape."""
    values = [np.asarray(v, np.float64) for v in (n, b, r, sigma_fit, sigma_closure)]
    n, b, r, fit, closure = np.broadcast_arrays(*values)
    for name, array, good in (
        ("n", n, (n >= 0) & np.isfinite(n)),
        ("b", b, (b > 0) & np.isfinite(b)),
        ("r", r, r > 0),
        ("sigma_fit", fit, (fit >= 0) & np.isfinite(fit)),
        ("sigma_closure", closure, (closure >= 0) & np.isfinite(closure)),
    ):
        if not good.all():
            bound = "positive" if name in "br" else "finite, not negative"
            raise UserError(f"{name}: expected {bound} numbers, found {array[~good].flat[0]}")
    return n, b, r, np.log1p(fit) ** 2 + np.log1p(closure) ** 2


def _background(d: Array, b: Array, r: Array, k2: Array) -> Array:
    return np.maximum(b * (1 + d / r) * np.exp(np.clip(k2 * d, -500, 500)), 1e-280)


def _fitted(mu: Array, n: Array, b: Array, r: Array, k2: Array) -> Array:
    """d at the maximum of the likelihood for fixed mu, which is 0 or at least n - b.

    At the maximum all three nuisances follow from the one number d = B (n / (mu + B) - 1), B the
    background there: g = 1 + d / r, a = d ln K_f, c = d ln K_c. What is left is one equation in d,
    B(d) (n / (mu + B(d)) - 1) = d, whose left side falls: Newton in a bracket has one root to find.
    """
    mu, n, b, r, k2 = np.broadcast_arrays(mu, n, b, r, k2)
    low = -np.minimum(b, r)
    excess = np.maximum(n / b, 1.0)
    tilt = np.divide(np.log(excess), k2, out=np.full(n.shape, np.inf), where=k2 > 0)
    high = np.where(mu == 0, np.minimum(b * (excess - 1), tilt), 0.0)
    d = np.zeros(n.shape)
    for step in range(200):
        background = _background(d, b, r, k2)
        total = mu + background
        value = background / total * n - background - d
        rise = background * (1 / (r + d) + k2)
        slope = rise * (n / total * (mu / total) - 1) - 1
        low, high = np.where(value > 0, d, low), np.where(value < 0, d, high)
        new = d - value / slope
        done = np.abs(new - d) <= 1e-13 * (1 + np.abs(d))
        # Exponentials make Newton crawl: every fourth step halves the bracket.
        outside = (new < low) | (new > high) | (step % 4 == 3)
        d = np.where(outside & ~done, (low + high) / 2, new)
        if done.all():
            break
    return d


def _q(mu: Array, n: Array, b: Array, r: Array, k2: Array) -> tuple[Array, Array]:
    """-2 ln L(mu) / L(best mu), and d of `_fitted`."""
    d = _fitted(mu, n, b, r, k2)
    total = mu + _background(d, b, r, k2)
    template = np.where(np.isinf(r), 0.0, d - np.where(np.isinf(r), 1.0, r) * np.log1p(d / r))
    q = 2 * (xlogy(n, n / total) - n + total + template) + k2 * d**2
    return np.maximum(q, 0.0), d


def profile_z(
    n: ArrayLike,
    b: ArrayLike,
    r: ArrayLike,
    sigma_fit: ArrayLike = 0.0,
    sigma_closure: ArrayLike = 0.0,
) -> Array:
    """Signed root of q0 of n events over b, of which r template rows are the measure, in sigma.

    L(mu, g, a, c) = Poisson(n; mu + b g K_f^a K_c^c) Poisson(r; r g) N(a; 0, 1) N(c; 0, 1), with
    K = 1 + sigma, sigma relative (HistFactory's shapesys and normsys; q0 of Cowan et al.,
    arXiv:1007.1727, eq. 12, but signed: negative for a deficit). r = inf: no template error.
    Without sigma_fit and sigma_closure it is eq. 17 of Li and Ma. All broadcast.

    Raises:
        UserError: a count or an error is negative or not finite, or b or r is not positive.

    Examples:
        >>> print(profile_z(84, 42, 400, sigma_fit=0.05).round(2))
        5.05
    """
    n, b, r, k2 = _checked(n, b, r, sigma_fit, sigma_closure)
    q, _ = _q(np.zeros(n.shape), n, b, r, k2)
    return np.sign(n - b) * np.sqrt(q)


# Upper limits


def _quadrature(b: Array, r: Array, k2: Array) -> tuple[Array, Array]:
    """Background (..., Q) over its errors, weights (Q,): Gamma(r) / r times a log-normal."""
    x, w = np.polynomial.hermite_e.hermegauss(24)
    x, w = x[np.abs(x) < 7], w[np.abs(x) < 7]
    size = np.where(np.isinf(r), 1.0, r)[..., None]
    template = np.where(np.isinf(r)[..., None], 1.0, gammainccinv(size, ndtr(-x)) / size)
    nuisance = np.exp(np.sqrt(k2)[..., None] * x)
    grid = b[..., None, None] * template[..., :, None] * nuisance[..., None, :]
    return grid.reshape(*b.shape, -1), np.outer(w, w).ravel() / w.sum() ** 2


def _log_cls(mu: Array, n: Array, b: Array, r: Array, k2: Array) -> Array:
    """ln CLs of q~mu in its asymptotic form (1007.1727, eqs. 62-66), Asimov data of mu = 0."""
    q, _ = _q(mu, n, b, r, k2)
    q_none, d = _q(np.zeros_like(mu), n, b, r, k2)
    q = np.maximum(q - np.where(n < b, q_none, 0.0), 0.0)
    # With the nuisances at their best values the likelihood keeps its form: b -> B, r -> r + d.
    background = _background(d, b, r, k2)
    q_asimov = np.maximum(_q(mu, background, background, r + d, k2)[0], 1e-12)
    root, asimov = np.sqrt(q), np.sqrt(q_asimov)
    t = np.where(root <= asimov, root - asimov, (q - q_asimov) / (2 * asimov))
    return log_ndtr(-t - asimov) - log_ndtr(-t)


def upper_limit(
    n: ArrayLike,
    b: ArrayLike,
    r: ArrayLike,
    sigma_fit: ArrayLike = 0.0,
    sigma_closure: ArrayLike = 0.0,
    level: float = 0.95,
) -> Array:
    """CLs upper limit on the signal events that pass, S95 at `level` 0.95. All broadcast.

    b >= 25: q~mu of the likelihood of `profile_z`, asymptotic (pyhf's default). Below, where that
    form fails (2.6 events, not 3.0, where none is seen of 3 expected): P(N <= n), exact in the
    count and averaged over the background's errors (R. Cousins and V. Highland, NIM A 320 (1992)
    331), template as Gamma(r) / r, the others log-normal: limit of toys that redraw them.
    `limit_method` says which.

    Raises:
        UserError: as `profile_z`; or a level that is not between 0.5 and 1.

    Examples:
        >>> print(upper_limit([0, 3], 3.0, np.inf).round(2))
        [3.  5.4]
    """
    n, b, r, k2 = _checked(n, b, r, sigma_fit, sigma_closure)
    if not 0.5 < level < 1:
        raise UserError(f"level: expected a number between 0.5 and 1, found {level}")
    limits = np.empty(n.shape)
    few = b < FEW
    for where, exact in ((few, True), (~few, False)):
        if where.any():
            limits[where] = _limit(
                n[where], b[where], r[where], k2[where], np.log(1 - level), exact
            )
    return limits


def _limit(n: Array, b: Array, r: Array, k2: Array, target: float, exact: bool) -> Array:
    """mu at ln CLs = target (L,): the bracket is doubled, then halved or cut by Illinois steps."""
    if exact:
        grid, weights = _quadrature(b, r, k2)
        none = gammaincc(n[:, None] + 1, grid) @ weights

    def excess(mu: Array) -> Array:
        if exact:
            both = gammaincc(n[:, None] + 1, mu[:, None] + grid) @ weights
            return np.log(np.maximum(both, 1e-300) / np.maximum(none, 1e-300)) - target
        return _log_cls(mu, n, b, r, k2) - target

    low = np.zeros(n.shape) if exact else np.maximum(n - b, 0.0) + 1e-6
    f_low = np.full(n.shape, np.log(0.5) - target)
    high = np.maximum(n - b, 0.0) + 4 + 4 * np.sqrt(n + b)
    f_high = excess(high)
    while (f_high > 0).any():
        low, f_low = np.where(f_high > 0, high, low), np.where(f_high > 0, f_high, f_low)
        high = np.where(f_high > 0, 2 * high, high)
        f_high = excess(high)
    for _ in range(60):
        mu = (low * f_high - high * f_low) / (f_high - f_low)
        f = excess(mu)
        above = f > 0
        f_low, f_high = np.where(above, f, f_low / 2), np.where(above, f_high / 2, f)
        low, high = np.where(above, mu, low), np.where(above, high, mu)
        if (np.abs(f) < 1e-9).all():
            break
    return mu


def limit_method(b: float) -> str:
    """How `upper_limit` treats a background of b events, for the report."""
    return "CLs, exact count" if b < FEW else "CLs, asymptotic"


def expected_limit(
    b: float,
    r: float,
    sigma_fit: float = 0.0,
    sigma_closure: float = 0.0,
    level: float = 0.95,
) -> dict[str, float]:
    """`upper_limit` without a signal: {"median", "low", "high"}, the last two its 68 % band.

    The limit rises with n, so these are the limits at the 50, 16 and 84 % quantiles of the count,
    its law being Poisson averaged over the background's errors.

    Examples:
        >>> print({k: round(v, 1) for k, v in expected_limit(3.0, 400).items()})
        {'median': 5.4, 'low': 3.6, 'high': 7.7}
    """
    _, background, size, k2 = _checked(0.0, b, r, sigma_fit, sigma_closure)
    grid, weights = _quadrature(background, size, k2)

    def quantile(share: float) -> float:
        low, high = -1, 1
        while gammaincc(high + 1.0, grid) @ weights < share:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            passed = gammaincc(middle + 1.0, grid) @ weights >= share
            low, high = (low, middle) if passed else (middle, high)
        return float(high)

    counts = {"median": quantile(0.5), "low": quantile(0.16), "high": quantile(0.84)}
    limits = upper_limit(list(counts.values()), b, r, sigma_fit, sigma_closure, level)
    return dict(zip(counts, limits.tolist(), strict=True))
