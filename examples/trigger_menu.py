"""Two made-up detectors of zero-bias events in two runs: python trigger_menu.py menu.npz

Integer scores a and c, which share a part and grow with pile-up; L1bit, what the rest of the menu
accepts; nPV_True and run of each event, more pile-up in the second. For `jaxad rates` and its docs.
"""

import sys

import numpy as np

N = 400_000


def events(seed: int = 1) -> dict[str, np.ndarray]:
    """Columns (N,)."""
    rng = np.random.default_rng(seed)
    second = np.arange(N) >= N // 2
    pile_up = rng.poisson(np.where(second, 46, 38))
    common = rng.exponential(1, N)
    a = 2 * common + rng.exponential(2, N) * np.exp(0.012 * (pile_up - 40))
    c = common + rng.exponential(2.5, N) * np.exp(0.004 * (pile_up - 40))
    return {
        "a": np.floor(16 * a).astype(np.int64),
        "c": np.floor(4 * c).astype(np.int64),
        "L1bit": rng.random(N) < np.where(common > 7, 0.31, 0.01),
        "nPV_True": pile_up.astype(np.float32),
        "run": np.where(second, 2, 1),
    }


if __name__ == "__main__":
    np.savez(sys.argv[1], **events())
