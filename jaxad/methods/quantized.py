"""A trained float network as an integer one of few bits: what a trigger's firmware computes.

What the score of `method.teacher` needs, a trained run, or that of the section `teacher`, which is
trained first, gets fixed-point weights and activations, is trained on with them (`method.target`),
and is stored as integers, from which its scores are computed exactly. Its target are the codes of
the float network, as rounding should leave the detector what it is; training on the float network's
own loss makes another detector of it. `method.target=none` rounds, and trains nothing.

The score is `mu2`, the sum of squares of an encoder's code; `mse`, that of what an autoencoder's
output is from its input, their difference being the code, not divided by their number, so that it
is an integer too; or `distance`, that of what the reconstruction of self-supervised features is
from them, again the code, of one network from the inputs by the features to the reconstruction.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
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
from jaxad.methods import Bench, get, trigger_autoencoder
from jaxad.methods.settings import INPUTS_OF
from jaxad.methods.stages import rows
from jaxad.methods.stages.integers import (
    FORMS,
    Form,
    input_type,
    integer_score,
    require_errors,
    require_lane,
)
from jaxad.methods.stages.teacher import own_config, require_varied, teach
from jaxad.metrics.agreement import drift, overlap
from jaxad.models import quantized
from jaxad.models.quantized import (
    QuantizedNetwork,
    Widths,
    calibrated,
    ebops,
    folded,
    integers,
    rectified,
    weights,
)
from jaxad.models.trigger import NORM_EPS
from jaxad.models.vae import gaussian_kl
from jaxad.storage import cache
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)
TARGETS = ("codes", "loss", "none")
LAYERS = {
    "mu2": {
        "encoder": (("Dense_0", ""), ("Dense_1", ""), ("_Bottleneck_0/mean", "")),
        "encoder_norm": (
            ("Dense_0", "BatchNorm_0"),
            ("Dense_1", "BatchNorm_1"),
            ("_Bottleneck_0/mean", ""),
        ),
    },
    "mse": {"challenge": tuple((f"Dense_{number}", "") for number in range(4))},
    "distance": {
        "": tuple(
            (f"{part}/Dense_{number}", "")
            for part, n in (("encoder", 2), ("autoencoder", 6))
            for number in range(n)
        )
    },
}
"""Score -> networks of its teacher with ReLU and linear layers alone, by model.name -> dense layers
up to the code, and the batch normalisation after each."""
TEACHERS = {
    "mu2": "trigger_autoencoder",
    "mse": "trigger_autoencoder",
    "distance": "feature_autoencoder",
}
"""Score -> the method of the float network."""


class Float(NamedTuple):
    """What a quantised network starts from.

    Attributes:
        layers: kernels (inputs, features) and biases (features,), norms folded in.
        params: of the whole network, a decoder that is not scored too.
        inputs: what its inputs learnt.
        config: of its run.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    params: dict
    inputs: dict
    config: ConfigDict


def widths_of(config: ConfigDict) -> Widths:
    """The settings of `config.method`, checked.

    Raises:
        UserError: a name that is none of those that there are; a schedule that is none.
    """
    own = config.method
    for name, known in (
        ("score", tuple(LAYERS)),
        ("granularity", quantized.GRANULARITIES),
        ("rounding", quantized.MODES),
        ("target", TARGETS),
    ):
        if own[name] not in known:
            raise UserError(
                f"method.{name}: expected one of {', '.join(known)}, found {own[name]!r}"
            )
    if own.target == "loss" and own.score == "distance":
        raise UserError(
            "method.target=loss: features that no view trains would vanish with their own "
            "reconstruction's error: set method.target=codes"
        )
    if own.learned and not 0 < own.beta_start <= own.beta:
        raise UserError(
            f"method.beta_start: expected a number above 0, up to method.beta={own.beta:g}, found "
            f"{own.beta_start:g}"
        )
    if own.granularity == "weight" and not own.learned:
        raise UserError(
            "method.granularity=weight: is for learnt widths, as all weights would have the same "
            "number of digits: set method.learned=True, or channel"
        )
    if config.train.keep_best != 1:
        raise UserError(
            f"train.keep_best: expected 1, as firmware holds one network, found "
            f"{config.train.keep_best}"
        )
    weight, activation = (
        bits if isinstance(bits, int) else tuple(bits)
        for bits in (own.weight_bits, own.activation_bits)
    )
    return Widths(
        *(weight, activation, own.code_bits),
        own.learned,
        own.granularity,
        own.rounding,
    )


