"""Integer layers: against exact fractions, one count at a time."""

import exact_numbers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_numbers import assigned, value

from jaxad import fixed
from jaxad.errors import UserError
from jaxad.fixed import FixedType, parsed

X, WEIGHT, BIAS = FixedType(9, 4), FixedType(6, 2), FixedType(7, 5, overflow="SAT")
RESULT = parsed("fixed<9,5,RND_CONV,SAT>")
ACCUMULATORS = [
    "",
    "fixed<16,7,TRN,WRAP>",
    "fixed<10,5,RND_CONV,SAT>",
    "ufixed<9,4,RND,SAT>",
    "ufixed<11,4,TRN,WRAP>",
    "fixed<24,14,RND_INF,SAT>",
]


def random(rng: np.random.Generator, t: FixedType, *shape: int) -> np.ndarray:
    return rng.integers(t.lowest, t.highest + 1, shape).astype(np.int32)


def dense_case(rng, inputs=7, outputs=3, events=12):
    return (
        random(rng, X, events, inputs),
        random(rng, WEIGHT, inputs, outputs),
        random(rng, BIAS, outputs),
    )


@pytest.mark.parametrize("accum", ACCUMULATORS)
def test_dense_is_that_of_fractions(accum):
    """Where the accumulator is given, too: in the order of the inputs."""
    rng = np.random.default_rng(1)
    accum = parsed(accum) if accum else None
    types = X, WEIGHT, BIAS, RESULT
    x, kernel, bias = dense_case(rng, events=40)
    found = fixed.dense(x, kernel, bias, *types, accum)
    np.testing.assert_array_equal(found, exact_numbers.dense(x, kernel, bias, types, accum))
    assert found.dtype == "int32"


def test_order_of_a_sum_matters_where_it_saturates_alone():
    rng = np.random.default_rng(2)
    x, kernel, bias = dense_case(rng, events=200)
    exact = fixed.auto_accum(X, WEIGHT, BIAS, 7)
    for overflow, same in (("WRAP", True), ("SAT", False)):
        # Integer bits are missing, no fractional one.
        accum = FixedType(exact.width - 5, exact.integer - 5, True, "TRN", overflow)
        forth, back = (
            fixed.dense(x[:, order], kernel[order], bias, X, WEIGHT, BIAS, RESULT, accum)
            for order in (slice(None), slice(None, None, -1))
        )
        assert (forth == back).all() == same
        assert (forth != fixed.dense(x, kernel, bias, X, WEIGHT, BIAS, RESULT)).any()


@pytest.mark.parametrize(
    "types",
    [
        ("fixed<14,6>", "fixed<4,1>", "fixed<4,1>"),
        ("ufixed<5,2>", "ufixed<4,4>", "fixed<9,1>"),
        ("fixed<5,-1>", "ufixed<4,1>", "ufixed<8,7>"),
        ("ufixed<3,5>", "ufixed<4,1>", "ufixed<4,1>"),
    ],
)
def test_automatic_accumulators_lose_nothing(types):
    rng = np.random.default_rng(3)
    types = [parsed(t) for t in types]
    accum = fixed.auto_accum(*types, 19)
    for extreme in (False, True):
        x, kernel, bias = (
            np.where(rng.random(shape) < 0.5, t.lowest, t.highest)
            if extreme
            else random(rng, t, *shape)
            for t, shape in zip(types, [(50, 19), (19, 4), (4,)], strict=True)
        )
        wide = FixedType(40, 20)
        found = [fixed.dense(x, kernel, bias, *types, wide, each) for each in (None, accum)]
        np.testing.assert_array_equal(*found)


def test_automatic_accumulators_are_those_of_hls4ml():
    """Measured: <25,14> for 57 inputs <14,6> and weights <4,1>."""
    t = fixed.auto_accum(parsed("fixed<14,6>"), parsed("fixed<4,1>"), parsed("fixed<4,1>"), 57)
    assert t == FixedType(25, 14)
    traced = jax.jit(lambda w: fixed.auto_accum(FixedType(w, 6), WEIGHT, BIAS, 57)[:2])(9)
    assert tuple(map(int, traced)) == fixed.auto_accum(FixedType(9, 6), WEIGHT, BIAS, 57)[:2]


