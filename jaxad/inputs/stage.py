"""The stage between a raw event and a network: one interface for every kind of input.

A network sees a *vector* (n, d), an *image* (n, h, w, c) or a *set* (n, objects, d). Each input of
this package gives one or more of these kinds of the formats that it takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

KINDS = ("vector", "image", "set")


def _nothing(values: np.ndarray) -> dict[str, np.ndarray]:
    return {}


def as_it_is(fitted: Mapping[str, Array], values: Array) -> Array:
    """The values: nothing is learnt that scales them."""
    return values


@dataclass(frozen=True)
class Stage:
    """From raw events to network input, in two steps: `values`, then `scale`.

    Attributes:
        kind: one of `KINDS`.
        raw: shape of a raw event, None where any length will do.
        values: pure, raw (n, *raw) -> physical values (n, *shape).
        fit: values of training events -> arrays that `scale` needs.
        scale: pure, (fitted, values) -> network input.
        unit: pure, (fitted, values) -> vectors in [0, 1]; of vectors alone.
        mass: pure, raw -> resonant mass (n,) [TeV]; None where there is none.
        names: name and unit of each component of a vector; () where they have none.
        unit_sum: whether images sum to one; else their pixels lie in [0, 1].
        periodic: whether the first axis of images is all of phi.
        picture: how images are drawn: "extent", "labels", "unit".
        batch: raw events whose values are computed at once.
        stored: type of the input in training.
        settings: of the config and the layout, whatever decides the values; JSON-able.
    """

    kind: str
    raw: tuple[int | None, ...]
    values: Callable[[Array], Array]
    fit: Callable[[np.ndarray], dict[str, np.ndarray]] = _nothing
    scale: Callable[[Mapping[str, Array], Array], Array] = as_it_is
    unit: Callable[[Mapping[str, Array], Array], Array] | None = None
    mass: Callable[[Array], Array] | None = None
    names: tuple[tuple[str, str], ...] = ()
    unit_sum: bool = False
    periodic: bool = False
    picture: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 4096
    stored: Any = jnp.float32
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> dict[str, Any]:
        """JSON-able, the same for two stages if they give the same values in training."""
        return {
            "kind": self.kind,
            "names": self.names,
            "unit_sum": self.unit_sum,
            "stored": jnp.dtype(self.stored).name,
            **self.settings,
        }

    def apply(self, fitted: Mapping[str, Any], raw: Array) -> Array:
        """Network input of raw events; `fitted` is the method's, whose "inputs" are this stage's.

        Pure, for any jit, vmap and grad.
        """
        return self.scale(fitted.get("inputs", {}), self.values(raw))
