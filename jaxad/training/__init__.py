"""The one training engine: `fit` trains every network of jaxad."""

from jaxad.training.loop import Fitted, fit, get_config
from jaxad.training.step import Task, weighted_mean

__all__ = ["Fitted", "Task", "fit", "get_config", "weighted_mean"]
