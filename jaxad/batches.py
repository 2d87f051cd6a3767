"""How many events are scored at once, and on which devices."""

import math
from collections.abc import Iterator

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

SIZES = (1, 16, 256, 4096)
"""Batches are filled up to one of these sizes, so that few programs are ever compiled."""
SHARDED = 256
"""Batches of this size and more are spread over all devices of the host."""


def over_devices(spec: PartitionSpec) -> NamedSharding:
    """Over the largest number of the host's devices that divides every large batch."""
    devices = jax.local_devices()
    devices = devices[: math.gcd(len(devices), SHARDED)]
    mesh = jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, spec)


def batches(n: int) -> Iterator[tuple[int, int]]:
    """Starts and sizes that cover n rows; the largest size is used only where it is filled."""
    start = 0
    while start < max(n, 1):
        left = n - start
        size = (
            SIZES[-1] if left >= SIZES[-1] else next(s for s in SIZES if s >= min(left, SIZES[-2]))
        )
        yield start, size
        start += size
