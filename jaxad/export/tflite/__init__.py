"""TFLite models of scorers, for LiteRT."""

from jaxad.export.tflite.model import loaded, model

__all__ = ["loaded", "model"]
