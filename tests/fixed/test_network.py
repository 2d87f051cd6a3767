"""Networks in integers: their lanes, compiled and over members; and hls4ml's own builds."""

import itertools
import os
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from documents import ROOT, blocks

from jaxad import fixed
from jaxad.errors import UserError
from jaxad.fixed import FixedType, Layer, parsed

INPUT = parsed("fixed<14,6,RND_CONV,SAT>")
WEIGHT, ACTIVATION = parsed("fixed<4,1>"), parsed("ufixed<10,6,RND_CONV,SAT>")
RESULT = parsed("fixed<18,14,RND_CONV,SAT>")
DIFFERENCE, SCORE = parsed("fixed<18,11>"), parsed("fixed<37,23>")
FEATURES, LINEAR = 2, (4, 7)  # dense layers that make the features; those without ReLU
SIZES = (57, 29, 10, 9, 6, 4, 6, 9, 10)


def axol1tl(capped: FixedType | None = None) -> list[Layer]:
    """The layout of AXOL1TL v5, random weights of four bits; `capped`: the first accumulator."""
    rng = np.random.default_rng(1)
    network = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(SIZES)):
        kernel, bias = (
            np.clip(np.rint(rng.normal(0, 2, shape)), -8, 7).astype(np.int32)
            for shape in ((inputs, outputs), (outputs,))
        )
        relu = ("", None) if number in LINEAR else ("relu", ACTIVATION)
        accum = None if number else capped
        network.append(Layer(kernel, bias, WEIGHT, WEIGHT, RESULT, *relu, accum))
    return network


def distance(network: list[Layer], x: Any) -> jax.Array:
    """The score of AXOL1TL v5: the squared distance of the features from their reconstruction."""
    features, t = fixed.run(network[:FEATURES], x, INPUT)
    output, result = fixed.run(network[FEATURES:], features, t)
    difference = fixed.subtract(output, features, result, t, DIFFERENCE)
    return fixed.square_sum(difference, DIFFERENCE, SCORE, SCORE)


def student() -> tuple[list[Layer], FixedType]:
    """The layout of CICADA's student v2 with random weights, and the type of its inputs."""
    rng = np.random.default_rng(2)
    relu, accumulators = parsed("ufixed<10,6,RND_CONV,SAT>"), ("<30,22>", "<26,14>", "<26,14>")
    output = parsed("ufixed<16,8,RND_CONV,SAT>")
    shapes = [((2, 2, 1, 4), "<12,4>", 60), ((252, 16), "<8,2>", 3), ((16, 1), "<12,4>", 300)]
    network = []
    for number, ((shape, weight, size), accum) in enumerate(zip(shapes, accumulators, strict=True)):
        kernel = np.rint(rng.normal(size / 10, size, shape)).astype(np.int32)
        bias = np.rint(rng.normal(0, 4, shape[-1:])).astype(np.int32)
        types = parsed(f"fixed{weight}"), parsed("fixed<8,4>"), parsed("fixed<24,12,RND,SAT>")
        place = (2, "valid") if number == 0 else (None, None)
        activation = output if number == 2 else relu
        layer = Layer(kernel, bias, *types, "relu", activation, parsed(f"fixed{accum}"), *place)
        network.append(layer)
    return network, FixedType(10, 10, signed=False)


def inputs(events: int) -> np.ndarray:
    m = np.rint(np.random.default_rng(3).normal(0, 2 * 2**8, (events, 57)))
    return np.clip(m, INPUT.lowest, INPUT.highest).astype(np.int32)


