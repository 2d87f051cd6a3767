"""A trained float network as an integer one of few bits: what a trigger's firmware computes.

The encoder of `method.teacher`, a trained run, or of the section `teacher`, which is trained first,
gets fixed-point weights and activations, is trained on with them (`method.target`), and is stored
as integers, from which its scores are computed exactly. Its target are the codes of the float
network, as rounding should leave the detector what it is; training on the float network's own loss
makes another detector of it. `method.target=none` rounds, and trains nothing.
"""

from collections.abc import Callable, Mapping
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
from jaxad.fixed import FixedType, Layer, auto_accum, bounds, from_float, parsed, run, to_float
from jaxad.methods import Bench, trigger_autoencoder
from jaxad.methods.stages.teacher import teach
from jaxad.metrics.agreement import drift, overlap
from jaxad.models import quantized
from jaxad.models.quantized import QuantizedNetwork, Widths, calibrated, ebops, folded, integers
from jaxad.models.trigger import NORM_EPS
from jaxad.models.vae import gaussian_kl
from jaxad.storage import cache
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)
TARGETS = ("codes", "loss", "none")
LAYERS = {
    "encoder": (("Dense_0", ""), ("Dense_1", ""), ("_Bottleneck_0/mean", "")),
    "encoder_norm": (
        ("Dense_0", "BatchNorm_0"),
        ("Dense_1", "BatchNorm_1"),
        ("_Bottleneck_0/mean", ""),
    ),
}
"""Of networks of trigger_autoencoder with ReLU alone: dense layers to the code, and their norms."""
LANE = "int32"


class Float(NamedTuple):
    """What a quantised network starts from.

    Attributes:
        layers: kernels (inputs, features) and biases (features,), norms folded in.
        params: of the whole network, its decoder too.
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
        ("granularity", quantized.GRANULARITIES),
        ("rounding", quantized.MODES),
        ("target", TARGETS),
    ):
        if own[name] not in known:
            raise UserError(
                f"method.{name}: expected one of {', '.join(known)}, found {own[name]!r}"
            )
    if own.learned and not 0 < own.beta_start <= own.beta:
        raise UserError(
            f"method.beta_start: expected a number above 0, up to method.beta={own.beta:g}, found "
            f"{own.beta_start:g}"
        )
    if config.train.keep_best != 1:
        raise UserError(
            f"train.keep_best: expected 1, as firmware holds one network, found "
            f"{config.train.keep_best}"
        )
    return Widths(
        *(own.weight_bits, own.activation_bits, own.code_bits),
        own.learned,
        own.granularity,
        own.rounding,
    )


def input_type(config: ConfigDict) -> FixedType:
    """That of the network's inputs.

    Raises:
        UserError: no such type.
    """
    try:
        return parsed(config.method.input_type)
    except UserError as error:
        raise UserError(f"method.input_type: {error}") from None


def require_vectors(config: ConfigDict, layout: Layout) -> None:
    """Refuses inputs of which the float network takes something else than the quantised one.

    Raises:
        UserError: sets.
    """
    stage = inputs.stage(config.inputs, layout, trigger_autoencoder.KINDS, "trigger_autoencoder")
    if stage.kind not in KINDS:
        raise UserError(
            f"inputs.name={config.inputs.name}: gives trigger_autoencoder a {stage.kind}, and "
            "quantized networks take vectors: choose inputs.name=trigger_integer or another input"
        )


def float_network(teacher: Any, config: ConfigDict) -> Float:
    """The network of a scorer, of the same inputs as `config`.

    Raises:
        UserError: of another kind, several, or of other inputs.
    """
    name = teacher.config.get("model", {}).get("name", "")
    if teacher.method != "trigger_autoencoder" or name not in LAYERS:
        raise UserError(
            f"method.teacher: expected a trigger_autoencoder of model.name={' or '.join(LAYERS)}, "
            f"which have ReLU and linear layers alone, found {teacher.method} {name}"
        )
    theirs, ours = (json_of(c.inputs) for c in (teacher.config, config))
    if theirs != ours:
        key = next(k for k in sorted(theirs | ours) if theirs.get(k) != ours.get(k))
        raise UserError(
            f"inputs.{key}: expected that of method.teacher, {theirs.get(key)!r}, found "
            f"{ours.get(key)!r}"
        )
    params, state = teacher.params["params"], teacher.params.get("state", {})
    members = jax.tree.leaves(params)[0].shape[:2]
    if members != (1, 1):
        raise UserError(
            f"method.teacher: expected one network, found {members[0]} members of {members[1]} "
            "epochs: set train.ensemble=1 and train.keep_best=1 for it"
        )
    params, state = jax.tree.map(lambda a: np.asarray(a)[0, 0], (params, state))
    layers = []
    for path, norm in LAYERS[name]:
        layer = params
        for part in path.split("/"):
            layer = layer[part]
        kernel, bias = layer["kernel"], layer["bias"]
        if norm:
            running = params[norm] | state["batch_stats"][norm]
            kernel, bias = folded(kernel, bias, running, NORM_EPS)
        layers.append((kernel, bias))
    return Float(layers, params, teacher.params.get("inputs", {}), teacher.config)


def json_of(config: ConfigDict) -> dict:
    """Its settings, tuples as lists, as a stored config has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.to_dict().items()}


