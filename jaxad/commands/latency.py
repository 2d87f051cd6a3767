"""How fast trained runs score: one event at a time from Python, and in bulk.

    jaxad latency RUN... [--out DIR]

Every score of every run is compiled by itself, parameters inside, NumPy in and out, in one process.
Batch 1 is timed as jitted, as compiled ahead of time, as exported, serialised and read again; and,
where the tools are there and the score has that form, as generated C++ through ctypes, as ONNX by
ONNX Runtime and as TFLite by LiteRT; bulk as jitted and in these three forms, on one core. Rounds
go through all of them in turn, so that a busy machine slows all alike. The input is random: no
scorer takes another path for it.

Writes RUN/eval/latency.json: {"machine", "bulk_batch", "scores": SCORE -> RUNTIME -> {"single":
{"median", "p10", "p99"} in seconds, "bulk": {"events_per_second"}}}, where a runtime may have one
of the two; `jaxad compare` reads it.
"""

import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxad import report
from jaxad.commands import cli
from jaxad.devices.batches import SIZES
from jaxad.errors import UserError
from jaxad.export import cpp, onnx, tflite
from jaxad.scorer import Scorer, load
from jaxad.storage.atomic import named
from jaxad.storage.own import is_json_with, replacing_own, require_own
from jaxad.storage.paths import expanded
from jaxad.storage.provenance import provenance
from jaxad.workdir import write_text

ROUNDS, CALLS = 20, 50  # calls of a round, fewer where one takes long
SECONDS_PER_ROUND = 0.2
BULK = SIZES[-1]
ANY_LENGTH = 100  # particles of an event where a scorer takes any number

Function = Callable[[np.ndarray], np.ndarray]
Key = tuple[str, str, str]  # run, score, runtime

CONTRACT = {
    "method": "timed",
    "namespace": "timed",
    "run_id": "",
    "score": {"name": "score"},
    "input": {"order": ""},
    "versions": {"jaxad": ""},
    "threshold": 0.0,
    "fpr": {"target": 1.0, "n_calibration": 0, "knots": {"score": [0.0, 1.0], "fpr": [1.0, 0.5]}},
}
"""What a translated scorer says about itself, where only its time counts."""


def machine() -> dict[str, str]:
    """Processor, cores, device and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
    } | provenance()


def single_score(scorer: Scorer, name: str) -> Callable[[jax.Array], jax.Array]:
    """Pure function raw (n, *shape) -> the score `name` (n,), with the parameters inside."""
    params = jax.device_put(scorer.params)

    def function(x: jax.Array) -> jax.Array:
        values = scorer.member_fn(params, x)[name]
        return values if values.ndim == 1 else jnp.mean(values, axis=0)

    return function


def native(function: Callable, shape: Sequence[int | None]) -> Function:
    """`function` as generated C++, raw (n, *shape) -> (n, 3), the score first.

    Raises:
        UserError: no g++, or no such form.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scorer.hpp"
        path.write_text(cpp.header(function, shape, CONTRACT), encoding="utf-8")
        return cpp.compiled(path, CONTRACT["namespace"])


def onnx_runtime(function: Callable, shape: Sequence[int | None]) -> Function:
    """The same as an ONNX model, run on one core.

    Raises:
        UserError: onnx or onnxruntime is missing, or no such form.
    """
    return onnx.loaded(onnx.model(function, shape, CONTRACT))


def litert(function: Callable, shape: Sequence[int | None]) -> Function:
    """The same as a TFLite model, run by LiteRT on one core.

    Raises:
        UserError: litert-converter or ai-edge-litert is missing, or no such form.
    """
    return tflite.loaded(tflite.model(function, _sizes(shape), CONTRACT))


TRANSLATED = {"cpp": native, "onnx": onnx_runtime, "tflite": litert}


def runtimes(function: Callable, x: np.ndarray) -> dict[str, Function]:
    """The forms in which `function` is timed on one event `x` (1, *shape), compiled."""
    jitted = jax.jit(function)
    found = {"jit": jitted, "aot": jitted.lower(x).compile()}
    if find_spec("flatbuffers"):  # what serialisation needs
        stored = jax.export.export(jitted)(x).serialize()
        found["export"] = jax.jit(jax.export.deserialize(stored).call)
    return found


def _sizes(shape: Sequence[int | None]) -> list[int]:
    return [ANY_LENGTH if size is None else size for size in shape]


def _event(scorer: Scorer, n: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, *_sizes(scorer.shape)), np.float32)


def _round(function: Function, x: np.ndarray, n_calls: int) -> list[float]:
    """Seconds of each of at most `n_calls` calls, result on the host."""
    seconds: list[float] = []
    while len(seconds) < n_calls and sum(seconds) < SECONDS_PER_ROUND:
        began = time.perf_counter()
        np.asarray(function(x))
        seconds.append(time.perf_counter() - began)
    return seconds


