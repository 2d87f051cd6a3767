"""Every operation on every type: what jax gives, or a refusal by name."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping

import jax
import numpy as np
import pytest
from operator_cases import Case, cases, differences, evaluated, reductions, table

from jaxad.errors import UserError
from jaxad.export.cpp.translate import Translator, Values
from jaxad.export.cpp.writer import FLAGS, PRELUDE, declared

pytestmark = pytest.mark.cpu("numbers at the edges of float32 as a CPU computes them")

TABLE = np.ascontiguousarray(table().T)
CASES = [*cases(), *reductions()]
EVERY = "float32 int32 uint32 bool"
SMALL = {f"convert {to}": EVERY for to in ("int8", "uint8", "float16", "bfloat16")}
ROUNDED = dict.fromkeys(("reduce_precision (8, 7)", "reduce_precision (5, 10)"), "float32")
LACKING = {"nextafter": "float32", "population_count": "int32 uint32"}
WHOLE = {"cummax": "float32 int32 uint32", "dot_general": "int32 uint32"}
CPP_REFUSES = SMALL | ROUNDED | LACKING | WHOLE | dict.fromkeys(("argmax", "argmin"), EVERY)
ONNX_REFUSES = {
    **(SMALL | ROUNDED | LACKING | WHOLE),
    **dict.fromkeys(("cbrt", "round AWAY_FROM_ZERO"), "float32"),
    **{f"integer_pow {y}": "uint32" for y in (0, 1, 2, 3, 7)},
    **{"bitcast int32": "float32 uint32", "bitcast float32": "int32 uint32"},
    **{"bitcast uint32": "int32", "not": "int32"},
    **{f"bitwise_{name}": "int32" for name in ("and", "or", "xor")},
    **dict.fromkeys(("shift_left", "shift_right_logical", "shift by 40"), "int32"),
    **dict.fromkeys(("shift_right_arithmetic", "cumsum", "reduce_prod"), "int32 uint32"),
    **dict.fromkeys(("argmax", "argmin", "reduce_max", "reduce_min"), "uint32"),
    **{"reduce_and": "int32 uint32", "reduce_or": "int32 uint32"},
    **{"reduce_xor": "int32 uint32 bool"},
}
"""What a format refuses: operation -> types."""

PROGRAM = """\
#include <cmath>
#include <cstring>
#include <limits>
{prelude}
{constants}
extern "C" void run(const float* raw, void** outs) {{
{lines}
}}
"""
DTYPES = {"float": np.float32, "int": np.int32, "unsigned": np.uint32, "truth": np.int32}


def parted(refuses: Mapping[str, str]) -> tuple[list[Case], list[Case]]:
    """The cases that a format takes, and those that it refuses."""
    parts: tuple[list[Case], list[Case]] = ([], [])
    for case in CASES:
        parts[case.dtype in refuses.get(case.name, "").split()].append(case)
    return parts


def traced(some: list[Case]):
    return jax.make_jaxpr(evaluated(some))(jax.ShapeDtypeStruct(TABLE.shape, np.float32))


def in_cpp(some: list[Case]) -> tuple[Translator, list]:
    translator = Translator()
    raw = Values("raw", np.arange(TABLE.size).reshape(TABLE.shape), "float")
    return translator, translator.translate(traced(some), [raw])


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_cpp_does_as_jax_or_refuses(tmp_path):
    taken, refused = parted(CPP_REFUSES)
    for case in refused:
        with pytest.raises(UserError, match="no translation for"):
            in_cpp([case])
    translator, outputs = in_cpp(taken)
    found = []
    for k, values in enumerate(outputs):
        whole = np.array_equal(values.place, np.arange(values.place.size))
        copied = values if whole else translator.copied(values)
        translator.lines.append(f"std::memcpy(outs[{k}], {copied.buffer}, sizeof {copied.buffer});")
        found.append(np.zeros(values.shape, DTYPES[values.type]))
    lines = "\n".join(translator.lines)
    source = PROGRAM.format(prelude=PRELUDE, constants=declared(translator), lines=lines)
    library = str(tmp_path / "operators.so")
    command = [
        "g++",
        *FLAGS,
        "-O2",
        "-Wall",
        "-Wno-unused",
        "-Werror",
        "-shared",
        "-fPIC",
        "-x",
        "c++",
    ]
    done = subprocess.run(
        [*command, "-", "-o", library], input=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:2000]
    places = (ctypes.c_void_p * len(found))(*(array.ctypes.data for array in found))
    ctypes.CDLL(library).run(TABLE.ctypes.data_as(ctypes.c_void_p), places)
    assert differences(taken, found, {}, signed_zeros=True) == []


def test_onnx_does_as_jax_or_refuses():
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    from jaxad.export.onnx.graph import TYPES, Graph
    from jaxad.export.onnx.writer import IR_VERSION, OPSET, translated

    taken, refused = parted(ONNX_REFUSES)
    for case in refused:
        graph = Graph(TABLE.shape)
        with pytest.raises(UserError, match="no translation for"):
            translated(graph, traced([case]), [graph.raw])
    graph = Graph(TABLE.shape)
    outputs = translated(graph, traced(taken), [graph.raw])
    names = [f"output_{k}" for k in range(len(outputs))]
    sources = [graph.explicit(values) for values in outputs]
    nodes, constants = graph.needed(sources)
    listed = [(node.op, node.inputs, node.outputs, node.attributes) for node in nodes]
    listed += [("Identity", [a], [b], {}) for a, b in zip(sources, names, strict=True)]
    content = helper.make_graph(
        [helper.make_node(op, a, b, **attributes) for op, a, b, attributes in listed],
        "operators",
        [helper.make_tensor_value_info("raw", TYPES["float32"], ["n", *TABLE.shape])],
        [
            helper.make_tensor_value_info(name, TYPES[values.dtype.name], ["n", *values.shape])
            for name, values in zip(names, outputs, strict=True)
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    found = helper.make_model(content, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(found, full_check=True)
    session = onnxruntime.InferenceSession(
        found.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    arrays = [array[0] for array in session.run(names, {"raw": TABLE[None]})]
    written_out = dict.fromkeys(("expm1", "log1p", "erfc"), 3e-7)
    assert differences(taken, arrays, written_out, signed_zeros=False) == []


TFLITE_REFUSES = {
    **LACKING,
    **{f"reduce_precision {bits}": "float32" for bits in ((8, 23), (8, 7), (5, 10))},
    **dict.fromkeys(("lt", "le", "gt", "ge", "max", "min"), "bool"),
    **{"bitwise_and": "int32", "bitwise_or": "int32", "bitwise_xor": "bool"},
    **dict.fromkeys(("shift_left", "shift_right_logical", "shift by 40"), "int32"),
    **{
        "convert uint8": "float32 int32 bool",
        "shift_right_arithmetic": "int32",
        "round AWAY_FROM_ZERO": "float32",
    },
}


@pytest.mark.slow
def test_tflite_does_as_jax_or_refuses():
    """Of finite numbers: an event with others has the score NaN."""
    pytest.importorskip("litert_converter")
    pytest.importorskip("ai_edge_litert")
    from export_case import ABOUT

    from jaxad.export.tflite import loaded, model

    rows = np.where(np.abs(TABLE.T) < 70 + 1e9 * (np.arange(7) > 1), TABLE.T, np.float32(0.25))
    errors = dict.fromkeys(("expm1", "log1p", "erfc", "sinh", "asinh", "atanh"), 3e-7)
    wrong, refused = [], set()
    for case in cases():
        as_float = case._replace(function=lambda *a, c=case: c.function(*a).astype("float32"))

        def score(raw, case=as_float):
            return evaluated([case])(raw.T)[0]

        try:
            found = loaded(model(score, (7,), ABOUT))(rows)[:, 0]
        except UserError as error:
            assert "cannot be converted" in str(error)
            refused.add(case.label)
            continue
        wrong += differences([as_float], [found], errors, signed_zeros=False, rows=rows)
    assert wrong == []
    expected = {f"{name} {of}" for name, types in TFLITE_REFUSES.items() for of in types.split()}
    assert {label for label in refused if "uint32" not in label} == {
        label for label in expected if "uint32" not in label
    }
    nan = loaded(model(lambda x: jax.nn.relu(x).sum(1), (2,), ABOUT))
    np.testing.assert_array_equal(
        nan(np.array([[1, np.nan], [1, 2]], np.float32))[:, 0], [np.nan, 3]
    )
