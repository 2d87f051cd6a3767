"""A contract of exported scorers, and what the rates and flags by it must be."""

import numpy as np

ABOUT = {
    "method": "test",
    "namespace": "jaxad_test",
    "run_id": "0",
    "score": {"name": "score"},
    "input": {"order": "row-major"},
    "versions": {"jaxad": "0"},
    "threshold": 2.0,
    "fpr": {
        "target": 0.1,
        "n_calibration": 100,
        "knots": {"score": [0.0, 1.0, 3.0], "fpr": [1.0, 0.5, 0.01]},
    },
}
RAW = np.array([-1, 0, 0.5, 1, 2, 3, 9, np.nan], np.float32)[:, None]


def assert_rates_and_flags(outputs):
    """`outputs` (8, 3) float32 are score, fpr and flag of RAW, whose only number is the score."""
    score, fpr, flag = outputs.T
    np.testing.assert_array_equal(score, RAW[:, 0])
    np.testing.assert_allclose(fpr, [1, 1, 0.75, 0.5, 0.255, 0.01, 0.01, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(flag, [0, 0, 0, 0, 1, 1, 1, 0])
