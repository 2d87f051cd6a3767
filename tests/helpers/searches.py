"""A search made of numbers alone: `search.json` and counts of toys without a training."""

import numpy as np

from jaxad.configs import search
from jaxad.data.false_windows import Window
from jaxad.data.table import Table
from jaxad.metrics import spectrum
from jaxad.metrics.families import Family
from jaxad.metrics.sculpting import mass_sculpting
from jaxad.search import analysis, results
from jaxad.search.analysis import Normalisation, Sizes

EFFICIENCIES = (0.1, 0.01, 0.001)
SIZE = Sizes(2000, np.full(5, 20_000))


def _table(unit):
    none, few = np.zeros((0, 2), np.float32), np.zeros(2)
    info = {"name": "events", "source": "table.csv", "files": ["table.csv"], "digest": "abc"}
    return Table(
        none, np.zeros(0), np.zeros(0, np.uint64), None, None, None, ("mj1", "tau21"), ("GeV", ""),
        few.astype(bool), few, few, "mjj", unit, info,
    )  # fmt: skip


def _cuts(observed, n_toys, closure, flaw, fit, rng):
    """Cuts of a window, their counts (n_toys + 1, cuts), and the normalisation."""
    mean = SIZE.data * np.array(EFFICIENCIES)
    toys = rng.poisson(mean * np.exp(0.3 * rng.normal(size=(n_toys, 3)) / np.sqrt(mean)))
    counts = np.concatenate([[observed], toys])
    row, normal = [], None
    for i, efficiency in enumerate(EFFICIENCIES):
        false = [(SIZE, int(n)) for n in rng.poisson((1 + flaw) * mean[i], closure)]
        if fit:
            draws = rng.normal(1, 0.03, (2, n_toys)) * SIZE.data
            normal = Normalisation(1950.0, 60.0, draws[0].astype(int), draws[1])
        row.append(analysis.cut(counts[:, i], SIZE, efficiency, false, normal, 0))
    return row, counts, normal


def _spectra(window, rng):
    """Fits of a falling spectrum with a bump, and sculpting of its sidebands."""
    mass = np.concatenate([2600 + rng.exponential(450, 12_000), rng.normal(3500, 50, 60)])
    u = np.concatenate([rng.random(12_000), 0.002 * rng.random(60)])
    fits = {}
    for cut in (1.0, *EFFICIENCIES):
        if cut == EFFICIENCIES[-1]:
            fits[f"{cut:g}"] = {"reason": "sideband fit: expected more than 3 filled bins, found 2"}
            continue
        family = Family("exponential", n_parameters=2)
        fits[f"{cut:g}"] = spectrum.expectation(
            mass[u <= cut], window, family, span=(2600, max(5600, window.high + 200))
        )
    outside = ~window.holds(mass)
    carved = mass_sculpting(mass[outside], -u[outside], efficiencies=EFFICIENCIES[:2])
    return {"spectra": fits, "sculpting": carved}


def made_up(
    n_windows=1,
    shown=True,
    observed=(231, 41, 13),
    n_toys=400,
    closure=4,
    flaw=0.08,
    fit=False,
    unit="TeV",
):
    """The content of `search.json`, and window -> (n_toys, 3) counts of pseudo-experiments.

    observed: events of data that pass the cuts of the first window; closure: false windows, where
    the template is too low by `flaw`; fit: the normalisation is that of the sidebands.
    """
    config = search.get_config("smoke")
    rng = np.random.default_rng(0)
    windows, cuts, more, counts = [], [], [], {}
    for i in range(n_windows):
        window = Window(3300.0 + 200 * i, 3700.0 + 200 * i)
        seen = observed if i == 0 else rng.poisson(SIZE.data * np.array(EFFICIENCIES))
        row, found, normal = _cuts(seen, n_toys, closure, flaw, fit, rng)
        edges = np.linspace(2600, 3100, closure + 1)
        entries = {
            "n_data": SIZE.data,
            "n_template": int(SIZE.template.sum()),
            "false_windows": np.stack([edges[:-1], edges[1:]], axis=1).tolist(),
            "template": [
                {"auc": 0.5 + 0.01 * rng.random(), "auc_err": 0.006} for _ in range(closure)
            ],
        }
        if i == 0 and n_toys:
            mean = SIZE.data * np.array(EFFICIENCIES)
            points = [
                analysis.power(rng.poisson(mean + 0.6 * n, (40, 3)), SIZE, row, normal, n, 0)
                for n in (5, 20, 60)
            ]
            entries["power"] = {"injected": [5, 20, 60], "in_window": 0.8, "points": points}
        if shown:
            entries |= _spectra(window, rng)
        windows.append(window)
        cuts.append(row)
        more.append(entries)
        counts[window.name] = found[1:]
    found = results.content(config, _table(unit), windows, cuts, more, shown, 754.0)
    return found, counts
