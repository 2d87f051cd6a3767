"""A trained float network as an integer one of few bits: what a trigger's firmware computes.

What the score of `method.teacher` needs, a trained run, or that of the section `teacher`, which is
trained first, gets fixed-point weights and activations, is trained on with them (`method.target`),
and is stored as integers, from which its scores are computed exactly. Its target are the codes of
the float network, their lengths and those of high scores above all, as rounding should leave the
detector what it is; training on the float network's own loss makes another detector of it.
`method.target=none` rounds, and trains nothing.

The score is `mu2`, the sum of squares of an encoder's code; `mse`, that of what an autoencoder's
output is from its input, their difference being the code, not divided by their number, so that it
is an integer too; `distance`, that of what the reconstruction of self-supervised features is
from them, again the code, of one network from the inputs by the features to the reconstruction;
`flow_norm`, that of a velocity; or `student`, the one number that a student gives, ln(score + 1) of
its teacher. Float networks of linear layers, convolutions among them, and ReLUs will do.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.devices import hosts
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.fixed import from_float, to_float
from jaxad.methods import Bench, get
from jaxad.methods.stages import rows
from jaxad.methods.stages.distillation import code_loss
from jaxad.methods.stages.float_network import TEACHERS, Float, float_network, require_teacher
from jaxad.methods.stages.integers import (
    FORMS,
    Form,
    input_type,
    integer_score,
    require_errors,
    require_lane,
)
from jaxad.methods.stages.own_loss import own_loss
from jaxad.methods.stages.teacher import own_config, require_varied, teach
from jaxad.methods.stages.widths import widths_of
from jaxad.metrics.agreement import drift, overlap
from jaxad.models import affine
from jaxad.models.affine import Affine
from jaxad.models.integers import ebops, integers
from jaxad.models.quantized import QuantizedNetwork, Widths, calibrated, weights
from jaxad.storage import cache
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)


def require_vectors(config: ConfigDict, layout: Layout) -> None:
    """Refuses inputs of which the float network takes something else than the quantised one.

    Raises:
        UserError: sets.
    """
    name = TEACHERS[config.method.score][0]
    stage = inputs.stage(config.inputs, layout, get(name).KINDS, name)
    if stage.kind not in KINDS:
        raise UserError(
            f"inputs.name={config.inputs.name}: gives {name} a {stage.kind}, and "
            "quantized networks take vectors: choose inputs.name=trigger_integer or another input"
        )


def code_of(form: Form, outputs: Sequence[Array]) -> Array:
    """What is scored (n, d), of the inputs and what every layer gives, (n, width) each."""
    return outputs[-1] if form.compared is None else outputs[-1] - outputs[form.compared]


def codes_of(layers: Sequence[Affine], x: Array, form: Form = FORMS["mu2"]) -> Array:
    """Codes (n, d) of the float `layers` of their inputs x (n, inputs)."""
    outputs = [x]
    for layer in layers:
        outputs.append(affine.output(layer, outputs[-1]))
    return code_of(form, outputs)


def rows_of(
    config: ConfigDict, stage: inputs.Stage, source: Float, dataset: Dataset
) -> tuple[Rows, Rows]:
    """Training and validation rows: "x" on the grid of the inputs, "codes" of the float network."""
    grid, parts = input_type(config), []
    codes = partial(codes_of, source.layers, form=FORMS[config.method.score])
    folder = cache.root(config.data.cache)

    def on_grid(values: Array) -> Array:
        return to_float(from_float(stage.scale(source.inputs, values), grid), grid)

    for name, events in (("train", dataset.train), ("val", dataset.val)):
        x = inputs.values_of(stage, events["x"], name, folder)
        x = in_batches(on_grid, x, f"grid of {name}")
        found = in_batches(codes, x, f"codes of {name}")
        parts.append({"x": x, "codes": found, **rows.weight_of(events)})
    return tuple(parts)


def task(
    config: ConfigDict, source: Float, start: tuple[dict, dict], n_steps: int, size: float
) -> Task:
    """Training on `rows_of`, from the parameters and types of `start`.

    The loss is `code_loss` over `size`, the variance of the float codes, or that of the float
    network, whose decoder trains along; with learnt widths beta times the EBOPs and gamma
    times the sum of widths more. beta rises as a power over `n_steps`; validation takes its last
    value.
    """
    widths = widths_of(config)
    features = tuple(layer.kernel.shape[1] for layer in source.layers)
    relus = tuple(layer.relu for layer in source.layers)
    grid, form = input_type(config), FORMS[config.method.score]
    network = QuantizedNetwork(features, widths, grid.width - grid.signed, relus)
    low, high = config.method.beta_start, config.method.beta
    rest = source.params if config.method.target == "loss" else {}

    def init(key: Array, batch: Rows) -> tuple[Any, Any]:
        params, types = start
        state = {"types": types, "step": jnp.zeros(())}
        return {"layers": params, "float": jax.tree.map(jnp.asarray, rest)}, state

    def loss(params: Any, state: Any, batch: Rows, key: Array, training: bool) -> tuple:
        variables = {"params": params["layers"], "types": state["types"]}
        found = network.apply(variables, batch["x"])
        codes = code_of(form, (batch["x"], *found.hidden, found.codes))
        near, far = (score_of(values, form) for values in (codes, batch["codes"]))
        if rest:
            own = source.config, config.method.score, params["float"]
            value = own_loss(*own, found, batch, key, training)
        else:
            value = code_loss(codes, batch["codes"], far, batch["weight"]) / size
        far = jnp.abs(jnp.log(jnp.maximum(near, 1e-6)) - jnp.log(jnp.maximum(far, 1e-6)))
        metrics = {"ebops": found.ebops, "drift": weighted_mean(far, batch["weight"])}
        if widths.learned:
            metrics["task"] = value
            done = jnp.minimum(state["step"] / n_steps, 1.0) if training else 1.0
            value += low * (high / low) ** done * found.ebops + config.method.gamma * found.bits
        return value, (metrics, state | {"step": state["step"] + training})

    return Task(init, loss)


def score_of(codes: Array, form: Form = FORMS["mu2"]) -> Array:
    """Score (n,) of float codes (n, d), above 0: of a number, which is a logarithm, its power."""
    return jnp.exp(codes[..., 0]) if form.number else jnp.sum(codes**2, axis=-1)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on, and store the integers: {"layers"}, {"inputs"}, {"ebops"} (members,).

    Raises:
        UserError: settings or a teacher that will not do; integers that int32 does not hold.
    """
    widths, grid = widths_of(config), input_type(config)
    form = FORMS[config.method.score]
    require_vectors(config, dataset.layout)
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "quantized")
    width = rows.shape_of(stage)[1]
    require_errors(config, width)
    if not config.method.teacher and "teacher" in config:
        theirs = own_config(config)
        require_depth(widths, len(require_teacher(config, theirs.method.name, theirs, width)))
    source = float_network(teach(config, dataset, bench), config, width)
    require_depth(widths, len(source.layers))
    train, val = rows_of(config, stage, source, dataset)
    start = calibrated(source.layers, val["x"], grid.fraction, widths, form.compared)
    relus = [layer.relu for layer in source.layers]
    if form.compared:
        last = str(form.compared - 1)
        here = widths.of(form.compared - 1)
        rounded = weights(*(tree[last] for tree in start), here)["kernel"][0]
        kernel = source.layers[form.compared - 1].kernel
        require_features(kernel, np.asarray(rounded), widths.granularity)
    params, types = jax.tree.map(lambda a: a[None], start)
    require_varied(train["x"], train["codes"])
    if config.method.target != "none":
        require_lane(config, integers(*start, widths, relus))
        steps = config.train.epochs * -(-len(train["x"]) // config.train.batch_size)
        size = float(np.sum(np.var(train["codes"], axis=0, dtype=np.float64)))
        job = task(config, source, start, steps, size)
        done = bench.fit(job, train, val, config.train, config.seed, stage="quantized")
        params, types = jax.tree.map(
            lambda a: a[:, 0], (done.params["layers"], done.state["types"])
        )
    members, costs = [], []
    for member in range(len(jax.tree.leaves(params)[0])):
        own = jax.tree.map(lambda a, m=member: a[m], (params, types))
        layers = integers(*own, widths, relus)
        require_lane(config, layers)
        members.append(layers)
        costs.append(ebops(layers, grid.width - grid.signed))
    fitted = {
        "layers": jax.tree.map(lambda *a: np.stack(a), *members),
        "inputs": source.inputs,
        "ebops": np.array(costs, np.int32),
    }
    _tell(config, fitted, val)
    return fitted


def require_depth(widths: Widths, layers: int) -> None:
    """Refuses bits of each layer of which there are not as many as layers.

    Raises:
        UserError: too many or too few.
    """
    for name, bits in (("weight", widths.weight), ("activation", widths.activation)):
        if not isinstance(bits, int) and len(bits) != layers:
            raise UserError(
                f"method.{name}_bits: expected one number, or {layers}, one for each layer, found "
                f"{len(bits)}"
            )


def require_features(kernel: np.ndarray, rounded: np.ndarray, granularity: str) -> None:
    """Refuses features (inputs, features) of which rounding leaves nothing.

    Each was scaled to unit spread, so that one that seldom varies has weights far above the others.

    Raises:
        UserError: such a feature.
    """
    lost = np.any(kernel, axis=0) & ~np.any(rounded, axis=0)
    if lost.any():
        raise UserError(
            f"method.granularity={granularity}: all weights of {lost.sum()} of {lost.size} "
            "features round to 0 beside those of the largest: set method.granularity=channel, or "
            "weight with learnt widths"
        )


def _tell(config: ConfigDict, fitted: dict, val: Rows) -> None:
    """Print what it costs, and how far it is from the float network on the validation rows."""
    if not hosts.leads():
        return
    form = FORMS[config.method.score]
    reference = np.asarray(score_of(val["codes"], form))
    score = jax.vmap(partial(integer_score, config), (0, None))
    for member, found in enumerate(np.asarray(jax.jit(score)(fitted["layers"], val["x"]))):
        found = np.exp(found) if form.number else found
        print(
            f"quantized: {fitted['ebops'][member]:,} EBOPs; from the float network on "
            f"{len(found):,} held-out events: drift {drift(found, reference):.3f}, overlap of the "
            f"highest 1 % {overlap(found, reference):.2f}",
            flush=True,
        )


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{`method.score`: (members, n)}, by the stored integers."""
    stage = inputs.stage(config.inputs, layout, KINDS, "quantized")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)
        score = jax.vmap(lambda layers: integer_score(config, layers, x))
        return {config.method.score: score(fitted["layers"])}

    return function
