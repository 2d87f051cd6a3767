"""N-subjettiness of padded jets (Thaler, van Tilburg, arXiv:1011.2268), by FastJet's contrib.

tau_N = sum_i pT_i min_a dR(i, a) / sum_i pT_i R0 over N axes: beta = 1, normalised measure. The
axes come from exclusive kT clustering, with four-vector sums ("kt") or with the harder branch
winning the direction ("wta_kt", Larkoski, Neill, Thaler, arXiv:1401.2158). FastJet (GPL-2,
optional) runs on the host through its awkward interface, thousands of jets a call.
"""

import numpy as np
from tqdm import tqdm

from jaxad.errors import UserError
from jaxad.observables.clustering import n_subjettiness as flat_n_subjettiness
from jaxad.observables.momenta import four_momenta, particles_of

_AXES = {"kt": "KT_Axes", "wta_kt": "WTA_KT_Axes"}
_BATCH = 2000


def n_subjettiness(
    particles: np.ndarray, radius: float = 1.0, axes: str = "kt", max_n: int = 5
) -> np.ndarray:
    """tau_1 ... tau_max_n of every jet, (N, max_n) float32; 0 where there are N particles or fewer.

    Args:
        particles: (N, n, 3) (pT [GeV], eta, phi), then massless, or (N, n, 4) (E, px, py, pz)
            [GeV]; any real numbers, padded with zeros or masked.
        radius: R0, the jet radius.
        axes: "kt" or "wta_kt".
        max_n: the largest N.

    Raises:
        UserError: other axes or particles, or no FastJet.
    """
    if axes not in _AXES:
        raise UserError(f"N-subjettiness: axes must be one of {sorted(_AXES)}, found {axes!r}")
    particles = particles_of(particles, "N-subjettiness")
    result = np.zeros((len(particles), max_n), dtype=np.float32)
    starts = range(0, len(particles), _BATCH)
    for start in tqdm(starts, "N-subjettiness", unit="batch", delay=2, leave=False):
        batch = slice(start, start + _BATCH)
        result[batch] = _taus(four_momenta(particles[batch]), radius, _AXES[axes], max_n)
    return result


def _taus(p4: np.ndarray, radius: float, axes: str, max_n: int) -> np.ndarray:
    """tau_N (N, max_n) of four-vectors (N, n, 4); FastJet is not asked about empty jets."""
    try:
        present = p4[..., 0] > 0
        counts = present.sum(axis=1)
        energy, px, py, pz = p4[present].T
        result = np.zeros((len(p4), max_n))
        if len(energy):
            orders = tuple(range(1, max_n + 1))
            result[counts > 0] = flat_n_subjettiness(
                px, py, pz, energy, counts[counts > 0], radius, orders, axes
            )
        return result
    except ImportError as error:
        raise UserError(
            f"N-subjettiness needs FastJet, which cannot be imported ({error}): "
            "pip install 'jaxad[simulation]'"
        ) from error
