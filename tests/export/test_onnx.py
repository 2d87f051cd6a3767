"""Scorers as ONNX models, run by ONNX Runtime: the same numbers, for any number of events."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_case import ABOUT, RAW, assert_rates_and_flags
from jax import lax
from random_scorers import (
    classifier_scorer,
    jet_scorer,
    jets,
    mixture_scorer,
    trigger_data,
    trigger_scorer,
)

from jaxad.errors import UserError
from jaxad.export.onnx import loaded, model
from jaxad.methods.stages import trees, weak

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)


def scores_of(function, shape):
    """raw (n, *shape) -> score (n,) of a pure function of batches, by ONNX Runtime."""
    run = loaded(model(function, shape, ABOUT))
    return lambda raw: run(raw)[:, 0]


def scored(scorer):
    params = jax.tree.map(jnp.asarray, scorer.params)
    return scores_of(lambda raw: scorer.fn(params, raw), scorer.shape)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: trigger_scorer("dense_ae", 10), trigger_data(300)),
        (lambda: trigger_scorer("dense_vae", 10), trigger_data(300)),
        (lambda: trigger_scorer("conv_vae", 10), trigger_data(300)),
        (lambda: classifier_scorer(folds=3), RNG.normal(0, 2, (300, 5)).astype(np.float32)),
        (classifier_scorer, RNG.normal(0, 2, (300, 5)).astype(np.float32)),
        (mixture_scorer, trigger_data(300)),
    ],
    ids=["dense_ae", "dense_vae", "conv_vae", "folds", "classifier", "mixture"],
)
def test_onnx_gives_the_scorers_scores(make, x):
    scorer = make()
    run, expected = scored(scorer), scorer(x)
    for n in (0, 1, 300):
        np.testing.assert_allclose(run(x[:n]), expected[:n], rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("align", [False, True])
def test_jets_of_any_number_of_particles(align):
    scorer = jet_scorer(align)
    run = scored(scorer)
    for n_particles in (3, 25):
        x = jets(100, n_particles)
        np.testing.assert_allclose(run(x), scorer(x), rtol=2e-4)


def elementwise(x):
    """(n, 4, 6) -> (n, 4, 6)"""
    a = jnp.tanh(3 * x) + jax.nn.sigmoid(x) + jnp.log1p(jnp.exp(x)) + jnp.expm1(x / 9)
    b = jnp.sign(x) * jnp.abs(x) ** 1.5 + jnp.sqrt(jnp.abs(x)) + lax.rsqrt(jnp.abs(x) + 1)
    c = jnp.where(x > 0.2, jnp.clip(x, -0.5, 0.5), -x) ** -2 + x**7 + jnp.exp2(x) + x**0
    d = jnp.arctan2(x, x[:, ::-1]) + jnp.sin(x) + jnp.cos(x) + lax.erf(x) + jax.nn.gelu(x)
    e = jnp.floor(x) + jnp.ceil(x) + jnp.round(x) + lax.rem(x, jnp.float32(0.3))
    f = jnp.where((x > -1) & ~(x > 1) | (x == 0), (2.7 * x).astype(jnp.int32) % 3, x != x)
    return a + b + c / 100 + d + e + f + jnp.isfinite(x)


def arrays(x):
    """(n, 4, 6) -> (n, k)"""
    table = jnp.arange(24.0).reshape(4, 6) / 24
    a = jnp.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=0.5)
    b = jnp.concatenate([x[:, ::-1, 1:4], jnp.tile(table[None, :, :2], (len(x), 1, 1))], axis=2)
    c = jnp.einsum("nij,kj->nik", x, table) + jnp.einsum("nij,nkj->nik", x, x)
    d = x.at[:, 1, ::2].set(table[0, :3] - x[:, 2, 1::2])
    e = jnp.cumsum(x, 2) + jnp.cumsum(x, 1)[:, ::-1] + jnp.roll(x, 1, 1)
    f = (
        jnp.max(c, axis=2)
        - jnp.min(d, axis=1)[:, :4]
        + jnp.prod(x, 2)
        + jnp.mean(x, (1, 2))[:, None]
    )
    g = jnp.argmax(x, 2) + 10 * jnp.argmin(x, 2) + jnp.any(x > 1, 2) - jnp.all(x < 1, 2)
    h = lax.top_k(x, 3)[0] + jnp.stack(jnp.split(x, 3, axis=2)[:2], -1)[..., :1, 0]
    i = lax.pad(x, jnp.float32(2), ((0, 0, 0), (1, -1, 1), (0, 1, 2)))
    j = jax.nn.softmax(jnp.broadcast_to(x[:, :1, :1], x.shape) * table, axis=2).sum(1)
    parts = [a, b, c, d, e, f, g, i, j, h]
    return jnp.concatenate([p.astype(jnp.float32).reshape(len(x), -1) for p in parts], 1)


def picked(x):
    """(n, 4, 6) -> (n, k): indices that depend on the event, some outside."""
    where = jnp.floor(3 * x).astype(jnp.int32)
    table = jnp.arange(10.0) ** 2
    a = table[jnp.clip(where, 0, 9)] + table.at[where].get(mode="clip")
    b = jnp.take_along_axis(x, jnp.clip(where[..., :2], 0, 5), axis=2)
    c = jnp.take_along_axis(x, x.argmax(axis=1, keepdims=True), axis=1)
    d = jnp.nan_to_num(table.at[where].get(mode="fill"), nan=-3.0)
    e = jax.vmap(lambda w, v: jnp.zeros(5).at[w].add(v, mode="drop"))(
        jnp.where(where < 0, 9, where).reshape(len(x), -1), x.reshape(len(x), -1)
    )
    f = jax.vmap(lambda w, v: jnp.arange(5.0).at[w[:, 0]].add(v[:, 0]))(jnp.abs(where) % 5, x)
    return jnp.concatenate([p.reshape(len(x), -1) for p in (a, b, c, d, e, f)], 1)


def looped(x):
    """(n, 4, 6) -> (n, k): loops of fixed length."""

    def step(carry, row):
        total, last = carry
        return (total + row.sum(), row), total * last

    def each(event):
        carry, steps = lax.scan(step, (jnp.float32(0), event[0]), event, reverse=True)
        flipped = lax.map(lambda row: row @ event[0], jnp.arange(12.0).reshape(2, 6))
        repeated = jax.jit(lambda n: lax.fori_loop(0, n, lambda i, a: a * 0.5 + i, event[1]))(3)
        return jnp.concatenate([carry[0][None], carry[1], steps.ravel(), flipped, repeated])

    return jax.vmap(each)(x)


def convolved(x):
    """(n, 4, 6) -> (n, k): native convolutions, as accelerators trace them."""
    rng = np.random.default_rng(1)
    image = jnp.stack([x, x**2], -1)
    dims = ("NHWC", "HWIO", "NHWC")

    def kernel(*shape):
        return jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32)

    a = lax.conv_general_dilated(
        image, kernel(3, 2, 2, 4), (2, 1), [(1, 0), (0, 1)], dimension_numbers=dims
    )
    b = lax.conv_general_dilated(
        image, kernel(3, 3, 1, 4), (1, 1), "SAME", dimension_numbers=dims, feature_group_count=2
    )
    c = lax.conv_general_dilated(
        a, kernel(3, 3, 4, 2), (1, 1), [(2, 1), (2, 1)], (2, 2), dimension_numbers=dims
    )
    d = jax.vmap(
        lambda k: lax.conv_general_dilated(image, k, (1, 1), "VALID", dimension_numbers=dims)
    )(kernel(3, 2, 2, 2, 1))
    e = lax.reduce_window(b, 0.0, lax.add, (1, 2, 4, 1), (1, 2, 4, 1), "VALID")
    f = lax.reduce_window(b, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    parts = [a, b, c, jnp.moveaxis(d, 0, 1), e, f]
    return jnp.concatenate([p.reshape(len(x), -1) for p in parts], 1)


@pytest.mark.parametrize("function", [elementwise, arrays, picked, looped, convolved])
def test_onnx_has_the_operations_of_jax(function):
    x = RNG.normal(0, 1, (50, 4, 6)).astype(np.float32)
    x[0, 0] = 0
    values = jax.jit(function)(x)
    weights = np.sin(np.arange(1, values[0].size + 1)).astype(np.float32)
    run = scores_of(lambda raw: function(raw).reshape(len(raw), -1) @ weights, (4, 6))
    with np.errstate(invalid="ignore"):  # NaN and infinity are among the values
        expected = np.asarray(values).reshape(len(x), -1) @ weights
    np.testing.assert_allclose(run(x), expected, rtol=1e-4, atol=1e-4)


def test_bits_are_exact():
    """A hash of all bits of numbers of every kind: NaN, infinite, subnormal, -0, powers of 2."""
    powers = np.arange(256, dtype=np.uint32) << 23
    special = np.array([0, 1, 1 << 31, 1 << 31 | 1, 0xFF800000, 0x7FFFFF, 0x7FC00000], np.uint32)
    some = RNG.integers(0, 2**32, 20_000, dtype=np.uint32)
    x = np.concatenate([powers, powers - 1, powers | 1 << 31, special, some]).view(np.float32)
    x = np.where(np.isnan(x), np.float32(np.nan), x)[:, None]

    def hashed(raw, folds):
        low = lax.bitcast_convert_type(raw[:, 0], jnp.uint32) & jnp.uint32(0xFFFF)
        shifted = (~low | jnp.uint32(5)) ^ (low << 3)
        return weak.fold_of(raw, folds) + lax.rem(shifted, jnp.uint32(64)).astype(jnp.int32)

    for folds in (5, 1 << 16):
        run = scores_of(lambda raw, folds=folds: hashed(raw, folds) * 1.0, (1,))
        np.testing.assert_array_equal(run(x), hashed(jnp.asarray(x), folds))


@pytest.mark.parametrize("n_features", [1, 4])
def test_trees_end_in_the_same_leaves(n_features):
    x = RNG.normal(0, 1, (600, n_features)).astype(np.float32)
    y = (x.sum(axis=1) + RNG.normal(0, 1, 600) > 0).astype(np.float32)
    members = [np.arange(500), np.arange(24), np.arange(0, 600, 2)]  # of 24 rows: single leaves
    fitted = trees.fit(x, y, np.ones(600, np.float32), members, 0, max_iter=20)
    assert (fitted["left"][:, 0, 0] > 0).tolist() == [True, False, True]
    fitted["norm"] = np.float32(1)  # what a method keeps beside its trees
    on_cuts = np.resize(fitted["threshold"], (fitted["threshold"].size, n_features))
    rows = np.concatenate([x, on_cuts, np.nextafter(on_cuts, np.inf), np.full_like(x, np.nan)[:1]])
    weights = np.array([1.0, 10.0, 100.0], np.float32)
    run = scores_of(lambda raw: weights @ trees.leaf_sums(fitted, raw), (n_features,))
    expected = weights @ np.asarray(trees.leaf_sums(fitted, rows))
    np.testing.assert_allclose(run(rows), expected, rtol=1e-5, atol=1e-5)


def test_rates_and_flags_and_their_names():
    import onnxruntime

    found = model(lambda raw: raw[:, 0], (1,), ABOUT)
    outputs = loaded(found)(RAW)
    assert_rates_and_flags(outputs)
    session = onnxruntime.InferenceSession(found)
    named = dict(zip(("score", "fpr", "flag"), outputs.T, strict=True))
    for name, values in zip(named, session.run(list(named), {"raw": RAW}), strict=True):
        np.testing.assert_array_equal(values, named[name])
    assert {output.type for output in session.get_outputs()} == {"tensor(float)"}
    stored = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in stored.items()} == ABOUT


def test_old_runtimes_and_root_can_read_it():
    scorer = trigger_scorer("dense_vae", 10)
    found = onnx.load_from_string(model(lambda raw: scorer.fn(scorer.params, raw), (19, 3), ABOUT))
    assert found.ir_version == 8 and found.opset_import[0].version == 18
    operators = {node.op_type for node in found.graph.node}
    assert "Clip" not in operators and not any(node.domain for node in found.graph.node)


STUMP = {
    **{name: np.zeros((1, 1, 1), dtype) for name, (_, dtype) in trees.FIELDS.items()},
    **{"base": np.zeros(1, np.float32), "depth": np.int32(1)},
}


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: c * 2, x[:, 0]), (5,), "'while'"),
        (
            lambda x: jax.jit(lambda n: lax.fori_loop(0, n, lambda _, a: a + a[0], x[:, 0]))(900),
            (5,),
            "'while'",
        ),
        (
            lambda x: jax.vmap(lambda rows: trees.leaf_sums(STUMP, rows)[0, 0])(
                x.reshape(-1, 2, 2)
            ),
            (4,),
            "several rows",
        ),
        (lambda x: jnp.sort(x, axis=1)[:, 2], (5,), "'sort'"),
        (lambda x: lax.bitcast_convert_type(x[:, 0], jnp.int32) * 1.0, (5,), "bits of float32"),
        (lambda x: x[:, 0].astype(jnp.int32) & 3, (5,), "signed bits"),
        (lambda x: lax.fori_loop(0, 900, lambda _, a: a * a[0] + 1, x[:, 0]), (5,), "900 steps"),
        (lambda x: x[:, ::-1].sum((1, 2)), (None, 3), "axis of size"),
        (lambda x: jnp.zeros(1), (5,), "does not depend"),
    ],
)
def test_onnx_refuses_what_it_cannot_express(function, shape, message, monkeypatch):
    monkeypatch.setattr("jaxad.export.onnx.writer.N_NODES", 500)
    with pytest.raises(UserError, match=message):
        model(function, shape, ABOUT)
