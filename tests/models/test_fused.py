"""The fused kernel of the dense trigger VAE, interpreted, against the network itself."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from benchmarks.accelerator.cases import trigger_events, trigger_scorer
from jaxad.export.contract import function
from jaxad.models import fused


def doubled(params):
    """Two members of two best epochs, all different."""
    rng = np.random.default_rng(0)

    def spread(a):
        more = np.tile(a, (2, 2, *[1] * (a.ndim - 2)))
        return jnp.asarray(more * rng.uniform(0.9, 1.1, more.shape).astype(np.float32))

    return params | {name: jax.tree.map(spread, params[name]) for name in ("params", "state")}


def of_members(params, x):
    return fused.kl(params["params"], params["state"], x, interpret=True).mean(axis=(0, 1))


def test_scores_are_those_of_the_network():
    """Of a number of events that fills no program, with empty slots that hold angles, phi > pi."""
    scorer, x = trigger_scorer(), trigger_events(100)
    x[3, 4] = 0.0, 1.5, 2.0
    x[5, 0, 2] = 4.0
    params = doubled(scorer.params)
    expected = jax.jit(scorer.plain_fn)(params, x)
    found = jax.jit(of_members)(params, x)
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.std()))


def test_what_is_asked_of_a_card_first_is_what_the_kernel_computes():
    weights, x = fused._asked_first()
    expected = fused._by_numpy(weights, x)
    np.testing.assert_allclose(
        fused._call(weights, x, interpret=True), expected, rtol=fused.RIGHT / 10
    )
    rounded = [w.astype(jnp.bfloat16).astype(np.float32) for w in weights]
    assert not np.allclose(fused._by_numpy(rounded, x), expected, rtol=fused.RIGHT)


def test_the_first_question_may_come_from_a_trace_or_where_copies_are_forbidden(
    monkeypatch, capsys
):
    """A card is played by the CPU, which interprets the kernel."""
    interpreted = partial(fused._call, interpret=True)
    monkeypatch.setattr(fused, "_call", lambda weights, x, interpret: interpreted(weights, x))
    said = []

    def asked(x):
        fused._runs.cache_clear()
        said.append(fused._runs())
        return x

    jax.jit(asked)(jnp.ones(3))
    with jax.disable_jit():
        asked(None)
    with jax.transfer_guard("disallow"):
        asked(None)
    fused._runs.cache_clear()
    assert said == [True] * 3, capsys.readouterr().err


def test_gradients_and_vmap_take_the_network():
    scorer, x = trigger_scorer(), jnp.asarray(trigger_events(6)).reshape(2, 3, 19, 3)
    params = jax.tree.map(jnp.asarray, scorer.params)
    fast = fused.or_plain(of_members, scorer.plain_fn)

    def values(function):
        gradient = jax.grad(lambda x: function(params, x).sum())
        both = lambda x: (jax.vmap(function, in_axes=(None, 0))(params, x), gradient(x[0]))  # noqa: E731
        return jax.jit(both)(x)

    for found, expected in zip(values(fast), values(scorer.plain_fn), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_slot_that_is_never_filled_and_tev_momenta():
    """Weights and activations beyond float16, as float32 has them."""
    scorer, x = trigger_scorer(), trigger_events(64)
    params = jax.tree.map(np.array, doubled(scorer.params))
    averages = params["state"]["batch_stats"]
    averages["BatchNorm_0"]["mean"][..., 24] = averages["BatchNorm_0"]["var"][..., 24] = 0.0
    averages["BatchNorm_1"]["var"][:] = averages["BatchNorm_2"]["var"][:] = 0.1
    x[:, 8, 0] = np.linspace(0, 6000, 64)
    expected = np.asarray(jax.jit(scorer.plain_fn)(params, x))
    np.testing.assert_allclose(jax.jit(of_members)(params, x), expected, rtol=1e-4)
    assert expected.max() > 1e9


def test_programs_of_other_devices_hold_no_kernel():
    """A CPU's scorer, what it exports, and a program for a CPU where the kernel is chosen."""
    scorer, x = trigger_scorer(), jnp.asarray(trigger_events(8))
    about = {"fpr": {"knots": {"score": [0, 1], "fpr": [1, 0]}}, "threshold": 0.5, "namespace": "n"}
    assert scorer.fn is scorer.plain_fn
    assert "pallas_call" not in str(jax.make_jaxpr(function(scorer, about))(x))

    def on_a_card(params, x):
        return fused.kl(params["params"], params["state"], x).mean(axis=(0, 1))

    params = jax.tree.map(jnp.asarray, scorer.params)
    chosen = fused.or_plain(on_a_card, scorer.plain_fn)
    assert "pallas_call" in str(jax.make_jaxpr(chosen)(params, x))
    expected = scorer.plain_fn(params, x)
    np.testing.assert_allclose(jax.jit(chosen)(params, x), expected, rtol=1e-5)


def test_a_device_that_does_not_take_the_kernel_scores_by_the_network(monkeypatch, capsys):
    """What would be an NVIDIA GPU is a CPU, whose compiler refuses the kernel."""
    (cpu,) = jax.local_devices()[:1]
    card = SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [card])
    fused._runs.cache_clear()
    scorers = [trigger_scorer(), trigger_scorer()]
    traced = jax.make_jaxpr(lambda params, x: scorers[0].fn(params, x))
    with jax.default_device(cpu):
        assert "pallas_call" not in str(traced(scorers[0].params, trigger_events(4)))
    assert scorers[1].fn is scorers[1].plain_fn
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the fused kernel of the dense trigger VAE does not run")
    assert "Only interpret mode is supported on CPU" in line
    fused._runs.cache_clear()


@pytest.mark.parametrize("n", [1, 100, 2**18])
@pytest.mark.parametrize("members", [1, 2])
def test_the_kernel_is_lowered_for_an_nvidia_gpu(n, members):
    """By Triton's own dialect, as far as it goes without a card; nowhere else."""
    scorer = trigger_scorer()
    params = jax.tree.map(jnp.asarray, scorer.params if members == 1 else doubled(scorer.params))

    def on_a_card(params, x):
        return fused.kl(params["params"], params["state"], x).mean(axis=(0, 1))

    x = jax.ShapeDtypeStruct((n, 19, 3), jnp.float32)
    chosen = fused.or_plain(on_a_card, scorer.plain_fn)
    h100 = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=h100)):
        traced = jax.jit(chosen).trace(params, x)
        program = {to: traced.lower(lowering_platforms=(to,)).as_text() for to in ("cuda", "rocm")}
    assert program["cuda"].count("__gpu$xla.gpu.triton") == 1
    assert ("stablehlo.while" in program["cuda"]) is (members > 1)
    assert "triton" not in program["rocm"]
