"""Where a reader's simulated files are: in the cache, made on first use."""

from pathlib import Path

from ml_collections import ConfigDict

from jaxad.simulation import simulate
from jaxad.storage import cache

NAMES = ("n_simulated", "n_simulated_signal", "simulation_seed")
"""Settings of a simulation."""


def idle(config: ConfigDict) -> dict[str, str]:
    """Settings of a simulation where there is none: name -> why they change nothing."""
    if config.source == "simulation":
        return {}
    why = "it is for data.source=simulation: leave it out"
    return {name: why for name in NAMES if name in config}


def simulated(name: str, config: ConfigDict) -> list[Path]:
    """Files of the set `name` of `n_simulated` events and `simulation_seed`; see `simulate`."""
    folder = f"{name}-n{config.n_simulated}-seed{config.simulation_seed}"
    return simulate(
        name,
        cache.root(config.cache) / "simulation" / folder,
        config.n_simulated,
        seed=config.simulation_seed,
        workers=config.workers or None,
    )
