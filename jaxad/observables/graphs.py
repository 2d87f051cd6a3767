"""Graphs of the energy flow polynomials of Komiske, Metodiev, Thaler (arXiv:1712.07124).

A graph is its edges, a tuple of pairs of vertices, repeated for multiple edges. EnergyFlow
(GPL-3, optional) is asked for the list of graphs and for nothing else: edges are plain data that
can be stored and evaluated without it. Names, formulas and drawings of graphs live here too.
"""

import contextlib
import importlib
import io
import re
import sys
import types
from collections import Counter
from itertools import permutations
from string import ascii_lowercase
from typing import TYPE_CHECKING

import numpy as np

from jaxad.errors import UserError
from jaxad.observables.efp_plan import Edges, components

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Graphs = dict[str, Edges]


def import_energyflow() -> types.ModuleType:
    """The energyflow package, with an empty stand-in for `wasserstein` if that cannot be imported.

    EnergyFlow imports `wasserstein` for its energy mover's distances when it is loaded; the
    compiled part of that package was built against numpy 1 and fails, noisily, with numpy 2. EFPs
    and images do not use it, so an empty module takes its place only when the real one fails.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
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


def select_graphs(*selection: str) -> Graphs:
    """Graphs that meet every selection in EnergyFlow's words, without the constant one.

    Selections compare n (vertices), e (simple edges), d (degree), v (maximum valency), c (chi),
    p (connected components) or h (leaves) with a number, such as "d<=5", "p==1", "c<=3"; at most
    d = 10. The order is EnergyFlow's: connected graphs, then products. A connected graph is named
    efp_n_d_k with EnergyFlow's indices, a product by its factors joined with "*".
    """
    degrees = (re.fullmatch(r"d(?:<=|<|==)(\d+)", text.replace(" ", "")) for text in selection)
    # The factors of a product are looked up below, so the set must hold smaller graphs as well.
    bounds = [f"d<={match[1]}" for match in degrees if match]
    try:
        efpset = import_energyflow().EFPSet(*bounds)
        selected = efpset.graphs(*selection)
    except ValueError as error:
        raise UserError(
            f"EFP graphs: selection {selection} is not understood ({error}); "
            'expected conditions such as "d<=5", "p==1"'
        ) from error
    connected = {_edges(efp.graph): "efp_{}_{}_{}".format(*efp.ndk) for efp in efpset.efps}
    graphs = [_edges(graph) for graph in selected if len(graph)]
    return {"*".join(connected[part] for part in components(graph)): graph for graph in graphs}


def standard_graphs(max_degree: int = 5, prime: bool = True) -> Graphs:
    """All graphs up to a degree, connected only if `prime`: 53 of degree 5, 101 with products."""
    return select_graphs(f"d<={max_degree}", *(["p==1"] if prime else []))


def formula(edges: Edges) -> str:
    r"""LaTeX of the sum that a graph stands for, without dollar signs; beta = kappa = 1.

    Examples:
        >>> print(formula(((0, 1), (0, 1))))
        \sum_{a,b} z_a z_b \theta_{ab}^{2}
    """
    vertices = sorted({vertex for edge in edges for vertex in edge})
    if not vertices:
        return "1"
    letter = {vertex: ascii_lowercase[i] for i, vertex in enumerate(vertices)}
    fractions = " ".join(f"z_{letter[vertex]}" for vertex in vertices)
    angles = " ".join(
        rf"\theta_{{{letter[a]}{letter[b]}}}" + (f"^{{{power}}}" if power > 1 else "")
        for (a, b), power in sorted(_multiplicity(edges).items())
    )
    return rf"\sum_{{{','.join(letter.values())}}} {fractions} {angles}"


def draw_graph(edges: Edges, ax: "Axes") -> None:
    """Draw a graph on matplotlib axes: a dot for each z, a line for each theta.

    Connected components stand side by side, the vertices of each on a circle.
    """
    parts = components(edges)
    for i, part in enumerate(parts):
        points = _positions(part) + np.array([1.4 * i, 0])
        for (a, b), power in _multiplicity(part).items():
            along = points[b] - points[a]
            across = np.array([-along[1], along[0]])
            for bend in 0.28 * (np.arange(power) - (power - 1) / 2):
                t = np.linspace(0, 1, 33)[:, None]
                curve = points[a] + t * along + 4 * t * (1 - t) * bend * across
                ax.plot(*curve.T, color="black", linewidth=1.2, zorder=1)
        ax.scatter(*points.T, s=36, color="tab:blue", zorder=2)
    ax.set(xlim=(-0.7, 1.4 * len(parts) - 0.7), ylim=(-0.7, 0.7), aspect="equal")
    ax.axis("off")


def _positions(part: Edges) -> np.ndarray:
    """Points (n_vertices, 2) on a circle, in the order that makes the edges shortest."""
    n_vertices = 1 + max(max(edge) for edge in part)
    angle = np.pi / 2 + 2 * np.pi * np.arange(n_vertices) / n_vertices
    circle = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    first, second = np.array(part).T
    if n_vertices > 7:
        return circle
    orders = np.array(list(permutations(range(n_vertices))))
    length = np.linalg.norm(circle[orders[:, first]] - circle[orders[:, second]], axis=2)
    return circle[orders[length.sum(axis=1).argmin()]]


def _multiplicity(edges: Edges) -> Counter[tuple[int, int]]:
    return Counter((min(edge), max(edge)) for edge in edges)


def _edges(graph: list[tuple[int, int]]) -> Edges:
    return tuple((int(a), int(b)) for a, b in graph)
