"""ONNX models of scorers, for ONNX Runtime, Triton and whatever else reads them."""

from jaxad.export.onnx.graph import RAW
from jaxad.export.onnx.writer import PACKED, calibration, finished, loaded, model, require_onnx

__all__ = ["PACKED", "RAW", "calibration", "finished", "loaded", "model", "require_onnx"]
