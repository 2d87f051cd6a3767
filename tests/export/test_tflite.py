"""Scorers as TFLite models, run by LiteRT: the same numbers in batches of 1 and of 256 events."""

import io
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_case import ABOUT, RAW, assert_rates_and_flags
from jax import lax
from random_scorers import classifier_scorer, jet_scorer, jets, trigger_data, trigger_scorer

from jaxad.commands.export import main
from jaxad.errors import UserError
from jaxad.export.tflite import loaded, model

pytest.importorskip("litert_converter")
pytest.importorskip("ai_edge_litert")

RNG = np.random.default_rng(0)


def scored(scorer, shape):
    params = jax.tree.map(jnp.asarray, scorer.params)
    run = loaded(model(lambda raw: scorer.fn(params, raw), shape, ABOUT))
    return lambda raw: run(raw)[:, 0]


@pytest.mark.parametrize(
    ("scorer", "x"),
    [
        (trigger_scorer("dense_ae", 10), trigger_data(300)),
        (trigger_scorer("conv_vae", 10), trigger_data(300)),
        (classifier_scorer(), RNG.normal(0, 2, (300, 5)).astype(np.float32)),
        (jet_scorer(), jets(300, 25)),
    ],
    ids=["dense_ae", "conv_vae", "classifier", "images"],
)
def test_tflite_gives_the_scorers_scores(scorer, x):
    run, expected = scored(scorer, x.shape[1:]), scorer(x)
    for n in (0, 1, 300):
        np.testing.assert_allclose(run(x[:n]), expected[:n], rtol=2e-5, atol=1e-5)


def test_jets_of_fewer_particles_are_filled_up_and_of_more_refused():
    scorer, x = jet_scorer(), jets(20, 25)
    run = scored(scorer, (30, 4))
    np.testing.assert_allclose(run(x), scorer(x), rtol=2e-5)
    with pytest.raises(UserError, match="30 particles at most"):
        run(jets(20, 31))


def special(x):
    """(n, 4, 6) -> (n, k): what LiteRT or its converter has otherwise than jax."""
    where = jnp.floor(3 * x).astype(jnp.int32)
    table = jnp.arange(10.0) ** 2
    parts = [
        lax.rem(x, jnp.float32(0.3)) + where % 3 + lax.rem(where, 2),
        table[jnp.clip(where, 0, 9)] + table.at[where].get(mode="clip"),
        jnp.nan_to_num(table.at[where].get(mode="fill"), nan=-3.0),
        jax.vmap(lambda w, v: jnp.zeros(5).at[w].add(v, mode="drop"))(
            where.reshape(len(x), -1), x.reshape(len(x), -1)
        ),
        lax.scan(lambda c, row: (c + row, c * row), x[:, 0], x.swapaxes(0, 1), reverse=True)[0],
    ]
    image, kernel = x[..., None], jnp.cos(jnp.arange(18.0)).reshape(3, 3, 1, 2)
    for padding in ([(1, 2), (1, 2)], [(2, 1), (0, 3)]):
        found = lax.conv_general_dilated(
            image, kernel, (1, 1), padding, (2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        parts.append(found)
    members = jax.vmap(jax.vmap(lambda w: jnp.tanh(jnp.pad(image * w, ((0, 0), *[(1, 0)] * 3)))))
    parts.append(members(jnp.arange(6.0).reshape(2, 3)).max(0).mean(0))
    return jnp.concatenate([part.reshape(len(x), -1) for part in parts], 1)


def test_tflite_does_as_jax():
    x = RNG.normal(0, 1, (50, 4, 6)).astype(np.float32)
    x[0, 0] = 0
    values = jax.jit(special)(x)
    weights = np.sin(np.arange(1, values.shape[1] + 1)).astype(np.float32)
    run = loaded(model(lambda raw: special(raw) @ weights, (4, 6), ABOUT))
    np.testing.assert_allclose(run(x)[:, 0], values @ weights, rtol=1e-4, atol=1e-4)


def test_rates_and_flags_and_the_contract():
    found = model(lambda raw: raw[:, 0], (1,), ABOUT)
    assert_rates_and_flags(loaded(found)(RAW))
    with zipfile.ZipFile(io.BytesIO(found)) as archive:
        assert json.loads(archive.read("export.json")) == ABOUT


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: c * 2, x[:, 0]), "'while'"),
        (lambda x: jnp.sort(x, axis=1)[:, 2], "'sort'"),
        (lambda x: lax.bitcast_convert_type(x[:, 0], jnp.uint32) % 3 * 1.0, "unsigned"),
        (lambda x: lax.top_k(x, 2)[0][:, 1], "'top_k'"),
        (lambda x: lax.fori_loop(0, 9000, lambda _, a: a * a[0] + 1, x[:, 0]), "9000 steps"),
        (lambda x: jnp.linalg.inv(x[:, :4].reshape(-1, 2, 2))[:, 0, 0], "custom_call"),
        (lambda x: jnp.zeros(len(x)), "does not depend"),
    ],
)
def test_tflite_refuses_what_it_cannot_express(function, message):
    with pytest.raises(UserError, match=message) as refused:
        model(function, (5,), ABOUT)
    assert "\n" not in str(refused.value)


def test_exported_and_verified(tmp_path, capsys):
    scorer = trigger_scorer("dense_ae")
    scorer.save(tmp_path / "run" / "scorer")
    np.save(tmp_path / "events.npy", trigger_data(400, seed=3))
    command = [str(tmp_path / "run"), "--format", "tflite", "--out", str(tmp_path / "out")]
    assert main([*command, "--events", str(tmp_path / "events.npy")]) == 0
    assert "tflite: agrees on 32 golden rows" in capsys.readouterr().out
    path = tmp_path / "out" / "scorer.tflite"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["verify", str(tmp_path / "out")]) == 1
    assert "tflite: FAILED" in capsys.readouterr().out
