"""Scorers as hls4ml projects in fixed point, for FPGAs."""

from jaxad.export.hls.writer import (
    check,
    drift,
    drift_line,
    emulated,
    loaded,
    project,
    standardised,
)

__all__ = ["check", "drift", "drift_line", "emulated", "loaded", "project", "standardised"]
