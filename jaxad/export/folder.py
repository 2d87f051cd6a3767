"""Exported folders: a scorer in all asked formats, beside its archive, golden rows and contract."""

import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxad import data, methods
from jaxad.errors import UserError
from jaxad.export import cpp, hls, onnx, stablehlo, tflite
from jaxad.export.contract import checked_name, contract, function, golden_events
from jaxad.export.onnx import quantize, triton
from jaxad.export.verify import (
    digest_of,
    exported_file,
    golden_rows,
    read_contract,
    write_contract,
)
from jaxad.scorer import FILES, Scorer, load
from jaxad.storage.atomic import replacing_folder
from jaxad.storage.own import require_own_folder, same

FORMATS = {
    "cpp": "scorer.hpp",
    "stablehlo": "scorer.stablehlo",
    "onnx": "scorer.onnx",
    "triton": "triton/{namespace}/1/model.onnx",
    "tflite": "scorer.tflite",
    "hls": "hls/firmware/{namespace}.cpp",
}
DEFAULT = ("cpp", "stablehlo")
ALWAYS = (
    *("export.json", "golden.npz"),
    *(f"scorer/{name}" for name in FILES),
)
N_POOL = 2000  # events of a class that golden rows are chosen from
N_EVENTS = 100_000  # of a file, to verify with


def _of_run(dataset: data.Dataset) -> np.ndarray:
    """Raw test events of a run's own data, background and signals."""
    classes = [dataset.test, *dataset.signals.values()]
    return np.concatenate([rows["x"][:N_POOL] for rows in classes])


def of_file(scorer: Scorer, file: str, key: str, limit: int) -> np.ndarray:
    """The first raw events of a file."""
    with data.open_events(scorer.config.data, file, key) as events:
        return np.asarray(events[:limit], np.float32)


def _entry(path: Path, folder: Path) -> dict:
    file = str(path.relative_to(folder))
    return {"file": file, "bytes": path.stat().st_size, "sha256": digest_of(path)}


def _written(folder: Path) -> Collection[str]:
    """Files of an exported folder, by its export.json; none where that is not one."""
    try:
        about = read_contract(folder)
        return about.get("files") or _known(about)
    except (UserError, LookupError, TypeError, AttributeError):
        return ()


def _known(about: Mapping[str, Any]) -> list[str]:
    """What an older version wrote, which kept no list."""
    artefacts = [entry["file"] for entry in about["artefacts"].values()]
    return [*artefacts, *ALWAYS, f"triton/{about['namespace']}/config.pbtxt", "hls/"]


def _require_free(out: Path, inputs: Sequence[str | Path]) -> None:
    """Refuses a folder that an export may not replace.

    Raises:
        UserError: it is an input or holds one, or what no export wrote.
    """
    for path in inputs:
        if same(out, path) or Path(path).resolve().is_relative_to(out.resolve()):
            raise UserError(f"--out: {path} is an input, and in {out}: choose another --out")
    require_own_folder(out, _written(out) if out.is_dir() else (), "choose another --out")


