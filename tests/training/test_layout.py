"""Parameters as one vector or in stacks in the compiled loop: trained and kept as by tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_task import assert_equal

from jaxad.training import Task, fit, get_config, layout, weighted_mean
from jaxad.training.optimizer import make_optimizer


def init(key, batch):
    draws = jax.random.normal(key, (layout.MANY, 2))
    return {f"w{i}": draws[i, : 1 + i % 2] for i in range(layout.MANY)}, {}


def loss(params, state, batch, key, training):
    scale = (jnp.concatenate(list(params.values())) ** 2).sum()
    return weighted_mean((batch["x"] - scale) ** 2, batch["weight"]), ({}, state)


TASK = Task(init, loss)
ROWS = {"x": np.linspace(0, 1, 20, dtype=np.float32)}


@pytest.mark.parametrize("clip", ["clip", pytest.param("clip_per_tensor", marks=pytest.mark.long)])
def test_packed_and_by_tree_are_one_training_with_one_kind_of_checkpoint(
    monkeypatch, tmp_path, clip
):
    """The engine of an accelerator trains an epoch, that of a CPU goes on; a CPU does both."""

    def fitted_on(device, epochs, directory=None):
        monkeypatch.setattr(jax, "default_backend", lambda: device)
        config = get_config(epochs=epochs, batch_size=8, learning_rate=0.05, **{clip: 0.1})
        return fit(TASK, ROWS, ROWS, config, seed=3, directory=directory)

    packed = fitted_on("gpu", 1, tmp_path)
    both, by_tree = fitted_on("cpu", 2, tmp_path), fitted_on("cpu", 2)
    assert both.history[0] == packed.history[0]
    losses = [[line["val_loss"] for line in fitted.history] for fitted in (both, by_tree)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert_equal(both.params, by_tree.params, rtol=1e-5, atol=1e-6)


def test_the_vector_holds_everything_and_gives_it_back():
    params = {"bias": jnp.arange(3.0), "kernel": jnp.ones((2, 3)), "scale": jnp.full((), 7.0)}
    optimizer, held = make_optimizer(get_config(clip=0.5), 10), layout.vector(params)
    state = optimizer.update(params, optimizer.init(params), params)[1]
    vector, packed = layout.pack(held, params, state)
    np.testing.assert_array_equal(vector, [0, 1, 2, 1, 1, 1, 1, 1, 1, 7])
    assert {leaf.shape for leaf in jax.tree.leaves(packed)} == {(10,), ()}
    assert_equal(layout.unpack(held, vector, packed, optimizer), (params, state))


def test_stacks_hold_the_arrays_of_each_shape_and_give_them_back():
    params = {"b": jnp.arange(3.0), "a": jnp.ones((2, 3)), "c": jnp.full(3, 7.0)}
    optimizer, held = make_optimizer(get_config(clip_per_tensor=0.5), 10), layout.stacks(params)
    state = optimizer.update(params, optimizer.init(params), params)[1]
    stacks, packed = layout.pack(held, params, state)
    assert [stack.shape for stack in stacks] == [(1, 2, 3), (2, 3)]
    np.testing.assert_array_equal(stacks[1], [[0, 1, 2], [7, 7, 7]])
    assert_equal(layout.unpack(held, stacks, packed, optimizer), (params, state))
    sums = held.each(lambda a: a / a.sum(), stacks)
    assert_equal(held.unpack(sums), jax.tree.map(lambda a: a / a.sum(), params), rtol=1e-6)


def test_a_vector_or_stacks_are_taken_where_they_pay_alone():
    small = {f"w{i}": jnp.zeros(3) for i in range(layout.MANY)}
    held = layout.choose(small, False, False)
    assert held.pack(small).shape == (3 * layout.MANY,)
    assert layout.choose(small, True, False) is layout.TREE
    (stack,) = layout.choose(small, False, True).pack(small)
    assert stack.shape == (layout.MANY, 3)
    few = {f"w{i}": jnp.zeros(3) for i in range(layout.MANY - 1)}
    large = {name: jax.ShapeDtypeStruct((layout.SMALL + 1,), jnp.float32) for name in small}
    mixed = small | {"w0": jnp.zeros(3, jnp.bfloat16)}
    assert all(layout.choose(p, False, False) is layout.TREE for p in (few, large, mixed))
    assert layout.choose(few, False, True) is layout.TREE
