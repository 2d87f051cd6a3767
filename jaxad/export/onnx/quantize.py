"""An exported ONNX model with its linear layers in int8.

Recipes made for classifiers clip the tail, which is where an anomaly score lives. Here only matrix
products and convolutions are quantized, the last one of every path stays float, ranges are true
minima and maxima, a quarter of the events that they are taken from are the highest-scoring ones.
Each layer is tried alone, and those stay float that would move the tail of the background's scores.
Threshold and knots are those of the quantized scores, and a scorer whose rate of false positives
then leaves its binomial interval on other events is refused.
"""

import dataclasses
import logging
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxad import methods
from jaxad.data.dataset import Dataset
from jaxad.data.window import searched_part
from jaxad.errors import UserError
from jaxad.export import onnx as onnx_format
from jaxad.export.contract import contract
from jaxad.scorer import Scorer

LINEAR = ("MatMul", "Conv", "ConvTranspose")
N_CALIBRATION = 2000
BATCH = 256
STANDARD_ERRORS = 3
TAIL, MAX_SHIFT = 0.1, 0.05
RECIPE = {
    "weights": "uint8 about 128, per channel (ensembles: per layer): no overflow without VNNI",
    "activations": "uint8, true minimum and maximum",
    "float": "the last linear layer of every path, everything that is not linear, and layers that "
    f"would shift the highest {TAIL:.0%} of background scores by more than {MAX_SHIFT:g} of their "
    "width, together",
    "calibration": f"{N_CALIBRATION} background events at most, a quarter the highest-scoring",
}


