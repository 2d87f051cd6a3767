"""Dense trigger autoencoders in fixed point for FPGAs: projects of hls4ml and their emulation.

The host standardises an event; what follows is in fixed point. An autoencoder's network ends with
its reconstruction error, a variational one's with mean and log-variance, whose divergence the host
computes. Batch normalisation is folded into the dense layers. Integer bits are those of the largest
number that held-out background leads to, and one more; what is larger still saturates.
"""

import contextlib
import ctypes
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.export.hls import build, estimates, network
from jaxad.export.hls.network import COLUMNS, N_INPUTS, WIDTH
from jaxad.inputs.trigger import clean, mask
from jaxad.observables.trigger import N_OBJECTS
from jaxad.scorer import Scorer

MEANING = {
    "z": "(x - shift) / scale, clipped; pT [GeV], then eta, then phi of the 19 objects; 0 in empty "
    "slots; with rotate, phi from that of the MET, in [-pi, pi)",
    "there": "19 bits, pT > 0; an input where masked is true",
    "mse": "the network's output",
    "kl": "sum of (exp(v) + m^2 - 1 - v) / 2 of the outputs m and v, v in [-20, 20]",
}
MAX_MEDIAN = 0.01  # of the relative differences of scores

RAW = (N_OBJECTS, 3)


def check(scorer: Scorer, width: int | None = None) -> None:
    """Raise a UserError that names why a scorer cannot be written in numbers of `width` bits."""
    if width is not None and width not in network.WIDTHS:
        raise UserError(
            f"--width: expected {network.WIDTHS[0]} to {network.WIDTHS[-1]} bits, found {width}"
        )
    network.check(scorer)
    build.require_packages()


def standardised(host: Mapping[str, Any], raw: np.ndarray) -> list[np.ndarray]:
    """Inputs of the network from raw events (n, 19, 3): z (n, 57), and there (n, 19) if masked.

    z = (x - shift) / scale, all pT, all eta, all phi; 0 where there is no object.
    """
    x = clean(raw, host["rotate"])
    there = np.asarray(mask(raw), np.float32)
    x = np.asarray(x).reshape(-1, N_INPUTS)[:, COLUMNS]
    z = (x - np.float32(host["shift"])) / np.float32(host["scale"]) * np.tile(there, 3)
    return [z, there] if host["masked"] else [z]


def score(host: Mapping[str, Any], output: np.ndarray) -> np.ndarray:
    """Scores (n,) from the network's outputs (n, 1), or (n, 2 d): mean and log-variance."""
    if host["score"] == "mse":
        return output[:, 0]
    mean, log_var = np.split(output, 2, axis=1)
    log_var = np.clip(log_var, -20, 20)
    return 0.5 * np.sum(np.exp(log_var) + mean**2 - 1 - log_var, axis=1)


def emulated(
    folder: Path, host: Mapping[str, Any], name: str
) -> Callable[[np.ndarray], np.ndarray]:
    """Function raw (n, 19, 3) -> scores (n,) of the project `name`, compiled here by g++.

    Raises:
        UserError: no g++ here, or it refuses the sources.
    """
    with build.library(folder) as library:
        network = getattr(library, f"{name}_float")
        network.restype = None

        def scores(raw: np.ndarray) -> np.ndarray:
            inputs = [np.ascontiguousarray(x) for x in standardised(host, np.float32(raw))]
            output = np.zeros((len(raw), host["outputs"]), np.float32)
            for row in zip(*inputs, output, strict=True):
                network(*(ctypes.c_void_p(x.ctypes.data) for x in row))
            return score(host, output).astype(np.float32)

        scores(np.zeros((1, *RAW), np.float32))  # the first call reads the weights
    return scores


def loaded(folder: Path, about: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Function raw (n, 19, 3) -> (n, 3), score, rate and flag, of an exported folder."""
    name = Path(about["artefacts"]["hls"]["file"]).stem
    scores = emulated(folder / "hls", about["hls"]["host"], name)
    knots = about["fpr"]["knots"]

    def evaluate(raw: np.ndarray) -> np.ndarray:
        found = scores(raw)
        rate = np.interp(found, knots["score"], knots["fpr"])
        return np.stack([found, rate, found >= np.float32(about["threshold"])], -1)

    return evaluate


def drift(found: np.ndarray, expected: np.ndarray, threshold: float) -> dict[str, float]:
    """How far fixed-point scores (n,) are from float ones, relative to these; 0 where both are."""
    apart = np.abs(found - expected)
    relative = np.divide(apart, np.abs(expected), out=np.zeros_like(apart), where=apart > 0)
    changed = (found >= np.float32(threshold)) != (expected >= np.float32(threshold))
    return {
        "events": len(found),
        "median": float(np.median(relative)),
        "largest": float(np.max(relative)),
        "flags_changed": int(changed.sum()),
    }


def project(
    scorer: Scorer,
    about: Mapping[str, Any],
    dataset: Dataset,
    golden: np.ndarray,
    folder: Path,
    width: int = WIDTH,
) -> dict[str, Any]:
    """Write the project of a scorer with the contract `about`; what export.json says of it.

    Keys: width and host (constants of what stays outside), bits of every layer, drift from the
    scorer on the run's test background, estimates of da4ml, and the scores of the `golden` raw
    events.

    Raises:
        UserError: `WIDTH` bits and scores that differ by more than 1 % in the median, which
            fewer bits may; or no g++.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    host = network.preprocessing(scorer)
    background = dataset.val["x"]
    with contextlib.redirect_stdout(io.StringIO()):  # hls4ml and its tables
        model, types = network.keras_model(network.dense_layers(scorer, host), host, width)
        results = network.output_types(model, standardised(host, background), width)
        types = {name: types.get(name, {}) | results[name] for name in results}
        build.write(model, types, folder, about["namespace"])
    host["outputs"] = int(model.outputs[0].shape[-1])
    limit = 2.0 ** (types["z"]["result"].integer - 1)
    host["clip"] = [-limit, limit - 2.0 ** (types["z"]["result"].integer - width)]
    scores, test = emulated(folder, host, about["namespace"]), dataset.test["x"]
    changes = drift(scores(test), scorer(test), about["threshold"])
    if width == WIDTH and changes["median"] > MAX_MEDIAN:
        raise UserError(
            f"--format hls: fixed-point scores differ by {changes['median']:.2g} of themselves in "
            f"the median, more than {MAX_MEDIAN:g}: this scorer does not survive {width} bits"
        )
    return {
        "width": width,
        "host": host | {"meaning": MEANING},
        "bits": {name: {k: list(t) for k, t in found.items()} for name, found in types.items()},
        "drift": changes,
        "estimates": estimates.estimates(estimates.logic(model, types)),
        "golden": scores(golden).tolist(),
    }


def drift_line(found: Mapping[str, float]) -> str:
    """What `drift` gives, for people."""
    return (
        "hls: relative difference of scores: median {median:.1e}, largest {largest:.1e}; "
        "{flags_changed} of {events} flags change".format(**found)
    )