def rows_of(
    config: ConfigDict, stage: inputs.Stage, source: Float, dataset: Dataset
) -> tuple[Rows, Rows]:
    """Training and validation rows: "x" on the grid of the inputs, "codes" of the float network."""
    grid, parts = input_type(config), []
    folder = cache.root(config.data.cache)

    def on_grid(values: Array) -> Array:
        return to_float(from_float(stage.scale(source.inputs, values), grid), grid)

    def codes(x: Array) -> Array:
        for number, (kernel, bias) in enumerate(source.layers):
            x = x @ kernel + bias
            x = nn.relu(x) if number < len(source.layers) - 1 else x
        return x

    for name, events in (("train", dataset.train), ("val", dataset.val)):
        x = in_batches(on_grid, inputs.values_of(stage, events["x"], name, folder))
        parts.append({"x": x, "codes": in_batches(codes, x)})
    return tuple(parts)


def task(config: ConfigDict, source: Float, start: tuple[dict, dict], n_steps: int, size: float):
    """Training on `rows_of`, from the parameters and types of `start`.

    The loss is the mean squared distance of the codes over `size`, their variance, or that of the
    float network, whose decoder trains along; with learnt widths beta times the EBOPs more. beta
    rises as a power over `n_steps`; validation takes its last value.
    """
    widths = widths_of(config)
    features = tuple(len(bias) for _, bias in source.layers)
    grid = input_type(config)
    network = QuantizedNetwork(features, widths, grid.width - grid.signed)
    low, high = config.method.beta_start, config.method.beta
    rest = source.params if config.method.target == "loss" else {}

    def init(key: Array, batch: Rows) -> tuple[Any, Any]:
        params, types = start
        state = {"types": types, "step": jnp.zeros(())}
        return {"layers": params, "float": jax.tree.map(jnp.asarray, rest)}, state

    def loss(params: Any, state: Any, batch: Rows, key: Array, training: bool) -> tuple:
        variables = {"params": params["layers"], "types": state["types"]}
        found = network.apply(variables, batch["x"])
        if rest:
            value = _own_loss(source, params["float"], found, batch, key, training)
        else:
            errors = jnp.sum((found.codes - batch["codes"]) ** 2, axis=-1) / size
            value = weighted_mean(errors, batch["weight"])
        far = jnp.abs(_log_score(found.codes) - _log_score(batch["codes"]))
        metrics = {"ebops": found.ebops, "drift": weighted_mean(far, batch["weight"])}
        if widths.learned:
            metrics["task"] = value
            done = jnp.minimum(state["step"] / n_steps, 1.0) if training else 1.0
            value += low * (high / low) ** done * found.ebops
        return value, (metrics, state | {"step": state["step"] + training})

    return Task(init, loss)


def _log_score(codes: Array) -> Array:
    return jnp.log(jnp.maximum(jnp.sum(codes**2, axis=-1), 1e-6))


