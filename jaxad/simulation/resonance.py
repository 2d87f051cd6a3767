"""A window search with known truth: a falling mass, four features, a signal, wrong templates.

Background has m = 2600 GeV + Exp(450 GeV) and, given m, four Gaussian features of unit width with
correlations of 0.3 and means that are linear in m. The signal has m = 3500 +- 50 GeV and features
that scatter by 0.25 about one point. The exact template is the law of the background itself;
flawed ones are what a density might get wrong. Everything is drawn in milliseconds.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxad.simulation.produce import produce
from jaxad.tasks import load_part, make_tasks, seeded

LOWEST, SLOPE = 2600.0, 450.0
"""Of the background's mass [GeV]."""
CORRELATION = 0.3
DRIFT = np.array([0.2, -0.1, 0.1, 0.0])
"""Change of the means of the features from 3500 GeV to 4500 GeV."""
SIGNAL_MASS, SIGNAL_WIDTH = 3500.0, 50.0
SIGNAL_POINT = np.array([1.5, 1.0, -1.0, 0.5])
SIGNAL_SPREAD = 0.25
FLAWS = ("narrow", "shifted", "massless")


def masses(n: int, rng: np.random.Generator) -> np.ndarray:
    """Masses (n,) [GeV] of background."""
    return LOWEST + rng.exponential(SLOPE, n)


def features(m: np.ndarray, rng: np.random.Generator, flaws: Sequence[str] = ()) -> np.ndarray:
    """Features (n, 4) float32 of background at masses `m` (n,) [GeV].

    Args:
        flaws: of a template: "narrow", the first feature is 5 % too narrow; "shifted", the second
            is displaced by 0.025 sigma; "massless", none depends on the mass.
    """
    covariance = np.full((4, 4), CORRELATION) + (1 - CORRELATION) * np.eye(4)
    x = rng.normal(size=(len(m), 4)) @ np.linalg.cholesky(covariance).T
    if "narrow" in flaws:
        x[:, 0] *= 0.95
    if "shifted" in flaws:
        x[:, 1] += 0.025
    if "massless" not in flaws:
        x += DRIFT * (m[:, None] - SIGNAL_MASS) / 1000
    return x.astype(np.float32)


def background(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows "x" (n, 4) float32 and "m" (n,) [GeV]."""
    m = masses(n, rng)
    return {"x": features(m, rng), "m": m}


def signal(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows "x" (n, 4) float32 and "m" (n,) [GeV] of the resonance."""
    x = SIGNAL_POINT + SIGNAL_SPREAD * rng.normal(size=(n, 4))
    return {"x": x.astype(np.float32), "m": rng.normal(SIGNAL_MASS, SIGNAL_WIDTH, n)}


def in_window(
    n: int, low: float, high: float, rng: np.random.Generator, flaws: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """`n` rows of background with masses between `low` and `high` [GeV], perhaps flawed."""
    share = rng.uniform(*np.exp((LOWEST - np.array([high, low])) / SLOPE), n)
    m = LOWEST - SLOPE * np.log(share)
    return {"x": features(m, rng, flaws), "m": m}


FILE = "table.csv"
COLUMNS = ("event", "mjj", "x1", "x2", "x3", "x4", "is_signal")
SIGNAL_SHARE = 400
"""Events of background for each of signal in the file of `simulate`."""
TASK_SIZE = 100_000


def simulate(
    name: str, out_dir: str | os.PathLike, n_events: int, seed: int, workers: int | str | None
) -> list[Path]:
    """Write `n_events` of background and a 400th part of signal, mixed, as a table (CSV).

    Columns: the number of the event, the mass [GeV], four features, and the truth, which a search
    does not read.
    """
    n_signal = max(1, n_events // SIGNAL_SHARE)
    request = {"name": name, "n_events": n_events, "n_signal": n_signal, "seed": seed}
    tasks = [
        *make_tasks("background", FILE, n_events, TASK_SIZE),
        *make_tasks("signal", FILE, n_signal, TASK_SIZE),
    ]

    def write(path: Path, _: str, parts: dict[str, list[Path]]) -> None:
        kinds = ("background", "signal")
        read = [[load_part(part) for part in parts[kind]] for kind in kinds]
        rows = {
            key: np.concatenate([part[key] for kind in read for part in kind]) for key in ("x", "m")
        }
        label = np.repeat([0, 1], [n_events, n_signal])
        order = np.random.default_rng([seed, 400]).permutation(len(label))
        columns = [rows["m"][order], *rows["x"][order].T, label[order]]
        table = np.column_stack([np.arange(len(label)), *columns])
        formats = ["%d", "%.3f", *["%.6g"] * 4, "%d"]
        np.savetxt(path, table, fmt=formats, delimiter=",", header=",".join(COLUMNS), comments="")

    rows_of = seeded(_rows, seed)
    return produce(out_dir, request, [FILE], tasks, rows_of, write, workers, packages=())


def _rows(process: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return signal(n, rng) if process == "signal" else background(n, rng)
