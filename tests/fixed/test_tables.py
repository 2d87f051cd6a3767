"""Tables of tanh and sigmoid: at known places, and those that hls4ml compiles."""

import itertools
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.fixed import FixedType, parsed, table
from jaxad.fixed.tables import entries

FUNCTIONS = ("tanh", "sigmoid")
INPUTS = [FixedType(12, 5), FixedType(12, 3, signed=False), FixedType(12, 14)]
RESULT = parsed("fixed<16,4,RND_CONV,SAT>")
TABLES = [
    (1024, FixedType(18, 8)),
    (4096, FixedType(20, 2, True, "RND", "SAT")),
    (64, FixedType(30, 2)),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_table_is_its_function_within_a_step(function):
    t, result = FixedType(16, 6), FixedType(18, 8)
    m = np.arange(t.lowest, t.highest + 1, 7)
    found = np.asarray(jax.jit(lambda m: table(m, function, t, result))(m)) / 2**10
    x = m / 2**10
    wanted = np.tanh(x) if function == "tanh" else 1 / (1 + np.exp(-x))
    limit = 8 / 1024 if function == "tanh" else 16 / 1024 / 4
    assert np.abs(found - wanted).max() < limit + 2 / 2**10
    assert (np.diff(found) >= 0).all()
    # Towards zero: on the left the entry is that of the next step.
    step = 8 if function == "tanh" else 16
    ends = table(np.array([-1, 0, 1, step, -step]), function, t, result).tolist()
    assert ends[0] == ends[1] == ends[2] != ends[3]
    assert ends[4] < ends[0]


PROGRAM = """
#include <cstdio>
#include "nnet_utils/nnet_activation.h"
template <unsigned N, class T> struct Config {
    static const unsigned n_in = 4096, table_size = N;
    typedef T table_t;
};
template <class T> void write(T from) {
    int count = (int)from.range(T::width - 1, 0).to_int64();
    fwrite(&count, 4, 1, stdout);
}
template <unsigned N, class T> void tables() {
    static T table[2][N];
    nnet::init_tanh_table<Config<N, T>, N>(table[0]);
    nnet::init_sigmoid_table<Config<N, T>, N>(table[1]);
    for (auto &row : table) for (T &each : row) write(each);
}
template <class X, class C> void both(int low) {
    typedef ap_fixed<16, 4, AP_RND_CONV, AP_SAT> R;
    static X x[4096];
    static R y[2][4096];
    for (int i = 0; i < 4096; i++) x[i].range(11, 0) = low + i;
    nnet::tanh<X, R, C>(x, y[0]);
    nnet::sigmoid<X, R, C>(x, y[1]);
    for (auto &row : y) for (R &each : row) write(each);
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_tables_are_those_that_hls4ml_compiles(tmp_path):
    """Every input of 12 bits, for three tables of either function."""
    pytest.importorskip("hls4ml")
    headers = Path(find_spec("hls4ml").origin).parent / "templates/vivado"
    cases = list(itertools.product(INPUTS, TABLES))
    calls = [f"tables<{number}, {cpp(t)}>();" for number, t in TABLES] + [
        f"both<{cpp(x)}, Config<{number}, {cpp(t)}>>({x.lowest});" for x, (number, t) in cases
    ]
    (tmp_path / "all.cpp").write_text(f"{PROGRAM} int main() {{ {' '.join(calls)} }}")
    include = [f"-I{headers}", f"-I{headers / 'ap_types'}"]
    command = ["g++", "-O0", "-w", "-std=c++14", *include, "all.cpp", "-o", "all"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./all"], cwd=tmp_path, check=True, capture_output=True)
    written = iter(np.frombuffer(done.stdout, np.int32))

    def read(t: FixedType, *shape: int) -> np.ndarray:
        raw = np.fromiter(written, np.int32, np.prod(shape)).reshape(shape)
        return np.where(raw > t.highest, raw - 2**t.width, raw)

    compiled = {number: read(t, 2, number) for number, t in TABLES}
    for number, t in TABLES:
        for function, stored in zip(FUNCTIONS, compiled[number], strict=True):
            ours = np.asarray(entries(function, number, t))
            if t.width < 24:  # of a float32
                assert (ours != stored).sum() <= number // 200, f"{function} {number} {t}"
            np.testing.assert_allclose(ours, stored, rtol=1.2e-7, atol=1)
    for x, (number, t) in cases:
        m = np.arange(x.lowest, x.highest + 1)
        for function, stored, row in zip(
            FUNCTIONS, compiled[number], read(RESULT, 2, 4096), strict=True
        ):
            ours = table(m, function, x, RESULT, number, t, stored)
            np.testing.assert_array_equal(ours, row, f"{function} {x} {number} {t}")


def cpp(t: FixedType) -> str:
    name = "ap_fixed" if t.signed else "ap_ufixed"
    return f"{name}<{t.width},{t.integer},AP_{t.rounding},AP_{t.overflow}>"


def test_a_table_that_is_none_is_refused():
    with pytest.raises(UserError, match="expected one of tanh, sigmoid, found 'softmax'"):
        table(np.array([1]), "softmax", RESULT, RESULT)
    with pytest.raises(UserError, match="expected a power of two from 16 on as its size"):
        table(np.array([1]), "tanh", RESULT, RESULT, 1000)
