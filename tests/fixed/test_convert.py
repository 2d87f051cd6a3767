"""Conversions: against exact fractions, and against the headers of ap_fixed themselves."""

import itertools
import shutil
import subprocess
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_numbers import assigned, value

from jaxad.errors import UserError
from jaxad.fixed import FixedType, convert, from_float, to_float
from jaxad.fixed.types import OVERFLOWS, ROUNDINGS

KINDS = list(itertools.product((False, True), itertools.product(ROUNDINGS, OVERFLOWS)))
SHAPES = [(7, 4), (5, -1), (4, 7), (3, 8)]  # F: 3, 6, -3, -5
# The headers read no bit above the first: at most 12 bits are cut.
SOURCES = [FixedType(12, 5), FixedType(12, 6, signed=False), FixedType(12, 14)]
CASES = [(source, shape) for source in SOURCES[:2] for shape in SHAPES] + [(SOURCES[2], (4, 7))]
WIDTHS, INTEGERS = np.array([shape for _, shape in CASES]).T[..., None]
FRACTIONS = np.array([[source.fraction] for source, _ in CASES])
INPUTS = np.stack([np.arange(source.lowest, source.highest + 1) for source, _ in CASES])


def converted(m: np.ndarray, signed: bool, modes: tuple[str, str]) -> np.ndarray:
    """Every case at once, widths as arrays."""
    t = FixedType(jnp.asarray(WIDTHS), jnp.asarray(INTEGERS), signed, *modes)
    return np.asarray(convert(m, FRACTIONS, t, "int32"))


@pytest.mark.parametrize("modes", sorted({modes for _, modes in KINDS}), ids="-".join)
@pytest.mark.parametrize("signed", [False, True])
def test_conversions_are_those_of_fractions(signed, modes):
    m = np.concatenate([INPUTS[:, :40], INPUTS[:, 1000:1040], INPUTS[:, 31::64]], 1)
    found = converted(m, signed, modes)
    for (source, shape), row, ours in zip(CASES, m, found, strict=True):
        t = FixedType(*shape, signed, *modes)
        assert ours.tolist() == [assigned(value(each, source), t) for each in row], f"{source} {t}"


