"""Chains that draw from exp(-energy): Langevin steps, their starts and the buffer of earlier ends.

One step is v <- v - rate clip(gradient of the energy) + noise xi with xi standard normal. Gradients
are clipped to a length an event. Starts are on the manifold that an autoencoder decodes to (Yoon,
Noh, Park, arXiv:2105.05735, section 4.2): a chain in its latent space, from there one in the space
of inputs; or persistent chains among inputs (Du, Mordatch, arXiv:1903.08689; CMS,
arXiv:2510.02168).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.models.spherical import project

Function = Callable[[Array], Array]


def get_config(**changes: Any) -> ConfigDict:
    """The section `chains` of a config with its defaults; unknown names are refused.

    Rates and noises are in the units of the space, the limit in those of a gradient of the energy
    that the chains see, which is divided by the scale and by the temperature.

    Examples:
        >>> get_config(input_steps=5).input_steps
        5
    """
    settings = {
        "latent_steps": 10,
        "latent_rate": 0.05,
        "latent_noise": 0.02,
        "input_steps": 10,
        "input_rate": 0.05,
        "input_noise": 0.005,
        "annealed": True,  # the noise among inputs falls as 1 / (1 + step)
        "tied": False,  # noise = sqrt(2 rate), of the temperature; else as set
        "limit": 10.0,  # longest gradient of an event, 0: none
        "restart": 0.05,  # share of chains that do not go on from the buffer
        "buffer": 10_240,  # ends of earlier chains that are kept
        "bound": 4.0,  # of vectors: largest standardised component of a sample
    }
    if unknown := set(changes) - set(settings):
        raise UserError(f"chains.{unknown.pop()}: no such setting; known: {', '.join(settings)}")
    return ConfigDict(settings | changes)


class Walk(NamedTuple):
    """How a chain goes: its number of steps, and what one is."""

    steps: int
    rate: float
    noise: float
    annealed: bool
    limit: float

    def temperature(self) -> float:
        """noise^2 / (2 rate) of the first step: 1 where the chain draws from exp(-energy)."""
        return self.noise**2 / (2 * self.rate)


def walk_of(config: ConfigDict, space: str) -> Walk:
    """The chain of the section `chains` in the space "latent" or "input"."""
    rate = config[f"{space}_rate"]
    noise = (2 * rate) ** 0.5 if config.tied else config[f"{space}_noise"]
    annealed = config.annealed and space == "input" and not config.tied
    return Walk(config[f"{space}_steps"], rate, noise, annealed, config.limit)


def clipped(gradient: Array, limit: float) -> tuple[Array, Array]:
    """Gradients (n, *shape) of at most the length `limit` an event, and which were longer (n,).

    Examples:
        >>> print(*clipped(jnp.array([[3.0, 4.0], [0.3, 0.4]]), 1.0))
        [[0.6 0.8]
         [0.3 0.4]] [ True False]
    """
    if not limit:
        return gradient, jnp.zeros(len(gradient), bool)
    axes = tuple(range(1, gradient.ndim))
    length = jnp.sqrt(jnp.sum(gradient**2, axis=axes, keepdims=True) + 1e-30)
    return gradient * jnp.minimum(1.0, limit / length), length.reshape(-1) > limit


def step(walk: Walk, energy: Function, settle: Function, v: Array, xi: Array, i: Array) -> tuple:
    """Where step number `i` leads from v (n, *shape) with the noise xi, and the clipped (n,).

    Args:
        energy: (n, *shape) -> (n,), in units of the temperature.
        settle: back to where v may be, onto the sphere or between bounds.
    """
    gradient, hit = clipped(jax.grad(lambda v: energy(v).sum())(v), walk.limit)
    noise = walk.noise / (1 + i) if walk.annealed else walk.noise
    return settle(v - walk.rate * gradient + noise * xi), hit


def walked(walk: Walk, energy: Function, settle: Function, start: Array, key: Array) -> tuple:
    """The end (n, *shape) of the chain from `start`, and the steps that were clipped (n,).

    Differentiable through every step; what a step computes is not kept but computed again.
    """

    def one(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        v, hits = carry
        xi = jax.random.normal(jax.random.fold_in(key, i), v.shape)
        v, hit = step(walk, energy, settle, v, xi, i)
        return (v, hits + hit), None

    one = jax.checkpoint(one, prevent_cse=False)
    return lax.scan(one, (start, jnp.zeros(len(start))), jnp.arange(walk.steps))[0]


class Samples(NamedTuple):
    """Ends of chains.

    Attributes:
        x: samples (n, *shape).
        start: inputs (n, *shape) where the chain among inputs began.
        kept: (n, ...) what the buffer takes, of the space in which the next chains begin.
        clipped: share (n,) of the steps whose gradient was clipped.
    """

    x: Array
    start: Array
    kept: Array
    clipped: Array


def on_manifold(
    walks: tuple[Walk, Walk],
    energy: Function,
    decode: Function,
    bounds: tuple[float, float],
    start: Array,
    key: Array,
) -> Samples:
    """Chains from latents `start` (n, d): in the latent space on energy(decode(z)), then on energy.

    Inputs stay between the `bounds`, latents on the sphere.
    """
    of_latent, of_input = jax.random.split(key)
    latent, inputs = walks

    def between(x: Array) -> Array:
        return jnp.clip(x, *bounds)

    z, hits = walked(latent, lambda z: energy(decode(z)), project, start, of_latent)
    x0 = between(decode(z))
    x, more = walked(inputs, energy, between, x0, of_input)
    return Samples(x, x0, z, (hits + more) / max(latent.steps + inputs.steps, 1))


def among_inputs(
    walk: Walk, energy: Function, bounds: tuple[float, float], start: Array, key: Array
) -> Samples:
    """Chains from inputs `start` (n, *shape), that stay between the `bounds`."""
    x, hits = walked(walk, energy, lambda x: jnp.clip(x, *bounds), start, key)
    return Samples(x, start, x, hits / max(walk.steps, 1))


Buffer = dict[str, Array]  # "rows" (size, ...), "next" and "filled" ()


def new_buffer(rows: Array) -> Buffer:
    """An empty buffer; `rows` (size, ...) are starts, for what is read before it is written."""
    zero = jnp.zeros((), jnp.int32)
    return {"rows": rows, "next": zero, "filled": zero}


def drawn(buffer: Buffer, fresh: Array, restart: float, key: Array) -> Array:
    """Starts (n, ...) of chains: random ends of earlier ones, or the `fresh` (n, ...).

    Each is fresh with probability `restart`, and all are while the buffer is empty.
    """
    of_choice, of_place = jax.random.split(key)
    n = len(fresh)
    goes_on = jax.random.uniform(of_choice, (n,)) >= restart
    place = jax.random.randint(of_place, (n,), 0, jnp.maximum(buffer["filled"], 1))
    earlier = buffer["rows"][place].astype(fresh.dtype)
    goes_on = (goes_on & (buffer["filled"] > 0)).reshape((n,) + (1,) * (fresh.ndim - 1))
    return jnp.where(goes_on, earlier, fresh)


def pushed(buffer: Buffer, rows: Array, weight: Array) -> Buffer:
    """The buffer after `rows` (n, ...) took the place of its oldest; those of weight 0 take none.

    All go to consecutive places. A size that is no multiple of n leaves the remainder unused.
    """
    size, n = len(buffer["rows"]), len(rows)
    first = jnp.where(buffer["next"] + n > size, 0, buffer["next"])
    old = lax.dynamic_slice_in_dim(buffer["rows"], first, n)
    there = (weight > 0).reshape((n,) + (1,) * (rows.ndim - 1))
    new = jnp.where(there, rows.astype(old.dtype), old)
    return {
        "rows": lax.dynamic_update_slice_in_dim(buffer["rows"], new, first, 0),
        "next": first + n,
        "filled": jnp.maximum(buffer["filled"], first + n),
    }


def spread(buffer: Buffer) -> Array:
    """Mean cosine () between different rows of the filled part: 0 over a sphere, 1 in one point."""
    rows = buffer["rows"].reshape(len(buffer["rows"]), -1).astype(jnp.float32)
    n = buffer["filled"].astype(jnp.float32)
    there = (jnp.arange(len(rows)) < buffer["filled"])[:, None]
    total = jnp.sum(jnp.where(there, project(rows), 0), axis=0)
    return (jnp.sum(total**2) - n) / jnp.maximum(n * (n - 1), 1)
