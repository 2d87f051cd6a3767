"""Trained scorers for other programs: C++, StableHLO, ONNX, TFLite, HLS."""
