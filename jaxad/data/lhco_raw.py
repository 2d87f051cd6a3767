"""From raw LHC Olympics events to the official jet features, with FastJet.

    jaxad data cluster events_anomalydetection_v2.h5 --out FOLDER

Anti-kT R = 1.0 jets of up to 700 massless particles (Zenodo 4536377, `events_anomalydetection.h5`);
N-subjettiness with exclusive-kT axes and normalised measure, beta = 1.
FastJet is GPL-2 and comes with `pip install 'jaxad[simulation]'`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data import checks
from jaxad.data.layout import Layout
from jaxad.data.pandas_table import PandasTable
from jaxad.data.raw_events import require_events
from jaxad.errors import UserError
from jaxad.observables.clustering import cluster, n_subjettiness
from jaxad.simulation.frames import write_fixed
from jaxad.simulation.lhco import FEATURES
from jaxad.simulation.produce import produce
from jaxad.storage.paths import expanded
from jaxad.tasks import Task, load_part, make_tasks

RADIUS = 1.0
MIN_PT = 20.0  # GeV
N_PARTICLES = 700
TASK_SIZE = 2000
VERSION = 1  # of what is computed


def is_raw(table: PandasTable) -> bool:
    """Whether a file holds particles, not features."""
    return len(table.columns) in (3 * N_PARTICLES, 3 * N_PARTICLES + 1)


def is_labelled(table: PandasTable) -> bool:
    """Whether a raw file says which events are signal; the black boxes do not."""
    return len(table.columns) == 3 * N_PARTICLES + 1


def request(path: Path) -> dict[str, Any]:
    """What decides the features of a raw file, JSON-able; the file by its size and time."""
    about = path.stat()
    return {
        "name": f"{path.stem}.features.h5",
        "bytes": about.st_size,
        "modified": about.st_mtime_ns,
        "version": VERSION,
        "radius": RADIUS,
        "min_pt": MIN_PT,
        "task_size": TASK_SIZE,
    }


def feature_file(path: Path, folder: Path, workers: int | str | None = None) -> Path:
    """The raw file `path` as an official feature file, written once into `folder`.

    Called again it goes on where it stopped, or returns the finished file.

    Args:
        path: raw events, see `cluster_events`, and their label, where there is one.
        folder: where the file, and until it is complete its parts, lie.
        workers: processes, None for all cores, or the address of a dask scheduler, whose workers
            read `path` by the same name; the output does not depend on it.

    Raises:
        UserError: FastJet is missing, the file is no raw one, empty or damaged, has labels other
            than 0 and 1, or `folder` holds the features of another file.
    """
    path = expanded(path).resolve()
    with PandasTable(path) as table:
        if not is_raw(table):
            raise UserError(
                f"{path}: expected raw events of {3 * N_PARTICLES} columns, or with a label "
                f"{3 * N_PARTICLES + 1} columns, found {len(table.columns)}"
            )
        n_events = table.n_rows
        if not n_events:
            raise UserError(f"{path}: holds no events")
        labels = ["label"] if is_labelled(table) else []
        if labels:
            checks.require_labels(table.read(table.columns[-1:])[:, 0], path, "label", (0, 1))
    asked = request(path)
    name = asked["name"]

    def write(temporary: Path, _: str, parts: dict[str, list[Path]]) -> None:
        rows = np.concatenate([load_part(part)["rows"] for part in parts["raw"]])
        write_fixed(temporary, "df", [*FEATURES, *labels], rows)

    tasks = make_tasks("raw", name, n_events, TASK_SIZE)
    rows_of = partial(_rows_of, path, TASK_SIZE)
    packages = ("fastjet", "awkward", "tables")
    (made,) = produce(folder, asked, [name], tasks, rows_of, write, workers, packages)
    return made


def _rows_of(path: Path, size: int, task: Task) -> dict[str, np.ndarray]:
    start = task.index * size
    with PandasTable(path) as table:
        rows = table.read(table.columns, start, start + task.n, dtype=np.float64)
    particles, labels = rows[:, : 3 * N_PARTICLES], rows[:, 3 * N_PARTICLES :]
    particles = particles.reshape(len(rows), -1, 3)
    require_events(Layout("ptetaphi", particles.shape[1:]), particles, path, "particles", start)
    checks.require_finite(labels, path, "label", start)
    try:
        jets = cluster_events(particles, start)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return {"rows": np.column_stack([jets, labels])}


def cluster_events(particles: np.ndarray, first: int = 0) -> np.ndarray:
    """Features (N, 14) float64 of the two leading jets of `particles` (N, n, 3).

    Args:
        particles: (pT [GeV], eta, phi), zero padded, massless.
        first: the number of the first event in its file, to name one.

    Returns:
        px, py, pz, m [GeV], tau1, tau2, tau3 of the leading jet in pT, then of the second.

    Raises:
        UserError: an event holds fewer than two jets.
    """
    event, column = np.nonzero(particles[..., 0] > 0)
    pt, eta, phi = particles[event, column].astype(np.float64).T
    momenta = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)
    jets = cluster(event, *momenta, len(particles), RADIUS, MIN_PT)
    jets = jets.select(jets.rank < 2)
    n_jets = np.bincount(jets.event, minlength=len(particles))
    if (n_jets < 2).any():
        raise UserError(
            f"event {first + int(np.argmin(n_jets))} has fewer than two jets of pT > "
            f"{MIN_PT:g} GeV; remove such events"
        )
    constituents = [p[jets.members] for p in momenta]
    tau = n_subjettiness(*constituents, np.diff(jets.offsets), RADIUS, axes="KT_Axes")
    values = np.column_stack([jets.px, jets.py, jets.pz, jets.mass, tau])
    return values.reshape(len(particles), -1)
