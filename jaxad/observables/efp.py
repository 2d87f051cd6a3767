"""Energy flow polynomials of padded jets, all graphs at once, on any device.

EFP_G = sum over one particle for each vertex of prod z_i prod theta_kl^beta (Komiske, Metodiev,
Thaler, arXiv:1712.07124, eq. 1.1) with EnergyFlow's hadronic measure: z = pT / sum pT (kappa = 1)
and theta^2 = d_eta^2 + d_phi^2, d_phi wrapped. `efp_plan` decides the order of the sums and what
graphs share; this file carries the plan out in batched matrix products.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.devices.arrays import floating
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.observables.efp_plan import Edges, Matrix, Node, Plan, Vector, inputs, make_plan
from jaxad.observables.kinematics import with_columns
from jaxad.observables.momenta import particles_of

# 2 pi in two parts: the second holds what float32 loses in the first.
_TWO_PI = float(np.float32(2 * np.pi))
_TWO_PI_REST = 2 * np.pi - _TWO_PI

# Widths to which padded jets are cut, and the fewest jets for which a width is compiled.
_WIDTHS = (16, 32, 48, 64, 96, 128, 192, 256)
_FEWEST = 2000


def efp_function(
    graphs: dict[str, Edges] | Sequence[Edges], beta: float = 1.0
) -> Callable[[Array], Array]:
    """Pure function of particles (N, n, 3) that returns the EFPs (N, len(graphs)) of every jet.

    Args:
        graphs: the edges of every graph, in the order of the columns (a dictionary's values).
        beta: angular exponent, larger than 0.

    The function takes (pT [GeV], eta or rapidity, phi), zero padded, in float32 or float64 (else
    it computes in float32). It
    holds some twenty arrays (N, n, n): `compute_efps` bounds the memory. A jet without particles
    gives 0 for every graph but the constant one.

    Examples:
        >>> jets = jnp.array([[[100.0, 0.4, 0.0], [100.0, -0.4, 0.0], [0.0, 0.0, 0.0]]])
        >>> width = efp_function({"efp_2_1_0": ((0, 1),)})  # sum of z z theta
        >>> print(width(jets))
        [[0.4]]
    """
    if not beta > 0:
        raise UserError(f"EFPs: beta must be larger than 0, found {beta}")
    edges = graphs.values() if isinstance(graphs, dict) else graphs
    return _efp_function(tuple(tuple((int(a), int(b)) for a, b in graph) for graph in edges), beta)


@lru_cache(maxsize=16)
def _efp_function(graphs: tuple[Edges, ...], beta: float) -> Callable[[Array], Array]:
    """One function object for equal arguments, so that what JAX compiled is found again."""
    plan = make_plan(graphs)

    def efps(particles: Array) -> Array:
        particles = with_columns(particles, 3)
        pt = particles[..., 0]
        total = pt.sum(axis=1, keepdims=True)
        z = pt / jnp.where(total > 0, total, 1)
        return _Evaluation(plan, z, _angles2(particles), beta).outputs()

    return efps


def compute_efps(
    graphs: dict[str, Edges] | Sequence[Edges],
    particles: np.ndarray,
    beta: float = 1.0,
    batch_size: int | None = None,
) -> np.ndarray:
    """EFPs (N, len(graphs)) of many jets (N, n, 3), in batches, so that memory is bounded.

    Jets with few particles are evaluated without most of their padding, since the work grows at
    least as n^2. By default a batch fits in the caches of a CPU, or fills about 2 GB elsewhere.
    The result is of the type of `particles`, float32 or float64; of other numbers it is float32.

    Raises:
        UserError: another shape, or no real numbers.

    Examples:
        >>> jets = np.array([[[100.0, 0.4, 0.0], [100.0, -0.4, 0.0]]], np.float32)
        >>> print(compute_efps([((0, 1),), ((0, 1), (0, 1))], jets).round(2))
        [[0.4  0.32]]
    """
    particles = floating(particles_of(particles, "EFPs", columns=(3,)))
    function = efp_function(graphs, beta)
    n = particles.shape[1]
    length = ((particles[..., 0] > 0) * np.arange(1, n + 1)).max(axis=1, initial=0)
    result = np.empty((len(particles), len(graphs)), dtype=particles.dtype)
    remaining = np.arange(len(particles))
    for width in [*(width for width in _WIDTHS if width < n), n]:
        short = length[remaining] <= width
        if width < n and short.sum() < _FEWEST:
            continue
        jets, remaining = remaining[short], remaining[~short]
        size = batch_size or (32 if jax.default_backend() == "cpu" else 2**24 // width**2)
        result[jets] = in_batches(function, particles[jets, :width], "EFPs", size)
    return result


def _angles2(particles: Array) -> Array:
    """Squared distances (N, n, n) in eta and wrapped phi; exactly 0 on the diagonal."""
    eta, phi = particles[..., 1], particles[..., 2]
    d_eta = eta[:, :, None] - eta[:, None, :]
    d_phi = jnp.abs(phi[:, :, None] - phi[:, None, :])
    d_phi = jnp.minimum(d_phi, jnp.abs((_TWO_PI - d_phi) + _TWO_PI_REST))
    return d_eta**2 + d_phi**2


def _levels(nodes: dict[int, Node]) -> dict[int, int]:
    """Length of the longest chain of nodes that ends in each node."""
    level: dict[int, int] = {}
    for number, node in nodes.items():
        level[number] = 1 + max((level[i] for i in inputs(node)), default=0)
    return level


class _Evaluation:
    """Values of the nodes of a plan for jets of momentum fractions z (N, n), angles2 (N, n, n)."""

    def __init__(self, plan: Plan, z: Array, angles2: Array, beta: float) -> None:
        self.plan, self.z, self.angles2, self.beta = plan, z, angles2, beta
        self.levels = _levels(plan.nodes)
        self.values: dict[int, Array] = {}

    def outputs(self) -> Array:
        """The values of all graphs, (N, n_graphs)."""
        self.fill(depth=0)
        factors = self.plan.outputs
        numbers = sorted({number for scalars in factors for number in scalars})
        one = jnp.ones_like(self.z[:, 0])
        scalars = jnp.stack([one, *(self.values[number] for number in numbers)], axis=1)
        column = {number: i + 1 for i, number in enumerate(numbers)}
        index = np.zeros((len(factors), max(map(len, factors), default=0)), dtype=int)
        for row, graph in zip(index, factors, strict=True):
            row[: len(graph)] = [column[number] for number in graph]
        return scalars[:, index].prod(axis=2)

    def fill(self, depth: int) -> None:
        """Compute the nodes of one depth, level by level, then the loop over pinned particles."""
        by_kind: dict[tuple[int, str], list[int]] = defaultdict(list)
        for number, node in self.plan.nodes.items():
            if node.depth == depth:
                by_kind[self.levels[number], node.kind].append(number)
        compute = {
            "theta": self._theta,
            "product": self._product,
            "path": self._path,
            "message": self._messages,
            "scalar": self._scalars,
        }
        for (_, kind), numbers in sorted(by_kind.items()):
            if kind in compute:
                compute[kind](numbers)
        pinned = [n for (_, kind), group in by_kind.items() if kind == "pinned" for n in group]
        if pinned:
            self._pinned(pinned, depth)

    def _matrix(self, matrix: Matrix) -> Array:
        number, transposed = matrix
        value = self.values[number]
        return value.swapaxes(1, 2) if transposed else value

    def _vector(self, vector: Vector) -> Array:
        return prod((self.values[number] for number in vector), start=self.z)

    def _theta(self, numbers: list[int]) -> None:
        for number in numbers:
            exponent = self.plan.nodes[number].arguments[0] * self.beta / 2
            self.values[number] = _power(self.angles2, exponent)

    def _product(self, numbers: list[int]) -> None:
        for number in numbers:
            first, *others = (self._matrix(m) for m in self.plan.nodes[number].arguments)
            self.values[number] = prod(others, start=first)

    def _path(self, numbers: list[int]) -> None:
        for number in numbers:
            left, vector, right = self.plan.nodes[number].arguments
            weighted = self._matrix(left) * self._vector(vector)[:, None, :]
            self.values[number] = jnp.matmul(weighted, self._matrix(right), precision="highest")

    def _messages(self, numbers: list[int]) -> None:
        """Vectors for the same matrix go through one matrix product."""
        same: dict[Matrix, list[int]] = defaultdict(list)
        for number in numbers:
            same[self.plan.nodes[number].arguments[0]].append(number)
        for matrix, group in same.items():
            vectors = [self._vector(self.plan.nodes[number].arguments[1]) for number in group]
            if len(group) < 3:
                messages = [self._message(matrix, vector) for vector in vectors]
            else:
                stacked = jnp.stack(vectors, axis=2)
                together = jnp.matmul(self._matrix(matrix), stacked, precision="highest")
                messages = list(jnp.moveaxis(together, 2, 0))
            self.values.update(zip(group, messages, strict=True))

    def _message(self, matrix: Matrix, vector: Array) -> Array:
        """Multiplied and summed in one pass, down the columns (faster) where it may be."""
        number, transposed = matrix
        if transposed or self.plan.nodes[number].symmetric:
            return (self.values[number] * vector[:, :, None]).sum(axis=1)
        return (self.values[number] * vector[:, None, :]).sum(axis=2)

    def _scalars(self, numbers: list[int]) -> None:
        vectors = [self._vector(self.plan.nodes[number].arguments[0]) for number in numbers]
        sums = jnp.stack(vectors, axis=2).sum(axis=1)
        self.values.update(zip(numbers, sums.T, strict=True))

    def _pinned(self, numbers: list[int], depth: int) -> None:
        """Sum over the pinned particle; one loop serves all graphs that pin one."""
        nodes = self.plan.nodes
        rows = [k for k, node in nodes.items() if node.kind == "row" and node.depth == depth + 1]
        weights = jnp.stack([self._vector(nodes[k].arguments[0]) for k in numbers])

        def add(total: Array, particle: Array) -> tuple[Array, None]:
            inner = _Evaluation(self.plan, self.z, self.angles2, self.beta)
            inner.values = dict(self.values)
            for k in rows:
                inner.values[k] = self._matrix(nodes[k].arguments[0])[:, particle]
            inner.fill(depth + 1)
            terms = [prod(inner.values[s] for s in nodes[k].arguments[1]) for k in numbers]
            return total + weights[:, :, particle] * jnp.stack(terms), None

        start = jnp.zeros_like(weights[:, :, 0])
        sums, _ = jax.lax.scan(add, start, jnp.arange(self.z.shape[1]))
        self.values.update(zip(numbers, sums, strict=True))


def _power(x: Array, exponent: float) -> Array:
    """x^exponent for x >= 0, with value and gradient 0 at x = 0 for exponents below 1 too."""
    if exponent.is_integer():
        return x ** int(exponent)
    positive = jnp.where(x > 0, x, 1)
    half_integer = (2 * exponent).is_integer()
    power = jnp.sqrt(positive) ** int(2 * exponent) if half_integer else positive**exponent
    return jnp.where(x > 0, power, 0)
