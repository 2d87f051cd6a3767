"""Sections of training: steps a second through the engine's compiled loop, gather included."""

import contextlib
from collections.abc import Callable
from unittest import mock

import numpy as np
from ml_collections import ConfigDict

from benchmarks.accelerator import report
from benchmarks.accelerator.cases import trigger_events
from benchmarks.accelerator.context import Context, peak_gib
from benchmarks.engine_steps import engine_steps
from jaxad import training
from jaxad.configs import adc2021_vae, cathode, codae
from jaxad.inputs.trigger import pt_scale
from jaxad.methods import autoencoder, trigger_autoencoder
from jaxad.methods import codae as codae_method
from jaxad.methods.stages import density, weak
from jaxad.models import convolution
from jaxad.models.autoencoder import ConvAutoencoder
from jaxad.models.dense import Classifier

BATCHES = (8192, 1024, 32, 256)
CODAE_FLOPS = 3.4e9  # of an image, forwards and backwards
N_FLOW = 439_400  # events of the sidebands


def run(context: Context, part: str) -> None:
    """The networks named by `part`."""
    name, _, variant = part.partition(" ")
    {"toptagging": toptagging, "codae": dark_showers, "trigger": trigger, "flow": flow}.get(
        name, classifiers
    )(context, variant)


def jet_images(n: int) -> np.ndarray:
    """Images (n, 16, 16, 1) of unit sum."""
    x = np.random.default_rng(0).gamma(0.1, size=(n, 16, 16, 1)).astype(np.float32)
    return x / x.sum(axis=(1, 2, 3), keepdims=True)


def event_images(n: int) -> np.ndarray:
    """Masks (n, 72, 58, 1) of bytes, 3 % of them 1."""
    return (np.random.default_rng(0).random((n, 72, 58, 1)) < 0.03).astype(np.uint8)


def n_steps(batch: int) -> int:
    """Steps that are timed in one call."""
    return {32: 200, 256: 100, 1024: 40, 8192: 10}.get(batch, 1)


def toptagging(context: Context, variant: str) -> None:
    """The top-tagging autoencoder, with the chosen convolutions and with native ones."""
    calls: dict[tuple, Callable] = {}
    batches = context.pick(BATCHES, (8,))
    for batch in batches:
        name = f"top-tagging AE, batch {batch}"
        calls[batch, name] = toptagging_steps(context, batch)
        if batch not in (32, 256):
            calls[batch, f"{name}, native"] = toptagging_steps(context, batch, native=True)
    for (batch, name), timing in context.timings(calls):
        rate = n_steps(batch) / timing.seconds
        note = f"{batch * rate:,.0f} jets/s; first call {timing.first:.1f} s"
        context.row(name, rate, "steps/s", note=note)
    context.row("peak memory of these", peak_gib(), "GiB")


def toptagging_steps(context: Context, batch: int, native: bool = False) -> Callable[[], None]:
    """`n_steps` of the top-tagging autoencoder."""
    n = n_steps(batch)
    train, x = training.get_config(batch_size=batch, epochs=1), jet_images(n * batch)
    return _steps(
        autoencoder.task(ConvAutoencoder(width=context.pick(128, 4))), train, x, n, native
    )


def _steps(
    task: training.Task, train: ConfigDict, x: np.ndarray, n: int, native: bool = False
) -> Callable[[], None]:
    """`engine_steps`, made when it is first called; `native` forces XLA's own convolutions."""
    made: list[Callable] = []

    def steps() -> None:
        if made:
            made[0]()
            return
        forced = mock.patch.object(convolution, "_is_native", lambda *_, **__: True)
        with forced if native else contextlib.nullcontext():
            made.append(engine_steps(task, train, x, n))
            made[0]()

    return steps


def dark_showers(context: Context, dtype: str) -> None:
    """CoDAE at its training's batch."""
    steps, batch, n = codae_steps(context, dtype)
    for name, found in context.timings({f"CoDAE, batch {batch}, {dtype}": steps}):
        rate = n * batch / found.seconds
        kind = "bfloat16 matrix" if dtype == "bfloat16" else "float32 matrix"
        best = report.value_of(
            context.out, f"{kind} product" + ", default precision" * ("32" in kind)
        )
        flops = f"{1e-12 * CODAE_FLOPS * rate:.1f} TFLOP/s"
        share = f", {1e-10 * CODAE_FLOPS * rate / best:.1f} % of a matrix product" if best else ""
        note = f"peak memory {peak_gib():.2f} GiB; first call {found.first:.1f} s"
        context.row(name, rate, "images/s", limit=flops + share, note=note)


