"""Whether four trained networks are the same integers everywhere: the table of deployment.md.

    python -m benchmarks.firmware --out runs/firmware             # simulates its events first
    python -m benchmarks.firmware --out runs/firmware --adc2021 FOLDER --regions FOLDER

By the shipped configs an autoencoder (`mse`), a VAE's encoder (`mu2`), an autoencoder of features
(`distance`) and CICADA's student are trained, in OUT/MODEL; the same command goes on where it was.
Each is written as `jaxad export --format hls` does, half to even, and with every activation rounded
half up, and its integer scores are compared: of `jaxad.fixed`, g++'s build and da4ml's logic, on
test events and on as many uniform ones. Every other uniform image has a log-uniform highest count
of its own: full of large counts it has the highest score. Needs g++ and `jaxad[hls]`. Ends with 1
where integers differ, 1 % of a layer's values saturate, or test events have 1,000 scores or fewer.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

import jaxad
from jaxad import data
from jaxad.commands import cli
from jaxad.commands.train import train
from jaxad.configs import adc2021_features, adc2021_quantized, cicada, cicada_teacher
from jaxad.errors import UserError
from jaxad.export.hls import build, integer, integer_project
from jaxad.export.hls.image import ImageFirmware
from jaxad.export.hls.integer import Firmware
from jaxad.fixed import FixedType, from_float, run, subtract
from jaxad.inputs import trigger_integer
from jaxad.scorer import Scorer
from jaxad.storage.atomic import write_text
from jaxad.storage.paths import expanded
from jaxad.storage.provenance import provenance

MODELS = ("mse", "mu2", "distance", "cicada")
ROUNDINGS = ("RND_CONV", "RND")
N_EVENTS = 5_000  # that trained nothing, and as many uniform ones
LEAST_SCORES, MOST_SATURATED = 1_000, 0.01
NAME = "jaxad_net"


def configs_of(model: str, out: Path, code_bits: int) -> list[ConfigDict]:
    """Configs of a model's runs in their order, in the folder `out`; the last is the network's.

    Results that are compared have `code_bits`.
    """
    if model == "cicada":  # of 18 x 14 regions
        own = cicada.get_config()
        own.method.teacher = str(out / "teacher")
        return [cicada_teacher.get_config(), own]
    own = adc2021_quantized.get_config()
    own.method.score = model
    if model != "mu2":  # 57-32-16-8
        own.method.code_bits = code_bits
    if model == "mse":  # 57-16-3-16-57
        own.teacher.model.name = "challenge"
    if model != "distance":
        return [own]
    features = adc2021_features.get_config()  # 57-29-10 and 9-6-4-6-9-10
    features.inputs = own.inputs.copy_and_resolve_references()
    own.method.update({"teacher": str(out / "teacher"), "granularity": "channel"})
    return [features, own]


def trained(model: str, given: argparse.Namespace) -> Path:
    """The run of a model, which is trained now or goes on, if it is not there yet."""
    out = given.out / model
    *teachers, own = configs_of(model, out, given.code_bits)
    for config in (*teachers, own):
        source = given.regions if config.data.name == "regions" else given.adc2021
        config.data.update(source=source, n_events=given.events, n_simulated=given.events)
        config.data.update(val_fraction=0.15, test_fraction=0.25)
        stages = [config.train, config.get("feature_train"), config.get("teacher", {}).get("train")]
        for stage in filter(None, stages):
            stage.epochs = max(round(stage.epochs * given.epochs), 1)
        train(config, out / ("run" if config is own else "teacher"))
    return out / "run"


def rounded(found: Firmware | ImageFirmware, rounding: str) -> Firmware | ImageFirmware:
    """The firmware with what it rounds half to even rounded in another way."""

    def of(leaf: Any) -> Any:
        half = isinstance(leaf, FixedType) and leaf.rounding == "RND_CONV"
        return leaf._replace(rounding=rounding) if half else leaf

    return jax.tree.map(of, found, is_leaf=lambda leaf: isinstance(leaf, FixedType))


def emulated(
    found: Firmware | ImageFirmware, counts: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Integer scores (n,) of counts (n, inputs) by `jaxad.fixed`.

    Returns:
        Scores, and of the network's inputs and every layer which events' values (n, width) are at
        an end of their type's range; 0 of what has no sign is none.
    """
    images = isinstance(found, ImageFirmware)

    @jax.jit
    def network(counts: jax.Array) -> list[jax.Array]:
        if images:
            x = counts.reshape(-1, *found.shape, 1)
        else:
            scales = {"offset": found.offset, "shift": found.shift}
            x = from_float(trigger_integer.scaled(scales, counts, found.scaled), found.input)
        depths = range(len(found.layers) + 1)
        return [run(found.layers[:depth], x, found.input)[0] for depth in depths]

    outputs = network(np.asarray(counts, np.int32))
    types = [found.input, *(layer.output_type for layer in found.layers)]
    ends = [
        (np.asarray(y) == t.highest) | (t.signed & (np.asarray(y) == t.lowest))
        for y, t in zip(outputs, types, strict=True)
    ]
    codes, place = outputs[-1], None if images else found.compared
    if place is not None:
        codes = subtract(codes, outputs[place], types[-1], types[place], found.code)
    codes = np.asarray(codes, np.int64)
    scores = codes[..., 0] if images or found.number else np.sum(codes**2, axis=-1)
    return scores, [at_end.reshape(len(counts), -1) for at_end in ends]


