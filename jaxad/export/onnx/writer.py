"""A scorer as an ONNX model: any number of events, for ONNX Runtime, Triton and ROOT's SOFIE.

The scorer is traced for one event and its jaxpr translated, parameters inside; loops of fixed
length are unrolled. Opset 18, IR version 8, float32 in and out. The rate is interpolated between
the contract's knots, and the contract itself stands in the model's metadata, JSON value by key.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from jaxad.errors import UserError
from jaxad.export.contract import OUTPUTS
from jaxad.export.jaxpr import computed, loop_parts, walk
from jaxad.export.onnx import elementwise, indexing, operations, products
from jaxad.export.onnx.graph import RAW, TYPES, Graph, Operand, Values, refusal
from jaxad.methods.stages import trees

OPSET, ML_OPSET, IR_VERSION = 18, 3, 8
PACKED = "packed"
FORESTS = [trees.leaf_sums.__name__]
N_NODES = 10_000
"""Nodes at most that a loop is written out to."""


def _apply(graph: Graph, equation: Any, operands: list[Operand]) -> Sequence[Operand]:
    name, params = equation.primitive.name, equation.params
    shapes = [variable.aval.shape for variable in equation.invars]
    first = operands[0] if operands else None
    if name == "dim_as_value":
        size = graph.node("Cast", graph.size(params["dim"]), to=TYPES["int32"])
        return [Values(size, (), (), np.dtype(np.int32))]
    if not operands:
        for size in filter(jax.export.is_symbolic_dim, equation.outvars[0].aval.shape):
            raise refusal(f"constants along an axis of size {size}")
        return computed(equation.primitive, operands, params)
    if (found := elementwise.apply(graph, equation, operands)) is not None:
        return [found]
    if name == "pad" and operations.is_frame(params, operands):
        return [operations.padded(graph, equation, *operands)]
    match name:
        case "reshape" | "squeeze" | "expand_dims":
            if params.get("dimensions") is not None:
                first = graph.transposed(first, params["dimensions"])
            return [graph.reshaped(first, equation.outvars[0].aval.shape)]
        case "transpose":
            return [graph.transposed(first, params["permutation"])]
        case "broadcast_in_dim":
            return [operations.broadcast(graph, params, first)]
        case "concatenate":
            return [operations.joined(graph, params["dimension"], operands, shapes)]
        case "stack":
            return [operations.stacked(graph, params["axis"], operands, shapes)]
        case "slice":
            bounds = params["start_indices"], params["limit_indices"]
            steps = params["strides"] or [1] * len(first.shape)
            return [operations.taken(graph, first, *bounds, steps)]
        case "split":
            return operations.split(graph, params, first)
        case "dot_general":
            return [products.product(graph, equation, *operands)]
        case "conv_general_dilated":
            return [products.convolution(graph, equation, *operands)]
        case "cumsum":
            return [operations.cumulated(graph, params, first)]
        case "top_k":
            return operations.top_k(graph, params, first)
        case "gather":
            return [indexing.gathered(graph, equation, *operands)]
        case "scatter-add" if isinstance(operands[1], Values):
            return [indexing.scattered_sum(graph, equation, operands)]
        case "scan":
            return _scan(graph, equation, operands)
        case "jit" | "pjit":
            return [operations.forest(graph, shapes[-1], *operands)]
    if name in operations.REDUCED:
        return [operations.reduced(graph, name, params, first)]
    if name in operations.WINDOWED:
        return [operations.windowed(graph, name, params, first)]
    if name in operations.CHOSEN:
        return [operations.chosen(graph, name, params, first)]
    if name in indexing.MOVED:
        return [indexing.rearranged(graph, equation, operands)]
    raise refusal(f"the operation {name!r} on events")


def translated(graph: Graph, function: Any, inputs: Sequence[Operand]) -> list[Operand]:
    return walk(function, inputs, lambda *each: _apply(graph, *each), FORESTS)


def _scan(graph: Graph, equation: Any, operands: list[Operand]) -> list[Operand]:
    loop = loop_parts(equation, operands)
    n_carry, length, carry = len(loop.carry), loop.length, loop.carry
    steps: list[list[Operand]] = []
    for step in range(length)[loop.order]:
        rows = [_row(graph, operand, step) for operand in loop.scanned]
        found = translated(graph, loop.body, [*loop.consts, *carry, *rows])
        if len(graph.nodes) > N_NODES:
            raise refusal(f"a loop of {length} steps, {len(graph.nodes)} operations so far")
        carry = found[:n_carry]
        steps.append(found[n_carry:])
    stacked = [
        _stacked(graph, list(each[loop.order]), variable.aval.shape[1:])
        for each, variable in zip(zip(*steps, strict=True), equation.outvars[n_carry:], strict=True)
    ]
    return [*carry, *stacked]


def _row(graph: Graph, operand: Operand, step: int) -> Operand:
    if not isinstance(operand, Values):
        return np.asarray(operand[step])  # of a row of numbers a number, which is no array
    shape = operand.shape
    starts, stops = [step, *[0] * (len(shape) - 1)], [step + 1, *shape[1:]]
    row = operations.taken(graph, operand, starts, stops, [1] * len(shape))
    return graph.reshaped(row, shape[1:])


def _stacked(graph: Graph, rows: list[Operand], shape: Sequence) -> Operand:
    if all(isinstance(row, np.ndarray) for row in rows):
        return np.stack(rows)
    return operations.stacked(graph, 0, rows, [shape] * len(rows))


def calibration(about: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The constants of a model that follow from its background: name -> array."""
    points = about["fpr"]["knots"]
    x, y = (np.array(points[key], np.float32) for key in ("score", "fpr"))
    return {
        "knot_scores": x,
        "knot_fprs": y,
        "knot_slopes": np.append(np.diff(y) / np.diff(x), 0).astype(np.float32),
        "knots_above_first": x[1:],
        "first_knot": x[0, ...],
        "last_knot": x[-1, ...],
        "threshold": np.array(about["threshold"], np.float32),
    }


