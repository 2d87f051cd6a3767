"""A scorer as a TFLite model, run by LiteRT: without TensorFlow, in batches of 1 and of 256 events.

The scorer is lowered to StableHLO, parameters inside, with native convolutions, and converted; the
program has the sizes of its batches in it, so that there is one signature a size, which share their
weights. The contract is JSON in a zip archive behind the model, where TFLite keeps metadata.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.errors import UserError
from jaxad.export.contract import OUTPUTS
from jaxad.export.onnx import PACKED, RAW, calibration
from jaxad.export.tflite.operations import refusal, rewritten
from jaxad.models import convolution

BATCHES = (1, 256)
CONTRACT = "export.json"
MISSING = "tflite: {} is missing: pip install 'jaxad[tflite]'"


def _packed(score: jax.Array, about: Mapping[str, Any]) -> jax.Array:
    """Score, rate and flag (n, 3) of scores (n,), with operations that LiteRT has."""
    known = {name: jnp.asarray(array) for name, array in calibration(about).items()}
    held = jnp.clip(score, known["first_knot"], known["last_knot"])
    knot = jnp.sum(held[:, None] >= known["knots_above_first"], axis=1, dtype=jnp.int32)
    low, rate, slope = (
        jnp.take(known[name], knot, mode="clip")
        for name in ("knot_scores", "knot_fprs", "knot_slopes")
    )
    flag = score >= known["threshold"]
    return jnp.stack([score, rate + (held - low) * slope, flag.astype(jnp.float32)], axis=-1)


def _signature(n: int) -> str:
    return f"batch_{n}"


def model(
    function: Callable[[jax.Array], jax.Array], shape: Sequence[int], about: Mapping[str, Any]
) -> bytes:
    """The model of function(raw) (n, *shape) -> scores (n,), with the contract `about`.

    Signatures "batch_1" and "batch_256": "raw" (n, *shape) -> "packed" (n, 3), float32.

    Raises:
        UserError: an operation that the converter or LiteRT does not have, or one is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the import, which is talkative
    try:
        from litert_converter import converter_api_ext as converter
        from litert_converter.mlir import ir, passmanager
    except ImportError:
        raise UserError(MISSING.format("litert-converter")) from None
    context = ir.Context()
    converter.prepare_mlir_context(context)
    try:
        with context, ir.Location.unknown(), convolution.native_convolutions():
            programs = []
            for n in BATCHES:
                raw = jax.ShapeDtypeStruct((n, *shape), np.float32)
                scores = rewritten(function, raw)
                lowered = jax.jit(lambda raw, f=scores: _packed(f(raw), about)).lower(raw)
                program = ir.Module.parse(lowered.as_text())
                converter.set_signature(program.operation, _signature(n), [RAW], [PACKED])
                programs.append(program)
            merged = converter.merge_modules(programs)
            config = converter.ConvertToTFLConfig()
            converter.run_convert_to_tfl_passes(merged, passmanager.PassManager(), config)
            content = converter.export_flatbuffer_to_bytes(merged.operation)
    except (ValueError, RuntimeError, ir.MLIRError) as error:
        raise refusal(error) from None
    run = loaded(content)
    try:
        for n in BATCHES:
            run(np.zeros((n, *shape), np.float32))
    except (ValueError, RuntimeError) as error:
        raise refusal(error) from None
    return _with_contract(content, about)


def _with_contract(content: bytes, about: Mapping[str, Any]) -> bytes:
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(CONTRACT), json.dumps(about))
    return file.getvalue()


def loaded(source: Path | bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Function raw (n, *shape) float32 -> (n, 3) of a model, run by LiteRT on one core.

    Raises:
        UserError: LiteRT is not installed, or refuses the model.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(MISSING.format("ai-edge-litert")) from None
    content = source if isinstance(source, bytes) else source.read_bytes()
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        runners = {n: interpreter.get_signature_runner(_signature(n)) for n in BATCHES}
    except (ValueError, RuntimeError) as error:
        raise refusal(error) from None

    shape = runners[1].get_input_details()[RAW]["shape"][1:]

    def run(raw: np.ndarray) -> np.ndarray:
        if raw.shape[1] > shape[0]:
            raise UserError(f"tflite: {shape[0]} particles at most, found {raw.shape[1]}")
        size = BATCHES[len(raw) > 1]
        if raw.shape == (size, *shape):
            return runners[size](**{RAW: raw})[PACKED]
        found = np.empty((len(raw), len(OUTPUTS)), np.float32)
        for start in range(0, len(raw), size):
            part = raw[start : start + size]
            missing = np.subtract((size, *shape), part.shape)
            full = np.pad(part, [(0, each) for each in missing])
            found[start : start + size] = runners[size](**{RAW: full})[PACKED][: len(part)]
        return found

    return run