def test_every_weight_and_neuron_may_have_its_own_type():
    rng = np.random.default_rng(4)
    x_types = FixedType(np.array([9, 8, 5, 9]), np.array([4, 2, 6, 4]))
    kernel_types = FixedType(rng.integers(2, 6, (4, 3)), rng.integers(-1, 3, (4, 3)))
    results = FixedType(np.array([8, 9, 4]), np.array([5, 2, 4]), True, "RND", "SAT")
    x = rng.integers(x_types.lowest, x_types.highest + 1, (10, 4)).astype(np.int32)
    kernel = rng.integers(kernel_types.lowest, kernel_types.highest + 1).astype(np.int32)
    bias = random(rng, BIAS, 3)
    found = fixed.dense(x, kernel, bias, x_types, kernel_types, BIAS, results)

    def one(t: FixedType, *place: int) -> FixedType:
        return t._replace(width=int(t.width[place]), integer=int(t.integer[place]))

    for row, column in np.ndindex(10, 3):
        products = [
            value(x[row, i], one(x_types, i))
            * value(kernel[i, column], one(kernel_types, i, column))
            for i in range(4)
        ]
        total = sum(products) + value(bias[column], BIAS)
        assert found[row, column] == assigned(total, one(results, column))

    @jax.jit
    def traced(width):
        types = x_types._replace(width=width), kernel_types, BIAS, results
        return fixed.dense(x, kernel, bias, *types, lane="int32")

    np.testing.assert_array_equal(traced(x_types.width), found)


