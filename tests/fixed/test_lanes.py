"""Lanes: which numbers hold a computation, under jit, vmap and no 64 bits around; and refusals."""

import jax
import numpy as np
import pytest

from jaxad import fixed
from jaxad.errors import UserError
from jaxad.fixed import FixedType, Layer, lanes

WIDE = FixedType(18, 8)
EXACT = FixedType(43, 23)  # 20 fractional bits: nothing is lost


@pytest.fixture(scope="module")
def wide():
    """18 x 18 bits over 76 inputs, and the exact integers."""
    rng = np.random.default_rng(1)
    x, kernel = (
        rng.integers(WIDE.lowest, WIDE.highest, (2, 40, 76)),
        rng.integers(WIDE.lowest, WIDE.highest, (76, 5)),
    )
    x[0, 0], kernel[:, 0] = WIDE.lowest, WIDE.lowest
    bias = rng.integers(WIDE.lowest, WIDE.highest, 5)
    wanted = x.astype(object) @ kernel.astype(object) + (bias.astype(object) << 10)
    return x.astype(np.int32), kernel, bias, wanted


@pytest.mark.parametrize("lane", [None, "float64", "int64"])
def test_wide_sums_are_right_where_the_lane_holds_them(wide, lane):
    """With JAX's 64 bits off around them, inside of compiled and vectorised functions."""
    *case, wanted = wide
    assert not jax.config.jax_enable_x64

    def scores(x):
        total = fixed.dense(x, *case[1:], WIDE, WIDE, WIDE, EXACT, lane=lane)
        return fixed.convert(total, EXACT.fraction, FixedType(30, 26)), total

    for function in (scores, jax.jit(scores), jax.vmap(scores), jax.jit(jax.vmap(scores))):
        narrow, total = function(case[0])
        np.testing.assert_array_equal(np.asarray(total).astype(object), wanted)
        assert (narrow.dtype, total.dtype) == ("int32", "int64")
        np.testing.assert_array_equal(narrow, np.int64(wanted >> 16))


@pytest.mark.parametrize("lane", ["float32", "int32"])
def test_wide_sums_are_wrong_elsewhere_and_refused(wide, lane):
    x, kernel, bias, wanted = wide
    found = fixed.bounds([Layer(kernel, bias, WIDE, WIDE, EXACT)], WIDE)[0]
    assert found.bits == 42
    with pytest.raises(UserError, match=f"dense: needs 43 bits, which the lane {lane} does not"):
        fixed.dense(x, kernel, bias, WIDE, WIDE, WIDE, EXACT, lane=lane)
    total = np.asarray(x.astype(lane) @ kernel.astype(lane)).astype(np.int64)
    assert (total != wanted - (bias << 10)).any()


def test_every_lane_that_is_allowed_gives_the_same():
    rng = np.random.default_rng(2)
    t, result = FixedType(8, 4), FixedType(12, 8, True, "RND_CONV", "SAT")
    x, kernel, bias = (rng.integers(-128, 128, shape) for shape in [(50, 30), (30, 6), (6,)])
    found = [
        fixed.dense(x, kernel, bias, t, t, t, result, lane=lane) for lane in (None, *lanes.LANES)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(
    ("largest", "lane"),
    [(2**17, "float32"), (2**17 + 1, "int32"), (2**24, "float64"), (2**46 + 1, "int64")],
)
def test_the_cheapest_lane_is_chosen_up_to_its_last_integer(largest, lane):
    """Of inputs up to 128 and one weight."""
    bound = lanes.Bound(128 * largest, 128 * largest)
    assert lanes.lane_of("dense", None, bound, [FixedType(8, 8)]) == lane
    x_type, bits = FixedType(8, 8), largest.bit_length() + 1
    types = x_type, FixedType(bits, bits), x_type, FixedType(bits + 8, bits + 8)
    total = fixed.dense(np.array([[-128], [127]]), np.array([[largest]]), np.array([0]), *types)
    assert np.asarray(total)[:, 0].tolist() == [-128 * largest, 127 * largest]


def test_traced_weights_take_the_lane_that_the_caller_names():
    rng = np.random.default_rng(3)
    t = FixedType(8, 4)
    x, kernels, bias = (rng.integers(-128, 128, shape) for shape in [(9, 30), (4, 30, 6), (6,)])

    def one(kernel, lane):
        return fixed.dense(x, kernel, bias, t, t, t, t, lane=lane)

    with pytest.raises(UserError, match="dense: weights or types are traced, so no bound is known"):
        jax.vmap(lambda kernel: one(kernel, None))(kernels)
    found = jax.vmap(lambda kernel: one(kernel, "int32"))(kernels)
    for kernel, ours in zip(kernels, found, strict=True):
        np.testing.assert_array_equal(ours, one(kernel, None))


def test_more_than_any_lane_is_refused():
    t = FixedType(40, 20)
    with pytest.raises(UserError, match="needs 79 bits, more than any lane of float32, int32,"):
        fixed.dense(np.ones((1, 1), int), np.array([[2**39 - 1]]), np.array([0]), t, t, t, t)
    wide = fixed.convert(np.array([2**36]), 0, FixedType(40, 40))
    with pytest.raises(UserError, match="counts: int64 do not fit the lane int32"):
        fixed.convert(wide, 0, WIDE, "int32")