def codae_steps(context: Context, dtype: str) -> tuple[Callable[[], None], int, int]:
    """A call of CoDAE's training, the images of a step, the steps of a call."""
    config, n = codae.get_config(context.pick("", "smoke")), context.pick(10, 1)
    if context.tiny:
        config.model.features = (4,)
    config.model.dtype = dtype
    batch = config.train.batch_size = context.pick(128, 4)
    task = codae_method.task(config, (72, 58, 1))
    return _steps(task, config.train, event_images(n * batch), n), batch, n


def trigger(context: Context, variant: str) -> None:
    """The variational autoencoders of trigger events."""
    calls, batches = {}, context.pick((256, 4096), (8,))
    for model in ("dense_vae", "conv_vae"):
        config = adc2021_vae.get_config()
        config.model.name = model
        for batch in batches:
            n = context.pick({256: 200, 4096: 50}, {}).get(batch, 1)
            x = trigger_events(n * batch)
            config.train.batch_size = batch
            task = trigger_autoencoder.task(config, pt_scale(x))
            calls[model, batch, n] = engine_steps(task, config.train, x, n)
    for (model, batch, n), timing in context.timings(calls):
        rate = n / timing.seconds
        note = f"{rate * batch:,.0f} events/s; first call {timing.first:.1f} s"
        context.row(f"ADC2021 {model}, batch {batch}", rate, "steps/s", note=note)


def flow(context: Context, coupling: str) -> None:
    """An epoch of the outer density of CATHODE, and of what it is by default."""
    calls, rows = {}, context.pick(N_FLOW, 64)
    for batch in context.pick((512, 4096), (32,)):
        calls[batch] = flow_steps(context, coupling, batch, rows)
    for batch, timing in context.timings(calls, rounds=3):
        n = -(-rows // batch)
        note = f"{1e6 * timing.seconds / n:.0f} us a step; first call {timing.first:.1f} s"
        name = f"flow, {coupling}, epoch of {rows:,} x 4, batch {batch}"
        context.row(name, timing.seconds, "s", note=note)


def flow_steps(context: Context, coupling: str, batch: int, rows: int) -> Callable[[], None]:
    """An epoch of `rows`: RealNVP of 12 affine or 6 spline couplings, or "default"."""
    config, rng = cathode.get_config(), np.random.default_rng(0)
    data = {"x": rng.normal(size=(rows, 4)), "m": rng.normal(size=(rows, 1))}
    data = {name: values.astype(np.float32) for name, values in data.items()}
    settings = config.flow.copy_and_resolve_references()
    if coupling != "default":
        n_layers = context.pick({"affine": 12, "spline": 6}[coupling], 2)
        settings.update({"name": "realnvp", "coupling": coupling, "n_layers": n_layers})
    config.flow_train.batch_size = batch
    task = density.task(density.network(settings, 4))
    return engine_steps(task, config.flow_train, data, -(-rows // batch))


def classifiers(context: Context, variant: str) -> None:
    """Classifiers of weak supervision, many at once."""
    rng, batch, calls = np.random.default_rng(0), 128, {}
    for members in context.pick((1, 10, 100, 1000), (2,)):
        n = context.pick(200, 2)
        x = rng.normal(size=(n * batch, 4)).astype(np.float32)
        y = rng.integers(0, 2, len(x)).astype(np.float32)
        rows = {"x": x, "y": y, "weight": np.ones_like(y)}
        task, train = weak.task(Classifier()), weak.train_config(batch_size=batch)
        calls[members, n] = engine_steps(task, train, rows, n, members)
    for (members, n), timing in context.timings(calls):
        rate = members * n / timing.seconds
        note = f"{1e6 * timing.seconds / n:.0f} us a step; first call {timing.first:.1f} s"
        context.row(f"classifiers 64-64-64, {members} at once", rate, "member-steps/s", note=note)
