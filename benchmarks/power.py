"""What a signal of 1, 2 and 3 sigma becomes after the selection: five folds, half-split, the ideal.

    python -m benchmarks.power --figure=power.png      # a few minutes

The window of `benchmarks.calibration`: 1,000 events, S of them signal, S / sqrt(B) = 0.5 to 3;
linear discriminants, a cut of 1 %, significances calibrated by pseudo-experiments, and beyond them
by the line through their tail. The ideal is the ratio of the true densities of signal and
background, cut at the same efficiency, its background exactly known. The median and the 68 % band
of many data sets are shown.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats
from tqdm import tqdm

from benchmarks import calibration
from jaxad.metrics import counting, extrapolation
from jaxad.metrics.resonance import significance
from jaxad.search.pool import COUNTING, DATA
from jaxad.simulation import resonance

CUT = 1  # of calibration.EFFICIENCIES: 0.01
EFFICIENCY = calibration.EFFICIENCIES[CUT]
SIGMAS = (0.5, 1.0, 1.5, 2.0, 3.0)
COVARIANCE = np.full((4, 4), resonance.CORRELATION) + (1 - resonance.CORRELATION) * np.eye(4)


def ratio(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    """ln p(x | signal) / p(x | m, background) (n,)."""
    mean = resonance.DRIFT * (m[:, None] - resonance.SIGNAL_MASS) / 1000
    background = stats.multivariate_normal(cov=COVARIANCE).logpdf(x - mean)
    signal = stats.norm.logpdf(x, resonance.SIGNAL_POINT, resonance.SIGNAL_SPREAD).sum(axis=1)
    return signal - background


def calibrated(z: np.ndarray, toys: np.ndarray) -> np.ndarray:
    """Significances (n,) from nominal ones: by rank, and where toys end by the line."""
    ordered = np.sort(toys)
    above = len(toys) - np.searchsorted(ordered, z, side="left")
    found = -stats.norm.ppf((1 + above) / (1 + len(toys)))
    line = extrapolation.extrapolate(float(ordered[-1]), toys)
    if line["reason"] is None or line["slope"] is not None:
        beyond = line["intercept"] + line["slope"] * z
        found = np.where(above < 10, np.maximum(beyond, 0), found)
    return found


def nominal(rows: calibration.Pool, n: np.ndarray, folds: Sequence[int]) -> np.ndarray:
    """Nominal significances of counts over `folds`."""
    inside = np.isin(rows.fold, folds)
    template = rows.fold[inside & (rows.role == COUNTING)]
    sizes = np.bincount(template, minlength=max(folds) + 1)[list(folds)]
    n_data = int((inside & (rows.role == DATA)).sum())
    return counting.nominal_z(n, n_data, sizes, EFFICIENCY)


def out_of_sample(way: str, n_sets: int, n_toys: int) -> np.ndarray:
    """Calibrated significances (S, sets) of five folds or of a half-split."""
    count, folds = calibration.WAYS[way]
    rows = calibration.pool_of(0, calibration.folds_of(way))
    toys = nominal(rows, count(rows, range(1, n_toys + 1))[:, CUT], folds)
    found = []
    for sigma in SIGMAS:
        z = []
        for number in tqdm(range(n_sets), desc=f"{way}, {sigma:g} sigma", unit="set"):
            rows = calibration.pool_of(2000 + number, calibration.folds_of(way), n_signal(sigma))
            z.append(nominal(rows, count(rows, [0])[0, CUT], folds))
        found.append(calibrated(np.array(z), toys))
    return np.array(found)


def n_signal(sigma: float) -> int:
    """Signal events S among the data of the window, S / sqrt(N - S) = sigma."""
    n = calibration.N_DATA
    return round(sigma * (np.sqrt(n + sigma**2 / 4) - sigma / 2))


def ideal(n_sets: int) -> np.ndarray:
    """Significances (S, sets) of the cut on the ratio of the densities."""
    rng = np.random.default_rng(9)
    many = resonance.in_window(1_000_000, *calibration.WINDOW, rng)
    threshold = np.quantile(ratio(many["x"], many["m"]), 1 - EFFICIENCY)
    found = []
    for sigma in SIGMAS:
        s, z = n_signal(sigma), []
        for _ in range(n_sets):
            data = resonance.in_window(calibration.N_DATA - s, *calibration.WINDOW, rng)
            signal = resonance.signal(s, rng)
            x, m = (np.concatenate([data[key], signal[key]]) for key in ("x", "m"))
            n = int((ratio(x, m) > threshold).sum())
            z.append(significance(n, EFFICIENCY * (calibration.N_DATA - s)))
        found.append(z)
    return np.array(found)


def draw(path: Path, found: dict[str, np.ndarray], reach: float) -> None:
    """Median and band of each way against the injected signal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, z in found.items():
        low, median, high = np.quantile(z, (0.16, 0.5, 0.84), axis=1)
        axes.plot(SIGMAS, median, "o-", label=name)
        axes.fill_between(SIGMAS, low, high, alpha=0.2, linewidth=0)
    axes.plot(SIGMAS, SIGMAS, "k:", linewidth=1, label="without a selection")
    axes.axhline(reach, color="gray", linestyle="--", linewidth=1)
    axes.text(SIGMAS[-1], reach, "reach of the toys", ha="right", va="bottom", fontsize="small")
    axes.set(xlabel=r"injected signal S/$\sqrt{B}$ [$\sigma$]", ylabel=r"significance [$\sigma$]")
    axes.set(ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--toys", type=int, default=20_000)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args(argv)
    found = {
        "ideal": ideal(args.sets),
        "5 folds": out_of_sample("5 folds", args.sets, args.toys),
        "half-split": out_of_sample("half-split", args.sets, args.toys),
    }
    print("| S/sqrt(B) | S | " + " | ".join(found) + " |\n|" + "---|" * (2 + len(found)))
    for i, sigma in enumerate(SIGMAS):
        cells = []
        for z in found.values():
            low, median, high = np.quantile(z[i], (0.16, 0.5, 0.84))
            cells.append(f"{median:.1f} [{low:.1f}, {high:.1f}]")
        print(f"| {sigma:g} | {n_signal(sigma)} | {' | '.join(cells)} |")
    if args.figure:
        draw(args.figure, found, float(-stats.norm.ppf(10 / args.toys)))


if __name__ == "__main__":
    main()
