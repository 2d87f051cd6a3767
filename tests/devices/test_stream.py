"""Any number of rows goes through few compiled sizes, from the host or a device, in its order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_scorers import trigger_data, trigger_scorer

from jaxad import scorer as scorers
from jaxad.devices import batches
from jaxad.devices.stream import stream

SIZES = {*batches.SIZES, 2**14}  # 256 bytes a row


@pytest.mark.parametrize("n", [0, 1, 5, 300, 4097, 16_384, 21_000])
@pytest.mark.parametrize("kind", [np.float64, np.int16, jnp.float32])
def test_rows_come_back_in_order(n, kind):
    seen = []

    def function(rows):
        seen.append(len(rows))
        assert rows.dtype == np.float32
        return {"sums": jnp.sum(rows, axis=1), "twice": jnp.stack([rows[:, 0]] * 2)}

    values = np.arange(n * 64).reshape(n, 64) % 1000
    x = jnp.asarray(values, jnp.float32) if kind is jnp.float32 else values.astype(kind)
    parts = list(stream(function, x))
    assert [start for start, _ in parts] == sorted(start for start, _ in parts)
    sums = np.concatenate([result["sums"] for _, result in parts])
    twice = np.concatenate([result["twice"] for _, result in parts], axis=-1)
    np.testing.assert_array_equal(sums, values.sum(axis=1))
    np.testing.assert_array_equal(twice, np.tile(values[:, 0], (2, 1)))
    assert {*seen} <= SIZES


def test_large_batches_are_bounded_by_their_bytes(monkeypatch):
    def largest(row_bytes: int) -> int:
        return max(size for _, size in batches.batches(2**20, row_bytes))

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert [largest(size) for size in (8, 228, 16_000)] == [2**18, 2**14, 4096]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [largest(size) for size in (8, 228, 3200, 16_000)] == [2**18, 2**18, 2**14, 4096]


def test_a_large_batch_in_parts_has_the_same_scores(monkeypatch):
    whole, x = trigger_scorer(n_background=100), trigger_data(16_384)
    expected = whole.member_scores(x), whole(x), whole.outputs(x)
    monkeypatch.setattr(scorers, "AT_ONCE", 4096)
    parts = trigger_scorer(n_background=100)
    for a, b in zip(
        jax.tree.leaves(expected),
        jax.tree.leaves((parts.member_scores(x), parts(jnp.asarray(x)), parts.outputs(x))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-5)


def test_a_bad_event_is_named_wherever_it_lies():
    scorer, x = trigger_scorer(n_background=100), trigger_data(20_000)
    x[17_003, 2, 0] = np.nan
    x[19_000, 2, 0] = np.inf
    for events in (x, jnp.asarray(x)):
        with pytest.raises(scorers.UserError, match="event 17003 holds NaN or infinity"):
            scorer(events)
