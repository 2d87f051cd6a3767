"""Traced functions are read alike, however the version of jax at hand writes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxad.export.jaxpr import OLDER, computed, loop_parts, walk

X = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (4, 6)), jnp.float32)


def bound(equation, operands):
    return map(jnp.asarray, computed(equation.primitive, operands, equation.params))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.stack([k * row for k, row in enumerate(x)]),
        lambda x: jnp.stack(jnp.unstack(x, axis=1)[::2]),
        jnp.log2,
        lambda x: jnp.polyval(jnp.array([1.0, -2.0, 3.0]), x),
        lambda x: jnp.polyval(x[0], x),
        jax.grad(lambda x: jnp.sum(jnp.tanh(x))),
        lambda x: jnp.frexp(x)[0],
        jax.checkpoint(jnp.sin),
    ],
    ids=["rows", "unstack", "log2", "polyval", "event", "derivative", "frexp", "checkpoint"],
)
def test_newer_operations_are_seen_as_older_ones(function):
    names = set()

    def apply(equation, operands):
        names.add(equation.primitive.name)
        return bound(equation, operands)

    (y,) = walk(jax.make_jaxpr(function)(X), [X], apply)
    np.testing.assert_allclose(y, jax.jit(function)(X), rtol=1e-5)
    assert names and not names & OLDER.keys()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_step_by_step_is_the_scan(reverse):
    def scan(x):
        def step(carry, rows):
            total, last = carry
            return (total + rows[0] @ x, rows[1]), (total * last, rows[1] - x[0, 0])

        start, rows = (jnp.zeros(6), x[0, 0]), (x[:, :4] * 2, x[:, 5])
        return lax.scan(step, start, rows, reverse=reverse)

    n_steps = []

    def apply(equation, operands):
        if equation.primitive.name != "scan":
            return bound(equation, operands)
        loop = loop_parts(equation, operands)
        carry, outputs = loop.carry, []
        for step in range(loop.length)[loop.order]:
            rows = [each[step] for each in loop.scanned]
            found = walk(loop.body, [*loop.consts, *carry, *rows], bound)
            carry = found[: len(carry)]
            outputs.append(found[len(carry) :])
        n_steps.append(len(outputs))
        return [*carry, *(jnp.stack(each[loop.order]) for each in zip(*outputs, strict=True))]

    found = walk(jax.make_jaxpr(scan)(X), [X], apply)
    assert n_steps == [4]
    for ours, theirs in zip(found, jax.tree.leaves(scan(X)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
