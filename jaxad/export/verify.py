"""Exported scorers replayed in every runtime: golden rows, and events of a file."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxad import scorer, workdir
from jaxad.data import checks
from jaxad.data.array_files import opened, stored_array
from jaxad.errors import UserError
from jaxad.export import cpp, hls, onnx, stablehlo, tflite
from jaxad.export.contract import FORMAT, OUTPUTS
from jaxad.storage.digest import digest

TOLERANCE = 1e-4
"""Of a score, relative to itself and the spread of the golden scores; of a rate, to itself."""

Runtime = Callable[[np.ndarray], np.ndarray]  # raw (n, *shape) -> (n, 3)


def read_contract(folder: Path) -> dict[str, Any]:
    """The content of an exported folder's export.json."""
    path = folder / "export.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder}: no exported scorer here (no export.json)") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}): export again") from None
    found = about.get("format_version") if isinstance(about, dict) else None
    if found != FORMAT:
        raise UserError(f"{path}: format_version: expected {FORMAT}, found {found!r}")
    if about.get("digest", expected := digest(about, {})) != expected:
        raise UserError(f"{path}: damaged or edited (digest): export again")
    return about


def golden_rows(folder: Path, about: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Raw events (n, *shape) and their outputs (n, 3), float32."""
    path = folder / about["golden"]["file"]
    with opened(path) as file:
        stored = {name: stored_array(file, name, path) for name in ("raw", "outputs")}
    raw, outputs = (checks.finite_float32(values, path, name) for name, values in stored.items())
    checks.require_shape(raw.shape, (None, *about["input"]["shape"]), path, "raw")
    checks.require_shape(outputs.shape, (len(raw), len(OUTPUTS)), path, "outputs")
    return raw, outputs


def digest_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def exported_file(folder: Path, entry: Mapping[str, Any]) -> Path:
    """A file of an exported folder, by its entry in export.json.

    Raises:
        UserError: it is not there, or not what was exported.
    """
    path = folder / entry["file"]
    if not path.is_file():
        raise UserError(f"{path}: missing: export again")
    if entry.get("sha256", found := digest_of(path)) != found:
        raise UserError(f"{path}: damaged or edited (SHA-256): export again")
    return path


def runtime(folder: Path, about: Mapping[str, Any], name: str) -> Runtime:
    """The scorer of a folder in the runtime `name`."""
    entry = about["artefacts"][name]
    path = folder / entry["file"]
    # A header is text that may have been edited; what it computes is compared.
    if name == "cpp" and path.is_file():
        return cpp.compiled(path, about["namespace"])
    path = exported_file(folder, entry)
    if name == "hls":
        return hls.loaded(folder, about)
    if name in ("onnx", "triton"):
        return onnx.loaded(path)
    if name == "tflite":
        return tflite.loaded(path)
    call = jax.jit(stablehlo.loaded(path.read_bytes()))
    return lambda raw: np.asarray(call(raw))


def differences(about: Mapping[str, Any], found: np.ndarray, expected: np.ndarray) -> dict:
    """Largest differences of (n, 3) outputs, each relative to what it may differ by.

    Scores are compared with the `expected` (n,); rates and flags with what belongs to the score
    found, so that rounding beside a knot or the threshold does not count.
    """
    score, rate, flag = found.T
    scale = np.abs(expected) + about["score"]["spread"]
    points = about["fpr"]["knots"]
    rates = np.interp(score, points["score"], points["fpr"])
    return {
        "score": float(np.max(np.abs(score - expected) / scale)),
        "fpr": float(np.max(np.abs(rate - rates) / rates)),
        "flag": float(np.max(flag != (score >= np.float32(about["threshold"])))),
    }


def _same_integers(
    folder: Path, about: Mapping[str, Any], archive: scorer.Scorer, samples: Mapping[str, Any]
) -> bool:
    """Print how many integers of an integer scorer's project differ; whether none does."""
    exported_file(folder, about["artefacts"]["hls"])
    agreed = True
    for good, line in hls.replayed(folder, about, archive, samples):
        said = {True: "agrees on", False: "FAILED on", None: "left out:"}[good]
        print(f"hls: {said} {line}")
        agreed &= good is not False
    return agreed


def verify(folder: Path, events: np.ndarray | None = None) -> bool:
    """Print, runtime by runtime, how well an exported scorer agrees; whether all do.

    Golden rows are compared with their stored outputs, `events` with the archived scorer. How far
    a quantized or fixed-point scorer is from that one is printed, and no disagreement. Integers of
    a scorer that has been trained as such are compared one by one.
    """
    about = read_contract(folder)
    raw, golden = golden_rows(folder, about)
    archive = scorer.load(folder / "scorer")
    samples = {f"{len(raw)} golden rows": (raw, golden[:, 0])}
    if events is not None:
        samples[f"{len(events)} events"] = (events, archive(events))
    agreed, quantized = True, "quantization" in about
    for name in about["artefacts"]:
        try:
            if name == "hls" and hls.in_integers(about):
                agreed &= _same_integers(folder, about, archive, samples)
                continue
            run = runtime(folder, about, name)
        except UserError as error:
            print(f"{name}: FAILED: {error}")
            agreed = False
            continue
        for sample, (x, expected) in samples.items():
            if name == "hls" and x is raw:
                expected = np.float32(about["hls"]["golden"])
            outputs = run(x)
            found = differences(about, outputs, expected)
            if name == "hls":
                changes = hls.drift(outputs[:, 0], expected, about["threshold"])
                found["score"] = changes["largest"]
            figures = ", ".join(f"{output} {value:.1e}" for output, value in found.items())
            if (quantized or name == "hls") and x is events:
                del found["score"]
            # NaN fails too.
            good = all(value <= TOLERANCE for value in found.values())
            print(f"{name}: {'agrees' if good else 'FAILED'} on {sample}: {figures}")
            agreed &= good
            if name == "hls" and x is events:
                print(hls.drift_line(changes))
    if quantized:
        return agreed
    change = differences(about, np.c_[archive(raw), golden[:, 1:]], golden[:, 0])["score"]
    good = change <= TOLERANCE
    print(
        f"archive: {'agrees' if good else 'FAILED'} on {len(raw)} golden rows: score {change:.1e}"
    )
    return agreed and good


def write_contract(folder: Path, about: Mapping[str, Any]) -> None:
    """Write export.json, with a digest of its content."""
    content = json.loads(json.dumps(about))
    content["digest"] = digest(content, {})
    workdir.write_text(folder / "export.json", json.dumps(content, indent=2) + "\n")