def _own_loss(
    source: Float, params: Any, found: quantized.Output, batch: Rows, key: Array, training: bool
) -> Array:
    """The float network's loss where its layers up to the code give what the quantised ones do."""
    config = source.config
    network = trigger_autoencoder.model(config)
    paths = [tuple(path.split("/")) for path, _ in LAYERS[config.model.name]]
    given = dict(zip(paths, (*found.hidden, found.codes), strict=True))
    norms = {norm for _, norm in LAYERS[config.model.name]}

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
    divergence = gaussian_kl(output.mean, output.log_var, 0.0, 1.0)
    return weighted_mean((1 - beta) * error + beta * divergence, weight)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on, and store the integers: {"layers"}, {"inputs"}, {"ebops"} (members,).

    Raises:
        UserError: settings or a teacher that will not do; integers that int32 does not hold.
    """
    widths, grid = widths_of(config), input_type(config)
    require_vectors(config, dataset.layout)
    source = float_network(teach(config, dataset, bench), config)
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "quantized")
    train, val = rows_of(config, stage, source, dataset)
    start = calibrated(source.layers, val["x"], widths)
    params, types = jax.tree.map(lambda a: a[None], start)
    if config.method.target != "none":
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
        layers = integers(*own, widths)
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


def _tell(config: ConfigDict, fitted: dict, val: Rows) -> None:
    """Print what it costs, and how far it is from the float network on the validation rows."""
    if not hosts.leads():
        return
    reference = np.sum(val["codes"].astype(np.float64) ** 2, axis=-1)
    score = jax.vmap(partial(_score, config), (0, None))
    for member, found in enumerate(np.asarray(jax.jit(score)(fitted["layers"], val["x"]))):
        print(
            f"quantized: {fitted['ebops'][member]:,} EBOPs; from the float network on "
            f"{len(found):,} held-out events: drift {drift(found, reference):.3f}, overlap of the "
            f"highest 1 % {overlap(found, reference):.2f}",
            flush=True,
        )


def network_of(config: ConfigDict, layers: Mapping[str, Mapping[str, Any]]) -> list[Layer]:
    """The stored layers of one member, whose accumulators are exact.

    Args:
        layers: as of `jaxad.models.quantized.integers`; arrays may be traced.
    """
    x_type, network = input_type(config), []
    for number in map(str, range(len(layers))):
        layer, last = layers[number], int(number) == len(layers) - 1
        kernel, bias, result = (tuple(layer[f"{n}_type"]) for n in ("kernel", "bias", "result"))
        kernel, bias = (FixedType(*t, True, "RND", "SAT_SYM") for t in (kernel, bias))
        result = FixedType(*result, last, config.method.rounding, "SAT")
        exact = auto_accum(x_type, kernel, bias, len(layer["kernel"]))
        own = (layer["kernel"], layer["bias"], kernel, bias)
        network.append(Layer(*own, result) if last else Layer(*own, exact, "relu", result))
        x_type = result
    return network


def require_lane(config: ConfigDict, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuses integers whose sums int32 does not hold.

    Raises:
        UserError: the first layer, or the score.
    """
    whole = {
        n: {k: a.tolist() if k.endswith("type") else a for k, a in layer.items()}
        for n, layer in layers.items()
    }
    network, most = network_of(config, whole), np.iinfo(LANE).bits
    for number, (layer, bound) in enumerate(
        zip(network, bounds(network, input_type(config)), strict=True)
    ):
        bits = max(bound.bits, layer.result_type.width)
        if bits > most:
            raise UserError(
                f"quantized: the sums of layer {number} have {bits} bits, more than {LANE}: "
                "lower method.weight_bits or method.activation_bits"
            )
    bits = 2 * (layer.output_type.width - 1) + len(layer.bias).bit_length() + 1
    if bits > most:
        raise UserError(
            f"method.code_bits: the sum of squares has {bits} bits, more than {LANE}: lower it"
        )


def squares(
    config: ConfigDict, layers: Mapping[str, Mapping[str, Array]], x: Array
) -> tuple[Array, Array]:
    """The sum of squares of the codes of inputs x (n, d), in integers: what firmware gives.

    Returns:
        Counts (n,) int32, and how many bits they have behind the point.
    """
    grid = input_type(config)
    codes, to = run(network_of(config, layers), from_float(x, grid, LANE), grid, LANE)
    return jnp.sum(codes * codes, axis=-1), 2 * to.fraction


def _score(config: ConfigDict, layers: Mapping[str, Mapping[str, Array]], x: Array) -> Array:
    """Sum of squares (n,) float32 of the codes of inputs x (n, d), in integers to the end."""
    counts, fraction = squares(config, layers, x)
    return jnp.ldexp(counts.astype(jnp.float32), -fraction)


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mu2": (members, n)}: the sum of squares of the code, by the stored integers."""
    stage = inputs.stage(config.inputs, layout, KINDS, "quantized")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)
        return {"mu2": jax.vmap(lambda layers: _score(config, layers, x))(fitted["layers"])}

    return function