def _outputs(graph: Graph, score: Values, about: Mapping[str, Any]) -> None:
    """Nodes score, fpr and flag (n,), and packed (n, 3), of a score (n,)."""
    graph.named |= calibration(about)
    o = elementwise.Arithmetic(graph, np.float32)
    one = graph.integers([1])
    name = o.Identity(score.name)
    held = o.Min(o.Max(name, "first_knot"), "last_knot")
    above = o.GreaterOrEqual(o.Unsqueeze(held, one), "knots_above_first")
    index = o.ReduceSum(o.Cast(above, to=TYPES["int32"]), one, keepdims=0)
    columns = ("knot_scores", "knot_fprs", "knot_slopes")
    low, rate, slope = (o.Gather(column, index, axis=0) for column in columns)
    rate = o.Add(rate, o.Mul(o.Sub(held, low), slope))
    flag = o.Cast(o.GreaterOrEqual(name, "threshold"), to=TYPES["float32"])
    packed = o.Concat(*(o.Unsqueeze(each, one) for each in (name, rate, flag)), axis=1)
    for old, new in zip((name, rate, flag, packed), (*OUTPUTS, PACKED), strict=True):
        graph.rename(old, new)


def require_onnx() -> None:
    """Refuses to go on without the library that these models are written with."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise UserError("onnx: onnx is missing: pip install 'jaxad[onnx]'") from None


def model(
    function: Callable[[jax.Array], jax.Array],
    shape: Sequence[int | None],
    about: Mapping[str, Any],
) -> bytes:
    """The model of function(raw) (n, *shape) -> scores (n,), with the contract `about`.

    Inputs "raw" (n, *shape); outputs "score", "fpr", "flag" (n,) and all three in "packed" (n, 3).

    Raises:
        UserError: an operation that is not translated, or onnx is not installed.
    """
    require_onnx()
    names = ["p" if size is None else str(size) for size in shape]
    sizes = jax.export.symbolic_shape(", ".join(names)) if None in shape else tuple(shape)
    event = jax.ShapeDtypeStruct(sizes, np.float32)
    closed = jax.make_jaxpr(lambda raw: function(raw[None])[0])(event)
    graph = Graph(sizes)
    (score,) = translated(graph, closed, [graph.raw])
    if not isinstance(score, Values):
        raise refusal("a score that does not depend on the event")
    _outputs(graph, score, about)
    return _serialised(graph, names, about)


def _serialised(graph: Graph, sizes: Sequence[str], about: Mapping[str, Any]) -> bytes:
    from onnx import helper, numpy_helper

    def info(name: str, sizes: Sequence[str | int]) -> Any:
        return helper.make_tensor_value_info(name, TYPES["float32"], ["n", *sizes])

    nodes, constants = graph.needed([PACKED, *OUTPUTS])
    content = helper.make_graph(
        [
            helper.make_node(
                n.op, n.inputs, n.outputs, name=n.outputs[0], domain=n.domain, **n.attributes
            )
            for n in nodes
        ],
        about["namespace"],
        [info(RAW, [int(size) if size.isdigit() else size for size in sizes])],
        [info(PACKED, [3]), *(info(name, []) for name in OUTPUTS)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    used = {"": OPSET} | {n.domain: ML_OPSET for n in nodes if n.domain}
    found = helper.make_model(
        content,
        opset_imports=[helper.make_opsetid(*each) for each in used.items()],
        ir_version=IR_VERSION,
        producer_name="jaxad",
        producer_version=about["versions"]["jaxad"],
        doc_string=f"{about['method']} ({about['score']['name']}): larger is more anomalous",
    )
    return finished(found, about)


def finished(found: Any, about: Mapping[str, Any]) -> bytes:
    """A checked model (a protobuf message) with the contract in its metadata."""
    import onnx

    props = {key: json.dumps(value) for key, value in about.items()}
    onnx.helper.set_model_props(found, props)
    onnx.checker.check_model(found, full_check=True)
    return found.SerializeToString()


def loaded(source: Path | bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Function raw (n, *shape) float32 -> (n, 3) of a model, run by ONNX Runtime on one core.

    Raises:
        UserError: ONNX Runtime is not installed, or refuses the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("onnx: onnxruntime is missing: pip install 'jaxad[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: warnings are about its own rewriting of the graph
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"onnx: ONNX Runtime refuses the model ({error})") from None

    def run(raw: np.ndarray) -> np.ndarray:
        # Its products of no events end the process.
        if not len(raw):
            return np.empty((0, len(OUTPUTS)), np.float32)
        return session.run([PACKED], {RAW: raw})[0]

    return run
