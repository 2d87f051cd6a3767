"""Are p-values of a search uniform without a signal? Over data sets with a template exact or wrong.

    python -m benchmarks.uniformity                                  # the analytic toy
    python -m benchmarks.uniformity --features=lhco_features_60k.h5 --flaw=0.12  # simulated QCD
    python -m benchmarks.uniformity --figure=uniformity.png

Each data set draws its events, its template and six false windows anew, trains discriminants on
random cosines out of fold, corrects by the closure test, and ranks its count among
pseudo-experiments of one pool with an exact template (`--toys` of them), to which the flaw that the
closure test saw is added. Beside it stand the nominal p-value, and what is counted in-sample: by a
classifier that trained on the events that it scores. Wrong is a template whose first feature is
too narrow by so much that the count at the softest cut is some 2 sigma high.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from tqdm import tqdm

from jaxad.data.dataset import Rows
from jaxad.data.lhco import read_jets
from jaxad.metrics import counting
from jaxad.observables.derived import dijet
from jaxad.search import analysis, discriminant, plan, pool, toys
from jaxad.search.pool import Pool
from jaxad.simulation import resonance

WINDOW = (3300.0, 3700.0)
EFFICIENCIES = (0.1, 0.01)
FOLDS, N_FALSE = 5, 6

Draw = Callable[[tuple[int, ...], np.random.Generator], list[Rows]]
"""(numbers, generator) -> disjoint rows of background, "x" and "m"."""


class Way(NamedTuple):
    """p-values (sets, cuts) of one way to count."""

    nominal: np.ndarray
    in_sample: np.ndarray
    calibrated: np.ndarray
    bias: np.ndarray  # (cuts,) of the count, in standard deviations


def analytic(sizes: tuple[int, ...], rng: np.random.Generator) -> list[Rows]:
    """Of the toy whose law is known."""
    return [resonance.in_window(n, *WINDOW, rng) for n in sizes]


def simulated(path: Path) -> Draw:
    """Of the background in the window of a file of simulated dijets: random parts of its events."""
    jets, label = read_jets(path)
    values = np.asarray(dijet(jets[label == 0]))
    inside = (values[:, 0] > WINDOW[0] / 1000) & (values[:, 0] < WINDOW[1] / 1000)
    m, x = values[inside, 0] * 1000.0, values[inside, 1:]

    def draw(sizes: tuple[int, ...], rng: np.random.Generator) -> list[Rows]:
        order = rng.permutation(len(m))
        edges = np.cumsum([0, *sizes])
        if edges[-1] > len(m):
            raise SystemExit(f"{path}: {len(m)} events in the window, expected {edges[-1]}")
        parts = (order[low:high] for low, high in itertools.pairwise(edges))
        return [{"x": x[part], "m": m[part]} for part in parts]

    return draw


def pool_of(draw: Draw, sizes: tuple[int, ...], flaw: float, rng: np.random.Generator) -> Pool:
    """Data, and a template whose first feature is too narrow by the fraction `flaw`."""
    data, *template = draw(sizes, rng)
    for rows in template:
        mean = rows["x"][:, 0].mean()
        rows["x"] = rows["x"].copy()
        rows["x"][:, 0] = mean + (1 - flaw) * (rows["x"][:, 0] - mean)
    data = data | {"fold": np.arange(sizes[0]) % FOLDS, "row": np.arange(sizes[0])}
    return pool.make(data, *template, FOLDS)


def observed(rows: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Counts (cuts,) out of fold, as toy 0 of `toys.counts`, and in-sample."""
    fixed = plan.make(rows, EFFICIENCIES, 1)
    phi = discriminant.cosines(rows.x, 100, 1)
    solved = phi @ discriminant.inverse_covariance(phi).astype(np.float32)
    sums, sizes = np.zeros((2, FOLDS, phi.shape[1])), np.zeros((2, FOLDS))
    for i, role in enumerate((pool.DATA, pool.TRAINING)):
        for k in range(FOLDS):
            chosen = (rows.role == role) & (rows.fold == k)
            sums[i, k], sizes[i, k] = phi[chosen].sum(axis=0), chosen.sum()
    total, n = sums.sum(axis=1), sizes.sum(axis=1)
    scores = np.full(len(rows.m), np.nan)
    for k in range(FOLDS):
        mean = (total - sums[:, k]) / (n - sizes[:, k])[:, None]
        own = fixed.scored(k)
        scores[own] = solved[own] @ (mean[0] - mean[1])
    out_of_fold = plan.count(fixed, scores, fixed.numbers(0)).sum(axis=0)
    whole = solved @ (total[0] / n[0] - total[1] / n[1])
    template = np.sort(whole[rows.role == pool.COUNTING])
    threshold = template[len(template) - plan.ranks(len(template), EFFICIENCIES)]
    above = whole[rows.role == pool.DATA][:, None] > threshold
    return out_of_fold, above.sum(axis=0)