def in_turn(
    timed: Mapping[Key, tuple[Function, np.ndarray]], n_calls: int, desc: str
) -> dict[Key, list[float]]:
    """Seconds of every call of every function, after a first one each, round by round."""
    for function, x in tqdm(timed.values(), desc=f"{desc}: compiling", unit="score", leave=False):
        np.asarray(function(x))
    seconds: dict[Key, list[float]] = {key: [] for key in timed}
    for _ in tqdm(range(ROUNDS), desc=f"{desc}: timing", unit="round", leave=False):
        for key, (function, x) in timed.items():
            seconds[key] += _round(function, x, n_calls)
    return seconds


def measure(scorers: Mapping[str, Scorer]) -> dict[str, dict]:
    """Run -> the content of its latency.json."""
    # An asynchronous call costs tens of microseconds; effective before the first computation.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    single: dict[Key, tuple[Function, np.ndarray]] = {}
    bulk: dict[Key, tuple[Function, np.ndarray]] = {}
    names = [(run, score) for run, scorer in scorers.items() for score in scorer.names]
    for run, score in tqdm(names, desc="one event: lowering", unit="score", leave=False):
        scorer = scorers[run]
        function, x = single_score(scorer, score), _event(scorer, 1)
        for runtime, compiled in runtimes(function, x).items():
            single[run, score, runtime] = (compiled, x)
        bulk[run, score, "jit"] = (jax.jit(function), _event(scorer, BULK))
        for runtime, translated in TRANSLATED.items():
            with contextlib.suppress(UserError):
                generated = translated(function, scorer.shape)
                single[run, score, runtime] = (generated, x)
                bulk[run, score, runtime] = (generated, _event(scorer, BULK))
    found: dict[str, dict] = {
        run: {"machine": machine(), "bulk_batch": BULK, "scores": {}} for run in scorers
    }
    for (run, score, runtime), seconds in in_turn(single, CALLS, "one event").items():
        low, median, high = np.quantile(seconds, (0.1, 0.5, 0.99))
        entry = {"single": {"median": median, "p10": low, "p99": high}}
        found[run]["scores"].setdefault(score, {})[runtime] = entry
    for (run, score, runtime), seconds in in_turn(bulk, 1, "bulk").items():
        entry = {"events_per_second": BULK / float(np.median(seconds))}
        found[run]["scores"][score][runtime]["bulk"] = entry
    return found


def table(found: Mapping[str, dict]) -> str:
    """The figures as text, beneath what they were measured on."""
    rows = []
    for run, content in found.items():
        for i, (score, forms) in enumerate(content["scores"].items()):
            for j, (runtime, entry) in enumerate(forms.items()):
                times = [entry.get("single", {}).get(key) for key in ("median", "p10", "p99")]
                cells = ["-" if t is None else f"{t * 1e6:.1f}" for t in times]
                speed = entry.get("bulk", {}).get("events_per_second")
                cells.append("" if speed is None else f"{speed:,.0f}")
                rows.append([run if i + j == 0 else "", "" if j else score, runtime, *cells])
    content = next(iter(found.values()))
    header = ["run", "score", "runtime", "median [µs]", "p10", "p99"]
    header.append(f"events/s in {content['bulk_batch']:,}")
    facts = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    return f"{facts}\n\n{report.text_table(rows, header)}"


def _require_own(path: Path) -> None:
    """Refuses to replace a file that holds no latencies."""
    if path.exists() and not is_json_with(path, "machine", "scores"):
        raise UserError(f"{path}: is there, and of no latencies: move it")


def latency(workdirs: Sequence[Path], out: Path | None) -> None:
    """Time the runs, print the table, and write `eval/latency.json` in each of them.

    Raises:
        UserError: no run, or another file in the place of `out`/latency.txt.
    """
    mend = "choose another --out"
    if out is not None:
        require_own(out / "latency.txt", mend)
    workdirs = list(dict.fromkeys(workdirs))
    scorers = {str(workdir): load(workdir) for workdir in workdirs}
    for workdir in workdirs:
        _require_own(workdir / "eval" / "latency.json")
    found = measure(scorers)
    for workdir, content in zip(workdirs, found.values(), strict=True):
        with named(workdir / "eval"):
            (workdir / "eval").mkdir(exist_ok=True)
        text = json.dumps(content, indent=2) + "\n"
        write_text(workdir / "eval" / "latency.json", text)
    short = {workdir.resolve().name: found[str(workdir)] for workdir in workdirs}
    text = table(short if len(short) == len(found) else found)
    print(text)
    if out is not None:
        with named(out), replacing_own(out / "latency.txt", mend) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code, 2 for a mistake that its one line of error names."""
    parser = cli.parser(__doc__, "latency")
    parser.add_argument("workdirs", nargs="+", type=expanded, help="trained runs, such as runs/*")
    parser.add_argument("--out", type=expanded, help="folder for latency.txt")
    args = parser.parse_args(argv)
    return cli.exit_code(lambda: latency(args.workdirs, args.out))
