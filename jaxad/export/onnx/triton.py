"""The configuration beside an ONNX model in a repository of NVIDIA's Triton inference server."""

from collections.abc import Mapping
from typing import Any

from jaxad.devices.batches import SIZES
from jaxad.export.contract import OUTPUTS
from jaxad.export.onnx import PACKED, RAW

CONFIG = """\
# {title}: a larger score is more anomalous; flag is 1 where score >= {threshold:g}.
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {largest}
input [ {{ name: "{raw}" data_type: TYPE_FP32 dims: [ {shape} ] }} ]
# {outputs}
output [ {{ name: "{packed}" data_type: TYPE_FP32 dims: [ {n_outputs} ] }} ]
dynamic_batching {{ }}
"""


def config(about: Mapping[str, Any]) -> str:
    """The text of config.pbtxt of an exported scorer: raw (n, *shape) -> packed (n, 3)."""
    return CONFIG.format(
        title=f"{about['method']} ({about['score']['name']}), run {about['run_id']}",
        threshold=about["threshold"],
        name=about["namespace"],
        largest=SIZES[-1],
        raw=RAW,
        shape=", ".join(str(size or -1) for size in about["input"]["shape"]),
        outputs=", ".join(OUTPUTS),
        packed=PACKED,
        n_outputs=len(OUTPUTS),
    )