def data_sets(
    draw: Draw, sizes: tuple[int, ...], flaw: float, reference: np.ndarray, n_sets: int
) -> Way:
    """p-values of `n_sets` data sets without a signal.

    Args:
        reference: (B, cuts) counts of pseudo-experiments with an exact template.
    """
    p: dict[str, list] = {"nominal": [], "in_sample": [], "calibrated": []}
    pulls = []
    for number in tqdm(range(n_sets), desc=f"flaw {flaw:g}", unit="set"):
        rng = np.random.default_rng([11, number])
        rows = pool_of(draw, sizes, flaw, rng)
        size = analysis.sizes(rows, range(FOLDS))
        n, inside = observed(rows)
        false = [observed(pool_of(draw, sizes, flaw, rng))[0] for _ in range(N_FALSE)]
        found: dict[str, list[float]] = {name: [] for name in p}
        for i, efficiency in enumerate(EFFICIENCIES):
            law = size.data, size.template, efficiency
            found["nominal"].append(_uniform(n[i], law, rng))
            found["in_sample"].append(_uniform(inside[i], law, rng))
            one = analysis.cut(
                np.append(n[i], reference[:, i]),
                *(size, efficiency, [(size, int(each[i])) for each in false], None, number),
            )
            above = (one.z_toys > one.z).sum() + rng.random() * (1 + (one.z_toys == one.z).sum())
            found["calibrated"].append(above / (1 + len(one.z_toys)))
        pulls.append(
            [counting.pull(n[i], size.data, size.template, e) for i, e in enumerate(EFFICIENCIES)]
        )
        for name, values in found.items():
            p[name].append(values)
    return Way(*(np.array(p[name]) for name in p), np.mean(pulls, axis=0))


def _uniform(n: int, law: tuple, rng: np.random.Generator) -> float:
    """P(X > n) + U P(X = n): uniform where n follows its nominal law."""
    n_data, template, efficiency = law
    at_least, above = (
        float(counting.beta_binomial_p(k, n_data, template, efficiency)) if k <= n_data else 0.0
        for k in (n, n + 1)
    )
    return above + rng.random() * (at_least - above)


def table(name: str, way: Way) -> str:
    """Rows of Markdown."""
    lines = []
    for i, efficiency in enumerate(EFFICIENCIES):
        for kind in ("in_sample", "nominal", "calibrated"):
            p = getattr(way, kind)[:, i]
            cells = [f"{stats.kstest(p, 'uniform').pvalue:.2g}"]
            for sigma in (2, 3):
                level = stats.norm.sf(sigma)
                low, high = stats.binom.interval(0.999, len(p), level)
                band = f"[{100 * low / len(p):.2f}, {100 * high / len(p):.2f}]"
                cells.append(f"{100 * (p <= level).mean():.2f} {band}")
            bias = f"{way.bias[i]:+.2f}"
            lines.append(f"| {name} | {efficiency:g} | {bias} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_figure(path: Path, ways: dict[str, Way]) -> None:
    """Distributions of all p-values at the softest cut."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(ways), 3.6), layout="constrained")
    for axes, (name, way) in zip(
        figure.subplots(1, len(ways), squeeze=False)[0], ways.items(), strict=True
    ):
        for kind in ("in_sample", "nominal", "calibrated"):
            p = np.sort(getattr(way, kind)[:, 0])
            axes.step(p, np.arange(1, len(p) + 1) / len(p), label=kind.replace("_", "-"))
        grid = np.geomspace(1e-3, 1, 200)
        low, high = (stats.binom.ppf(q, len(p), grid) / len(p) for q in (0.025, 0.975))
        axes.fill_between(grid, low, high, color="black", alpha=0.15, linewidth=0, label="95 %")
        axes.plot(grid, grid, "k--", linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1.2))
        axes.set(xlabel="p local", ylabel="fraction of data sets at or below", title=name)
        axes.legend()
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, help="file of simulated dijets")
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--toys", type=int, default=2000)
    parser.add_argument("--flaw", type=float, default=0.1)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args(argv)
    draw = simulated(args.features) if args.features else analytic
    sizes = (400, 800, 3000) if args.features else (1000, 2000, 6000)
    exact = pool_of(draw, sizes, 0.0, np.random.default_rng(5))
    recipe, numbers = toys.get_config(name="discriminant"), range(1, args.toys + 1)
    reference = toys.counts(exact, recipe, EFFICIENCIES, 1, numbers, chunk=64).sum(axis=1)
    print(
        "| template | eps | bias [sigma] | p-value | KS | % beyond 2 | % beyond 3 |\n|" + "---|" * 7
    )
    ways = {}
    for name, flaw in (("exact", 0.0), ("wrong", args.flaw)):
        ways[name] = data_sets(draw, sizes, flaw, reference, args.sets)
        print(table(name, ways[name]), flush=True)
    if args.figure:
        draw_figure(args.figure, ways)


if __name__ == "__main__":
    main()
