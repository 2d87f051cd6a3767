"""Monotonic rational-quadratic splines (Durkan et al., arXiv:1906.04032), bins on the first axis.

The values of distrax's `RationalQuadraticSpline` with slopes of 1 at both ends. All arithmetic is
elementwise over the axes behind the bins, the bin is found by comparisons, and of the slopes only
the two of that bin are computed: one vectorised loop on a CPU, where the batch is the last axis.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

MIN_BIN_SIZE = 1e-3
MIN_SLOPE = 1e-3
_SLOPE_OF_ZERO = math.log(math.expm1(1 - MIN_SLOPE))


def n_parameters(n_bins: int) -> int:
    """Of one spline: widths, heights and the slopes at the knots between bins."""
    return 3 * n_bins - 1


def forward(parameters: Array, x: Array, bound: float) -> tuple[Array, Array]:
    """The spline on [-bound, bound], the identity outside; zero parameters: the identity.

    Args:
        parameters: (3 bins - 1, ...) float32, any values: widths, heights, slopes of inner knots.
        x: (...).

    Returns:
        y (...) and log dy/dx (...).
    """
    (left, width), (low, height), slopes = _bin(parameters, x, bound, 0)
    mean = height / width
    z = jnp.clip((x - left) / width, 0, 1)
    first, last = slopes
    product, rest = z * (1 - z), 1 - z
    denominator = mean + (first + last - 2 * mean) * product
    y = low + height * (mean * z * z + first * product) / denominator
    derivative = last * z * z + 2 * mean * product + first * rest * rest
    log_slope = jnp.log(derivative * (mean / denominator) ** 2)
    inside = jnp.abs(x) < bound
    return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0)


def inverse(parameters: Array, y: Array, bound: float) -> Array:
    """The x (...) whose `forward` is `y` (...)."""
    (left, width), (low, height), (first, last) = _bin(parameters, y, bound, 1)
    mean = height / width
    share = jnp.clip((y - low) / height, 0, 1)
    b = first - (first + last - 2 * mean) * share
    a, c = mean - b, -mean * share
    root = jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0))
    # Of the two forms of the solution, the one that does not subtract equal numbers.
    z = jnp.where(b >= 0, 2 * c, root - b) / jnp.where(b >= 0, -b - root, 2 * a)
    return jnp.where(jnp.abs(y) < bound, left + width * jnp.clip(z, 0, 1), y)


def _bin(parameters: Array, value: Array, bound: float, axis: int) -> tuple:
    """Start and size of the bin of `value` on both axes, found on `axis`, and its two slopes.

    Sums over masked bins: XLA keeps their results, where it would work out a chain of choices anew
    in each expression that uses it.
    """
    n_bins = (len(parameters) + 1) // 3
    *sizes, slopes = jnp.split(parameters, [n_bins, 2 * n_bins])
    sizes = [_sizes(raw, 2 * bound) for raw in sizes]
    ends = jax.lax.stop_gradient(jnp.cumsum(sizes[axis][:-1], axis=0)) - bound
    number = (value >= ends).sum(axis=0)
    bins = jnp.arange(n_bins).reshape(-1, *[1] * value.ndim)
    below, here = bins < number, bins == number

    def total(mask: Array, values: Array) -> Array:
        return jnp.where(mask, values, 0).sum(axis=0)

    raw = total(here[1:], slopes), total(here[:-1], slopes)
    first, last = (jax.nn.softplus(slope + _SLOPE_OF_ZERO) + MIN_SLOPE for slope in raw)
    x, y = ((total(below, size) - bound, total(here, size)) for size in sizes)
    return x, y, (first, last)


def _sizes(raw: Array, total: float) -> Array:
    """Sizes (bins, ...) of at least MIN_BIN_SIZE that add up to `total`."""
    return jax.nn.softmax(raw, axis=0) * (total - len(raw) * MIN_BIN_SIZE) + MIN_BIN_SIZE