def uniform(found: Firmware | ImageFirmware, n: int) -> np.ndarray:
    """Counts (n, inputs), uniform over all that an event can have; of images see above."""
    rng = np.random.default_rng(0)
    if not isinstance(found, ImageFirmware):
        return rng.integers(integer.LOWEST, integer.HIGHEST + 1, (n, len(integer.HIGHEST)))
    highest = np.full((n, 1), found.input.highest)
    highest[1::2, 0] = 2 ** rng.uniform(0, found.input.width, len(highest[1::2])) - 1
    return rng.integers(0, highest + 1, (n, found.n_inputs))


def compared(scorer: Scorer, raw: np.ndarray, rounding: str) -> dict[str, Any]:
    """A model's integers everywhere, and what they cost.

    Args:
        raw: events (n, *shape) that trained nothing.
    """
    form, started = integer_project.FORMS[scorer.method], time.monotonic()
    found = rounded(form.firmware(scorer), rounding)
    counts = np.concatenate([form.counts_of(scorer, raw), uniform(found, len(raw))])
    scores, ends = emulated(found, counts)
    about = {"namespace": NAME, "threshold": float(np.quantile(scorer.background, 0.99))}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        facts = integer_project.written(found, about, counts[:32], scores[:32], folder)
        programs = {
            "g++": integer_project.built(folder, NAME, counts.shape[1])(counts)[0],
            "da4ml": integer_project.logic(folder, found.score.fraction)(counts),
        }
    differ = {name: int(np.sum(own != scores)) for name, own in programs.items()}
    differ["g++ and da4ml"] = int(np.sum(programs["g++"] != programs["da4ml"]))
    if rounding == "RND_CONV":  # the scorer as it is
        differ["scorer"] = int(np.sum(form.emulator(scorer)(counts) != scores))
    return {
        "events": len(counts),
        "differ": differ,
        "saturated": [float(np.mean(at_end[: len(raw)])) for at_end in ends],
        "events saturated": [float(np.mean(at_end[: len(raw)].any(1))) for at_end in ends],
        "scores": len(np.unique(scores[: len(raw)])),
        "uniform scores": len(np.unique(scores[len(raw) :])),
        "ebops": facts["ebops"],
        **{name: facts["estimates"][name] for name in ("lut", "ff", "stages")},
        "seconds": time.monotonic() - started,
    }


def unmet(name: str, found: dict[str, Any]) -> list[str]:
    """The criteria that a model does not meet, for people."""
    lines = [f"{n:,} integers differ: {pair}" for pair, n in found["differ"].items() if n]
    for layer, share in enumerate(found["saturated"]):
        if share >= MOST_SATURATED:
            of = f"layer {layer - 1}" if layer else "the inputs"
            lines.append(f"{share:.2%} of the values of {of} saturate")
    if found["scores"] <= LEAST_SCORES:
        lines.append(f"{found['scores']:,} scores of the test events")
    return [f"not met: {name}: {line}" for line in lines]


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown, a row a model and rounding."""
    columns = ("network", "events", "differ: scorer", "g++", "da4ml", "g++ and da4ml")
    columns += ("scores: test", "uniform", "saturated values: inputs, layers [%]")
    columns += ("EBOPs", "LUT", "FF", "stages", "s")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, found in results.items():
        pairs = [found["differ"].get(pair) for pair in ("scorer", *columns[3:6])]
        numbers = [found["events"], *pairs, found["scores"], found["uniform scores"]]
        cells = ["" if n is None else f"{n:,}" for n in numbers]
        cells.append(", ".join(f"{100 * share:.2g}" for share in found["saturated"]))
        cells += [f"{found[key]:,}" for key in ("ebops", "lut", "ff", "stages")]
        lines.append(f"| {' | '.join([name, *cells, format(found['seconds'], '.0f')])} |")
    return "\n".join(lines)


def written(out: Path, results: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """Write firmware.json and firmware.md; its text, and what is not met."""
    lines = [line for name, found in results.items() for line in unmet(name, found)]
    text = "\n".join([table(results), "", *(lines or ["all met"])])
    record = {"results": results, "provenance": provenance()}
    write_text(out / "firmware.json", json.dumps(record, indent=1) + "\n")
    write_text(out / "firmware.md", text + "\n")
    return text, lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=expanded, default=Path("runs/firmware"))
    parser.add_argument("--adc2021", default="simulation", help="folder of ADC2021's layout")
    parser.add_argument("--regions", default="simulation", help="folder of simulate regions")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--events", type=int, default=20_000, help="of background, at most")
    parser.add_argument("--epochs", type=float, default=1.0, help="times those of the configs")
    parser.add_argument("--code-bits", type=int, default=12, help="of results of mse, distance")
    given = parser.parse_args(argv)

    def command() -> int:
        build.require_packages()
        if given.events < 100 or given.epochs <= 0:
            raise UserError("--events, --epochs: expected 100 or more, and above 0")
        results: dict[str, dict[str, Any]] = {}
        for model in given.models:
            scorer = jaxad.load(trained(model, given))
            raw = data.load(scorer.config.data).test["x"][:N_EVENTS]
            for rounding in tqdm(ROUNDINGS, model, unit="rounding"):
                results[f"{model}, {rounding}"] = compared(scorer, raw, rounding)
            text, lines = written(given.out, results)
        print(text)
        return int(bool(lines))

    return cli.exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
