"""Whether columns of jets belong to the particles beside them."""

import sys
from pathlib import Path

import numpy as np

from jaxad.storage import on_disk

TOLERANCE, MAX_SHARE = 0.05, 0.01


def warn_of_other_sums(named: np.ndarray, summed: np.ndarray, path: Path, key: str) -> None:
    """Tells of more than 1 % of jets whose pT column is over 5 % off the sum of their particles.

    Args:
        named, summed: pT [GeV] (N,) of the column and of the vector sum.
    """
    rows = on_disk.rows_where(_differs, named, summed)
    if len(rows) > MAX_SHARE * len(named):
        row, share = rows[0], len(rows) / len(named)
        print(
            f"warning: {path}: {key}: in {share:.1%} of jets over 5 % off the pT of their "
            f"particles, first {named[row]:.4g} against {summed[row]:.4g} GeV: are both of the "
            "same jets, in one unit, with all particles?",
            file=sys.stderr,
        )


def _differs(named: np.ndarray, summed: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.abs(named - summed) > TOLERANCE * np.abs(named)