def _finish(folder: Path, about: dict) -> None:
    """Write export.json last, with the list of all files."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
    write_contract(folder, about | {"files": [*files, "export.json"]})


def _of_size(about: dict, shape: Sequence) -> dict:
    """The contract for events of one size, where it speaks of any number of particles."""
    _, kind = about["input"]["order"].split(": ")
    order = f"row-major ({', '.join(map(str, shape))}): {kind}"
    return about | {"input": about["input"] | {"order": order}}


def write(
    scorer: Scorer, about: dict, formats: tuple[str, ...], folder: Path, shape: Sequence
) -> dict:
    """Write the formats into an empty `folder`; the contract `about` with what was written.

    `shape` is that of an event at hand, for the formats whose events have one size. Of the
    `DEFAULT` formats C++ is left out where the score has no such form.
    """
    score, artefacts = partial(scorer.plain_fn, jax.device_put(scorer.params)), {}
    for form in formats:
        path = folder / FORMATS[form].format(namespace=about["namespace"])
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "cpp":
            try:
                path.write_text(cpp.header(score, shape, _of_size(about, shape)), encoding="utf-8")
            except UserError as error:
                if formats != DEFAULT:
                    raise
                print(f"left out: {error}", file=sys.stderr)
                continue
        elif form in ("onnx", "triton"):
            path.write_bytes(onnx.model(score, scorer.shape, about))
        elif form == "tflite":
            path.write_bytes(tflite.model(score, shape, about))
        else:
            path.write_bytes(stablehlo.program(function(scorer, about), scorer.shape))
        artefacts[form] = _entry(path, folder)
        if form == "triton":
            (path.parents[1] / "config.pbtxt").write_text(triton.config(about), encoding="utf-8")
    artefacts.get("cpp", {})["flags"] = " ".join(cpp.FLAGS)
    scorer.save(folder / "scorer")
    return about | {"artefacts": artefacts}


def export(
    run: Path,
    formats: Sequence[str],
    out: Path,
    fpr: float,
    events: str | None,
    key: str,
    score: str | None = None,
    name: str | None = None,
    width: int | None = None,
) -> None:
    """Write the exported folder `out`, by a temporary one, with the score `score` of the run.

    `name` is what programs call it, by default one that no other export has; `width` the bits of
    numbers in the project of hls4ml of a float scorer.

    Raises:
        UserError: an unknown format or score, a scorer it cannot express, a bad name, or something
            else at `out`.
    """
    if name is not None:
        checked_name(name)
    _require_free(out, [run, *([events] if events else [])])
    unknown = [form for form in formats if form not in FORMATS]
    if unknown:
        raise UserError(f"--format: expected some of {', '.join(FORMATS)}, found {unknown[0]!r}")
    if width is not None and "hls" not in formats:
        raise UserError("--width: is of --format hls: leave it out")
    scorer = load(run)
    dataset = cache(lambda: data.load(scorer.config.data))
    if score and score != scorer.names[0]:
        x, sample, weight = methods.calibration(scorer.method, scorer.config, dataset())
        if x is None:
            raise UserError(f"--score {score}: no calibration sample: {sample}")
        scorer = scorer.with_default(score, x, weight)
    if "hls" in formats:
        hls.check(scorer, width)
    about = contract(scorer, run.resolve().name, fpr, name)
    with replacing_folder(out) as folder:
        others = tuple(form for form in formats if form != "hls")
        pool = of_file(scorer, events, key, N_POOL) if events else _of_run(dataset())
        about = write(scorer, about, others, folder, pool.shape[1:])
        raw = golden_events(scorer, pool)
        outputs = np.asarray(jax.jit(function(scorer, about))(raw))
        np.savez(folder / "golden.npz", raw=raw, outputs=outputs)
        about["score"]["spread"] = float(np.std(outputs[:, 0]))
        if "hls" in formats:
            about["hls"] = hls.project(scorer, about, dataset(), raw, folder / "hls", width)
            source = FORMATS["hls"].format(namespace=about["namespace"])
            about["artefacts"]["hls"] = _entry(folder / source, folder)
            print(hls.summary(about["hls"]))
        _finish(folder, about)
        _require_free(out, [run])  # of what came there meanwhile
    print(f"name in programs: {about['namespace']}")


def quantize_folder(source: Path, out: Path, name: str | None = None) -> None:
    """Write the exported folder `out` with the ONNX model of another one in int8.

    `name` is what programs call it, by default that of the other one and _int8.

    Raises:
        UserError: no ONNX model there, or one that int8 spoils.
    """
    if name is not None:
        checked_name(name)
    _require_free(out, [source])
    about = read_contract(source)
    if "onnx" not in about["artefacts"]:
        raise UserError(f"{source}: no ONNX model here: export it with --format onnx")
    model = exported_file(source, about["artefacts"]["onnx"]).read_bytes()
    raw, _ = golden_rows(source, about)
    archive = load(source / "scorer")
    about = {key: about[key] for key in about if key not in ("artefacts", "digest", "hls", "files")}
    about["namespace"] = name or f"{about['namespace']}_int8"
    model, about = quantize.quantized(model, about, archive, data.load(archive.config.data))
    with replacing_folder(out) as folder:
        path = folder / FORMATS["onnx"]
        path.write_bytes(model)
        np.savez(folder / "golden.npz", raw=raw, outputs=onnx.loaded(model)(raw))
        archive.save(folder / "scorer")
        _finish(folder, about | {"artefacts": {"onnx": _entry(path, folder)}})
    print(quantize.summary(about))