def require_vectors(config: ConfigDict, layout: Layout) -> None:
    """Refuses inputs of which the float network takes something else than the quantised one.

    Raises:
        UserError: sets.
    """
    name = TEACHERS[config.method.score]
    stage = inputs.stage(config.inputs, layout, get(name).KINDS, name)
    if stage.kind not in KINDS:
        raise UserError(
            f"inputs.name={config.inputs.name}: gives {name} a {stage.kind}, and "
            "quantized networks take vectors: choose inputs.name=trigger_integer or another input"
        )


def require_teacher(config: ConfigDict, method: str, theirs: ConfigDict) -> None:
    """Refuses a float network of which the score is not.

    Args:
        method, theirs: its method and config.

    Raises:
        UserError: another method, or network.
    """
    score, model = config.method.score, theirs.get("model", {})
    name = model.get("name", "")
    if score == "distance":
        sizes = [len(model.get(part, ())) for part in ("features", "widths")]
        if method != TEACHERS[score] or sizes != [2, 2]:
            raise UserError(
                "method.teacher: expected a feature_autoencoder of two model.features and two "
                "model.widths, as method.score=distance asks, found "
                f"{method} {dict(model) if method == TEACHERS[score] else name}".rstrip()
            )
    elif method != TEACHERS[score] or name not in LAYERS[score]:
        raise UserError(
            f"method.teacher: expected a trigger_autoencoder of model.name="
            f"{' or '.join(LAYERS[score])}, as method.score={score} asks, with ReLU and linear "
            f"layers alone, found {method} {name}".rstrip()
        )


def float_network(teacher: Any, config: ConfigDict) -> Float:
    """The network of a scorer, of the same inputs as `config`.

    Raises:
        UserError: of another kind, several, or of other inputs.
    """
    require_teacher(config, teacher.method, teacher.config)
    name = config.inputs.name
    for key in ("name", *(k for k, owners in INPUTS_OF.items() if name in owners)):
        theirs, ours = teacher.config.inputs.get(key), config.inputs[key]
        if theirs != ours:
            raise UserError(
                f"inputs.{key}: expected that of method.teacher, {theirs!r}, found {ours!r}"
            )
    params, state = teacher.params["params"], teacher.params.get("state", {})
    if teacher.method == "feature_autoencoder":
        encoder = jax.tree.map(lambda a: a[:, None], teacher.params["encoder"])
        params = {"autoencoder": params["params"], "encoder": encoder["params"]}
    members = jax.tree.leaves(params)[0].shape[:2]
    if members != (1, 1):
        raise UserError(
            f"method.teacher: expected one network, found {members[0]} members of {members[1]} "
            "epochs: set train.ensemble=1 and train.keep_best=1 for it"
        )
    params, state = jax.tree.map(lambda a: np.asarray(a)[0, 0], (params, state))
    layers = []
    for path, norm in LAYERS[config.method.score][teacher.config.model.get("name", "")]:
        layer = params
        for part in path.split("/"):
            layer = layer[part]
        kernel = layer["kernel"]
        bias = layer.get("bias", np.zeros(kernel.shape[1], np.float32))
        if norm:
            running = params[norm] | state["batch_stats"][norm]
            kernel, bias = folded(kernel, bias, running, NORM_EPS)
        layers.append((kernel, bias))
    return Float(layers, params, teacher.params.get("inputs", {}), teacher.config)


def code_of(form: Form, outputs: Sequence[Array]) -> Array:
    """What is squared (n, d), of the inputs and what every layer gives, (n, width) each."""
    return outputs[-1] if form.compared is None else outputs[-1] - outputs[form.compared]


def codes_of(
    layers: list[tuple[np.ndarray, np.ndarray]], x: Array, form: Form = FORMS["mu2"]
) -> Array:
    """Codes (n, d) of the float `layers`, see `Float`, of their inputs x (n, inputs)."""
    outputs = [x]
    for (kernel, bias), relu in zip(layers, rectified(len(layers), form.linear), strict=True):
        x = x @ kernel + bias
        outputs.append(nn.relu(x) if relu else x)
        x = outputs[-1]
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
        x = in_batches(on_grid, inputs.values_of(stage, events["x"], name, folder))
        parts.append({"x": x, "codes": in_batches(codes, x), **rows.weight_of(events)})
    return tuple(parts)


