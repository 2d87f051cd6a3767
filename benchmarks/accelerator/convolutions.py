"""Section `convolutions`: which form of every convolution of three networks is the fastest.

Every convolution is found by tracing the network. Timed are value and gradients, for the kernel and
(but in a first layer) for the input, of the native operation, of patches times a matrix, and, where
there are groups, of one dense convolution with a block-diagonal kernel, in float32 at the default
precision and in bfloat16.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.accelerator.context import Context
from jaxad.configs import codae
from jaxad.methods import codae as codae_method
from jaxad.models import convolution
from jaxad.models.autoencoder import ConvAutoencoder
from jaxad.models.qcd_or_what import QCDOrWhat

HEAVIEST = 16
"""Convolutions of a network that are taken: what they leave out is a small part of the work."""
DTYPES = ("float32", "bfloat16")


class Shape(NamedTuple):
    """One convolution of a network."""

    x: tuple[int, ...]  # (n, h, w, c), padded where `padding` is VALID
    kernel: tuple[int, ...]
    stride: int = 1
    padding: str = "SAME"
    groups: int = 1
    transposed: bool = False

    def __str__(self) -> str:
        (_, h, w, c), (kh, kw, *_) = self.x, self.kernel
        features = self.kernel[2] if self.transposed else self.kernel[3]
        kind = "transposed, " * self.transposed
        groups = f", {self.groups} groups" * (self.groups > 1)
        return f"{kind}{h}x{w}x{c} -> {features}, {kh}x{kw}, stride {self.stride}{groups}"

    @property
    def products(self) -> int:
        """Multiplications of the forward pass."""
        n, h, w, _ = self.x
        per_pixel = prod(self.kernel)
        return n * h * w * per_pixel // (1 if self.transposed else self.stride**2)

    @property
    def first(self) -> bool:
        """Whether it reads the image itself, which has no gradient."""
        return self.x[3] == 1 and not self.transposed


def networks(context: Context) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Networks and the shape of their training batch."""
    config = codae.get_config(context.pick("", "smoke"))
    image = (72, 58, 1)
    return {
        "toptagging": (
            ConvAutoencoder(width=context.pick(128, 4)),
            (context.pick(1024, 2), 16, 16, 1),
        ),
        "qcd_or_what": (QCDOrWhat(), (context.pick(128, 2), *image)),
        "codae": (codae_method.model(config, image), (context.pick(128, 2), *image)),
    }


def shapes(network: nn.Module, batch: tuple[int, ...]) -> Counter[Shape]:
    """Every convolution of a network at a batch, and how often it is there."""
    found: Counter[Shape] = Counter()
    direct, up = convolution.conv, convolution.conv_transpose

    def conv(x, kernel, *, stride=1, padding="SAME", groups=1, native=None):
        found[Shape(x.shape, kernel.shape, stride, padding, groups)] += 1
        return direct(x, kernel, stride=stride, padding=padding, groups=groups, native=native)

    def conv_transpose(x, kernel, *, stride=2, native=None):
        found[Shape(x.shape, kernel.shape, stride, transposed=True)] += 1
        return up(x, kernel, stride=stride, native=native)

    variables = jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct(batch, jnp.float32)
    )
    with (
        mock.patch.object(convolution, "on_cpu", lambda: False),
        mock.patch.object(convolution, "conv", conv),
        mock.patch.object(convolution, "conv_transpose", conv_transpose),
    ):
        jax.eval_shape(network.apply, variables, jax.ShapeDtypeStruct(batch, jnp.float32))
    return found


def forms(shape: Shape) -> dict[str, Callable[[Array, Array], Array]]:
    """(x, kernel) -> y in every form."""

    def of(native: bool) -> Callable[[Array, Array], Array]:
        def call(x: Array, kernel: Array) -> Array:
            if shape.transposed:
                return convolution.conv_transpose(x, kernel, stride=shape.stride, native=native)
            settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
            return convolution.conv(x, kernel, **settings, native=native)

        return call

    def block(x: Array, kernel: Array) -> Array:
        whole = convolution._block_diagonal(kernel, shape.groups)
        return convolution.conv(x, whole, stride=shape.stride, padding=shape.padding, native=True)

    found = {"native": of(True), "patches": of(False)}
    return found | ({"block-diagonal": block} if shape.groups > 1 else {})


def step(shape: Shape, form: Callable[[Array, Array], Array], dtype: str) -> Callable[[], Any]:
    """A call that takes value and gradients once."""
    rng = np.random.default_rng(0)
    x, kernel = (
        jnp.asarray(rng.standard_normal(s, np.float32)).astype(dtype)
        for s in (shape.x, shape.kernel)
    )
    y = jax.eval_shape(form, x, kernel)
    slope = jnp.asarray(rng.standard_normal(y.shape[1:], np.float32)).astype(dtype)

    def gradients(x: Array, kernel: Array, slope: Array) -> tuple[Array, ...]:
        if shape.first:
            value, back = jax.vjp(lambda kernel: form(x, kernel), kernel)
        else:
            value, back = jax.vjp(form, x, kernel)
        return back(jnp.broadcast_to(slope, value.shape) * value)

    compiled = jax.jit(gradients)
    return lambda: compiled(x, kernel, slope)


def run(context: Context, part: str) -> None:
    """Every convolution of one network, or a share of them, and their sum in each form."""
    name, _, share = part.partition(" ")
    every = shapes(*networks(context)[name])
    heavy = sorted(every, key=lambda shape: -shape.products * every[shape])[:HEAVIEST]
    found = Counter({shape: every[shape] for shape in heavy})
    left = len(every) - len(found)
    if share:
        number, _, n_parts = share.partition(" of ")
        found = Counter(dict(list(found.items())[int(number) - 1 :: int(n_parts)]))
    if context.tiny:
        grouped = [shape for shape in found if shape.groups > 1][:1]
        found = Counter({shape: found[shape] for shape in [*list(found)[:1], *grouped]})
    calls = {
        (shape, dtype, form): _made_late(shape, function, dtype)
        for shape in found
        for dtype in DTYPES
        for form, function in forms(shape).items()
    }
    sums: Counter[tuple[str, str]] = Counter()
    timed = context.timings(calls, rounds=3)
    for (shape, dtype), group in itertools.groupby(timed, lambda pair: pair[0][:2]):
        ms = {form: 1e3 * timing.seconds for (*_, form), timing in group}
        best = min(ms, key=ms.get)
        said = ", ".join(f"{form} {value:.3g}" for form, value in ms.items())
        times = f"; {found[shape]} times" * (found[shape] > 1)
        context.row(f"{name}, {shape}, {dtype}", said, "ms", note=f"best: {best}{times}")
        for form in ("native", "patches"):
            sums[dtype, form] += found[shape] * ms.get(form, np.nan)
        sums[dtype, "best of each"] += found[shape] * ms[best]
    for dtype in DTYPES:
        said = ", ".join(f"{form} {value:.3g}" for (d, form), value in sums.items() if d == dtype)
        batch = next(iter(found)).x[0]
        what = f"{part}, {sum(found.values())} convolutions, batch {batch}, {dtype}"
        context.row(what, said, "ms", note=f"{left} light ones left out" * (left > 0))


def _made_late(shape: Shape, form: Callable, dtype: str) -> Callable[[], Any]:
    """`step`, made when it is first called: what cannot be traced then fails alone."""
    made: list[Callable] = []

    def call() -> Any:
        if not made:
            made.append(step(shape, form, dtype))
        return made[0]()

    return call
