"""Optimal transport between two samples of one size, with a gradient and in fixed time.

Both costs are of squared Euclidean distances at equal weights. The exact one needs a solver on the
host. `sliced` is its mean over projections on lines, where sorting solves it (Rabin, Peyre, Delon,
Bernot, SSVM 2011; Bonneel et al., J. Math. Imaging Vis. 51, 2015); `sinkhorn` regularises by
entropy (Cuturi, arXiv:1306.0895), here in logarithms with a regularisation that falls.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

BEYOND = 1e30  # where rows of no weight are sorted to
NEVER = -1e9  # logarithm of their weight
ITERATIONS = 60
FIRST, LAST = 1.0, 0.01  # regularisation, in units of the mean cost


def directions(key: Array, d: int, n: int) -> Array:
    """Random unit vectors (d, n), one a column."""
    drawn = jax.random.normal(key, (d, n))
    return drawn / jnp.linalg.norm(drawn, axis=0, keepdims=True)


def sliced(a: Array, b: Array, along: Array, weight: Array) -> Array:
    """Mean over the lines `along` (d, k) of the transport cost of a (n, d) to b (n, d), ().

    weight (n,): rows of weight 0 are in neither sample; all others count the same.

    Examples:
        >>> a = jnp.array([[0.0], [1.0], [5.0]])
        >>> float(sliced(a, a[::-1] + 2, jnp.ones((1, 1)), jnp.ones(3)))
        4.0
    """
    return between(*projected(jnp.stack([a, b]), along, weight), weight)


def projected(x: Array, along: Array, weight: Array) -> Array:
    """Projections (samples, n, k) of samples x (samples, n, d), sorted; those of weight 0 last."""
    return jnp.sort(jnp.where((weight > 0)[:, None], x @ along, BEYOND), axis=1)


def between(a: Array, b: Array, weight: Array) -> Array:
    """Mean over lines of the transport cost () of two samples of `projected` (n, k)."""
    n = jnp.maximum(jnp.sum(weight > 0), 1)
    return jnp.sum((a - b) ** 2) / (n * a.shape[1])


def sinkhorn(a: Array, b: Array, weight: Array) -> Array:
    """Transport cost () of a (n, d) to b (n, d) by the plan of `ITERATIONS` scalings; as `sliced`.

    The plan is regularised by `LAST` of the mean cost, so that the cost lies above the exact one by
    a few per cent. The gradient is that at a fixed plan.
    """
    cost = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * jnp.matmul(a, b.T)
    cost = jnp.maximum(cost, 0)
    there = weight > 0
    pairs = there[:, None] & there
    plan = _plan(lax.stop_gradient(cost), there)
    return jnp.sum(jnp.where(pairs, plan * cost, 0))


def _plan(cost: Array, there: Array) -> Array:
    """Joint weights (n, n), whose sums over either axis are those of the rows."""
    n = jnp.maximum(there.sum(), 1)
    own = jnp.where(there, -jnp.log(n), NEVER)
    mean = jnp.sum(jnp.where(there[:, None] & there, cost, 0)) / n**2
    powers = jnp.linspace(0, 1, ITERATIONS // 2)
    falling = FIRST * (LAST / FIRST) ** jnp.concatenate([powers, jnp.ones(ITERATIONS // 2)])

    def scale(potentials: tuple[Array, Array], share: Array) -> tuple[tuple[Array, Array], None]:
        f, g = potentials
        epsilon = share * jnp.maximum(mean, 1e-30)
        f = -epsilon * jax.nn.logsumexp((g - cost) / epsilon + own, axis=1)
        g = -epsilon * jax.nn.logsumexp((f[:, None] - cost) / epsilon + own[:, None], axis=0)
        return (f, g), None

    (f, g), _ = lax.scan(scale, (jnp.zeros(len(cost)), jnp.zeros(len(cost))), falling)
    epsilon = LAST * jnp.maximum(mean, 1e-30)
    return jnp.exp((f[:, None] + g - cost) / epsilon + own[:, None] + own)
