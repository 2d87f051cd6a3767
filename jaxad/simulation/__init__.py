"""Simulated data sets in their published file layouts, with Pythia 8, a fast detector and FastJet.

    simulate(name, out_dir, n_events, seed=0, workers=None) -> list[Path]

writes the files of the set `name` into `out_dir` and returns their paths. Calling it again with the
same arguments returns the finished files at once, and an interrupted call goes on where it stopped;
a folder with another simulation is refused. From a shell: `jaxad simulate --help`.

The generators (pythia8mc, fastjet; GPL) come with `pip install 'jaxad[simulation]'` and are
imported only when events are made.
"""

import importlib
import os
from pathlib import Path

from jaxad.errors import UserError

_MODULES = {
    "toptagging": "toptagging",
    "lhco": "lhco",
    "lhco_signal": "lhco",
    "lhco_signal_heavy": "lhco",
    "lhco_signal_light": "lhco",
    "jets": "jet_kinds",
    "adc2021": "adc2021",
    "codae": "codae",
    "regions": "regions",
    "resonance": "resonance",
}
NAMES = tuple(_MODULES)


def simulate(
    name: str,
    out_dir: str | os.PathLike,
    n_events: int,
    seed: int = 0,
    workers: int | str | None = None,
) -> list[Path]:
    """Simulate a data set.

    Args:
        name: "toptagging" (n_events = jets of each class, QCD and top, over train.h5, val.h5
            and test.h5, 60/20/20 %); "lhco" (n_events = QCD dijets, one features file);
            "lhco_signal" (n_events = W'(3.5 TeV) -> X(500) Y(100) events, one features file),
            "lhco_signal_heavy" and "lhco_signal_light" (the same with 600 and 300, with 200 and
            100 GeV); "jets" (n_events = QCD
            jets, and a fifth as many of each of eight signals, one file a kind); "adc2021"
            (n_events = Standard Model mix, and a fifth as many of each of four signals);
            "codae" (n_events = QCD event images, a third of them to test on, and a tenth as many
            of each of nine SUEP and SVJ signals); "regions" (n_events = zero-bias images of
            calorimeter regions, and a tenth as many of each of four signals); "resonance"
            (n_events = background of a table with a mass and four features, a 400th part of signal
            in it, one CSV file: made up, for searches).
        out_dir: folder to fill; finished files carry `simulation.json` beside them.
        n_events: size, see `name`.
        seed: everything random follows from (name, n_events, seed).
        workers: processes, None for all cores, or the address of a dask scheduler whose workers
            make the events; the output does not depend on it.

    Returns:
        The files of the published layout.

    Raises:
        UserError: unknown name, no events asked for, a negative seed, missing generator packages,
            or `out_dir` holds something else.
    """
    if name not in NAMES:
        raise UserError(f"no simulation called {name!r}; there are {', '.join(NAMES)}")
    if n_events < 1:
        raise UserError(f"{name}: n_events must be positive, not {n_events}")
    if seed < 0:
        raise UserError(f"{name}: seed must be 0 or more, not {seed}")
    module = importlib.import_module(f"jaxad.simulation.{_MODULES[name]}")
    return module.simulate(name, out_dir, n_events, seed, workers)
