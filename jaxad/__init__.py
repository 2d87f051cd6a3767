"""Anomaly detection for high-energy physics in JAX: five published methods, one engine."""

__version__ = "0.2.0"

__all__ = ["Scorer", "UserError", "load"]


def __getattr__(name: str):
    """Import on first use, so that `import jaxad` costs nothing."""
    if name in ("Scorer", "load"):
        from jaxad import scorer

        return getattr(scorer, name)
    if name == "UserError":
        from jaxad.errors import UserError

        return UserError
    raise AttributeError(f"module 'jaxad' has no attribute {name!r}")