def test_scores_are_the_same_compiled_and_for_every_member():
    network, x = axol1tl(), inputs(2000)
    scores = np.asarray(jax.jit(lambda x: distance(network, x))(x))
    assert scores.dtype == "int64"
    assert len(np.unique(scores)) > 1500
    network = network[:2]
    members = [[layer._replace(kernel=layer.kernel // n) for layer in network] for n in (1, 2)]
    kernels = [np.stack([member[i].kernel for member in members]) for i in range(2)]

    @jax.jit
    def codes(kernels, width):
        own = [
            layer._replace(kernel=kernel, result_type=RESULT._replace(width=width))
            for layer, kernel in zip(network, kernels, strict=True)
        ]
        return fixed.run(own, x, INPUT, "int32")[0]

    found = jax.vmap(codes, (0, None))(kernels, 18)
    assert found.dtype == "int32"
    for member, ours in zip(members, found, strict=True):
        alone = jax.jit(lambda x, member=member: fixed.run(member, x, INPUT)[0])
        np.testing.assert_array_equal(ours, alone(x))


def test_example_of_the_page_runs():
    page = (ROOT / "docs/deployment.md").read_text()
    (code,) = (code for code in blocks(page, "python") if "fixed.Layer(" in code)
    exec(code, {})


def test_convolutions_are_flattened_for_dense_layers():
    network, t = student()
    x = np.random.default_rng(4).poisson(3, (30, 18, 14, 1))
    hidden_type = network[0].output_type
    y, hidden = jax.jit(lambda x: [fixed.run(network[:n], x, t)[0] for n in (3, 1)])(x)
    assert (y.shape, hidden.shape) == ((30, 1), (30, 9, 7, 4))
    last = jax.jit(lambda x: fixed.run(network[1:], x, hidden_type)[0])
    np.testing.assert_array_equal(y, last(hidden.reshape(30, 252)))


def test_bounds_hold_whatever_comes_in():
    network, x = axol1tl(), np.where(inputs(500) > 0, INPUT.highest, INPUT.lowest)
    (first, *_), t = fixed.bounds(network, INPUT), FixedType(60, 40)
    wide = network[0]._replace(result_type=t, activation="")
    largest = np.abs(np.asarray(fixed.run([wide], x, INPUT)[0])).max() / 2 ** (20 - 11)
    assert first.total / 8 < largest <= first.total
    assert first.bits == first.total.bit_length() + 1


def test_what_is_wrong_in_a_layer_is_said_with_its_number():
    network = axol1tl()
    network[3] = network[3]._replace(activation="tanh")
    with pytest.raises(
        UserError, match='layer 3: activation: expected "" or "relu", found \'tanh\''
    ):
        fixed.run(network, inputs(2), INPUT)
    wide = Layer(np.full((76, 1), -(2**17)), np.zeros(1, int), *[FixedType(18, 8)] * 3)
    with pytest.raises(UserError, match="layer 0: dense: needs 42 bits, which the lane int32 does"):
        fixed.run([wide], np.zeros((1, 76), int), FixedType(18, 8), "int32")
    with pytest.raises(UserError, match="layer 0: weights or types are traced: no bound is known"):
        jax.vmap(lambda kernel: fixed.bounds([wide._replace(kernel=kernel)], wide.kernel_type))(
            wide.kernel[None]
        )


def of_hls4ml(network: list[Layer], shape: tuple[int, ...], t: FixedType, folder: Any) -> Any:
    """hls4ml's compiled project of a network, of its squared distance where it takes vectors."""
    import hls4ml
    import keras
    from keras.layers import Activation, Conv2D, Dense, Flatten, Input, Multiply, Subtract

    y = x = Input(shape, name="x")
    types: dict[str, dict[str, Any]] = {"x": {"result": t}}
    weights: dict[str, list[np.ndarray]] = {}

    def linear(name: str, y: Any, layer: Layer) -> Any:
        if layer.stride is None:
            made = Dense(layer.kernel.shape[1], name=name)
        else:
            rows, columns, _, outputs = layer.kernel.shape
            made = Conv2D(outputs, (rows, columns), layer.stride, layer.padding, name=name)
        types[name] = {
            "weight": layer.kernel_type,
            "bias": layer.bias_type,
            "result": layer.result_type,
        } | ({"accum": layer.accum} if layer.accum else {})
        weights[name] = [
            np.asarray(fixed.to_float(m, of)).astype(np.float32)
            for m, of in ((layer.kernel, layer.kernel_type), (layer.bias, layer.bias_type))
        ]
        return made(y)

    for number, layer in enumerate(network):
        if layer.stride is None and len(y.shape) == 4:
            y = Flatten()(y)
        y = linear(f"dense_{number}", y, layer)
        if layer.activation:
            types[f"relu_{number}"] = {"result": layer.activation_type}
            y = Activation("relu", name=f"relu_{number}")(y)
        if number == FEATURES - 1:
            features = y
    if len(shape) == 1:
        types |= {"difference": {"result": DIFFERENCE}, "square": {"result": SCORE}}
        y = Subtract(name="difference")([y, features])
        y = Multiply(name="square")([y, y])
        ones, zero = np.ones((SIZES[-1], 1), np.int32), np.zeros(1, np.int32)
        y = linear("score", y, Layer(ones, zero, *[FixedType(4, 4)] * 2, SCORE))
    model = keras.Model(x, y)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
    for name, of_layer in types.items():
        of_layer = {part: str(found) for part, found in of_layer.items()}
        config["LayerName"][name]["Precision"] = config["LayerName"][name]["Precision"] | of_layer
        linear_part = config["LayerName"].get(f"{name}_linear")
        if linear_part:
            linear_part["Precision"]["result"] = of_layer["result"]
    project = hls4ml.converters.convert_from_keras_model(
        model, hls_config=config, output_dir=str(folder), backend="Vitis", io_type="io_parallel"
    )
    project.compile()
    return project


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("case", ["exact", "capped", "student"])
def test_integers_are_those_of_an_hls4ml_build(case, tmp_path, capsys):
    """A minute of compilation each. Integers are equal for inputs over the whole range, too.

    Of those that are like events there are thousands of scores, hardly any of which saturates.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    pytest.importorskip("hls4ml")
    pytest.importorskip("keras")
    rng, events = np.random.default_rng(5), 5000
    if case == "student":
        network, t = student()
        x = rng.poisson(rng.gamma(2, 4, (events, 1, 1, 1)) * rng.gamma(1, 1, (events, 18, 14, 1)))
        score_type = network[-1].output_type
    else:
        capped = parsed("fixed<13,5,TRN,WRAP>") if case == "capped" else None
        network, t, x, score_type = axol1tl(capped), INPUT, inputs(events), SCORE
    project = of_hls4ml(network, x.shape[1:], t, tmp_path)
    x = np.concatenate([x, rng.integers(t.lowest, t.highest + 1, (2000, *x.shape[1:]))])

    ours = fixed.run(network, x, t)[0][:, 0] if case == "student" else distance(network, x)
    ours = np.asarray(ours)
    values = np.ascontiguousarray(np.asarray(fixed.to_float(x, t)), dtype=np.float64)
    found = np.asarray(project.predict(values), np.float64).reshape(-1) * 2.0**score_type.fraction
    saturated = [np.mean(ours[:events] == score_type.highest)]
    for number, layer in enumerate(network):
        y, given = np.asarray(fixed.run(network[: number + 1], x[:events], t)[0]), layer.output_type
        saturated.append(np.mean((y == given.highest) | (given.signed & (y == given.lowest))))
    with capsys.disabled():
        print(
            f"\n{case}: {len(ours)} events, {np.sum(found != ours)} differences; like events "
            f"{events}, {len(np.unique(ours[:events]))} scores, {max(saturated):.2%} of a layer "
            "or of the scores saturated"
        )
    np.testing.assert_array_equal(found, ours)
    assert max(saturated) < 0.01
    assert len(np.unique(ours[:events])) > 1000
    for number, layer in enumerate(network):
        if layer.accum is None:
            types = t, layer.kernel_type, layer.bias_type
            given = project.graph[f"dense_{number}"].types["accum_t"].precision
            accum = FixedType(given.width, given.integer, given.signed)
            assert fixed.auto_accum(*types, len(layer.kernel)) == accum
        t = layer.output_type
    if case == "capped":
        exact = np.asarray(distance(axol1tl(), x))
        assert np.mean((ours != exact)[:events]) > 0.05, "hardly any sum wraps"
