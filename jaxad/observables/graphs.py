"""Graphs of the energy flow polynomials (Komiske, Metodiev, Thaler, arXiv:1712.07124).

A graph is its edges, a tuple of pairs of vertices, repeated for multiple edges. EnergyFlow
(GPL-3, optional) is asked for the list of graphs and for nothing else: edges are plain data that
can be stored and evaluated without it.
"""

import importlib
import sys
import types

from jaxad.errors import UserError

Edges = tuple[tuple[int, int], ...]
Graphs = dict[str, Edges]


def import_energyflow() -> types.ModuleType:
    """The energyflow package, with an empty stand-in for `wasserstein` if that cannot be imported.

    EnergyFlow imports `wasserstein` for its energy mover's distances when it is loaded; the
    compiled part of that package was built against numpy 1 and fails with numpy 2. EFPs and
    images do not use it, so an empty module takes its place only when the real one fails.
    """
    try:
        importlib.import_module("wasserstein")
    except ImportError:
        for name in [name for name in sys.modules if name.split(".")[0] == "wasserstein"]:
            del sys.modules[name]
        sys.modules["wasserstein"] = types.ModuleType("wasserstein")
    try:
        return importlib.import_module("energyflow")
    except ImportError as error:
        raise UserError(
            f"energyflow (GPL-3, optional) cannot be imported ({error}): "
            "it lists the EFP graphs; pip install 'jaxad[efp]'"
        ) from error
