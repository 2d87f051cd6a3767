"""A search for a resonance in unlabelled data: windows, template, closure, pseudo-experiments.

What is counted, how often the background alone does so, and what follows: `jaxad.search.run`.
"""

from jaxad.search.settings import get_config

__all__ = ["get_config"]