@pytest.mark.parametrize(("stride", "padding"), [((1, 2), "valid"), ((3, 1), "same")])
def test_convolutions_are_dense_layers_on_patches(stride, padding):
    rng = np.random.default_rng(5)
    x, kernel, bias = (
        random(rng, X, 2, 1, 6, 5, 3),
        random(rng, WEIGHT, 3, 2, 3, 4),
        random(rng, BIAS, 4),
    )
    accum = parsed("fixed<11,6,TRN,SAT>")
    found = fixed.conv(x, kernel, bias, X, WEIGHT, BIAS, RESULT, stride, padding, accum=accum)
    # XLA's own placing of the patches, whose last axis is channel, row, column.
    patches = jax.lax.conv_general_dilated_patches(
        x[:, 0].astype(np.float32),
        (3, 2),
        tuple(np.broadcast_to(stride, 2)),
        padding.upper(),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    patches = np.asarray(patches, int).reshape(*patches.shape[:3], 3, 3, 2)
    patches = np.moveaxis(patches, 3, 5).reshape(*patches.shape[:3], -1)
    wanted = fixed.dense(patches, kernel.reshape(-1, 4), bias, X, WEIGHT, BIAS, RESULT, accum)
    np.testing.assert_array_equal(found[:, 0], wanted)


@pytest.mark.parametrize(
    "result", ["fixed<6,3,RND_CONV,SAT>", "ufixed<10,2,TRN,WRAP>", "fixed<5,-1>"]
)
def test_elementwise_layers_are_those_of_fractions(result):
    result, alpha_type, other = parsed(result), FixedType(5, 0, signed=False), FixedType(7, 7)
    steep = FixedType(4, 6)
    x = np.arange(X.lowest, X.highest + 1)
    y = np.resize(np.arange(other.lowest, other.highest + 1), x.shape)
    values = [value(m, X) for m in x]
    alpha = value(9, alpha_type)
    wanted = {
        "relu": [max(v, 0) for v in values],
        "leaky": [v if v > 0 else alpha * v for v in values],
        "steep": [v if v > 0 else value(3, steep) * v for v in values],
        "subtract": [v - value(m, other) for v, m in zip(values, y, strict=True)],
    }
    found = {
        "relu": fixed.relu(x, X, result),
        "leaky": fixed.leaky_relu(x, 9, X, alpha_type, result),
        "steep": fixed.leaky_relu(x, 3, X, steep, result),
        "subtract": fixed.subtract(x, y, X, other, result),
    }
    for name in wanted:
        assert found[name].tolist() == [assigned(v, result) for v in wanted[name]], name


@pytest.mark.parametrize(
    ("difference", "square", "total"),
    [
        ("fixed<10,7,RND_CONV,SAT>", "ufixed<18,14>", "ufixed<18,14>"),  # AXOL1TL v3
        ("fixed<18,11>", "fixed<37,23>", "fixed<37,23>"),  # AXOL1TL v5
        ("fixed<10,7>", "ufixed<18,14>", "fixed<9,7,RND,SAT>"),
    ],
)
def test_sums_of_squares_are_those_of_fractions(difference, square, total):
    difference, square, total = parsed(difference), parsed(square), parsed(total)
    x = random(np.random.default_rng(6), difference, 40, 8)
    x[0] = difference.lowest  # the square of which wraps in 14 integer bits of v3
    found = jax.jit(lambda x: fixed.square_sum(x, difference, square, total))(x)
    for row, ours in zip(x, found.tolist(), strict=True):
        wanted = 0
        for m in row:
            term = value(assigned(value(m, difference) ** 2, square), square)
            wanted = assigned(value(wanted, total) + term, total)
        assert ours == wanted


def test_a_layer_that_is_none_is_refused():
    x, kernel, bias = dense_case(np.random.default_rng(7))
    types = X, WEIGHT, BIAS, RESULT
    with pytest.raises(UserError, match='padding: expected "valid" or "same", found \'full\''):
        fixed.conv(x, kernel, bias, *types, padding="full")
    with pytest.raises(UserError, match="a kernel of 4 does not fit 3 pixels"):
        fixed.conv(np.zeros((3, 3, 1), int), np.zeros((4, 1, 1, 1), int), np.zeros(1, int), *types)
    with pytest.raises(UserError, match="dense: expected a lane of int32, int64, found float32"):
        fixed.dense(x, kernel, bias, *types, accum=RESULT, lane="float32")
    with pytest.raises(UserError, match="expected integers, found float32"):
        fixed.dense(jnp.ones((2, 7)), kernel, bias, *types)


NARROW, CUT = FixedType(8, 8), FixedType(4, 1, True, "RND", "SAT_SYM")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            lambda: fixed.dense([[2**20]], [[1]], [0], NARROW, CUT, CUT, X),
            "dense: expected x within -128 to 127, the counts of its type, found 1048576",
        ),
        (
            lambda: fixed.dense([[1]], [[100]], [0], NARROW, FixedType(4, 1), CUT, X),
            "dense: expected kernel within -8 to 7,",
        ),
        (
            lambda: fixed.dense([[1]], [[1]], [-8], NARROW, CUT, CUT, X, RESULT),
            "dense: expected bias within -7 to 7,",
        ),
        (
            lambda: fixed.conv(
                jnp.full((1, 1, 1), 128), np.ones((1, 1, 1, 1), int), [0], NARROW, CUT, CUT, X
            ),
            "dense: expected x within -128 to 127,",
        ),
        (
            lambda: fixed.run(
                [fixed.Layer([[1, 16]], [0, 0], FixedType(np.array([4, 5]), 1), CUT, X)],
                np.array([[256]]),
                FixedType(10, 10),
            ),
            "layer 0: dense: expected kernel within -16 to 15,",
        ),
        (lambda: fixed.relu([-129], NARROW, X), "relu: expected x"),
        (lambda: fixed.leaky_relu([1], 8, NARROW, CUT, X), "leaky_relu: expected alpha"),
        (lambda: fixed.subtract([1], [128], NARROW, NARROW, X), "subtract: expected b"),
        (lambda: fixed.square_sum([[-129]], NARROW, X, X), "square_sum: expected x"),
        (lambda: fixed.table([128], "tanh", NARROW, X), "table: expected x"),
        (
            lambda: fixed.table([1], "tanh", NARROW, X, 16, FixedType(8, 2), np.full(16, 128)),
            "table: expected stored",
        ),
        (lambda: fixed.to_float([-8, 7], CUT), "to_float: expected m within -7 to 7,"),
        (lambda: fixed.relu([-1], NARROW._replace(signed=False), X), "within 0 to 255,"),
    ],
)
def test_counts_out_of_the_range_of_their_type_are_refused(layer, message):
    """The lane is chosen by the types, and C++ holds no such number."""
    with pytest.raises(UserError, match=message):
        layer()


def test_counts_that_are_traced_are_not_looked_at():
    found = jax.jit(lambda x: fixed.relu(x, NARROW, NARROW))(np.array([128, 5]))
    assert found.tolist() == [-128, 5]  # as 128 wraps
