"""Scorers as one C++ header without dependencies."""

from jaxad.export.cpp.writer import FLAGS, compiled, header

__all__ = ["FLAGS", "compiled", "header"]