def task(
    config: ConfigDict, source: Float, start: tuple[dict, dict], n_steps: int, size: float
) -> Task:
    """Training on `rows_of`, from the parameters and types of `start`.

    The loss is the mean squared distance of the codes over `size`, their variance, or that of the
    float network, whose decoder trains along; with learnt widths beta times the EBOPs and gamma
    times the sum of widths more. beta rises as a power over `n_steps`; validation takes its last
    value.
    """
    widths = widths_of(config)
    features = tuple(len(bias) for _, bias in source.layers)
    grid, form = input_type(config), FORMS[config.method.score]
    network = QuantizedNetwork(features, widths, grid.width - grid.signed, form.linear)
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
        if rest:
            layers = LAYERS[config.method.score][source.config.model.name]
            value = _own_loss(source, layers, params["float"], found, batch, key, training)
        else:
            errors = jnp.sum((codes - batch["codes"]) ** 2, axis=-1) / size
            value = weighted_mean(errors, batch["weight"])
        near, far = (score_of(values) for values in (codes, batch["codes"]))
        far = jnp.abs(jnp.log(jnp.maximum(near, 1e-6)) - jnp.log(jnp.maximum(far, 1e-6)))
        metrics = {"ebops": found.ebops, "drift": weighted_mean(far, batch["weight"])}
        if widths.learned:
            metrics["task"] = value
            done = jnp.minimum(state["step"] / n_steps, 1.0) if training else 1.0
            value += low * (high / low) ** done * found.ebops + config.method.gamma * found.bits
        return value, (metrics, state | {"step": state["step"] + training})

    return Task(init, loss)


def score_of(codes: Array) -> Array:
    """Score (n,) of float codes (n, d)."""
    return jnp.sum(codes**2, axis=-1)


def _own_loss(
    source: Float,
    layers: tuple[tuple[str, str], ...],
    params: Any,
    found: quantized.Output,
    batch: Rows,
    key: Array,
    training: bool,
) -> Array:
    """The float network's loss where its layers up to the code give what the quantised ones do."""
    config = source.config
    network = trigger_autoencoder.model(config)
    paths = [tuple(path.split("/")) for path, _ in layers]
    given = dict(zip(paths, (*found.hidden, found.codes), strict=True))
    norms = {norm for _, norm in layers}

    def replaced(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        path = context.module.path
        if context.method_name == "__call__" and path in given:
            return given[path]
        return args[0] if path and path[-1] in norms else call(*args, **kwargs)

    x, weight = batch["x"], batch["weight"]
    noise = jax.random.normal(key, found.codes.shape) * training
    with nn.intercept_methods(replaced):
        output = network.apply({"params": params}, x, noise, training, weight > 0)
    beta = config.method.beta
    error = trigger_autoencoder.squared_error(config.method.loss, {}, x, output.output)
    if output.log_var is None:
        return weighted_mean(error, weight)
    divergence = gaussian_kl(output.mean, output.log_var, 0.0, 1.0)
    return weighted_mean((1 - beta) * error + beta * divergence, weight)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on, and store the integers: {"layers"}, {"inputs"}, {"ebops"} (members,).

    Raises:
        UserError: settings or a teacher that will not do; integers that int32 does not hold.
    """
    widths, grid = widths_of(config), input_type(config)
    form = FORMS[config.method.score]
    require_vectors(config, dataset.layout)
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "quantized")
    require_errors(config, jax.eval_shape(stage.values, dataset.train["x"][:1]).shape[-1])
    if not config.method.teacher and "teacher" in config:
        theirs = own_config(config)
        require_teacher(config, theirs.method.name, theirs)
        require_depth(widths, len(LAYERS[config.method.score][theirs.model.name]))
    source = float_network(teach(config, dataset, bench), config)
    require_depth(widths, len(source.layers))
    train, val = rows_of(config, stage, source, dataset)
    start = calibrated(
        *(source.layers, val["x"], grid.fraction, widths),
        *(form.linear, form.compared),
    )
    if form.compared:
        last = str(form.compared - 1)
        here = widths.of(form.compared - 1)
        rounded = weights(*(tree[last] for tree in start), here)["kernel"][0]
        kernel = source.layers[form.compared - 1][0]
        require_features(kernel, np.asarray(rounded), widths.granularity)
    params, types = jax.tree.map(lambda a: a[None], start)
    require_varied(train["x"], train["codes"])
    if config.method.target != "none":
        require_lane(config, integers(*start, widths, form.linear))
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
        layers = integers(*own, widths, form.linear)
        require_lane(config, layers)
        members.append(layers)
        costs.append(ebops(layers, grid.width - grid.signed, form.linear))
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
    reference = np.asarray(score_of(val["codes"]))
    score = jax.vmap(partial(integer_score, config), (0, None))
    for member, found in enumerate(np.asarray(jax.jit(score)(fitted["layers"], val["x"]))):
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
