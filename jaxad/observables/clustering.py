"""Jets of whole batches with FastJet (Cacciari, Salam, Soyez, arXiv:1111.6097) through its awkward
interface: anti-kT clustering, jets sorted by pT with their constituents, and N-subjettiness
(Thaler, van Tilburg, arXiv:1011.2268). FastJet is GPL-2 and imported only here.
"""

import os
import sys
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Jets(NamedTuple):
    """Jets, flat, ordered by event and falling pT.

    event, rank: (J,) int64, rank 0 is the hardest of its event; px, py, pz, e: (J,) float64 [GeV];
    offsets: (J+1,) and members: (M,) int64: jet j holds particles
    members[offsets[j] : offsets[j + 1]].
    """

    event: np.ndarray
    rank: np.ndarray
    px: np.ndarray
    py: np.ndarray
    pz: np.ndarray
    e: np.ndarray
    offsets: np.ndarray
    members: np.ndarray

    def select(self, chosen: np.ndarray) -> "Jets":
        """The jets at indices or mask `chosen`, with their constituents."""
        rows = np.arange(len(self.event))[chosen]
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        members = self.members[ragged_index(self.offsets[rows], counts)]
        return Jets(*(f[rows] for f in self[:6]), offsets, members)

    @property
    def mass(self) -> np.ndarray:
        """(J,) invariant mass [GeV], 0 where rounding makes it negative."""
        square = self.e**2 - self.px**2 - self.py**2 - self.pz**2
        return np.sqrt(np.maximum(square, 0.0))


def ragged_index(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Indices starts[0]..starts[0]+counts[0]-1, starts[1].. and so on, concatenated."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


@lru_cache
def _fastjet():
    """FastJet, its banner already printed to nowhere (it would land in every worker's output)."""
    import fastjet

    sys.stdout.flush()
    stdout = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        fastjet._swig.ClusterSequence.print_banner()
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)
    return fastjet


def _four_momenta(px, py, pz, e, counts):
    import awkward as ak

    flat = ak.zip({"px": px, "py": py, "pz": pz, "E": e}, with_name="Momentum4D")
    return ak.unflatten(flat, counts)


def cluster(
    event: np.ndarray,
    px: np.ndarray,
    py: np.ndarray,
    pz: np.ndarray,
    e: np.ndarray,
    n_events: int,
    radius: float,
    min_pt: float,
) -> Jets:
    """Anti-kT jets of every event.

    Args:
        event: (P,) ascending event index of the particles; px, py, pz, e: (P,) float64 [GeV].
        n_events: number of events (some may hold no particle).
        radius: jet radius R.
        min_pt: least jet pT [GeV].
    """
    import awkward as ak

    fastjet = _fastjet()
    counts = np.bincount(event, minlength=n_events)
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    sequence = fastjet.ClusterSequence(_four_momenta(px, py, pz, e, counts), definition)
    found = sequence.inclusive_jets(min_pt)
    index = sequence.constituent_index(min_pt)
    n_jets = ak.to_numpy(ak.num(found))
    jet_event = np.repeat(np.arange(n_events), n_jets)
    momenta = [ak.to_numpy(ak.flatten(found[name])) for name in ("px", "py", "pz", "E")]
    lengths = ak.to_numpy(ak.flatten(ak.num(index, axis=2)))
    first = (np.cumsum(counts) - counts)[jet_event]
    members = ak.to_numpy(ak.flatten(index, axis=None)) + np.repeat(first, lengths)
    jets = Jets(
        jet_event,
        np.arange(len(jet_event)) - np.repeat(np.cumsum(n_jets) - n_jets, n_jets),
        *momenta,
        np.concatenate([[0], np.cumsum(lengths)]),
        members.astype(np.int64),
    )
    order = np.lexsort((-np.hypot(jets.px, jets.py), jet_event))
    return jets.select(order)._replace(rank=jets.rank)


def n_subjettiness(
    px: np.ndarray,
    py: np.ndarray,
    pz: np.ndarray,
    e: np.ndarray,
    counts: np.ndarray,
    radius: float,
    orders: tuple[int, ...] = (1, 2, 3),
    axes: str = "OnePass_KT_Axes",
    beta: float = 1.0,
) -> np.ndarray:
    """tau_N of jets given by their constituents, normalised measure.

    Args:
        px, py, pz, e: (P,) float64 constituents of all jets, one jet after the other [GeV].
        counts: (J,) constituents of each jet.
        radius: R0 of the normalisation.
        orders: the N.
        axes: FastJet contrib's name of the axes.
        beta: angular exponent of the measure.

    Returns:
        (J, len(orders)) float64.
    """
    import awkward as ak

    if len(counts) == 0:
        return np.zeros((0, len(orders)))
    fastjet = _fastjet()
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    sequence = fastjet.ClusterSequence(_four_momenta(px, py, pz, e, counts), definition)
    tau = sequence.njettiness(
        measure_definition="NormalizedMeasure",
        axes_definition=axes,
        njets=list(orders),
        beta=beta,
        R0=radius,
    )
    return ak.to_numpy(tau).reshape(len(counts), len(orders))


def padded(jets: Jets, momenta: np.ndarray, n_constituents: int) -> np.ndarray:
    """Constituents of each jet by falling pT, cut or zero padded to `n_constituents`.

    Args:
        jets: J jets.
        momenta: (P, 4) (E, px, py, pz) of the clustered particles [GeV].
        n_constituents: length of the padded axis.

    Returns:
        (J, n_constituents, 4) float32.
    """
    counts = np.diff(jets.offsets)
    row = np.repeat(np.arange(len(counts)), counts)
    members = momenta[jets.members]
    order = np.lexsort((-np.hypot(members[:, 1], members[:, 2]), row))
    column = np.arange(len(row)) - np.repeat(jets.offsets[:-1], counts)
    kept = column < n_constituents
    out = np.zeros((len(counts), n_constituents, 4), np.float32)
    out[row[kept], column[kept]] = members[order][kept]
    return out