def _calibration(events: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """At most 2,000 events: a quarter those of the highest scores, the rest evenly spaced."""
    n = min(N_CALIBRATION, len(events))
    order = np.argsort(scores, kind="stable")
    top, others = order[len(order) - n // 4 :], np.sort(order[: len(order) - n // 4])
    chosen = others[np.linspace(0, len(others) - 1, n - n // 4).astype(int)]
    return events[np.concatenate([chosen, top])]


def linear_layers(graph: Any) -> list[str]:
    """Names of the linear nodes with constant weights that another one comes after."""
    constants = {tensor.name for tensor in graph.initializer}
    leads_on: set[str] = set()  # tensors that a linear layer depends on
    found = []
    for node in reversed(graph.node):
        linear = node.op_type in LINEAR and node.input[1] in constants
        if linear and leads_on.intersection(node.output):
            found.append(node.name)
        if linear or leads_on.intersection(node.output):
            leads_on.update(node.input)
    return found[::-1]


def tail_shift(found: np.ndarray, scores: np.ndarray) -> float:
    """Median |found - scores| of the highest tenth of the scores, over the width of that tenth.

    The width is the distance between quartiles. Infinite where that is 0 or a score is NaN.
    """
    tail = scores >= np.quantile(scores, 1 - TAIL)
    width = float(np.subtract(*np.quantile(scores[tail], (0.75, 0.25))))
    shift = float(np.median(np.abs(found - scores)[tail]))
    return shift / width if width > 0 and np.isfinite(shift) else np.inf


def _chosen(
    model: bytes, calibration: np.ndarray, background: np.ndarray, scores: np.ndarray
) -> list[str]:
    """The layers to put into int8: those that shift the tail least, by MAX_SHIFT all together."""
    import onnx

    layers = linear_layers(onnx.load_from_string(model).graph)
    if not layers:
        raise UserError("int8: no linear layer before the last one: there is nothing to quantize")

    def shift(names: list[str]) -> float:
        changed = _quantized(model, names, calibration).SerializeToString()
        return tail_shift(onnx_format.loaded(changed)(background)[:, 0], scores)

    bar = tqdm(layers, "int8", unit="layer", leave=False)
    alone = {layer: shift([layer]) for layer in bar}
    chosen = sorted(layers, key=alone.__getitem__)
    together = np.sqrt(np.cumsum(np.square([alone[layer] for layer in chosen])))  # as if random
    chosen = chosen[: np.searchsorted(together, MAX_SHIFT, side="right")]
    while len(chosen) > 1 and shift(chosen) > MAX_SHIFT:
        chosen.pop()
    if not chosen:
        raise UserError(
            f"int8: every layer shifts the highest {TAIL:.0%} of background scores by more than "
            f"{MAX_SHIFT:g} of their width (the least: {min(alone.values()):.2g}); use the float "
            "model"
        )
    return chosen


def _quantized(model: bytes, layers: list[str], events: np.ndarray) -> Any:
    """The ONNX model with some layers in int8, ranges taken from raw events."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator = iter(range(0, len(events), BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            start = next(self._batches, None)
            return None if start is None else {onnx_format.RAW: events[start : start + BATCH]}

    proto = onnx.load_from_string(model)
    ranks = {tensor.name: len(tensor.dims) for tensor in proto.graph.initializer}
    # An ensemble's stacked matrices, of which ONNX Runtime takes no scale a channel.
    stacked = any(
        node.op_type == "MatMul" and ranks[node.input[1]] > 2
        for node in proto.graph.node
        if node.name in layers
    )
    logging.disable(logging.WARNING)  # advice on preparing models
    try:
        with tempfile.TemporaryDirectory() as folder:
            written = f"{folder}/int8.onnx"
            quantization.quantize_static(
                proto,
                written,
                Reader(),
                per_channel=not stacked,
                nodes_to_quantize=layers,
                op_types_to_quantize=list(LINEAR),
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QUInt8,
                extra_options={"WeightSymmetric": True},
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
            return onnx.load(written)
    finally:
        logging.disable(logging.NOTSET)


def _checked_rate(flagged: np.ndarray, about: Mapping[str, Any], sample: str) -> float:
    """Fraction of flagged background.

    Raises:
        UserError: further from the target than both samples' statistics allow.
    """
    target, n, found = about["fpr"]["target"], len(flagged), float(np.mean(flagged))
    per_event = 1 / n + 1 / about["fpr"]["n_calibration"]
    allowed = STANDARD_ERRORS * np.sqrt(target * (1 - target) * per_event)
    if abs(found - target) > allowed:
        raise UserError(
            f"int8: flags {found:.2g} of {n} events of {sample}, not {target:g} within "
            f"{allowed:.2g}: this scorer does not survive quantization; use the float model"
        )
    return found


def _recalibrated(proto: Any, about: Mapping[str, Any]) -> bytes:
    """The model with threshold, knots and metadata of another contract."""
    from onnx import numpy_helper

    constants = onnx_format.calibration(about)
    for tensor in proto.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(constants[tensor.name], tensor.name))
    del proto.graph.value_info[:]  # shapes of the knots there were
    proto.graph.name = about["namespace"]
    return onnx_format.finished(proto, about)


def quantized(
    model: bytes, about: Mapping[str, Any], archive: Scorer, dataset: Dataset
) -> tuple[bytes, dict]:
    """The model in int8 and its contract, from the float model and the run's own data.

    Raises:
        UserError: onnx is missing, nothing to quantize, or scores that int8 spoils.
    """
    onnx_format.require_onnx()
    before = onnx_format.loaded(model)
    background = searched_part(dataset.val, dataset)["x"]
    scores = before(background)[:, 0]
    calibration = _calibration(background, scores)
    chosen = _chosen(model, calibration, background, scores)
    proto = _quantized(model, chosen, calibration)
    models = {"float": before, "int8": onnx_format.loaded(proto.SerializeToString())}
    found = models["int8"](background)[:, 0]
    sample = methods.calibration(archive.method, archive.config, dataset).x
    test = {name: each(sample)[:, 0] for name, each in models.items()}
    calibrated = dataclasses.replace(archive, background=np.sort(test["int8"]))
    target = about["fpr"]["target"]
    new = dict(about) | {
        key: value
        for key, value in contract(calibrated, "", target).items()
        if key in ("threshold", "fpr")
    }
    cut = np.float32(new["threshold"])
    rate = _checked_rate(found >= cut, new, "the validation background")
    # At the target rate of all background at hand, so that the scorers are compared and not cuts.
    pooled = {"float": np.append(test["float"], scores), "int8": np.append(test["int8"], found)}
    cuts = {name: np.quantile(values, 1 - target) for name, values in pooled.items()}
    efficiency = {
        signal: {
            name: float(np.mean(each(rows["x"])[:, 0] >= cuts[name]))
            for name, each in models.items()
        }
        for signal, rows in dataset.signals.items()
    }
    relative = np.abs(found - scores) / (np.abs(scores) + about["score"]["spread"])
    new["quantization"] = {
        "recipe": RECIPE,
        "layers": chosen,
        "drift": {
            "median": float(np.median(relative)),
            "largest": float(np.max(relative)),
            "tail_shift": tail_shift(found, scores),
        },
        "validation_fpr": {"int8": rate, "n": len(found)},
        "tpr_at_target": efficiency,
    }
    return _recalibrated(proto, new), new


def summary(about: Mapping[str, Any]) -> str:
    """What quantization changed, in a few lines."""
    found = about["quantization"]
    target, (rate, n) = about["fpr"]["target"], found["validation_fpr"].values()
    drift = (
        "score drift: median {median:.1e}, largest {largest:.1e}; "
        "the tail shifts by {tail_shift:.2g} of its width"
    ).format(**found["drift"])
    rows = [
        f"{signal}: TPR {each['int8']:.4f} at FPR {target:g}, float {each['float']:.4f}"
        for signal, each in found["tpr_at_target"].items()
    ]
    lines = [
        f"{len(found['layers'])} layers in int8; {drift}",
        f"background: {rate:.4f} of {n} validation events flagged",
        *rows,
    ]
    return "\n".join(lines)