PROGRAM = """
#include <cstdio>
#include "ap_fixed.h"
template <class S, class T> void all(int low, int high) {
    for (int m = low; m <= high; m++) {
        S from; T to;
        from.range(S::width - 1, 0) = m;
        to = from;
        short count = (short)(long long)(to.range(T::width - 1, 0).to_int64());
        fwrite(&count, 2, 1, stdout);
    }
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_twelve_bits_are_those_of_the_headers(tmp_path):
    """Types in the order of the program, whose output is the raw bits of every count."""
    pytest.importorskip("hls4ml")
    headers = Path(find_spec("hls4ml").origin).parent / "templates/vivado/ap_types"
    calls = [
        f"all<{cpp(source)}, {cpp(FixedType(*shape, signed, *modes))}>"
        f"({source.lowest}, {source.highest});"
        for signed, modes in KINDS
        for source, shape in CASES
    ]
    (tmp_path / "all.cpp").write_text(f"{PROGRAM} int main() {{ {' '.join(calls)} }}")
    command = ["g++", "-O0", "-w", "-std=c++14", f"-I{headers}", "all.cpp", "-o", "all"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./all"], cwd=tmp_path, check=True, capture_output=True)
    bits = np.frombuffer(done.stdout, np.int16).reshape(len(KINDS), *INPUTS.shape)
    for (signed, modes), raw in zip(KINDS, bits, strict=True):
        wanted = np.where(signed & (raw >= 2 ** (WIDTHS - 1)), raw - 2**WIDTHS, raw)
        np.testing.assert_array_equal(converted(INPUTS, signed, modes), wanted, str(modes))


def cpp(t: FixedType) -> str:
    name = "ap_fixed" if t.signed else "ap_ufixed"
    return f"{name}<{t.width},{t.integer},AP_{t.rounding},AP_{t.overflow}>"


def random_case(rng: np.random.Generator, bits: int) -> tuple[int, int, FixedType]:
    """A count of up to so many bits, its fraction, and a type of up to so many."""
    signed, rounding, overflow = rng.integers(2), rng.choice(ROUNDINGS), rng.choice(OVERFLOWS)
    width = int(rng.integers(1 + signed, bits + signed))
    t = FixedType(width, int(rng.integers(-70, 70)), bool(signed), str(rounding), str(overflow))
    m = int(rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)) >> int(rng.integers(bits))
    return m, int(rng.integers(-70, 70)), t


@pytest.mark.parametrize("lane", ["int32", "int64"])
def test_any_shift_is_exact_up_to_the_last_bit_of_the_lane(lane):
    rng = np.random.default_rng(3)
    bits = int(lane[3:])
    edges = [(-(2 ** (bits - 1)), f, random_case(rng, bits)[2]) for f in range(-80, 80, 5)]
    for m, fraction, t in [random_case(rng, bits) for _ in range(80)] + edges:
        wanted = assigned(Fraction(m) / Fraction(2) ** fraction, t)
        assert int(convert(m, fraction, t, lane)) == wanted, (m, fraction, t)


def test_widths_may_be_traced_and_batched():
    m = np.arange(-300, 300)
    widths, integers = np.array([4, 6, 9]), np.array([2, -1, 7])

    @jax.jit
    def each(width, integer):
        return convert(m, 5, FixedType(width, integer, True, "RND_CONV", "SAT"), "int32")

    found = jax.vmap(each)(widths, integers)
    for row, *shape in zip(found, widths.tolist(), integers.tolist(), strict=True):
        t = FixedType(*shape, True, "RND_CONV", "SAT")
        np.testing.assert_array_equal(row, convert(m, 5, t))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_taken_at_their_exact_values(dtype):
    rng = np.random.default_rng(4)
    size = np.finfo(dtype)
    x = np.ldexp(rng.normal(size=60), rng.integers(-30, 14, 60)).astype(dtype)
    x = np.r_[x, [0, -0.0, 0.5, -2.5, size.tiny, -size.tiny / 4, size.max, size.min]].astype(dtype)
    for _ in range(5):
        t = random_case(rng, 32)[2]
        assert from_float(x, t).tolist() == [assigned(Fraction(float(each)), t) for each in x], t
    if dtype == "float32":
        np.testing.assert_array_equal(jax.jit(from_float, static_argnums=1)(x, t), from_float(x, t))


@pytest.mark.parametrize("t", [FixedType(25, 3), FixedType(37, 23), FixedType(54, -20)])
def test_values_of_counts_are_exact_floats(t):
    m = np.array([t.lowest, -3, 0, 1, t.highest - 1])
    found = jax.jit(to_float, static_argnums=1)(from_float(to_float(m, t), t), t)
    assert found.dtype == ("float32" if t.width == 25 else "float64")
    assert [Fraction(float(each)) for each in np.asarray(found)] == [value(each, t) for each in m]


def test_what_is_no_count_is_refused():
    t = FixedType(8, 4)
    with pytest.raises(UserError, match="expected integers, found float64: see"):
        convert(np.array([0.5]), 2, t)
    with pytest.raises(UserError, match="0 to 5000000000 do not fit the lane int32"):
        convert(np.array([0, 5_000_000_000]), 2, t, "int32")
    with pytest.raises(UserError, match="needs 40 bits, which the lane int32 does not hold"):
        convert(np.array([1]), 2, FixedType(40, 20), "int32")
    with pytest.raises(UserError, match="finite"):
        from_float(np.array([np.nan]), t)
    with pytest.raises(UserError, match="expected one of float32, int32, float64, int64"):
        convert(np.array([1]), 2, t, "int16")
