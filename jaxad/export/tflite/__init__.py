"""TFLite models of scorers, for LiteRT."""

from jaxad.export.tflite.writer import loaded, model

__all__ = ["loaded", "model"]
