"""What is wrong with which way of counting, on simulation with known truth, in a minute.

    python -m benchmarks.calibration                  # 3,000 toys, 100 data sets a point
    python -m benchmarks.calibration --toys=300 --sets=20

Three ways to score: half-split, five folds, and in-sample, where the classifier is trained on the
events that it scores, which the package does not offer. Linear discriminants on random cosines,
1,000 events of data and 1,000 template rows to train on. Nominal is BetaBinomial, exact for one
fold; calibrated is the rank among toys.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from jaxad.metrics import counting
from jaxad.search import discriminant, plan, pool, toys
from jaxad.search.pool import COUNTING, DATA, TRAINING, Pool
from jaxad.simulation import resonance

WINDOW = (3300.0, 3700.0)
N_DATA, N_TRAINING, N_COUNTING = 1000, 1000, 4000
EFFICIENCIES = (0.1, 0.01)
LEVELS = (stats.norm.sf(2), stats.norm.sf(3))


def pool_of(
    seed: int,
    folds: int = 5,
    n_signal: int = 0,
    sizes: tuple[int, int, int] = (N_DATA, N_TRAINING, N_COUNTING),
    flaws: Sequence[str] = (),
    mass_bins: int = 1,
) -> Pool:
    """A simulated window: `n_signal` of its events are signal, and the template has `flaws`."""
    rng = np.random.default_rng([7, seed])
    n, *template = sizes
    data = resonance.in_window(n - n_signal, *WINDOW, rng)
    signal = resonance.signal(n_signal, rng)
    data = {name: np.concatenate([data[name], signal[name]]) for name in ("x", "m")}
    data |= {"fold": rng.permutation(n) % folds, "row": np.arange(n)}
    drawn = [resonance.in_window(size, *WINDOW, rng, flaws) for size in template]
    return pool.make(data, *drawn, folds, mass_bins)


def nominal_p(n: np.ndarray, rows: Pool, efficiency: float, folds: Sequence[int]) -> np.ndarray:
    """P(X >= n) of BetaBinomial, and P(X > n), of a count over `folds`: (2, ...)."""
    sizes = [
        [((rows.fold == k) & (rows.role == role)).sum() for k in folds] for role in (DATA, COUNTING)
    ]
    n_data = sum(sizes[0])
    next_n = np.minimum(np.asarray(n) + 1, n_data)
    return np.stack(
        [counting.beta_binomial_p(i, n_data, sizes[1], efficiency) for i in (n, next_n)]
    )


def randomised(p: np.ndarray, seed: int = 0) -> np.ndarray:
    """Uniform values from P(X >= n) and P(X > n) (2, ...), where n follows the law."""
    return p[1] + (p[0] - p[1]) * np.random.default_rng(seed).random(p.shape[1:])


def permutation_p(n: np.ndarray, n_toys: np.ndarray) -> np.ndarray:
    """(1 + number of toys with as many or more) / (1 + toys), for n (...,)."""
    at_least = len(n_toys) - np.searchsorted(np.sort(n_toys), n, side="left")
    return (1 + at_least) / (1 + len(n_toys))


def out_of_fold(rows: Pool, numbers: Sequence[int], seed: int = 1) -> np.ndarray:
    """Counts (T, n_eff) summed over folds, of toys."""
    recipe = toys.get_config(name="discriminant")
    return toys.counts(rows, recipe, EFFICIENCIES, seed, numbers, chunk=64).sum(axis=1)


def half_split(rows: Pool, numbers: Sequence[int], seed: int = 1) -> np.ndarray:
    """Counts (T, n_eff) of the half that trained nothing."""
    recipe = toys.get_config(name="discriminant", half_split=True)
    return toys.counts(rows, recipe, EFFICIENCIES, seed, numbers, chunk=64)[:, 1]


def in_sample(rows: Pool, numbers: Sequence[int], seed: int = 1) -> np.ndarray:
    """Counts (T, n_eff) of events that trained the discriminant that scores them."""
    fixed = plan.make(rows, EFFICIENCIES, seed)
    phi = discriminant.cosines(rows.x, 100, seed)
    solved = phi @ discriminant.inverse_covariance(phi)
    data, training = (np.flatnonzero(rows.role == role) for role in (DATA, TRAINING))
    template = np.flatnonzero(rows.role == COUNTING)
    r = plan.ranks(len(template), EFFICIENCIES)
    found = []
    for toy in numbers:
        there = fixed.rows(toy)
        scores = solved @ (phi[there[data]].mean(axis=0) - phi[there[training]].mean(axis=0))
        threshold = np.sort(scores[there[template]])[len(template) - r]
        found.append((scores[there[data]][:, None] > threshold).sum(axis=0))
    return np.array(found)


WAYS: dict[str, tuple[Callable[..., np.ndarray], tuple[int, ...]]] = {
    "half-split": (half_split, (1,)),
    "5 folds": (out_of_fold, (0, 1, 2, 3, 4)),
    "in-sample": (in_sample, (0, 1, 2, 3, 4)),
}
"""Name: (counts, folds in which is counted)."""


def folds_of(way: str) -> int:
    """Folds of the pool that a way wants."""
    return max(WAYS[way][1]) + 1


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", type=int, default=3000)
    parser.add_argument("--sets", type=int, default=100)
    args = parser.parse_args(argv)
    null = {}
    print(f"Background alone, {args.toys} toys; fractions beyond 2 and 3 sigma [%]")
    print("| | eps | width | nominal 2 | nominal 3 | calibrated 2 | calibrated 3 |\n|" + "---|" * 7)
    for name, (count, folds) in WAYS.items():
        rows = pool_of(0, folds_of(name))
        null[name] = count(rows, range(1, args.toys + 1))
        for i, efficiency in enumerate(EFFICIENCIES):
            n = null[name][:, i]
            p = nominal_p(n, rows, efficiency, folds)
            width = stats.norm.isf(np.clip(randomised(p), 1e-300, 1)).std()
            half = len(n) // 2
            ranked = permutation_p(n[half:], n[:half])
            rates = [100 * (q <= level).mean() for q in (p[0], ranked) for level in LEVELS]
            cells = " | ".join(f"{rate:.2f}" for rate in rates)
            print(f"| {name} | {efficiency} | {width:.2f} | {cells} |", flush=True)
    print(f"\nPower at calibrated 2 sigma, eps {EFFICIENCIES[1]}, {args.sets} data sets a point")
    print("| signal events | " + " | ".join(WAYS) + " |\n|" + "---|" * (1 + len(WAYS)))
    for n_signal in (0, 10, 20, 30, 40):
        cells = []
        for name, (count, _) in WAYS.items():
            pools = (pool_of(1000 + i, folds_of(name), n_signal) for i in range(args.sets))
            n = np.array([count(rows, [0])[0, 1] for rows in pools])
            cells.append(f"{(permutation_p(n, null[name][:, 1]) <= LEVELS[0]).mean():.2f}")
        print(f"| {n_signal} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
